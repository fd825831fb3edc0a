"""What results answer: by epoch and batch, by node, in frames and pictures, within a budget."""

import builtins
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from modularml import (
    AppliedLoss,
    Callback,
    ConcatNode,
    EvalPhase,
    Experiment,
    ExperimentContext,
    FeatureSet,
    InputBinding,
    ModelGraph,
    ModelNode,
    PhaseGroup,
)
from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    ModularMLWarning,
    StateError,
    UnknownNameError,
)
from modularml.core.experiment.results import results_from_state
from modularml.display.figures import format_value
from modularml.models.torch import SequentialMLP


@pytest.fixture
def train(lab: Any) -> Any:
    return lab.exp.run_phase(lab.train(n_epochs=3))


def test_losses_by_epoch_batch_and_label(lab: Any, train: Any) -> None:
    losses = train.losses(lab.node)
    assert (losses.axes, losses.shape) == (("epoch", "batch", "label"), (3, 3, 1))
    np.testing.assert_array_equal(losses.values(), train.batch_losses())
    np.testing.assert_allclose(losses.collapse("batch").values(), train.epoch_losses(), rtol=1e-6)
    assert (train.epoch_indices, train.batch_indices) == ([0, 1, 2], [0, 1, 2])
    with pytest.raises(UnknownNameError, match="'nett'.*Did you mean 'net'"):
        train.losses("nett")
    assert len(lab.exp.run_phase(lab.evaluate(losses=None)).losses()) == 0


def test_tensors_of_batches_are_parts_of_the_whole(lab: Any, train: Any) -> None:
    for domain in ("outputs", "targets", "rows", "sample_uuids"):
        parts = train.tensors(lab.node, domain)
        assert parts.shape == (3, 3)
        np.testing.assert_array_equal(np.concatenate(parts.values()), train.stacked_tensors(lab.node, domain))
    assert isinstance(train.tensors(lab.node, fmt="torch").first(), torch.Tensor)
    assert isinstance(train.stacked_tensors(lab.node, fmt="torch"), torch.Tensor)


def test_ids_and_views_lead_to_the_samples(lab: Any, train: Any) -> None:
    rows = train.tensors(lab.node, "rows").at(epoch=1, batch=2)
    uuids = train.tensors(lab.node, "sample_uuids").at(epoch=1, batch=2)
    np.testing.assert_array_equal(uuids, lab.data.get_sample_uuids()[rows])
    view = train.source_view(lab.node, epoch=1, batch=2)
    np.testing.assert_array_equal(view.rows, np.sort(rows))
    assert train.source_view(lab.node).n_samples == 18
    assert list(train.source_views(lab.node)) == ["data"]
    with pytest.raises(UnknownNameError, match="9"):
        train.source_view(lab.node, epoch=9)
    with pytest.raises(InvalidValueError, match="rows have no units"):
        train.stacked_tensors(lab.node, "rows", unscale=True)


@pytest.fixture
def merged() -> Callable[..., Any]:
    """The results of two FeatureSets whose samples are merged before a tail, and the first of them."""

    def run(**strategies: Any) -> tuple[Any, FeatureSet]:
        exp = Experiment("merged")
        x = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
        one, two = (
            FeatureSet.from_dict(
                label, {"x": x, "y": x[:, i], "tag": [f"{label}{j}" for j in range(12)]}, "x", "y", "tag"
            )
            for i, label in enumerate(("one", "two"))
        )
        nodes = [ModelNode(f"of {fs.label}", SequentialMLP(output_shape=(1, 2)), fs) for fs in (one, two)]
        both = ConcatNode("both", nodes, -1, **strategies)
        ModelGraph([*nodes, both, ModelNode("tail", SequentialMLP(), both)], "adam").build()
        sources = [InputBinding.for_evaluation(node=node) for node in nodes]
        phase = EvalPhase("eval", input_sources=sources, losses=AppliedLoss("mse", on="tail"), batch_size=5)
        return exp.run_phase(phase), one

    return run


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize("targets", [-1, "first", "mean"])
def test_samples_that_were_merged_lead_to_those_of_each_featureset(
    merged: Any, targets: Any, from_file: bool
) -> None:
    results, one = merged(concat_axis_targets=targets)
    results = results_from_state(results.get_state()) if from_file else results
    np.testing.assert_array_equal(results.stacked_tensors("tail", "sample_uuids"), one.get_sample_uuids())
    np.testing.assert_array_equal(results.batches("tail").last().sample_uuids, one.get_sample_uuids()[10:])
    views = results.source_views("tail", batch=1)
    assert [(label, view.rows.tolist()) for label, view in views.items()] == [
        (label, [5, 6, 7, 8, 9]) for label in ("one", "two")
    ]
    with pytest.raises(InvalidValueError, match=r"Samples of \['one', 'two'\] reached 'tail'.*source_views"):
        results.source_view("tail")


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [(-1, ["one0", "two0"]), ("first", ["one0"]), ("last", ["two0"]), (1, None), ("mean", None)],
)
def test_tags_are_those_that_the_merge_makes(merged: Any, strategy: Any, expected: Any) -> None:
    results, _ = merged(concat_axis_tags=strategy, concat_axis_targets="first")
    if expected is None:
        with pytest.raises((InvalidTypeError, InvalidValueError), match="tags of 'tail' in EvalResults"):
            results.stacked_tensors("tail", "tags")
    else:
        assert results.stacked_tensors("tail", "tags")[0].tolist() == expected
        assert results.tensors("tail", "tags").shape == (1, 3)


