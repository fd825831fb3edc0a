"""Evaluation during training: logged, drawn with the losses, and without effect on the training."""

import math
import weakref
from typing import Any

import numpy as np
import pytest

from modularml import AppliedLoss, EvalPhase, Loss
from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidTypeError, InvalidValueError, ModularMLWarning
from modularml.base.events import EpochEnded, WorkAdvanced
from modularml.callbacks import Evaluation
from modularml.core.experiment.phases.eval_phase import ReadyEval
from tests.callbacks.conftest import Regression


def test_it_logs_what_an_evaluation_after_the_epoch_gives(regression: Regression) -> None:
    results = regression.exp.run_phase(regression.train(regression.evaluation(), n_epochs=3))
    assert results.metrics()["val_loss"].shape == (3,)
    alone = regression.exp.run_phase(EvalPhase.from_split("alone", split="test", losses=[regression.loss]))
    assert results.metrics()["val_loss"][-1] == pytest.approx(alone.aggregated_losses()["mse"])


def test_training_is_the_same_with_and_without_it() -> None:
    curves = []
    for watched in (True, False):
        here = Regression()
        callbacks = [here.evaluation()] if watched else []
        curves.append(here.exp.run_phase(here.train(*callbacks)).batch_losses())
    assert np.array_equal(*curves)


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3]), (2, [1, 3]), (3, [2])])
def test_it_runs_after_every_nth_epoch(regression: Regression, every: int, expected: list[int]) -> None:
    results = regression.exp.run_phase(regression.train(regression.evaluation(every_n_epochs=every)))
    assert [epoch for epoch, _, _ in results.recording.metrics["val_loss"]] == expected


def test_its_metric_is_told_with_the_end_of_the_epoch(regression: Regression) -> None:
    ends: list[Any] = []
    regression.exp.events.subscribe(lambda e: ends.append(e.metrics) if isinstance(e, EpochEnded) else None)
    results = regression.exp.run_phase(regression.train(regression.evaluation(), n_epochs=2))
    assert [end["val_loss"] for end in ends] == results.metrics()["val_loss"].tolist()
    assert all("mse" in end for end in ends)


def test_several_losses_are_logged_one_by_one_and_as_their_sum(regression: Regression) -> None:
    both = [regression.loss, AppliedLoss(Loss("l1"), on=regression.node)]
    evaluation = Evaluation(eval_phase=EvalPhase.from_split("both", split="test", losses=both))
    metrics = regression.exp.run_phase(regression.train(evaluation)).metrics()
    assert metrics["val_loss"] == pytest.approx(metrics["val_mse"] + metrics["val_l1"])


def test_two_of_them_have_names_of_their_own_or_are_told(regression: Regression) -> None:
    phases = [EvalPhase.from_split(name, split=name, losses=[regression.loss]) for name in ("test", "train")]
    with pytest.warns(ModularMLWarning, match=r"'test' and 'train', log the metric 'val_loss'.*prefix="):
        regression.train(*(Evaluation(eval_phase=phase, label=phase.label) for phase in phases))
    both = [
        Evaluation(eval_phase=phases[0], metrics=["r2"]),
        Evaluation(eval_phase=phases[1], metrics=["r2"], prefix="seen_"),
    ]
    assert from_config(to_config(both[1])).prefix == "seen_"
    results = regression.exp.run_phase(regression.train(*both, n_epochs=2))
    assert set(results.metric_names()) >= {"val_loss", "val_r2", "seen_loss", "seen_r2"}
    for phase, name in zip(phases, ("val_loss", "seen_loss"), strict=True):
        alone = regression.exp.run_phase(phase).aggregated_losses()["mse"]
        assert results.metrics()[name][-1] == pytest.approx(alone)
    with pytest.raises(InvalidTypeError, match="prefix must be text such as 'val_', got 3"):
        Evaluation(eval_phase=phases[0], prefix=3)  # type: ignore[arg-type]


def test_it_leaves_no_run_in_the_history(regression: Regression) -> None:
    regression.exp.run_phase(regression.train(regression.evaluation()))
    assert [run.label for run in regression.exp.history] == ["train"]


def test_what_it_cannot_evaluate_is_refused(regression: Regression) -> None:
    with pytest.raises(InvalidTypeError, match="eval_phase must be an EvalPhase"):
        Evaluation(eval_phase=regression.train())  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="no losses"):
        Evaluation(eval_phase=EvalPhase.from_split("silent", split="test"))


def test_its_configuration_makes_the_same_again(regression: Regression) -> None:
    evaluation = regression.evaluation(every_n_epochs=2)
    assert from_config(to_config(evaluation)) == evaluation


def test_one_that_takes_its_time_tells_how_far_it_is(
    regression: Regression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modularml.core.execution.epochs.BATCH_EVENTS_PER_S", math.inf)
    told: list[Any] = []
    regression.exp.events.subscribe(lambda e: told.append(e) if isinstance(e, WorkAdvanced) else None)
    evaluation = Evaluation.from_split(split="test", losses=[regression.loss], batch_size=1, label="often")
    regression.exp.run_phase(regression.train(evaluation, n_epochs=1))
    n_batches = round(1 / told[0].fraction)
    assert [(e.path, e.what, e.label, e.fraction) for e in told] == [
        (("train",), "Evaluating", "often", i / n_batches) for i in range(1, n_batches)
    ]
    assert n_batches > 1


def test_it_is_resolved_once_a_run_of_the_phase_and_let_go_with_it(
    regression: Regression, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[ReadyEval]] = []
    ready = EvalPhase._ready

    def counted(self: EvalPhase, scope: Any) -> ReadyEval:
        found = ready(self, scope)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(EvalPhase, "_ready", counted)
    phase = regression.train(regression.evaluation(), n_epochs=4)
    first = regression.exp.run_phase(phase)
    assert len(made) == 1
    assert made[0]() is None
    regression.exp.run_phase(phase)
    assert len(made) == 2
    assert len(first.metrics()["val_loss"]) == 4
