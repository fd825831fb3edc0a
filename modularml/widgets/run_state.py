"""What a panel shows of one run, reduced from its events to plain JSON values.

It knows no browser, no HTML and no channel: whoever shows a run takes the whole
(`RunState.snapshot`) once and then what is new (`RunState.take_patch`).

A patch has the form of a snapshot that leaves out what did not change::

    {"run": {...}, "phases": [{"index": 0, ...}], "traces": [{"start": 120, "x": [...], "y": [...]}]}

Points come with the place where they belong, so a patch may be applied twice, or
after a snapshot that already holds its points.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from modularml.base.events import (
    BatchesEnded,
    EpochEnded,
    EpochStarted,
    Event,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    RunEnded,
    RunStarted,
)

TRACE_POINTS = 400
"""Points a curve keeps: about as many as the panel is wide."""
RUN_POINTS = 8000
"""Points that the curves of one loss keep over all phases of a run, if they are many."""
PACE_WINDOW_S = 3.0
"""The speed is the mean over so many seconds."""

Json = dict[str, Any]


class Trace:
    """A curve of bounded size: each point is the mean of `stride` values.

    The stride doubles whenever there would be more points than `max_points`; from
    then on the curve is told anew, at half its resolution.

    Args:
        name: What it is the curve of.
        per: ``"step"`` for a value a batch, ``"epoch"`` for a value an epoch.
        max_points: How many points it may have.
    """

    def __init__(self, name: str, per: str, max_points: int = TRACE_POINTS) -> None:
        self.name = name
        self.per = per
        self.max_points = max_points
        self.stride = 1
        self._points = np.empty((0, 2))
        self._rest = np.empty((0, 2))
        self._n_taken = 0

    @property
    def values(self) -> np.ndarray:
        """The values of the points, shape ``(n_points,)``."""
        return self._points[:, 1]

    def extend(self, x: np.ndarray, y: np.ndarray) -> None:
        """Add values ``y`` of shape ``(n,)`` at the places ``x`` of the same shape."""
        values = np.concatenate([self._rest, np.column_stack([x, y])])
        self._points = np.concatenate([self._points, self._full_means(values, self.stride)])
        while len(self._points) > self.max_points:
            self._halve()

    def points(self, start: int = 0) -> Json:
        """The points from `start` on, as JSON (a value that is no number becomes None)."""
        rows = self._points[start:].tolist()
        x = [float(f"{row[0]:.6g}") for row in rows]
        y = [float(f"{row[1]:.6g}") if np.isfinite(row[1]) else None for row in rows]
        return {"name": self.name, "per": self.per, "start": start, "x": x, "y": y}

    def take(self) -> Json | None:
        """The points that were never taken, or None if there are none."""
        if self._n_taken == len(self._points):
            return None
        start, self._n_taken = self._n_taken, len(self._points)
        return self.points(start)

    def _full_means(self, values: np.ndarray, size: int) -> np.ndarray:
        n_full = len(values) // size
        self._rest = values[n_full * size :]
        return values[: n_full * size].reshape(n_full, size, 2).mean(axis=1)

    def _halve(self) -> None:
        rest = self._rest
        self._points = self._full_means(self._points, 2)
        self._rest = np.concatenate([np.repeat(self._rest, self.stride, axis=0), rest])
        self.stride *= 2
        self._n_taken = 0


class PhaseState:
    """One line of the plan and what became of it.

    Args:
        entry: The line of the plan.
        n_root: How many labels of its path are those of the run as a whole.
        max_points: How many points each of its curves may have.
    """

    def __init__(self, entry: PlanEntry, n_root: int, max_points: int) -> None:
        self.max_points = max_points
        self.path = entry.path[n_root:]
        self.kind = entry.kind
        self.n_epochs = entry.n_epochs
        self.status = "waiting"
        self.n_batches = 0
        self.restart()

    def restart(self) -> None:
        """Forget what an earlier pass through this phase left."""
        self.epoch = 0
        self.n_done = 0
        self.started_s = 0.0
        self.duration_s: float | None = None
        self.losses: tuple[str, ...] = ()
        self.metrics: dict[str, float] = {}
        self.epochs: list[tuple[int, Mapping[str, float]]] = []
        self.traces: dict[tuple[str, str], Trace] = {}
        self._epoch_sum = np.zeros(0)

    @property
    def n_epochs_done(self) -> float:
        """How many epochs are done, with the part of the present one."""
        part = self.n_done / self.n_batches if self.n_batches else 0.0
        return self.epoch + min(part, 1.0)

    def start(self, event: PhaseStarted) -> None:
        """Begin: counts and losses are known from here on."""
        self.restart()
        self.kind, self.status, self.started_s = event.kind, "running", event.time_s
        self.n_epochs, self.n_batches, self.losses = event.n_epochs, event.n_batches, event.losses

    def add_batches(self, event: BatchesEnded) -> None:
        """Add losses: a point a batch, and their mean over the epoch so far."""
        n_new = len(event.losses)
        if event.epoch != self.epoch or self.n_done == 0:
            self._epoch_sum = np.zeros(len(self.losses))
        self.epoch, self.n_done = event.epoch, event.n_done
        if not n_new or not self.losses:
            return
        self._epoch_sum = self._epoch_sum + event.losses.sum(axis=0)
        self.metrics.update(zip(self.losses, (self._epoch_sum / max(event.n_done, 1)).tolist(), strict=True))
        if self.kind == "train":
            done = np.arange(event.n_done - n_new + 1, event.n_done + 1)
            x = event.epoch + done / max(self.n_batches, 1)
            for name, y in zip(self.losses, event.losses.T, strict=True):
                self._trace(name, "step").extend(x, y)

    def end_epoch(self, event: EpochEnded, val_loss_metric: str) -> None:
        """Add the means of an epoch."""
        self.epoch, self.n_done = event.epoch, self.n_batches
        self.metrics.update(event.metrics)
        self.epochs.append((event.epoch, event.metrics))
        if self.kind != "train":
            return
        # A mean over an epoch belongs to its middle, what is measured after it to its end.
        for name, place in (dict.fromkeys(self.losses, 0.5) | {val_loss_metric: 1.0}).items():
            if name in event.metrics:
                at, value = np.array([event.epoch + place]), np.array([event.metrics[name]])
                self._trace(name, "epoch").extend(at, value)

    def end(self, event: PhaseEnded) -> None:
        """End, in whatever way."""
        self.status, self.duration_s = event.status, event.duration_s
        self.metrics.update(event.metrics)

    def row(self, index: int) -> Json:
        """All but the curves, as JSON."""
        return {
            "index": index,
            "path": list(self.path),
            "kind": self.kind,
            "status": self.status,
            "epochs": self.n_epochs,
            "epoch": min(self.epoch + 1, self.n_epochs) if self.status != "waiting" else 0,
            "batches": self.n_batches,
            "batch": self.n_done,
            "duration": self.duration_s,
            "losses": list(self.losses),
            "metrics": {name: _json_number(value) for name, value in self.metrics.items()},
        }

    def _trace(self, name: str, per: str) -> Trace:
        return self.traces.setdefault((name, per), Trace(name, per, self.max_points))


class Pace:
    """How fast a run is, and how long it will take: estimates, never promises."""

    def __init__(self) -> None:
        self.steps_per_s: float | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._epoch_s: dict[str, float] = {}

    def start(self, time_s: float) -> None:
        """Begin to measure a phase."""
        self.steps_per_s = None
        self._recent = deque([(time_s, 0)])

    def add(self, phase: PhaseState, n_new: int, time_s: float) -> None:
        """Note that `n_new` batches of `phase` ended."""
        recent = self._recent
        recent.append((time_s, n_new + (recent[-1][1] if recent else 0)))
        while len(recent) > 2 and recent[1][0] < time_s - PACE_WINDOW_S:
            recent.popleft()
        span_s = recent[-1][0] - recent[0][0]
        self.steps_per_s = (recent[-1][1] - recent[0][1]) / span_s if span_s > 0 else None
        if phase.n_epochs_done > 0:
            self._epoch_s[phase.kind] = (time_s - phase.started_s) / phase.n_epochs_done

    def left_s(self, current: PhaseState | None, waiting: list[PhaseState]) -> float | None:
        """Seconds to go: the epochs to come at the pace of those of their kind."""
        if current is None or current.status != "running" or current.kind not in self._epoch_s:
            return None
        to_come = sum(self._epoch_s.get(p.kind, 0.0) * p.n_epochs for p in waiting)
        return to_come + self._epoch_s[current.kind] * max(current.n_epochs - current.n_epochs_done, 0.0)


class RunState:
    """All that a panel shows of one run.

    Args:
        started: The event that began the run.
    """

    def __init__(self, started: RunStarted) -> None:
        self.run_id = started.run_id
        self.label = started.label
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
        elif isinstance(event, PhaseStarted | EpochStarted | BatchesEnded | EpochEnded | PhaseEnded):
            self._apply_to_phase(event)

    def snapshot(self) -> Json:
        """Everything."""
        rows = [phase.row(i) for i, phase in enumerate(self.phases)]
        traces = [t.points() | {"phase": i} for i, p in enumerate(self.phases) for t in p.traces.values()]
        return {"run": self._run(), "phases": rows, "traces": traces}

    def take_patch(self) -> Json:
        """What changed since the last patch was taken."""
        changed, self._changed = sorted(self._changed), set()
        traces = [t.take() for i in changed for t in self.phases[i].traces.values()]
        owners = [i for i in changed for _ in self.phases[i].traces]
        return {
            "run": self._run(),
            "phases": [self.phases[i].row(i) for i in changed],
            "traces": [t | {"phase": i} for i, t in zip(owners, traces, strict=True) if t is not None],
        }

    def _apply_to_phase(
        self, event: PhaseStarted | EpochStarted | BatchesEnded | EpochEnded | PhaseEnded
    ) -> None:
        index = self._find(event)
        phase = self.phases[index]
        self._changed.add(index)
        if self._current is None or self.phases[self._current].status != "running":
            self._current = index  # what runs within a phase, as callbacks do, does not displace it
        if isinstance(event, PhaseStarted):
            phase.start(event)
            if not self.shows(phase.kind):
                phase.n_batches = 0
            if index == self._current:
                self._pace.start(event.time_s)
        elif isinstance(event, PhaseEnded):
            phase.end(event)
        elif not self.shows(phase.kind):
            return
        elif isinstance(event, EpochStarted):
            phase.epoch, phase.n_done = event.epoch, 0
        elif isinstance(event, EpochEnded):
            phase.end_epoch(event, self.options.val_loss_metric)
        else:
            phase.add_batches(event)
            if index == self._current:
                self._pace.add(phase, len(event.losses), event.time_s)

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
            "label": self.label,
            "preview": self.preview,
            "status": self.status,
            "error": self.error,
            "current": self._current,
            "elapsed": self._now_s - self._started_s if running else self.duration_s,
            "left": self._pace.left_s(current, waiting) if running else None,
            "rate": self._pace.steps_per_s,
        }


def _is_one_group(plan: tuple[PlanEntry, ...]) -> bool:
    return bool(plan) and plan[0].kind == "group" and all(e.path[0] == plan[0].path[-1] for e in plan)


def _json_number(value: float) -> float | str:
    """A number as JSON has it; the rest by name."""
    number = float(value)
    return number if np.isfinite(number) else str(number)
