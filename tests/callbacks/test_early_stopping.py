"""Early stopping: when it ends a phase, and what it leaves behind."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchmetrics import MeanAbsoluteError, R2Score

from modularml import AppliedLoss, Callback, Checkpointing, Experiment, Loss
from modularml.base.config import from_config, to_config
from modularml.base.errors import CallbackError, InvalidValueError
from modularml.callbacks import EarlyStopping
from tests.callbacks.conftest import Regression


class Scripted(Callback):
    """Logs the values that it was given, one an epoch, and remembers the weights."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values
        self.weights: list[Any] = []

    def on_epoch_end(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> None:
        results.recording.log("error", self.values[exec_ctx.epoch_idx], exec_ctx.epoch_idx)
        self.weights.append(experiment.model_graph.get_state()["nodes"]["net"]["model"])


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return all(same(left[key], right[key]) for key in left)
    return np.array_equal(left, right)


def run(regression: Regression, values: list[float], **arguments: Any) -> tuple[EarlyStopping, Scripted, int]:
    stopping, script = EarlyStopping(monitor="error", **arguments), Scripted(values)
    results = regression.exp.run_phase(regression.train(stopping, script, n_epochs=len(values)))
    return stopping, script, results.n_epochs


@pytest.mark.parametrize(
    ("values", "arguments", "n_epochs", "best"),
    [
        ([3, 2, 1, 1, 1, 1], {"patience": 2}, 5, 2),
        ([3, 2, 1, 0, -1], {"patience": 1}, 5, 4),
        ([1, 2, 3, 3, 3], {"patience": 1, "mode": "max"}, 4, 2),
        ([1, 0.95, 0.9, 0.85], {"patience": 2, "min_delta": 0.2}, 3, 0),
        ([float("nan"), 1, 2, 2], {"patience": 2}, 4, 1),
        ([float("nan")] * 4, {"patience": 2}, 3, 0),
    ],
)
def test_it_waits_as_long_as_its_patience(
    regression: Regression, values: list[float], arguments: dict[str, Any], n_epochs: int, best: int
) -> None:
    stopping, _, ran = run(regression, values, **arguments)
    assert (ran, stopping.best_epoch) == (n_epochs, best)
    assert stopping.stopped_epoch == (
        n_epochs - 1 if n_epochs < len(values) or n_epochs - 1 - best >= arguments["patience"] else None
    )
    assert regression.exp.history[-1].status == "completed"


@pytest.mark.parametrize("values", [[3, 1, 2, 2, 2, 2], [3, 1, 2]], ids=["stopped early", "ran to its end"])
def test_the_best_weights_come_back(regression: Regression, values: list[float]) -> None:
    stopping, script, _ = run(regression, values, patience=3)
    left = regression.graph.get_state()["nodes"]["net"]["model"]
    assert stopping.best_epoch == 1
    assert same(left, script.weights[1])
    assert not same(left, script.weights[-1])


def test_the_last_weights_stay_where_that_is_asked_for(regression: Regression) -> None:
    _, script, _ = run(regression, [3, 1, 2, 2], patience=2, restore_best=False)
    assert same(regression.graph.get_state()["nodes"]["net"]["model"], script.weights[-1])


@pytest.mark.parametrize(
    ("recorded", "restore_best", "epochs"),
    [("last", True, [1]), ("last", False, [3]), ("all", True, [0, 1, 2, 3]), ("none", True, [])],
)
def test_where_one_epoch_is_recorded_it_is_the_one_that_comes_back(
    regression: Regression, recorded: str, restore_best: bool, epochs: list[int]
) -> None:
    stopping = EarlyStopping(monitor="error", patience=5, restore_best=restore_best)
    phase = regression.train(Scripted([3, 1, 2, 2]), stopping, n_epochs=4)
    phase.result_recording = recorded
    results = regression.exp.run_phase(phase)
    assert [record.epoch for record in results.recording.tensors] == epochs
    assert results.recording.n_bytes == sum(record.n_bytes for record in results.recording.tensors)


def test_it_watches_an_evaluation_or_a_loss_of_training(regression: Regression) -> None:
    watched = EarlyStopping(patience=2)
    regression.exp.run_phase(regression.train(watched, regression.evaluation(), n_epochs=3))
    assert watched.best_value is not None
    watched = EarlyStopping(monitor="mse")
    results = regression.exp.run_phase(regression.train(watched, n_epochs=3))
    assert watched.best_value == pytest.approx(results.epoch_losses().min())


def test_it_watches_the_sum_of_what_is_minimized(regression: Regression) -> None:
    losses = [
        AppliedLoss("mse", "net", label="a"),
        AppliedLoss("mae", "net", label="b", weight=2.0),
        AppliedLoss("mae", "net", label="c", trainable=False),
    ]
    watched = EarlyStopping(monitor="train_loss")
    phase = regression.train(watched, n_epochs=3)
    phase.losses, phase.checkpointing = losses, Checkpointing(best="train_loss")
    results = regression.exp.run_phase(phase)
    total = results.epoch_losses("a") + results.epoch_losses("b")
    assert watched.best_value == pytest.approx(total.min())
    assert phase.checkpointing.best_key == f"train_epoch{total.argmin()}"


def test_a_metric_that_nothing_logs_is_an_error_after_the_first_epoch(regression: Regression) -> None:
    with pytest.raises(CallbackError, match=r"Unknown metric 'val_los'.*Did you mean 'val_loss'\?"):
        regression.exp.run_phase(
            regression.train(regression.evaluation(), EarlyStopping(monitor="val_los"), n_epochs=3)
        )
    assert len(regression.exp.last_run.results.recording.losses) == 1


def test_every_run_of_the_phase_begins_anew(regression: Regression) -> None:
    stopping = EarlyStopping(monitor="mse", patience=1)
    phase = regression.train(stopping, n_epochs=2)
    regression.exp.run_phase(phase)
    first = stopping.best_value
    regression.exp.run_phase(phase)
    assert stopping.best_value != first


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "least"},
        {"patience": 0},
        {"min_delta": -1.0},
        {"min_delta": float("nan")},
        {"min_delta": "small"},
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        EarlyStopping(**arguments)


