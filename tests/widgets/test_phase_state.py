from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modularml.base.events import (
    BatchesDrawn,
    BatchesEnded,
    EpochEnded,
    EpochStarted,
    PhaseEnded,
    PhaseStarted,
    WorkAdvanced,
)
from modularml.widgets.run_state import RunState


def test_losses_that_are_no_numbers_are_gaps_in_the_curve_and_told_by_name(script: Any) -> None:
    state = RunState(script.start())
    path = ("train",)
    losses = np.array([[1.0], [np.nan], [np.inf]])
    state.apply(script(PhaseStarted, path=path, kind="train", n_epochs=1, n_batches=3, losses=("mse",)))
    state.apply(script(BatchesEnded, path=path, epoch=0, n_done=3, losses=losses))
    patch = json.loads(json.dumps(state.take_patch(), allow_nan=False))
    assert patch["traces"][0]["y"] == [1.0, None, None]
    assert patch["phases"][0]["metrics"] == {"mse": "nan"}


def test_the_loss_that_is_told_is_the_mean_of_the_epoch_so_far(script: Any) -> None:
    state = RunState(script.start())
    path = ("train",)
    state.apply(script(PhaseStarted, path=path, kind="train", n_epochs=2, n_batches=2, losses=("a", "b")))
    for epoch, expected in ((0, {"a": 2.0, "b": 3.0}), (1, {"a": 12.0, "b": 13.0})):
        state.apply(script(EpochStarted, path=path, epoch=epoch))
        for i in range(2):
            losses = np.array([[1.0 + 10 * epoch + 2 * i, 2.0 + 10 * epoch + 2 * i]])
            state.apply(script(BatchesEnded, path=path, epoch=epoch, n_done=i + 1, losses=losses))
        assert state.phases[0].metrics == expected


def test_means_stand_in_the_middle_of_their_epoch_and_every_metric_at_its_end(script: Any) -> None:
    state = RunState(script.start(val_loss_metric="val_mse"))
    path = ("train",)
    state.apply(script(PhaseStarted, path=path, kind="train", n_epochs=2, n_batches=2, losses=("mse",)))
    metrics = {"mse": 1.0, "val_mse": 2.0, "accuracy": 3.0, "lr": 0.1}
    state.apply(script(EpochEnded, path=path, epoch=0, metrics=metrics))
    drawn = {(t["name"], t["per"]): (t["x"], t["y"]) for t in state.take_patch()["traces"]}
    assert drawn == {
        ("mse", "epoch"): ([0.5], [1.0]),
        ("val_mse", "epoch"): ([1.0], [2.0]),
        ("accuracy", "epoch"): ([1.0], [3.0]),
    }
    row = state.snapshot()["phases"][0]
    assert row["validation"] == "val_mse"
    assert row["rates"] == {"lr": 0.1}


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ({"lr/0": 0.1, "lr/1": 0.1}, {"lr/0": 0.1, "lr/1": 0.1, "lr": 0.1}),
        ({"lr/0": 0.1, "lr/1": 0.2}, {"lr/0": 0.1, "lr/1": 0.2}),
        ({"lr/A": 0.1}, {"lr/A": 0.1}),
    ],
    ids=["shared", "different", "of a node"],
)
def test_nodes_have_the_rate_that_all_groups_of_parameters_share(
    script: Any, rates: dict[str, float], told: dict[str, float]
) -> None:
    state = RunState(script.start())
    about = {"kind": "train", "n_epochs": 2, "n_batches": 2, "losses": ("mse",)}
    state.apply(script(PhaseStarted, path=("train",), **about, rates=rates, devices={"A": "cpu", "B": "cpu"}))
    assert state.snapshot()["phases"][0]["rates"] == told


def test_batches_that_take_long_to_draw_are_told_of(script: Any) -> None:
    state = RunState(script.start())
    for duration_s, is_slow in ((0.0, False), (1.0, False), (0.0, True), (0.0, False)):
        state.apply(script(EpochStarted, path=("train",), epoch=0))
        assert state.snapshot()["phases"][0]["drawing"] is is_slow
        state.apply(script(BatchesDrawn, path=("train",), epoch=0, n_batches=7, duration_s=duration_s))
        row = state.snapshot()["phases"][0]
        assert (row["drawing"], row["batches"]) == (False, 7)


def test_an_early_end_and_the_best_epoch_are_told_counted_from_one(script: Any) -> None:
    state = RunState(script.start())
    for event in script.train():
        state.apply(replace(event, is_early=True) if isinstance(event, PhaseEnded) else event)
    row = state.snapshot()["phases"][0]
    assert (row["best"], row["note"]) == (3, "ended early, best epoch 3")


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        (BatchesEnded, {"epoch": 0, "n_done": 1, "losses": np.ones((1, 1))}),
        (EpochEnded, {"epoch": 0, "metrics": {}}),
        (PhaseEnded, {"status": "stopped", "metrics": {}, "duration_s": 1.0}),
    ],
)
def test_work_within_a_phase_is_told_until_what_waits_for_it_comes(
    script: Any, kind: Any, facts: Any
) -> None:
    state, path = RunState(script.start()), ("train",)
    state.apply(next(event for event in script.train() if isinstance(event, PhaseStarted)))
    state.apply(script(WorkAdvanced, path=path, what="Evaluating", label="test", fraction=0.3))
    assert state.snapshot()["phases"][0]["work"] == {"what": "Evaluating", "label": "test", "fraction": 0.3}
    state.apply(script(kind, path=path, **facts))
    assert state.snapshot()["phases"][0]["work"] is None
