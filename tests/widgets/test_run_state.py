"""What a panel shows is bounded, adds up from patches, and survives events in any order."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.events import (
    BatchesDrawn,
    BatchesEnded,
    CompileStarted,
    EpochEnded,
    EpochStarted,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    WorkAdvanced,
)
from modularml.widgets.run_state import RunState
from modularml.widgets.trace import TRACE_POINTS, Trace

RECORDED = Path(__file__).parents[1] / "fixtures" / "progress_run.json"


class Page:
    """What a browser knows: it starts from a snapshot and applies patches."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.phases: dict[int, Any] = {}
        self.traces: dict[tuple[int, str, str], dict[str, list[Any]]] = {}
        self.apply(snapshot)

    def apply(self, patch: dict[str, Any]) -> None:
        self.run = patch["run"]
        self.phases |= {row["index"]: row for row in patch["phases"]}
        for new in patch["traces"]:
            known = self.traces.setdefault((new["phase"], new["per"], new["name"]), {"x": [], "y": []})
            for axis in ("x", "y"):
                assert new["start"] <= len(known[axis]), "points are missing"
                known[axis][new["start"] :] = new[axis]


def test_the_recorded_run_is_what_python_sends(script: Any) -> None:
    """The tests of the browser's side play the same file; MODULARML_RECORD=1 writes it anew."""
    start, *events = script.whole(show_eval_progress=True)
    state = RunState(start)
    patches = [state.snapshot() | {"seq": 0}]
    for seq, event in enumerate(events, 1):
        state.apply(event)
        patches.append(state.take_patch() | {"seq": seq})
    recorded = json.dumps({"patches": patches, "snapshot": state.snapshot() | {"seq": len(events)}}, indent=1)
    if os.environ.get("MODULARML_RECORD") == "1":
        RECORDED.write_text(recorded + "\n")
    assert json.loads(RECORDED.read_text()) == json.loads(recorded)


@pytest.mark.parametrize("every", [1, 2, 3, 7, 100])
def test_patches_taken_at_any_time_add_up_to_the_whole(script: Any, every: int) -> None:
    start, *events = script.whole(plan=(PlanEntry(path=("train",), kind="train", n_epochs=500),))
    events[:0] = script.train(n_epochs=500)  # long enough for curves that get coarser
    state = RunState(start)
    page, late = Page(state.snapshot()), None
    for i, event in enumerate(events):
        state.apply(event)
        if i == len(events) // 2:
            late = Page(state.snapshot())  # holds points that the next patch tells again
        if i % every == 0:
            patch = state.take_patch()
            for each in filter(None, (page, late)):
                each.apply(patch)
    patch, end = state.take_patch(), Page(state.snapshot())
    for each in filter(None, (page, late)):
        each.apply(patch)
        assert vars(each) == vars(end)


@given(sizes=st.lists(st.integers(0, 700), max_size=8))
def test_a_trace_is_bounded_and_keeps_the_means(sizes: list[int]) -> None:
    trace = Trace("mse", "step")
    values = np.arange(sum(sizes), dtype=float)
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        trace.extend(values[end - size : end], 2 * values[end - size : end])
    n_full = len(values) // trace.stride
    expected = 2 * values[: n_full * trace.stride].reshape(n_full, trace.stride).mean(axis=1)
    assert len(trace.values) == n_full <= TRACE_POINTS
    np.testing.assert_allclose(trace.values, expected)


def test_a_trace_hands_out_each_point_once_and_all_anew_when_it_got_coarser() -> None:
    trace = Trace("mse", "step")
    trace.extend(np.ones(1), np.ones(1))
    assert trace.take() == {"name": "mse", "per": "step", "start": 0, "x": [1.0], "y": [1.0]}
    assert trace.take() is None
    trace.extend(np.ones(1), np.ones(1))
    assert (trace.take() or {})["start"] == 1
    trace.extend(np.ones(TRACE_POINTS), np.ones(TRACE_POINTS))
    assert (trace.take() or {})["start"] == 0


def test_the_group_that_holds_everything_is_the_run_and_no_line(script: Any) -> None:
    plan = (
        PlanEntry(path=("all",), kind="group"),
        PlanEntry(path=("all", "inner"), kind="group"),
        PlanEntry(path=("all", "inner", "train"), kind="train", n_epochs=3),
    )
    state = RunState(script.start(label="all", plan=plan))
    for event in script.train(path=("all", "inner", "train")):
        state.apply(event)
    rows = state.snapshot()["phases"]
    assert [(row["path"], row["status"]) for row in rows] == [
        (["inner"], "waiting"),
        (["inner", "train"], "completed"),
    ]