def test_its_configuration_makes_the_same_again() -> None:
    stopping = EarlyStopping(monitor="x", patience=2, min_delta=0.5)
    assert from_config(to_config(stopping)) == stopping


def test_a_file_with_callbacks_loads_in_a_process_that_imported_none(
    regression: Regression, tmp_path: Path
) -> None:
    regression.exp.execution_plan.add_phase(regression.train(regression.evaluation(), EarlyStopping()))
    path = regression.exp.save(tmp_path / "with callbacks")
    program = "import sys, modularml\nexp = modularml.Experiment.load(sys.argv[1])\n"
    program += "print([type(c).__name__ for c in exp.execution_plan[0].callbacks], exp.run().labels)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split("\n")[0] == "['Evaluation', 'EarlyStopping'] ['train']", done.stderr


def test_a_preview_leaves_what_it_saw_as_it_was(regression: Regression) -> None:
    stopping = EarlyStopping(monitor="mse")
    phase = regression.train(stopping)
    Experiment.run_phase(regression.exp, phase)
    before = stopping.get_state()
    regression.exp.preview_phase(phase)
    assert stopping.get_state() == before


def test_it_waits_for_an_evaluation_that_comes_every_few_epochs(regression: Regression) -> None:
    stopping = EarlyStopping(patience=2)
    regression.exp.run_phase(regression.train(stopping, regression.evaluation(every_n_epochs=3), n_epochs=4))
    assert stopping.best_epoch == 2


def absolute_error(outputs: Any, targets: Any) -> Any:
    return np.abs(outputs - targets).mean()


@pytest.mark.parametrize(
    ("metrics", "monitor", "goal"),
    [
        (["r2"], "val_r2", "max"),
        (["neg_mean_squared_error"], "val_neg_mean_squared_error", "max"),
        ({"own": "r2"}, "own", "max"),
        ({"own": absolute_error}, "own", "min"),
        ([MeanAbsoluteError], "val_MeanAbsoluteError", "min"),
        ({"own": R2Score()}, "own", "max"),
        (None, "val_loss", "min"),
    ],
)
def test_which_end_is_better_follows_from_the_metric(
    regression: Regression, metrics: Any, monitor: str, goal: str
) -> None:
    stopping = EarlyStopping(monitor=monitor, patience=9)
    phase = regression.train(regression.evaluation(metrics=metrics), stopping)
    values = regression.exp.run_phase(phase).metrics()[monitor]
    assert stopping.best_value == {"max": max, "min": min}[goal](float(value) for value in values)


def test_a_loss_is_to_fall_whatever_it_is_called(regression: Regression) -> None:
    regression.loss = AppliedLoss(Loss("mse"), on=regression.node, label="score")
    stopping = EarlyStopping(monitor="score")
    results = regression.exp.run_phase(regression.train(stopping))
    assert stopping.best_value == pytest.approx(results.epoch_losses().min())


def test_a_metric_of_which_the_better_end_is_not_known_is_asked_for(regression: Regression) -> None:
    def phase(**arguments: Any) -> Any:
        return regression.train(
            regression.evaluation(metrics={"own": lambda outputs, targets: outputs.mean()}),
            EarlyStopping(monitor="own", **arguments),
        )

    with pytest.raises(CallbackError, match=r"'own' is the better the lower or .* say mode=\"min\" or"):
        regression.exp.run_phase(phase())
    assert regression.exp.run_phase(phase(mode="max")).n_epochs == 4
