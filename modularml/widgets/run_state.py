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
from collections.abc import Mapping
from typing import Any

import numpy as np

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
from modularml.widgets.pictures import Pictures
from modularml.widgets.trace import TRACE_POINTS, Trace

RUN_POINTS = 8000
"""Points that the curves of one loss keep over all phases of a run, if they are many."""
LOG_LINES = 30
SLOW_S = 0.2
"""Batches that take longer to draw are told of while the next ones are drawn."""
PACE_WINDOW_S = 3.0
"""The speed is the mean over so many seconds."""

Json = dict[str, Any]
PhaseEvent = (
    PhaseStarted | EpochStarted | BatchesDrawn | BatchesEnded | WorkAdvanced | EpochEnded | PhaseEnded
)


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
        self.family = entry.family[n_root:] or self.path
        self.kind = entry.kind
        self.n_epochs = entry.n_epochs
        self.status = "waiting"
        self.n_batches = 0
        self.draw = entry.draw
        self.validation = ""
        self.picture: int | None = None
        self.restart()

    def restart(self) -> None:
        """Forget what an earlier pass through this phase left."""
        self.epoch = 0
        self.n_done = 0
        self.started_s = 0.0
        self.duration_s: float | None = None
        self.losses: tuple[str, ...] = ()
        self._metrics: dict[str, float] = {}
        self.epochs: list[tuple[int, Mapping[str, float]]] = []
        self.traces: dict[tuple[str, str], Trace] = {}
        self.rates: dict[str, float] = {}
        self.devices: Mapping[str, str] = {}
        self.best_epoch: int | None = None
        self.is_early = self.is_drawing = self.is_cut = False
        self.work: WorkAdvanced | None = None
        self._draw_s = 0.0
        self._epoch_sum = np.zeros(0)
        self._new_losses: list[np.ndarray] = []

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each loss and metric; of a loss the mean of the epoch so far."""
        if self._new_losses:
            self._epoch_sum = self._epoch_sum + np.concatenate(self._new_losses).sum(axis=0)
            self._new_losses.clear()
            means = (self._epoch_sum / max(self.n_done, 1)).tolist()
            self._metrics.update(zip(self.losses, means, strict=True))
        return self._metrics

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
        self.rates, self.devices = dict(event.rates), event.devices

    def start_epoch(self, event: EpochStarted) -> None:
        """Begin an epoch; its batches are drawn first."""
        self.epoch, self.n_done = event.epoch, 0
        self.is_drawing = self._draw_s > SLOW_S

    def end_drawing(self, event: BatchesDrawn) -> None:
        """Take in how many batches the epoch has."""
        self.n_batches, self._draw_s, self.is_drawing = event.n_batches, event.duration_s, False

    def add_batches(self, event: BatchesEnded) -> None:
        """Add losses: a point a batch, and their mean over the epoch so far."""
        n_new, self.work = len(event.losses), None
        if event.epoch != self.epoch or self.n_done == 0:
            self._epoch_sum = np.zeros(len(self.losses))
            self._new_losses.clear()
        self.epoch, self.n_done = event.epoch, event.n_done
        if not n_new or not self.losses:
            return
        self._new_losses.append(event.losses)
        if self.kind == "train":
            done = np.arange(event.n_done - n_new + 1, event.n_done + 1)
            x = event.epoch + done / max(self.n_batches, 1)
            for name, y in zip(self.losses, event.losses.T, strict=True):
                self._trace(name, "step").extend(x, y)

    def end_epoch(self, event: EpochEnded) -> None:
        """Add the means of an epoch."""
        self.is_cut = event.epoch == self.epoch and 0 < self.n_done < self.n_batches
        if not self.is_cut:
            self.epoch, self.n_done = event.epoch, self.n_batches
        self._new_losses.clear()  # the metrics hold their means
        self._metrics.update(event.metrics)
        self.rates |= {name: value for name, value in event.metrics.items() if _is_rate(name)}
        self.best_epoch, self.work = event.best_epoch, None
        self._add_epoch(event.metrics)

    def _add_epoch(self, metrics: Mapping[str, float]) -> None:
        self.epochs.append((self.epoch, metrics))
        if self.kind != "train":
            return
        # A mean over an epoch belongs to its middle, what is measured after it to its end.
        part = self.n_done / self.n_batches if self.is_cut else 1.0
        for name, metric in metrics.items():
            if not _is_rate(name):
                at = self.epoch + (0.5 if name in self.losses else 1.0) * part
                self._trace(name, "epoch").extend([at], [metric])

    def end(self, event: PhaseEnded) -> None:
        """End, in whatever way; an epoch that was broken off has a mean over the batches that it had."""
        self.status, self.duration_s, self.is_early = event.status, event.duration_s, event.is_early
        self.metrics.update(event.metrics)
        self.work = None
        means = {name: event.metrics[name] for name in self.losses if name in event.metrics}
        epoch, n_done = event.reached or (self.epoch, self.n_done)
        is_told = bool(self.epochs) and self.epochs[-1][0] >= epoch
        if self.kind == "train" and self.n_batches and n_done and means and not is_told:
            self.epoch, self.n_done, self.is_cut = epoch, n_done, n_done < self.n_batches
            self._add_epoch(means)

    @property
    def n_whole_epochs(self) -> int:
        """How many epochs went to their end."""
        return len(self.epochs) - self.is_cut

    @property
    def note(self) -> str:
        """What there is to say of how it ended."""
        if self.is_cut:
            return f"epoch {self.epoch + 1} ended after {self.n_done} of {self.n_batches} batches"
        if not self.is_early:
            return ""
        return f"ended early, after epoch {self.epoch + 1} of {self.n_epochs}"

    @property
    def _work(self) -> Json | None:
        if self.work is None:
            return None
        return {"what": self.work.what, "label": self.work.label, "fraction": self.work.fraction}

    def row(self, index: int) -> Json:
        """All but the curves, as JSON."""
        return {
            "index": index,
            "path": list(self.path),
            "family": list(self.family),
            "kind": self.kind,
            "status": self.status,
            "epochs": self.n_epochs,
            "epoch": min(self.epoch + 1, self.n_epochs) if self.status != "waiting" else 0,
            "batches": self.n_batches,
            "batch": self.n_done,
            "duration": self.duration_s,
            "losses": list(self.losses),
            "metrics": {name: _json_number(value) for name, value in self.metrics.items()},
            "picture": self.picture,
            "rates": {name: _json_number(value) for name, value in self.rates.items()},
            "devices": dict(self.devices),
            "best": None if self.best_epoch is None else self.best_epoch + 1,
            "note": self.note,
            "drawing": self.is_drawing,
            "validation": self.validation,
            "work": self._work,
        }

    def _trace(self, name: str, per: str) -> Trace:
        if (name, per) not in self.traces:
            self.traces[name, per] = Trace(name, per, self.max_points)
        return self.traces[name, per]


class Pace:
    """How fast a run is, and how long it will take: estimates, never promises."""

    def __init__(self) -> None:
        self.steps_per_s: float | None = None
        self.samples_per_s: float | None = None
        self._recent: deque[tuple[float, int, int]] = deque()
        self._epoch_s: dict[str, float] = {}

    def start(self, time_s: float) -> None:
        """Begin to measure a phase."""
        self.steps_per_s = self.samples_per_s = None
        self._recent = deque([(time_s, 0, 0)])

    def add(self, phase: PhaseState, event: BatchesEnded) -> None:
        """Note that batches of `phase` ended."""
        recent, time_s = self._recent, event.time_s
        _, n_steps, n_samples = recent[-1] if recent else (0.0, 0, 0)
        recent.append((time_s, n_steps + len(event.losses), n_samples + event.n_samples))
        while len(recent) > 2 and recent[1][0] < time_s - PACE_WINDOW_S:
            recent.popleft()
        span_s = recent[-1][0] - recent[0][0]
        self.steps_per_s = (recent[-1][1] - recent[0][1]) / span_s if span_s > 0 else None
        self.samples_per_s = (recent[-1][2] - recent[0][2]) / span_s if span_s > 0 else None
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
            "graph": self.has_graph,
        }


def _is_one_group(plan: tuple[PlanEntry, ...]) -> bool:
    return bool(plan) and plan[0].kind == "group" and all(e.path[0] == plan[0].path[-1] for e in plan)


def _is_rate(name: str) -> bool:
    return name == "lr" or name.startswith("lr/")


def _json_number(value: float) -> float | str:
    """A number as JSON has it; the rest by name."""
    number = float(value)
    return number if np.isfinite(number) else str(number)
