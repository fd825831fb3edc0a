"""Points of runs to go on from: made when a run pauses, kept by the experiment and in its files.

It knows no loop and no bytes. A point is a tree: ``progress`` (whose run it is and the
`Position` in it), ``run`` (its record by then), ``state`` (everything that runs change) and, in a
group that puts all of that back at its end, ``outside``: the state from before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modularml.base.errors import StateError, unknown_name
from modularml.core.experiment.entries import Entry
from modularml.core.experiment.history import ExperimentRun
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.position import Position
from modularml.core.experiment.state import Changeable, phase_states, put_back, set_phase_states, take

Point = Mapping[str, Any]


@dataclass
class Bookmark:
    """Where the newest run that did not end can be gone on with.

    Attributes:
        where: Tells where the run that goes on is, if one does.
        record: Its record.
        entry: What it runs.
        whole_plan: Whether that is the plan of the experiment.
        point: Where a run paused, or None.
        checkpoint: The newest checkpoint of a run that did not pause, or None.
        outside: The state from before the group that will put it back, or None.
        is_paused: Whether the run that goes on has paused.
    """

    where: Callable[[], Position] | None = None
    record: ExperimentRun | None = None
    entry: Entry | None = None
    whole_plan: bool = False
    point: Point | None = None
    checkpoint: str | None = None
    outside: Mapping[str, Any] | None = None
    is_paused: bool = False

    def begin(
        self,
        where: Callable[[], Position],
        record: ExperimentRun,
        entry: Entry,
        *,
        whole_plan: bool,
        point: Point | None = None,
    ) -> None:
        """Follow a run, that maybe goes on from a point; runs before it can no longer be gone on with."""
        self.where, self.record, self.entry, self.whole_plan = where, record, entry, whole_plan
        self.point, self.checkpoint, self.outside, self.is_paused = point, None, None, False

    def end(self) -> None:
        """The run is over: completed, so that there is nothing to go on with, or not."""
        if self.record is not None and self.record.status == "completed":
            self.point = self.checkpoint = None
        self.where = self.record = self.entry = None

    @contextmanager
    def within(self, group: Group, experiment: Changeable) -> Iterator[None]:
        """Remember the state from before the outermost group that puts it back at its end."""
        if self.record is None or self.outside is not None or not group.keeps_weights:
            yield
            return
        self.outside = take(experiment)
        try:
            yield
        finally:
            self.outside = None

    def arrive(self, experiment: Changeable) -> None:
        """Return to the state of the point that the run goes on from, within a group that changed it."""
        if self.point is not None and self.point["outside"] is not None and self.entry is not None:
            put_back(experiment, self.point["state"])
            restore_own(self.entry, self.point)

    @property
    def progress(self) -> dict[str, Any] | None:
        """Where the run that goes on is, as a tree; None if there is none, or it paused already."""
        if self.where is None or self.record is None or self.is_paused:
            return None
        position = self.where().get_state()
        return {"run_id": self.record.id, "whole_plan": self.whole_plan, "position": position}

    def pause(self, experiment: Changeable) -> None:
        """Remember everything as it is now; the first time in a run counts."""
        if not self.is_paused and self.record is not None and self.entry is not None:
            # The states of phases in the plan are there already.
            own = {} if self.whole_plan else phase_states(self.entry)
            self.point = {
                "progress": self.progress,
                "run": self.record.get_state(),
                "state": take(experiment) | {"own_phases": own},
                "outside": self.outside,
            }
            self.checkpoint, self.is_paused = None, True

    def turn_to(self, checkpoint: Path) -> None:
        """A checkpoint of the run was written, from which it can be gone on with."""
        if self.progress is not None:
            self.point, self.checkpoint = None, str(checkpoint)

    def add(self, record: ExperimentRun | None, name: str, checkpoint: Path) -> None:
        """A checkpoint was written by itself: the record of its run names it, and the run turns to it."""
        self.turn_to(checkpoint)
        if record is not None:
            record.checkpoints.append(name)

    def get_state(self) -> dict[str, Any]:
        """Return the bookmark as a tree."""
        progress = self.progress
        return {
            "progress": progress,
            "outside": self.outside,
            "point": self.point if progress is None else None,
            "checkpoint": self.checkpoint,
        }


def point_in(state: Mapping[str, Any]) -> Point | None:
    """Return the point in the state of an experiment: where it paused, or where the state was taken."""
    found = state["unfinished"]
    if found["progress"] is None:
        point: Point | None = found["point"]
        return point
    run = next(run for run in state["history"] if run["id"] == found["progress"]["run_id"])
    return {"progress": found["progress"], "run": run, "state": state, "outside": found["outside"]}


def restore_own(entry: Entry, point: Point) -> None:
    """Put back the states of the phases of an entry that is not in the plan."""
    set_phase_states(entry, point["state"].get("own_phases", {}))


def position_in(point: Point) -> Position:
    """Return the position of a point."""
    return Position.from_state(point["progress"]["position"])


def entry_of(point: Point, plan: Group, given: Entry | None) -> Entry:
    """Return what a point goes on with: `given`, the plan, or an entry of the plan.

    Raises:
        StateError: If that is not there, or not what was run.
    """
    position, is_plan = position_in(point), point["progress"]["whole_plan"]
    root = position.path[0]
    if given is not None and (is_plan != (given is plan) or given.label != root):
        what = "the whole plan" if is_plan else f"{root!r}"
        raise StateError(f"The run that can be resumed is of {what}, not of {given!r}.")
    found = plan if is_plan else given or _within(plan, root)
    if found is None:
        kind = (point["run"]["results"] or {}).get("kind")
        call = {"cv": "cv.run(resume=True)", "group": "exp.run_group(group, resume=True)"}
        raise StateError(
            f"The run that can be resumed is of {root!r}, which is not in the plan, so it is not known here "
            "what was run. Make it again as it was made, with the same label, and go on with it: "
            f"{call.get(str(kind), 'exp.run_phase(phase, resume=True)')}."
        )
    _check_path(found, position.path)
    return found


def _within(plan: Group, label: str) -> Entry | None:
    """Return the first entry of that label, at any depth."""
    for entry in plan.all:
        if entry.label == label:
            return entry
        nested = _within(entry, label) if isinstance(entry, Group) else None
        if nested is not None:
            return nested
    return None


def _check_path(entry: Entry, path: tuple[str, ...]) -> None:
    for label in path[1:]:
        entries = {part.label: part for part in entry.parts()} if isinstance(entry, Group) else {}
        if label not in entries:
            missing = unknown_name("entry", label, entries, where=repr(entry))
            raise StateError(f"The run cannot be resumed, for the plan is another one: {missing}")
        entry = entries[label]
