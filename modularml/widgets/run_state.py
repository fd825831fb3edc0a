"""What a panel shows of one run, reduced from its events to plain JSON values.

It knows no browser, no HTML and no channel: whoever shows a run takes the whole
(`RunState.snapshot`) once and then what is new (`RunState.take_patch`).

A patch has the form of a snapshot that leaves out what did not change::

    {"run": {...}, "phases": [{"index": 0, ...}], "traces": [{"start": 120, "x": [...], "y": [...]}],
     "pictures": [{"index": 0, "mermaid": "...", "boxes": [...]}], "log": [...] or None}

Points come with the place where they belong, so a patch may be applied twice, or
after a snapshot that already holds its points.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from modularml.base.events import (
    BatchesDrawn,
    BatchesEnded,
    CompileStarted,
    EpochEnded,
    EpochStarted,
    Event,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    RunEnded,
    RunStarted,
    WorkAdvanced,
)
from modularml.widgets.pace import Pace
from modularml.widgets.phase_state import Json, PhaseState
from modularml.widgets.pictures import Pictures
from modularml.widgets.trace import TRACE_POINTS

RUN_POINTS = 8000
"""Points that the curves of one loss keep over all phases of a run, if they are many."""
LOG_LINES = 30

PhaseEvent = (
    PhaseStarted | EpochStarted | BatchesDrawn | BatchesEnded | WorkAdvanced | EpochEnded | PhaseEnded
)


class RunState:
    """All that a panel shows of one run.

    Args:
        started: The event that began the run.
    """

    def __init__(self, started: RunStarted) -> None:
        self.run_id = started.run_id
        self.label, self.title = started.label, started.title
        self.preview = started.preview
        self.options = started.options
        self.status = "running"
        self.error: str | None = None
        self.duration_s: float | None = None
        n_train = sum(entry.kind == "train" for entry in started.plan)
        self._max_points = max(min(RUN_POINTS // max(n_train, 1), TRACE_POINTS), 40)
        # A group that holds everything says no more than the label of the run.
        self._n_root = int(_is_one_group(started.plan))
        self.phases: list[PhaseState] = []
        self.pictures = Pictures()
        self.log: deque[tuple[str, str]] = deque(maxlen=LOG_LINES)
        self.has_graph = any(entry.draw is not None for entry in started.plan)
        self._is_log_new = False
        self._index: dict[tuple[str, ...], int] = {}
        for entry in started.plan[self._n_root :]:
            self._add(entry)
        self._current: int | None = None
        self._started_s = self._now_s = started.time_s
        self._pace = Pace()
        self._changed: set[int] = set()

    @property
    def text(self) -> str:
        """One stable line: the run and its phases."""
        phases = ", ".join(p.path[-1] for p in self.phases if p.kind != "group")
        return f"Run '{self.label}': {phases}"

    def shows(self, kind: str) -> bool:
        """Whether the progress within a phase of this kind is asked for."""
        return self.options.show_eval_progress if kind == "eval" else self.options.show_training_progress

    def apply(self, event: Event) -> None:
        """Take in one event, in any order that it may come."""
        self._now_s = event.time_s
        if isinstance(event, RunEnded):
            self._end(event)
        elif isinstance(event, CompileStarted):
            self.add_line("INFO", f"{event.path[-1]}: compiling the training step, which takes its time")
        elif isinstance(event, PhaseEvent):
            self._apply_to_phase(event)

    def snapshot(self) -> Json:
        """Everything."""
        rows = [phase.row(i) for i, phase in enumerate(self.phases)]
        traces = [t.points() | {"phase": i} for i, p in enumerate(self.phases) for t in p.traces.values()]
        pictures, log = self.pictures.all(), self._log()
        return {"run": self._run(), "phases": rows, "traces": traces, "pictures": pictures, "log": log}

    def add_line(self, level: str, text: str) -> None:
        """Take in a line of a log."""
        self.log.append((level, text))
        self._is_log_new = True

    def take_patch(self) -> Json:
        """What changed since the last patch was taken."""
        changed, self._changed = sorted(self._changed), set()
        is_log_new, self._is_log_new = self._is_log_new, False
        traces = [t.take() for i in changed for t in self.phases[i].traces.values()]
        owners = [i for i in changed for _ in self.phases[i].traces]
        return {
            "run": self._run(),
            "phases": [self.phases[i].row(i) for i in changed],
            "traces": [t | {"phase": i} for i, t in zip(owners, traces, strict=True) if t is not None],
            "pictures": self.pictures.take(),
            "log": self._log() if is_log_new else None,
        }

    def _log(self) -> list[Json]:
        return [{"level": level, "text": text} for level, text in self.log]

    def _apply_to_phase(self, event: PhaseEvent) -> None:
        index = self._find(event)
        phase = self.phases[index]
        self._changed.add(index)
        if self._current is None or self.phases[self._current].status != "running":
            self._current = index  # what runs within a phase, as callbacks do, does not displace it
        if isinstance(event, PhaseStarted):
            phase.start(event)
            phase.validation = self.options.val_loss_metric
            if phase.draw is not None:
                phase.picture = self.pictures.add(phase.draw())
            if not self.shows(phase.kind):
                phase.n_batches = 0
            if index == self._current:
                self._pace.start(event.time_s)
        elif isinstance(event, PhaseEnded):
            phase.end(event)
        elif not self.shows(phase.kind):
            return
        elif isinstance(event, EpochStarted):
            phase.start_epoch(event)
        elif isinstance(event, BatchesDrawn):
            phase.end_drawing(event)
        elif isinstance(event, WorkAdvanced):
            phase.work = event
        elif isinstance(event, EpochEnded):
            phase.end_epoch(event)
        else:
            phase.add_batches(event)
            if index == self._current:
                self._pace.add(phase, event)

    def _find(self, event: Any) -> int:
        """The place of the event's phase; one that no plan told of is added."""
        if event.path not in self._index:
            kind, n_epochs = getattr(event, "kind", "eval"), getattr(event, "n_epochs", 1)
            self._add(PlanEntry(path=event.path, kind=kind, n_epochs=n_epochs))
        return self._index[event.path]

    def _add(self, entry: PlanEntry) -> None:
        self._index[entry.path] = len(self.phases)
        self.phases.append(PhaseState(entry, self._n_root, self._max_points))

    def _end(self, event: RunEnded) -> None:
        self.status, self.duration_s, self.error = event.status, event.duration_s, event.error
        for i, phase in enumerate(self.phases):
            if phase.status == "running":
                phase.status = event.status
                self._changed.add(i)

    def _run(self) -> Json:
        current = self.phases[self._current] if self._current is not None else None
        waiting = [p for p in self.phases if p.status == "waiting" and p.kind != "group"]
        running = self.status == "running"
        return {
            "id": self.run_id,
            "label": self.title,
            "preview": self.preview,
            "status": self.status,
            "error": self.error,
            "current": self._current,
            "elapsed": self._now_s - self._started_s if running else self.duration_s,
            "left": self._pace.left_s(current, waiting) if running else None,
            "rate": self._pace.steps_per_s,
            "rows": self._pace.samples_per_s,
            "quick": self._pace.is_quick(current),
            "graph": self.has_graph,
        }


def _is_one_group(plan: tuple[PlanEntry, ...]) -> bool:
    return bool(plan) and plan[0].kind == "group" and all(e.path[0] == plan[0].path[-1] for e in plan)
