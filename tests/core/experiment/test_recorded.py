import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from modularml import (
    EvalPhase,
    Experiment,
    ExperimentContext,
    FeatureSet,
    FitPhase,
    InputBinding,
    ModelGraph,
    ModelNode,
    OutputMetric,
    PhaseGroup,
    PhaseGroupResults,
    TrainResults,
)
from modularml.base.errors import InvalidValueError, ModularMLWarning, UnknownNameError
from modularml.core.execution.recording import Recording


@pytest.fixture
def group(lab: Any) -> PhaseGroupResults:
    """train, and a group that holds eval."""
    lab.exp.execution_plan.add_phase(lab.train(n_epochs=3)).add_group(PhaseGroup("g", [lab.evaluate()]))
    return lab.exp.run()


def test_losses_are_those_of_the_recorded_outputs(group: PhaseGroupResults) -> None:
    results = group["g"]["eval"]
    outputs, targets = results.stacked_tensors("net"), results.stacked_tensors("net", "targets")
    assert outputs.shape == (6, 1, 1)
    mean = float(np.mean((outputs.ravel() - targets.ravel()) ** 2))
    assert results.aggregated_losses() == {"mse": pytest.approx(mean, rel=1e-5)}


def test_rows_lead_back_to_the_data(lab: Any) -> None:
    results = lab.exp.run_phase(lab.train(n_epochs=2))
    rows = results.stacked_tensors(lab.node, "rows")
    y = lab.data.table.column("targets.y.raw")
    np.testing.assert_array_equal(results.stacked_tensors(lab.node, "targets").ravel(), y[rows])
    split = np.sort(lab.data.get_split("train").rows)
    np.testing.assert_array_equal(np.sort(rows[:18]), split)
    np.testing.assert_array_equal(np.sort(rows[18:]), split)


def test_wrong_questions_for_tensors(lab: Any) -> None:
    results = lab.exp.run_phase(lab.evaluate())
    with pytest.raises(UnknownNameError, match="recorded node 'nett'.*Did you mean 'net'"):
        results.stacked_tensors("nett")
    with pytest.raises(InvalidValueError, match="'output'.*Did you mean 'outputs'"):
        results.stacked_tensors("net", "output")
    unrecorded = lab.exp.run_phase(lab.train(result_recording="none"))
    with pytest.raises(InvalidValueError, match="result_recording"):
        unrecorded.stacked_tensors("net")


def test_outputs_that_are_one_for_each_target_are_found_by_its_key(tmp_path: Path) -> None:
    exp, rng = Experiment("several"), np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 2))
    fs = FeatureSet.from_numpy("data", x, y * [1, 10], target_keys=["u", "v"])
    fs.fit_transform("StandardScaler", domain="targets")
    fs.split_random({"train": 0.5, "test": 0.5})
    graph = ModelGraph.chain(fs.reference(rep="transformed"), {"fit": LinearRegression()})
    plan = exp.execution_plan
    u, v = (OutputMetric("r2", name=k, inputs=[f"outputs.{k}", f"targets.{k}"]) for k in "uv")
    plan.add_fit_phase("fit", split="train").add_eval_phase("test", split="test", metrics=[u, v, "r2"])
    results = exp.run()["test"]
    predicted = graph.predict(fs["test"], unscale=True)
    for of in (results, Experiment.load(exp.save(tmp_path / "e"), overwrite=True).last_run.results["test"]):
        for i, key in enumerate("uv"):
            assert np.array_equal(
                of.stacked_tensors("fit", f"outputs.{key}"), of.stacked_tensors("fit")[:, i]
            )
            in_units = of.stacked_tensors("fit", f"outputs.{key}", unscale=True)
            np.testing.assert_allclose(in_units, predicted[:, i])
    told = results.metrics()
    assert told["r2"][-1] == pytest.approx((told["u"][-1] + told["v"][-1]) / 2)
    with pytest.raises(UnknownNameError, match="Unknown output 'w'.*'u', 'v'"):
        results.stacked_tensors("fit", "outputs.w")


def test_results_without_targets_say_so(lab: Any) -> None:
    results = lab.exp.run_phase(lab.evaluate(losses=None))
    for record in results.recording.tensors:
        record.targets.clear()
    with pytest.raises(InvalidValueError, match="holds no targets: the reference of 'net' names none"):
        results.stacked_tensors("net", "targets")


def test_dropped_batches_are_told_of(group: PhaseGroupResults) -> None:
    train = group.get_train_result()
    partial = TrainResults("train", Recording.from_state(train.recording.get_state()), train.heads)
    partial.recording.budget_bytes = 2 * train.recording.tensors[0].n_bytes
    partial.recording.make_room(0)
    assert partial.n_dropped_batches == 3
    with pytest.warns(ModularMLWarning, match="newest batches only: those of 3 were dropped"):
        kept = partial.stacked_tensors("net")
    np.testing.assert_array_equal(kept, train.stacked_tensors("net")[18:])
    gone = TrainResults("train", Recording.from_state(train.recording.get_state(tensors=False)), train.heads)
    with pytest.raises(InvalidValueError, match="outputs of 9 batches"):
        gone.stacked_tensors("net")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gone.final() == train.final()


def test_predictions_and_targets_in_original_units(tmp_path: Path) -> None:
    exp, rng = Experiment("units"), np.random.default_rng(0)
    x, y = rng.standard_normal((24, 3)), rng.normal(100, 20, 24)
    data = FeatureSet.from_dict("data", {"x": x, "y": y}, "x", "y")
    data.fit_transform("StandardScaler", domain="targets")
    node = ModelNode("net", LinearRegression(), data.reference(features="x", targets="y.transformed"))
    ModelGraph([node]).build()
    exp.run_phase(FitPhase("fit", input_sources=[InputBinding.for_evaluation(node=node)]))
    binding = InputBinding.for_evaluation(node=node)
    results = exp.run_phase(EvalPhase("eval", input_sources=[binding], batch_size=7))
    data.undo_last_transform("targets")
    data.fit_transform("MinMaxScaler", domain="targets")
    path = exp.save(tmp_path / "units")
    with ExperimentContext().temporary():
        loaded = Experiment.load(path).history[-1].results
    by_hand = LinearRegression().fit(x, y).predict(x)
    for found in (results, loaded):
        assert not np.allclose(found.stacked_tensors("net", "targets").ravel(), y)
        np.testing.assert_allclose(found.stacked_tensors("net", "targets", unscale=True).ravel(), y)
        np.testing.assert_allclose(found.stacked_tensors("net", unscale=True).ravel(), by_hand)
        with pytest.raises(InvalidValueError, match="rows have no units"):
            found.stacked_tensors("net", "rows", unscale=True)


def test_targets_that_were_not_scaled_are_named(lab: Any) -> None:
    results = lab.exp.run_phase(lab.evaluate())
    with pytest.raises(InvalidValueError, match=r"outputs of 'net' in .*\['targets.y.raw'\] were not scaled"):
        results.stacked_tensors("net", unscale=True)


def test_targets_can_be_subtracted_from_outputs_without_broadcasting(lab: Any) -> None:
    results = lab.exp.run_phase(lab.evaluate())
    outputs, targets = (results.stacked_tensors(lab.node, domain) for domain in ("outputs", "targets"))
    assert outputs.shape == targets.shape
    assert float(((outputs - targets) ** 2).mean()) == pytest.approx(
        results.aggregated_losses()["mse"], rel=1e-5
    )
