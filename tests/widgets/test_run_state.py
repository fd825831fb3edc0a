"""What a panel shows is bounded, adds up from patches, and survives events in any order."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from modularml.base.events import CompileStarted, EpochEnded, PhaseEnded, PhaseStarted, PlanEntry
from modularml.widgets.run_state import RunState

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


def test_compiling_is_a_line_of_the_log(script: Any) -> None:
    start, *_ = script.whole()
    state = RunState(start)
    state.apply(script(CompileStarted, path=("train",)))
    text = "train: compiling the training step, which takes its time"
    assert state.take_patch()["log"] == [{"level": "INFO", "text": text}]