def test_heads_of_one_featureset_have_one_view() -> None:
    exp = Experiment("heads")
    fs = FeatureSet.from_dict("fs", {"x": np.ones((4, 2)), "y": np.ones(4), "t": list("abcd")}, "x", "y", "t")
    heads = [ModelNode(label, SequentialMLP(output_shape=(1, 2)), fs) for label in ("a", "b")]
    both = ConcatNode("both", heads, -1)
    ModelGraph([*heads, both, ModelNode("tail", SequentialMLP(), both)], "adam").build()
    sources = [InputBinding.for_evaluation(node=head) for head in heads]
    results: Any = exp.run_phase(EvalPhase("eval", input_sources=sources, losses="mse"))
    assert results.source_view("tail").rows.tolist() == [0, 1, 2, 3]
    assert results.stacked_tensors("tail", "tags").tolist() == [["a"], ["b"], ["c"], ["d"]]


def test_batches_hold_outputs_targets_and_ids(lab: Any, train: Any) -> None:
    batch = train.batches(lab.node).at(epoch=0, batch=1)
    np.testing.assert_array_equal(batch.outputs, train.tensors(lab.node).at(epoch=0, batch=1))
    uuids = train.tensors(lab.node, "sample_uuids").at(epoch=0, batch=1)
    np.testing.assert_array_equal(batch.sample_uuids, uuids)
    whole = train.stacked_batches(lab.node)
    assert (whole.n_samples, len(whole.targets), len(whole.sample_uuids)) == (54, 54, 54)


def test_results_of_a_file_find_their_data_by_label(lab: Any, train: Any) -> None:
    loaded: Any = results_from_state(train.get_state())
    assert loaded.source_view("net").n_samples == 18
    ExperimentContext().activate()
    assert loaded.stacked_tensors("net").shape == (54, 1, 1)
    with pytest.raises(StateError, match="the FeatureSet 'data' that 'net' read is no longer there"):
        loaded.source_view("net")


def test_results_keep_no_data_alive(make_lab: Any) -> None:
    lab = make_lab()
    results = lab.exp.run_phase(lab.evaluate())
    del lab
    ExperimentContext().activate()
    gc.collect()
    assert results.stacked_tensors("net").shape == (6, 1, 1)
    with pytest.raises(StateError, match="no longer there"):
        results.stacked_tensors("net", "sample_uuids")


def test_a_frame_has_a_row_an_epoch(train: Any) -> None:
    train.recording.log("lr", 0.1, 1)
    frame = train.to_pandas()
    assert frame.index.name == "epoch" and list(frame.columns) == ["mse", "lr"]
    np.testing.assert_allclose(frame["mse"], train.epoch_losses())
    assert frame["lr"].isna().tolist() == [True, False, True]


def test_curves_are_drawn_by_matplotlib(train: Any) -> None:
    ax = train.plot(log=True)
    assert [line.get_label() for line in ax.lines] == ["mse"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), train.epoch_losses())
    assert ax.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
    assert (ax.get_title(), ax.get_yscale()) == ("train", "log")
    assert train.plot(ax) is ax and len(ax.lines) == 2


