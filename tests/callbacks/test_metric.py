"""Metrics beside losses: by name, object or function, logged where losses are, and monitored."""

from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, fbeta_score, make_scorer, mean_absolute_error, r2_score

from modularml import (
    EvalPhase,
    Experiment,
    ExperimentContext,
    FeatureSet,
    ModelGraph,
    ModelNode,
    TrainPhase,
)
from modularml.base.config import from_config, to_config
from modularml.base.errors import (
    CallbackError,
    DuplicateLabelError,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    UnknownNameError,
)
from modularml.base.events import BatchesEnded, EpochEnded
from modularml.callbacks import (
    EarlyStopping,
    EvalLossMetric,
    Evaluation,
    EvaluationMetric,
    MetricCallback,
    MetricResult,
    OutputMetric,
)
from modularml.models.torch import SequentialMLP
from tests.callbacks.conftest import Regression


def bias(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float((outputs - targets).mean())


def test_an_evaluation_logs_metrics_of_its_outputs(regression: Regression) -> None:
    given = ["r2", torchmetrics.MeanSquaredError, bias]
    results = regression.exp.run_phase(regression.train(regression.evaluation(metrics=given)))
    metrics = results.metrics()
    assert results.metric_names() == ["val_loss", "val_r2", "val_MeanSquaredError", "val_bias"]
    evaluation = results.callbacks(kind="evaluation").last().eval_results
    outputs, targets = evaluation.stacked_tensors("net"), evaluation.stacked_tensors("net", "targets")
    assert metrics["val_r2"].shape == (4,)
    assert metrics["val_r2"][-1] == pytest.approx(r2_score(targets.ravel(), outputs.ravel()))
    assert metrics["val_bias"][-1] == pytest.approx(bias(outputs, targets))
    np.testing.assert_allclose(metrics["val_MeanSquaredError"], metrics["val_loss"], rtol=1e-5)


def test_a_function_is_called_with_arrays_that_meet_each_other(regression: Regression) -> None:
    def squeezed(outputs: np.ndarray, targets: np.ndarray) -> float:
        return float(((outputs.squeeze() - targets) ** 2).mean())

    def swapped(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        return float((y_true - y_pred).mean())

    metrics = {"mse": squeezed, "r2": r2_score, "mae": mean_absolute_error, "swapped": swapped, "bias": bias}
    phase = EvalPhase.from_split("test", split="test", losses="mse", metrics=metrics)
    results = regression.exp.run_phase(phase)
    outputs, targets = (results.stacked_tensors("net", name).ravel() for name in ("outputs", "targets"))
    found = results.metrics()
    assert found["mse"][-1] == pytest.approx(results.aggregated_losses()["mse"])
    assert found["r2"][-1] == pytest.approx(r2_score(targets, outputs))
    assert found["mae"][-1] == pytest.approx(mean_absolute_error(targets, outputs))
    assert found["swapped"][-1] == pytest.approx(-found["bias"][-1])


def test_the_classes_of_a_function_are_behind_the_samples() -> None:
    exp = Experiment("classes")
    x = np.random.default_rng(0).standard_normal((30, 4))
    fs = FeatureSet.from_numpy("d", x, np.arange(30) % 3)
    fs.split_random({"train": 0.5, "test": 0.5}, seed=0)
    ModelGraph.chain(fs, {"net": torch.nn.Linear(4, 3)})
    own = {"own": lambda outputs, targets: (outputs.argmax(1) == targets).mean(), "same": "accuracy"}
    found = exp.run_phase(EvalPhase.from_split("test", split="test", metrics=own)).final()
    assert found["own"] == pytest.approx(found["same"])


def test_a_phase_logs_metrics_and_tells_them(regression: Regression) -> None:
    ends: list[Any] = []
    regression.exp.events.subscribe(lambda e: ends.append(e.metrics) if isinstance(e, EpochEnded) else None)
    metrics = {"fit": "r2", "bias": bias}
    phase = EvalPhase.from_split("test", split="test", losses=[regression.loss], metrics=metrics)
    results = regression.exp.run_phase(phase)
    assert list(results.final()) == ["mse", "fit", "bias"]
    assert ends == [results.final()]
    without_losses = EvalPhase.from_split("bare", split="test", metrics="r2", batch_size=5)
    assert regression.exp.run_phase(without_losses).final()["r2"] == pytest.approx(results.final()["fit"])
    nested = Evaluation(eval_phase=without_losses)
    trained = regression.exp.run_phase(regression.train(nested))
    assert (nested.metric_names, trained.metric_names()) == (("val_r2",), ["val_r2"])


def test_early_stopping_monitors_a_metric_and_says_what_it_found(regression: Regression) -> None:
    callbacks = [
        regression.evaluation(metrics="r2"),
        EarlyStopping(monitor="val_r2", mode="max", patience=1, min_delta=10),
    ]
    results = regression.exp.run_phase(regression.train(*callbacks, n_epochs=9))
    found = results.callbacks(kind="early_stopping").one()
    assert (found.best_epoch, found.stopped_epoch, results.n_epochs) == (0, 1, 2)
    assert found.best_value == results.metrics()["val_r2"][0]


def test_only_the_newest_evaluation_keeps_its_outputs(regression: Regression) -> None:
    evaluation = regression.evaluation(run_on_start=True)
    results = regression.exp.run_phase(regression.train(evaluation, n_epochs=3))
    found = results.callbacks(kind="evaluation")
    assert found.axis_values("epoch") == [None, 0, 1, 2]
    held = [entry.eval_results.n_dropped_batches for entry in found.values()]
    assert held == [1, 1, 1, 0]
    losses = [entry.eval_results.aggregated_losses()["mse"] for entry in found.values()]
    assert losses[1:] == results.metrics()["val_loss"].tolist() and losses[0] > losses[1]
    assert [r.n_dropped for r in results.recordings()] == [0, 1, 1, 1, 0]


def test_files_keep_metrics_and_the_newest_evaluation(regression: Regression, tmp_path: Any) -> None:
    given = ["r2", bias, torchmetrics.MeanSquaredError]
    evaluation = regression.evaluation(metrics=given)
    phase = regression.train(evaluation, n_epochs=2)
    regression.exp.execution_plan.add_phase(phase)
    results = regression.exp.run()["train"]
    path = regression.exp.save(tmp_path / "e")
    ExperimentContext().activate()
    loaded = Experiment.load(path, symbols={"bias": bias, "MeanSquaredError": torchmetrics.MeanSquaredError})
    again: Any = loaded.last_run.results["train"]  # type: ignore[union-attr]
    assert again.metrics().data == results.metrics().data
    assert again.callbacks(kind="evaluation").one().eval_results.aggregated_losses()
    assert loaded.execution_plan["train"].callbacks == [evaluation]


def test_a_scorer_that_asks_an_estimator_is_told_with_what_to_give() -> None:
    with pytest.raises(InvalidTypeError, match="is a scorer, which asks an estimator; .*def f2"):
        OutputMetric(make_scorer(fbeta_score, beta=2))


def test_metrics_that_cannot_be_are_told_together(regression: Regression) -> None:
    with pytest.raises(InvalidValueError, match="(?s)'accurracy'.*'accuracy'.*got 3.*every_n_epochs"):
        regression.evaluation(metrics=["accurracy", 3], every_n_epochs=0)
    with pytest.raises(UnknownNameError, match="'r3'"):
        EvalPhase.from_split("t", split="test", metrics="r3")
    with pytest.raises(DuplicateLabelError, match="two metrics have the name 'val_bias'"):
        regression.evaluation(metrics=[bias, bias])
    evaluation = regression.evaluation()
    evaluation.attach_metric("r2")
    with pytest.raises(DuplicateLabelError, match="'val_r2'"):
        evaluation.attach_metric("r2")
    assert evaluation.metric_names == ("val_loss", "val_r2")
    phase = EvalPhase.from_split("t", split="test", metrics=[lambda outputs, targets: outputs])
    with pytest.raises(InvalidTypeError, match="'<lambda>' must give one number, got ndarray of shape"):
        regression.exp.run_phase(phase)
    phase = EvalPhase.from_split("t", split="test", metrics=[accuracy_score])
    given = r"'accuracy_score' was given outputs .12,. and targets .12,. and raised ValueError: contin"
    with pytest.raises(InvalidValueError, match=given):
        regression.exp.run_phase(phase)


@pytest.mark.parametrize(("name", "meant"), [("mse", "neg_mean_squared_error"), ("AUC", "roc_auc")])
def test_the_usual_names_lead_to_the_scorers(regression: Any, name: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Unknown metric '{name}'; .* '{meant}'"):
        EvalPhase.from_split("t", split="test", metrics=name)


def test_a_metric_of_two_classes_is_refused_before_the_first_epoch() -> None:
    exp = Experiment("classes")
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    data = FeatureSet.from_dict("data", {"x": x, "kind": np.arange(40) % 3}, "x", "kind")
    data.split_random({"train": 0.7, "test": 0.3}, seed=0)
    ModelGraph([ModelNode("net", SequentialMLP(output_shape=(3,)), data)], "adam").build()
    heard: list[Any] = []
    exp.events.subscribe(heard.append)
    arguments: dict[str, Any] = {"split": "train", "losses": "cross_entropy"}
    watch = Evaluation.from_split(split="test", metrics=["accuracy", "f1"])
    inner = Evaluation(eval_phase=EvalPhase.from_split("val", split="test", metrics="f1"))
    for phase, error, where in (
        (TrainPhase.from_split("fit", **arguments, metrics=["f1"]), InvalidValueError, "TrainPhase 'fit'"),
        (TrainPhase.from_split("fit", **arguments, callbacks=[watch]), CallbackError, "'Evaluation'"),
        (TrainPhase.from_split("fit", **arguments, callbacks=[inner]), CallbackError, "'Evaluation'"),
        (EvalPhase.from_split("test", split="test", metrics="f1"), InvalidValueError, "EvalPhase 'test'"),
    ):
        with pytest.raises(error, match=f"{where}.*'f1'.*there are 'f1_macro', 'f1_micro', 'f1_weighted'"):
            exp.run_phase(phase)
    assert not any(isinstance(event, BatchesEnded | EpochEnded) for event in heard)
    able = EvalPhase.from_split("test", split="test", metrics=["f1_macro", "accuracy"])
    assert exp.run_phase(able).metric_names() == ["f1_macro", "accuracy"]


def test_a_metric_of_a_part_is_refused(regression: Regression) -> None:
    phase = EvalPhase.from_split("t", split="test", metrics=["r2"], batch_size=4)
    results = regression.exp.run_phase(EvalPhase.from_split("u", split="test", batch_size=4))
    results.recording.make_room_within(0)
    with pytest.raises(StateError, match="those of 3 batches had to go"):
        phase.metrics[0].extract(eval_result=results)


def test_several_tails_need_a_name(regression: Regression) -> None:
    data = regression.node.upstream_refs[0].resolve().source
    view = data.get_split("train")
    regression.exp.ctx.set_registration_policy("overwrite")
    nodes = [ModelNode(label, LinearRegression(), data) for label in ("a", "b")]
    ModelGraph(nodes).build()
    for node in nodes:
        node.model.fit(view.get_features("numpy"), view.get_targets("numpy"))  # type: ignore[attr-defined]
    one = OutputMetric("r2", "r2_b", node="b")
    phase = EvalPhase.from_split("t", split="test", metrics=[one])
    assert regression.exp.run_phase(phase).final()["r2_b"] > 0.9
    with pytest.raises(StateError, match=r"has \['a', 'b'\]; name one"):
        regression.exp.run_phase(EvalPhase.from_split("t", split="test", metrics="r2"))


class Half(EvaluationMetric):
    def __init__(self) -> None:
        super().__init__("half")

    def extract(self, *, eval_result: Any, exec_ctx: Any = None) -> float:
        return float(eval_result.aggregated_losses()["mse"] / 2)


class Norm(MetricCallback):
    def compute(self, *, experiment: Any, exec_ctx: Any, **_: Any) -> float | None:
        return None if exec_ctx.epoch_idx == 0 else float(len(experiment.model_graph.nodes))


def test_metrics_of_ones_own(regression: Regression) -> None:
    sums = EvalLossMetric(loss=regression.loss, reducer="sum", name="total")
    evaluation = regression.evaluation(metrics=[Half(), sums])
    results = regression.exp.run_phase(regression.train(evaluation, Norm("norm")))
    metrics = results.metrics()
    np.testing.assert_allclose(metrics["half"], metrics["val_loss"] / 2)
    np.testing.assert_allclose(metrics["total"], metrics["val_loss"])
    assert metrics.where(name="norm").axis_values("epoch") == [1, 2, 3]
    assert results.callbacks(kind="metric").axis_values("epoch") == [1, 2, 3]
    assert from_config(to_config(evaluation)) == evaluation
    wrong = EvalLossMetric(loss="mes")
    for give in (lambda: regression.evaluation(metrics=wrong), lambda: evaluation.attach_metric(wrong)):
        with pytest.raises(UnknownNameError, match="^Evaluation: Unknown loss 'mes' in .*Did you mean 'mse'"):
            give()


def test_what_computes_nothing_is_refused() -> None:
    with pytest.raises(InvalidTypeError, match="'norm' computes nothing; subclass it and define compute"):
        MetricCallback("norm")
    with pytest.raises(TypeError, match="abstract"):
        EvaluationMetric("half")

    class Hook(MetricCallback):
        def on_phase_end(self, **_: Any) -> MetricResult:
            return MetricResult(metric_name=self.name, metric_value=1.0)

    assert Hook("norm").name == "norm"


def test_an_unfitted_head_says_what_active_nodes_would_do(regression: Regression) -> None:
    data = regression.node.upstream_refs[0].resolve().source
    regression.exp.ctx.set_registration_policy("overwrite")
    ModelNode("ridge", LinearRegression(), data)
    ModelGraph([regression.node, "ridge"], "sgd", label="both").build()
    evaluation = Evaluation.from_split(split="test", losses={"net": "mse"})
    phase = regression.train(evaluation)
    with pytest.raises(CallbackError, match=r"'ridge' is not fitted yet.*active_nodes=\['net'\]"):
        regression.exp.run_phase(phase)
    alone = Evaluation.from_split(split="test", losses={"net": "mse"}, active_nodes=["net"])
    assert regression.exp.run_phase(regression.train(alone)).metric_names() == ["val_loss"]


def test_training_logs_metrics_of_each_epoch(regression: Regression) -> None:
    given = {"split": "train", "losses": [regression.loss], "n_epochs": 3, "batch_size": 7}
    phase = TrainPhase.from_split("train", metrics=["r2", EvalLossMetric(loss="mse", name="same")], **given)
    stop = EarlyStopping(monitor="r2", mode="max", patience=1, min_delta=10)
    phase.callbacks.append(stop)
    results = regression.exp.run_phase(phase)
    metrics = results.metrics()
    assert (results.n_epochs, stop.best_value) == (2, metrics["r2"][0])
    np.testing.assert_allclose(metrics["same"], results.epoch_losses(), rtol=1e-6)
    for epoch in (0, 1):
        part = results.of_epoch(epoch)
        outputs, targets = part.stacked_tensors("net"), part.stacked_tensors("net", "targets")
        assert part.n_batches == 4 and len(outputs) == 28
        assert metrics["r2"][epoch] == pytest.approx(r2_score(targets.ravel(), outputs.ravel()))
    assert from_config(to_config(phase)).metrics == phase.metrics
    with pytest.raises(UnknownNameError, match="9"):
        results.of_epoch(9)
    with pytest.raises(InvalidValueError, match="metrics need outputs"):
        TrainPhase.from_split("none", metrics="r2", result_recording="none", **given)
