"""What a panel shows of one phase, reduced from its events to plain JSON values.

It knows no run and no other phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modularml.base.events import (
    BatchesDrawn,
    BatchesEnded,
    EpochEnded,
    EpochStarted,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    WorkAdvanced,
)
from modularml.widgets.trace import Trace

Json = dict[str, Any]

SLOW_S = 0.2
"""Batches that take longer to draw are told of while the next ones are drawn."""


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
        """How many epochs went to their end, with those of an earlier part of the run."""
        return self.epochs[-1][0] + 1 - self.is_cut if self.epochs else 0

    @property
    def note(self) -> str:
        """What there is to say of how it ended."""
        told = []
        if self.is_cut:
            told.append(f"epoch {self.epoch + 1} ended after {self.n_done} of {self.n_batches} batches")
        if self.is_early:
            told.append("ended early")
        if self.best_epoch is not None and self.status != "running":  # until then it may change
            told.append(f"best epoch {self.best_epoch + 1}")
        return ", ".join(told)

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
            "rates": {name: _json_number(value) for name, value in self._rates_of_nodes().items()},
            "devices": dict(self.devices),
            "best": None if self.best_epoch is None else self.best_epoch + 1,
            "note": self.note,
            "drawing": self.is_drawing,
            "validation": self.validation,
            "work": self._work,
        }

    def _rates_of_nodes(self) -> dict[str, float]:
        """The learning rates, with that of all nodes where all groups of parameters share one."""
        of_nodes = any(f"lr/{label}" in self.rates for label in self.devices)
        shared = set() if of_nodes else set(self.rates.values())
        return self.rates | {"lr": shared.pop()} if len(shared) == 1 else self.rates

    def _trace(self, name: str, per: str) -> Trace:
        if (name, per) not in self.traces:
            self.traces[name, per] = Trace(name, per, self.max_points)
        return self.traces[name, per]


def _is_rate(name: str) -> bool:
    return name == "lr" or name.startswith("lr/")


def _json_number(value: float) -> float | str:
    """A number as JSON has it; the rest by name."""
    number = float(value)
    return number if np.isfinite(number) else str(number)
