"""The loop over the batches of an epoch: the same for training, evaluation and fitting.

It knows no optimizer and no callback: a step is a function of the slots, and whoever
draws the events decides what happens between batches.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from modularml.base.errors import warn
from modularml.base.events import (
    BATCH_EVENTS_PER_S,
    BatchesDrawn,
    BatchesEnded,
    CompileStarted,
    EpochEnded,
    EpochStarted,
    Event,
)
from modularml.core.execution.advice import advise
from modularml.core.execution.feed import EpochFeed
from modularml.core.execution.recording import EpochRecorder, Recording, settled
from modularml.core.execution.resolution import Resolved
from modularml.core.execution.scope import PhaseScope
from modularml.core.execution.streams import DEFAULT_ROLE, label_and_role, part_of

Step = Callable[[list[Any]], Sequence[torch.Tensor]]
"""Runs one batch, whose columns are in the first slots; returns the value of each loss."""


class Several(Protocol):
    """Runs several batches by one call, where it can."""

    def begin(self, drawn: EpochFeed) -> None:
        """Begin an epoch."""

    def n_next(self, n_done: int) -> int:
        """Return how many batches its next call runs behind those done; 0 leaves one to the step."""

    def is_new(self, n_batches: int) -> bool:
        """Whether a call of so many batches has yet to be compiled."""

    def __call__(
        self, batches: Sequence[Sequence[torch.Tensor | None]]
    ) -> Iterator[tuple[Sequence[torch.Tensor], list[Any]]]:
        """Run them; yield the value of each loss, and the slots, of each."""


@dataclass(frozen=True, kw_only=True)
class BatchStarted(Event):
    """A batch begins; drawn only where a callback watches batches."""


@dataclass(frozen=True, kw_only=True)
class BatchEnded(Event):
    """A batch ended; drawn only where a callback watches batches."""


@dataclass(frozen=True, kw_only=True)
class Paused(Event):
    """The scope says stop; what is drawn after this is no longer part of the work.

    Attributes:
        epoch: The epoch that goes on, or comes next.
        batch: How many of its batches are done; None if it has not begun.
    """

    epoch: int
    batch: int | None


@dataclass(frozen=True, kw_only=True)
class EpochLeft(Event):
    """Everything at the end of an epoch is done, what follows from its metrics too."""

    epoch: int


def _do_nothing(*_: Any) -> None:
    pass


def run_epochs(
    scope: PhaseScope,
    resolved: Resolved,
    step: Step,
    recording: Recording,
    *,
    n_epochs: int,
    several: Several | None = None,
    begin: Callable[[np.ndarray, int], None] = _do_nothing,
    before_end: Callable[[int], None] = _do_nothing,
    after_end: Callable[[int], None] = _do_nothing,
) -> Iterator[Event]:
    """Run epochs until all are done, the scope says stop, or a callback asked to end.

    An epoch of which an earlier part of the run did some batches is gone on with.

    Args:
        scope: The surroundings of the phase, and where to begin.
        resolved: What runs.
        step: Runs one batch.
        recording: Where losses and outputs go.
        n_epochs: How many epochs to run.
        several: Runs the batches that it can; a stop waits for all of its call.
        begin: Called at each epoch with the number of samples of its batches, ``(n_batches,)``, and
            how many of them are done.
        before_end: Called with each epoch when its batches are done.
        after_end: Called with each epoch when everything at its end is done.

    Yields:
        The events of the epochs.
    """
    is_finite = True
    n_done = scope.start.batch
    for epoch in range(scope.start.epoch, n_epochs):
        scope.exec_ctx.epoch_idx = epoch
        scope.exec_ctx.batch_idx = scope.exec_ctx.n_batches = 0
        if n_done is None:
            if scope.exec_ctx.stop_requested:
                return
            if scope.should_stop():
                yield Paused(run_id=scope.run_id, epoch=epoch, batch=None)
                return
            yield EpochStarted(run_id=scope.run_id, path=scope.path, epoch=epoch)
        is_paused = yield from _run_epoch(
            scope, resolved, step, several, recording, epoch, begin, n_done or 0
        )
        if is_finite:
            is_finite = _warn_unless_finite(scope, recording, epoch)
        if n_done is None or not scope.start.is_at_end:
            before_end(epoch)
        n_done = None
        metrics = recording.epoch_means(epoch)
        yield EpochEnded(run_id=scope.run_id, path=scope.path, epoch=epoch, metrics=metrics)
        after_end(epoch)
        yield EpochLeft(run_id=scope.run_id, epoch=epoch)
        if is_paused:
            return


def _run_epoch(
    scope: PhaseScope,
    resolved: Resolved,
    step: Step,
    several: Several | None,
    recording: Recording,
    epoch: int,
    begin: Callable[[np.ndarray, int], None],
    n_done: int,
) -> Generator[Event, None, bool]:
    """Run one epoch from a batch on, and tell whether the scope says stop."""
    began = time.perf_counter()
    drawn = resolved.feed.draw(scope.first_epoch + epoch)
    yield BatchesDrawn(
        run_id=scope.run_id,
        path=scope.path,
        epoch=epoch,
        n_batches=drawn.n_batches,
        duration_s=time.perf_counter() - began,
    )
    tally = _Tally(recording, epoch, drawn, n_done)
    recorder = None
    if recording.keeps != "none":
        recorder = EpochRecorder(recording, epoch, resolved.recorded, drawn, resolved.targets, n_done)
    scope.exec_ctx.n_batches = drawn.n_batches
    begin(tally.n_samples, n_done)
    if several is not None:
        several.begin(drawn)
    recording.settle = tally.settle
    try:
        batches = resolved.feed.batches(drawn, n_done)
        is_paused = yield from _run_batches(scope, resolved, step, several, batches, tally, recorder)
    except Exception as error:
        advise(error)
        raise
    finally:
        # Also when a batch raises: what was done before it stays on record.
        ended = tally.ended(scope)
        tally.settle()
        recording.settle = settled  # else it and what it holds would be a cycle, and stay for a while
        if recorder is not None:
            recorder.close()
    scope.exec_ctx.batch_idx = max(tally.n_done - 1, 0)
    if is_paused:
        yield Paused(run_id=scope.run_id, epoch=epoch, batch=tally.n_done)
    yield ended
    return is_paused


def _run_batches(
    scope: PhaseScope,
    resolved: Resolved,
    step: Step,
    several: Several | None,
    batches: Iterator[Sequence[torch.Tensor | None]],
    tally: _Tally,
    recorder: EpochRecorder | None,
) -> Generator[Event, None, bool]:
    """Run batches until there are no more, and tell whether the scope says stop."""
    slots: list[Any] = [None] * resolved.forward.n_slots
    next_event = time.perf_counter() + 1 / BATCH_EVENTS_PER_S
    for batch in batches:
        if scope.watch_batches:
            scope.exec_ctx.batch_idx = tally.n_done
            yield BatchStarted(run_id=scope.run_id)
        n_next = 0 if several is None else several.n_next(tally.n_done)
        if several is None or not n_next:
            slots[: len(batch)] = batch
            tally.add(step(slots))
            if recorder is not None:
                recorder.add(slots)
        else:
            if several.is_new(n_next):
                yield CompileStarted(run_id=scope.run_id, path=scope.path)
            for values, slots in several([batch, *itertools.islice(batches, n_next - 1)]):
                tally.add(values)
                if recorder is not None:
                    recorder.add(slots)
        if scope.watch_batches:
            _show(scope.exec_ctx, resolved, slots, tally)
            yield BatchEnded(run_id=scope.run_id)
        if time.perf_counter() >= next_event:
            yield tally.ended(scope)
            next_event = time.perf_counter() + 1 / BATCH_EVENTS_PER_S
        if scope.should_stop():
            return True
    return False


class _Tally:
    """How far an epoch is: its losses, which stay tensors until somebody looks, and what was told of them.

    Args:
        recording: Where losses go.
        epoch: The epoch.
        drawn: Its batches.
        n_done: How many of them are done, and on record, already.

    Attributes:
        n_done: How many are done by now.
        n_samples: How many samples each batch has, ``(n_batches,)``.
        pending: The losses that are tensors yet, batch by batch.
    """

    def __init__(self, recording: Recording, epoch: int, drawn: EpochFeed, n_done: int) -> None:
        self.n_losses = len(recording.loss_nodes)
        if len(recording.losses) == epoch:
            recording.losses.append(np.empty((0, self.n_losses), np.float32))
            recording.n_samples.append(np.empty(0, np.int32))
        self._recording, self._epoch = recording, epoch
        self.n_done = self._n_told = n_done
        self.n_samples = next(iter(drawn.sizes.values())).astype(np.int32)
        self._offsets = next(iter(drawn.offsets.values()))
        self._flushed: list[np.ndarray] = [recording.losses[epoch]]
        self.pending: list[torch.Tensor] = []

    def add(self, values: Sequence[torch.Tensor]) -> None:
        """Count one batch more, with its losses."""
        self.n_done += 1
        self.pending.extend(values)

    def ended(self, scope: PhaseScope) -> BatchesEnded:
        """Return the event that tells of the batches since the last one."""
        losses, n_told = self._values(), self._n_told
        self._flushed.append(losses)
        self.pending.clear()
        self._n_told = self.n_done
        return BatchesEnded(
            run_id=scope.run_id,
            path=scope.path,
            epoch=self._epoch,
            n_done=self.n_done,
            losses=losses,
            n_samples=int(self._offsets[self.n_done] - self._offsets[n_told]),
        )

    def settle(self) -> None:
        """Enter the losses of all batches that are done in the recording."""
        done = [*self._flushed, self._values()] if self.n_losses else [np.empty((self.n_done, 0), np.float32)]
        self._recording.losses[self._epoch] = np.concatenate(done)
        self._recording.n_samples[self._epoch] = self.n_samples[: self.n_done]

    def _values(self) -> np.ndarray:
        if not self.pending:
            return np.empty((0, self.n_losses), np.float32)
        stacked = torch.stack([value.float() for value in self.pending])
        return stacked.cpu().numpy().reshape(-1, self.n_losses)


def _show(exec_ctx: Any, resolved: Resolved, slots: list[Any], tally: _Tally) -> None:
    exec_ctx.outputs = {}
    for stream, slot in resolved.forward.slot_of.items():
        *within, last = [
            key for key in (*label_and_role(stream), part_of(stream)) if key not in (None, DEFAULT_ROLE)
        ]
        place = exec_ctx.outputs
        for key in within:
            place = place.setdefault(key, {})
        place[last] = slots[slot]
    latest = tally.pending[len(tally.pending) - tally.n_losses :]
    exec_ctx.losses = dict(zip(resolved.loss_nodes, latest, strict=True))


def _warn_unless_finite(scope: PhaseScope, recording: Recording, epoch: int) -> bool:
    """Tell whether the losses of an epoch are finite, and warn of the first that is not."""
    values = recording.losses[epoch]
    if np.isfinite(values).all():
        return True
    batch, loss = np.argwhere(~np.isfinite(values))[0]
    label = list(recording.loss_nodes)[loss]
    warn(
        f"The loss {label!r} of phase {'/'.join(scope.path)!r} is {values[batch, loss]} since epoch "
        f"{epoch + 1}, batch {batch + 1}. The data or the weights hold NaN or infinity: "
        "FeatureSet.summary() says which columns do, and weights that were lost in training ask "
        "for a lower learning rate."
    )
    return False