def test_what_an_extra_is_for_is_told_where_it_is_missing(train: Any, monkeypatch: Any) -> None:
    real = builtins.__import__
    import importlib

    def absent(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r'needs matplotlib: pip install "modularml-jupyter\[plot\]"'):
        train.plot()


def test_the_display_is_a_text_and_a_curve_where_there_is_one(lab: Any, train: Any) -> None:
    bundle = train._repr_mimebundle_()
    value = format_value(train.epoch_losses()[-1])
    assert bundle["text/plain"] == f"TrainResults(label='train', epochs=3)\n  mse {value}"
    assert bundle["image/svg+xml"].startswith("<svg") and "mse" in bundle["image/svg+xml"]
    assert "image/svg+xml" not in lab.exp.run_phase(lab.evaluate())._repr_mimebundle_()


class Notes(Callback):
    """Returns something from every kind of hook."""

    def on_phase_start(self, **_: Any) -> Any:
        return {"began": True, "where": object()}

    def on_epoch_end(self, *, exec_ctx: Any, **_: Any) -> Any:
        from modularml import ArtifactResult

        return ArtifactResult(artifact_name="grid", artifact=np.full(2, exec_ctx.epoch_idx))

    def on_batch_end(self, *, exec_ctx: Any, **_: Any) -> Any:
        from modularml import MetricResult

        return MetricResult(metric_name="seen", metric_value=exec_ctx.batch_idx)


def test_what_hooks_return_is_kept_with_its_place(lab: Any) -> None:
    results = lab.exp.run_phase(lab.train(callbacks=[Notes()]))
    payload = results.callbacks(kind="payload").one()
    assert (payload.scope, payload.edge, payload.epoch, payload.batch) == ("phase", "start", None, None)
    assert (payload.callback_label, payload.phase_label) == ("Notes", "train")
    assert results.artifact_names() == ["grid"]
    assert results.artifacts().at(name="grid", epoch=1).tolist() == [1, 1]
    assert results.metrics()["seen"].tolist() == [0, 1, 2, 0, 1, 2]
    assert results.metrics().at(name="seen", epoch=1, batch=2) == 2
    assert results.callbacks().at(kind="metric", epoch=1, batch=2).metric_value == 2
    with pytest.raises(InvalidValueError, match="'artefact'.*Did you mean 'artifact'"):
        results.callbacks(kind="artefact")


def test_files_keep_what_they_can_of_it_and_name_the_rest(lab: Any, tmp_path: Any) -> None:
    lab.exp.run_phase(lab.train(callbacks=[Notes()]))
    path = lab.exp.save(tmp_path / "kept")
    ExperimentContext().activate()
    results: Any = Experiment.load(path).last_run.results  # type: ignore[union-attr]
    assert results.artifacts().at(name="grid", epoch=1).tolist() == [1, 1]
    payload = results.callbacks(kind="payload").one().payload
    assert payload["began"] is True and payload["where"].type_name == "builtins.object"
    assert results.metrics()["seen"].tolist() == [0, 1, 2, 0, 1, 2]


def test_the_history_is_bounded_and_the_oldest_outputs_go_first(lab: Any, monkeypatch: Any) -> None:
    from modularml.core.experiment import runner

    results = [lab.exp.run_phase(lab.evaluate()) for _ in range(2)]
    size = results[0].recording.make_room_within(10**9)
    monkeypatch.setattr(runner, "HISTORY_BUDGET_BYTES", 2 * size)
    group = lab.exp.run_group(PhaseGroup("g", [lab.evaluate("a")]))
    assert results[0].n_dropped_batches == 1 and not results[1].n_dropped_batches
    lab.exp.run_group(PhaseGroup("h", [lab.evaluate("b"), lab.evaluate("c")]))
    assert group["a"].n_dropped_batches == 1
    assert [r.results.label for r in lab.exp.history] == ["eval", "eval", "g", "h"]
    assert results[0].aggregated_losses() == results[1].aggregated_losses()
    with pytest.raises(InvalidValueError, match="the outputs of 1 batches .* memory budget"):
        group["a"].tensors("net")


def test_a_part_that_is_missing_is_told(lab: Any) -> None:
    results = lab.exp.run_phase(lab.train())
    results.recording.make_room_within(results.recording.make_room_within(10**9) - 1)
    with pytest.warns(ModularMLWarning, match="those of 3 were dropped"):
        assert results.tensors("net").axis_values("epoch") == [1]
