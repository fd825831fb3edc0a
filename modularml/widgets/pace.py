"""How fast a run is and how long it will take, of the batches that ended so far.

It knows no clock: times are those of events.
"""

from __future__ import annotations

from collections import deque

from modularml.base.events import BatchesEnded
from modularml.display.pacing import MAX_GAP_S
from modularml.widgets.phase_state import PhaseState

PACE_WINDOW_S = 3.0
"""The speed is the mean over so many seconds."""


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

    def is_quick(self, phase: PhaseState | None) -> bool:
        """Whether epochs go by faster than they are drawn, so that any count of their batches is chance."""
        if phase is None or phase.n_epochs == 1:
            return False
        return self._epoch_s.get(phase.kind, MAX_GAP_S) < MAX_GAP_S

    def left_s(self, current: PhaseState | None, waiting: list[PhaseState]) -> float | None:
        """Seconds to go: the epochs to come at the pace of those of their kind."""
        if current is None or current.status != "running" or current.kind not in self._epoch_s:
            return None
        to_come = sum(self._epoch_s.get(p.kind, 0.0) * p.n_epochs for p in waiting)
        return to_come + self._epoch_s[current.kind] * max(current.n_epochs - current.n_epochs_done, 0.0)