def test_the_whole_of_a_run_of_many_phases_stays_small(script: Any) -> None:
    paths = [(f"fold {i}", "train") for i in range(200)]
    state = RunState(script.start(plan=tuple(PlanEntry(path=p, kind="train", n_epochs=12) for p in paths)))
    for path in paths:
        for event in script.train(path=path, n_epochs=12):
            state.apply(event)
    assert len(json.dumps(state.snapshot())) < 600_000


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


def test_a_phase_that_no_plan_told_of_is_shown_once(script: Any) -> None:
    """Callbacks evaluate in the middle of a training, every epoch anew."""
    state = RunState(script.start())
    path = ("train", "validation")
    for event in script.train():
        state.apply(event)
        if isinstance(event, EpochEnded):
            state.apply(script(PhaseStarted, path=path, kind="eval", n_epochs=1, n_batches=1, losses=()))
            state.apply(script(PhaseEnded, path=path, status="completed", metrics={}, duration_s=0.1))
            assert state.take_patch()["run"]["current"] == 0, "what runs within a phase displaces it"
    assert [p.path for p in state.phases] == [("train",), ("eval",), path]
    assert len(state.phases[0].traces["mse", "step"].values) == 12


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, {"train"}),
        ({"show_eval_progress": True}, {"train", "eval"}),
        ({"show_training_progress": False, "show_eval_progress": True}, {"eval"}),
    ],
)
def test_options_choose_whose_batches_are_shown(
    script: Any, options: dict[str, bool], shown: set[str]
) -> None:
    start, *events = script.whole(**options)
    state = RunState(start)
    with_batches = set()
    for event in events:
        state.apply(event)
        with_batches |= {row["kind"] for row in state.take_patch()["phases"] if row["batch"]}
    assert with_batches == shown
    assert {p.status for p in state.phases} == {"completed"}


def test_speed_and_time_left_are_those_of_the_epochs_so_far(script: Any) -> None:
    """Events lie 0.1 s apart; an epoch of four batches is seven of them."""
    plan = tuple(PlanEntry(path=(name,), kind="train", n_epochs=10) for name in "ab")
    state = RunState(script.start(plan=plan))
    events = script.train(path=("a",), n_epochs=10)
    for event in events:
        state.apply(event)
        if isinstance(event, EpochEnded) and event.epoch == 4:
            break
    run = state.take_patch()["run"]
    assert run["rate"] == pytest.approx(4 / 0.7, rel=0.06)
    assert run["left"] == pytest.approx(15 * 0.7, rel=0.05)
    assert run["rows"] == pytest.approx(32 * run["rate"])
    assert run["elapsed"] == pytest.approx(3.6)


def test_a_run_that_fails_takes_its_running_phase_with_it(script: Any) -> None:
    state = RunState(script.start())
    for event in list(script.train())[:4]:
        state.apply(event)
    state.apply(script.end("failed", "ValueError: no"))
    assert [p.status for p in state.phases] == ["failed", "waiting"]
    run = state.take_patch()["run"]
    assert (run["status"], run["error"], run["elapsed"], run["left"]) == (
        "failed",
        "ValueError: no",
        2.5,
        None,
    )


def test_a_picture_is_told_once_and_again_to_who_connects_late(script: Any) -> None:
    start, *events = script.whole()
    state = RunState(start)
    told = []
    for event in [*events, *script.train()]:
        state.apply(event)
        told += state.take_patch()["pictures"]
    assert [picture["mermaid"].split()[0] for picture in told] == ["flowchart"] * 2
    assert told == state.snapshot()["pictures"]
    assert [row["picture"] for row in state.snapshot()["phases"]] == [0, 1]
    assert told[0]["boxes"][0] == {"id": "n0", "kind": "ModelNode", "name": "MLP"}


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
    assert (row["best"], row["note"]) == (3, "ended early, after epoch 3 of 3")


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


def test_compiling_is_a_line_of_the_log(script: Any) -> None:
    start, *_ = script.whole()
    state = RunState(start)
    state.apply(script(CompileStarted, path=("train",)))
    text = "train: compiling the training step, which takes its time"
    assert state.take_patch()["log"] == [{"level": "INFO", "text": text}]
