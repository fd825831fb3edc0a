"""What happens while an experiment runs, as frozen facts, and the bus they travel on.

It knows no phase, no widget and no console: labels, counts and numbers only.

A run emits, in this order (groups and phases nest as the plan does)::

    RunStarted
      GroupStarted
        PhaseStarted
          EpochStarted, BatchesDrawn, BatchesEnded*, EpochEnded    once an epoch
          CompileStarted                                           before batches that wait for the compiler
        PhaseEnded
      GroupEnded
    RunEnded

Work that a batch or the end of an epoch waits for tells of itself by `WorkAdvanced`: the fit of an
estimator, or what a callback evaluates.

`BatchesEnded` is not one event a batch: it carries the losses of all the batches
since the last one and comes at most `BATCH_EVENTS_PER_S` times a second, and before
every `EpochEnded`. So a listener costs the same at any step rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from modularml.base.errors import warn

BATCH_EVENTS_PER_S = 20


@dataclass(frozen=True, kw_only=True)
class DisplayOptions:
    """What a run shows while it goes on; the keywords of ``run`` and its siblings.

    Attributes:
        show_sampler_progress: Show the drawing of batches.
        show_training_progress: Show epochs, batches and losses of training.
        show_eval_progress: Show the batches of an evaluation.
        persist_progress: Keep the panel when the run is over (None: in notebooks).
        persist_epoch_progress: Keep a line for each epoch (None: in notebooks).
        val_loss_metric: The metric that is drawn as validation loss.
    """

    show_sampler_progress: bool = True
    show_training_progress: bool = True
    show_eval_progress: bool = False
    persist_progress: bool | None = None
    persist_epoch_progress: bool | None = None
    val_loss_metric: str = "val_loss"


class Box(Protocol):
    """A box of a picture."""

    @property
    def id(self) -> str:
        """Unique in the picture."""

    @property
    def kind(self) -> str:
        """What it is, e.g. ``"ModelNode"``."""

    @property
    def name(self) -> str | None:
        """The label of what it is."""


class Picture(Protocol):
    """A diagram, as listeners may draw it."""

    @property
    def mermaid(self) -> str:
        """Its Mermaid text."""

    @property
    def svg(self) -> str:
        """It as a static picture."""

    @property
    def boxes(self) -> Sequence[Box]:
        """Its boxes."""


@dataclass(frozen=True, kw_only=True)
class PlanEntry:
    """One line of the plan of a run, as listeners see it.

    Attributes:
        path: Labels from the run's root down to this entry, e.g. ``("cv", "train")``.
        kind: ``"train" | "eval" | "fit" | "group"``.
        n_epochs: Epochs of a training phase, else 1.
        draw: Makes the picture of the phase as it is by then.
        family: The path without the labels of folds: what it has in common with the same entry of
            other folds. Empty if it is not known.
    """

    path: tuple[str, ...]
    kind: str
    family: tuple[str, ...] = ()
    n_epochs: int = 1
    draw: Callable[[], Picture] | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """The root of all events.

    Attributes:
        run_id: Tells apart the runs that go on side by side.
        time_s: Seconds since the epoch when it happened.
    """

    run_id: str
    time_s: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run begins; `stop` may be called from any thread to end it after the present batch.

    Attributes:
        epochs_before: How many epochs its train phases ran before, on the present weights.
    """

    label: str
    plan: tuple[PlanEntry, ...]
    preview: bool
    options: DisplayOptions
    stop: Callable[[], None]
    epochs_before: int = 0

    @property
    def title(self) -> str:
        """The label, and what the run goes on from."""
        if not self.epochs_before:
            return self.label
        epochs = "1 epoch" if self.epochs_before == 1 else f"{self.epochs_before} epochs"
        return f"{self.label} · continues: {epochs} so far"


@dataclass(frozen=True, kw_only=True)
class GroupStarted(Event):
    """A group of phases begins."""

    path: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PhaseStarted(Event):
    """A phase begins.

    Attributes:
        path: Labels from the root of the run down to the phase.
        kind: ``"train" | "eval" | "fit"``.
        n_epochs: How many epochs it will run.
        n_batches: Batches an epoch.
        losses: The labels of its losses, in the order of `BatchesEnded.losses`.
        nodes: Labels of the nodes it runs, in order of execution.
        rates: The learning rates, by the names of their metrics: ``"lr"`` for all nodes, or
            ``"lr/<node>"``; of several groups of parameters each one's, ``"lr/<group>"``.
        devices: Node label -> the device it computes on.
    """

    path: tuple[str, ...]
    kind: str
    n_epochs: int
    n_batches: int
    losses: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EpochStarted(Event):
    """An epoch of a phase begins; `epoch` counts from 0 within the phase's run."""

    path: tuple[str, ...]
    epoch: int


@dataclass(frozen=True, kw_only=True)
class BatchesDrawn(Event):
    """The batches of an epoch were drawn, which took `duration_s` seconds."""

    path: tuple[str, ...]
    epoch: int
    n_batches: int
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class CompileStarted(Event):
    """The training step of a phase is compiled, which takes its time; it ends with the next batches."""

    path: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BatchesEnded(Event):
    """One or more batches ended since the last such event of this phase.

    Attributes:
        epoch: The epoch they belong to, from 0.
        n_done: Batches of this epoch that are done by now.
        losses: New values, shape ``(n_new_batches, n_losses)``, float.
        n_samples: How many samples the new batches had.
    """

    path: tuple[str, ...]
    epoch: int
    n_done: int
    losses: np.ndarray
    n_samples: int = 0


@dataclass(frozen=True, kw_only=True)
class WorkAdvanced(Event):
    """Something that the phase `path` waits for goes on; it is over with the next batch, epoch or phase.

    Attributes:
        what: What is being done, in one word for people: ``"Evaluating"``, ``"Fitting"``.
        label: What it is done to: a phase or a node.
        fraction: The share that is done, from 0 to 1, or None where that is not known.
    """

    path: tuple[str, ...]
    what: str
    label: str
    fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class EpochEnded(Event):
    """An epoch ended.

    Attributes:
        metrics: The mean of each loss and every metric logged in it.
        best_epoch: The best epoch by now, from 0, if something watches for it.
    """

    path: tuple[str, ...]
    epoch: int
    metrics: Mapping[str, float]
    best_epoch: int | None = None


@dataclass(frozen=True, kw_only=True)
class PhaseEnded(Event):
    """A phase ended.

    Attributes:
        status: ``"completed" | "stopped" | "interrupted" | "failed"``.
        metrics: The last value of each loss and metric.
        duration_s: Seconds it took.
        is_early: Whether a callback ended it before its last epoch.
        reached: The last epoch that it began, from 0, and how many batches of it were done; None where it
            has none.
    """

    path: tuple[str, ...]
    status: str
    metrics: Mapping[str, float]
    duration_s: float
    is_early: bool = False
    reached: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class GroupEnded(Event):
    """A group of phases ended."""

    path: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunEnded(Event):
    """A run ended; `error` is the text of the exception that ended it, if one did."""

    status: str
    duration_s: float
    error: str | None = None


Listener = Callable[[Event], None]


class EventBus:
    """Hands each event to every listener, in the order they subscribed.

    A run must not die of its audience: a listener that raises is reported once, by
    a warning, and taken off the bus.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; the returned function takes it off again."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Hand the event to all listeners."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - the audience may fail in any way
                if listener in self._listeners:  # it may have taken itself off before
                    self._listeners.remove(listener)
                warn(
                    f"A listener failed on {type(event).__name__} and was removed: "
                    f"{type(error).__name__}: {error}"
                )
