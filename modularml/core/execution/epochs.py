"""The loop over the batches of an epoch: the same for training, evaluation and fitting.

It knows no optimizer and no callback: a step is a function of the slots, and whoever
draws the events decides what happens between batches.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modularml.base.errors import ModularMLWarning
from modularml.base.events import (
    BATCH_EVENTS_PER_S,
    BatchesDrawn,
    BatchesEnded,
    EpochEnded,
    EpochStarted,
    Event,
)
from modularml.core.execution.recording import EpochRecorder, Recording
from modularml.core.execution.resolution import Resolved
from modularml.core.execution.scope import PhaseScope
from modularml.core.execution.streams import DEFAULT_ROLE, label_and_role

Step = Callable[[list[Any]], Sequence[torch.Tensor]]
"""Runs one batch, whose columns are in the first slots; returns the value of each loss."""


@dataclass(frozen=True, kw_only=True)
class BatchStarted(Event):
    """A batch begins; drawn only where a callback watches batches."""


@dataclass(frozen=True, kw_only=True)
class BatchEnded(Event):
    """A batch ended; drawn only where a callback watches batches."""


def _do_nothing(_: Any) -> None:
    pass


def run_epochs(
    scope: PhaseScope,
    resolved: Resolved,
    step: Step,
    recording: Recording,
    *,
    n_epochs: int,
    begin: Callable[[np.ndarray], None] = _do_nothing,
    before_end: Callable[[int], None] = _do_nothing,
    after_end: Callable[[int], None] = _do_nothing,
) -> Iterator[Event]:
    """Run epochs until all are done, the scope says stop, or a callback asked to end.

    Args:
        scope: The surroundings of the phase.
        resolved: What runs.
        step: Runs one batch.
        recording: Where losses and outputs go.
        n_epochs: How many epochs to run.
        begin: Called with the number of samples of each batch, ``(n_batches,)``, of each epoch.
        before_end: Called with each epoch when its batches are done.
        after_end: Called with each epoch when everything at its end is done.

    Yields:
        The events of the epochs.
    """
    is_finite = True
    for epoch in range(n_epochs):
        if scope.should_stop() or scope.exec_ctx.stop_requested:
            return
        scope.exec_ctx.epoch_idx = epoch
        yield EpochStarted(run_id=scope.run_id, path=scope.path, epoch=epoch)
        yield from _run_epoch(scope, resolved, step, recording, epoch, begin)
        if is_finite:
            is_finite = _warn_unless_finite(scope, recording, epoch)
        before_end(epoch)
        metrics = recording.epoch_means(epoch)
        yield EpochEnded(run_id=scope.run_id, path=scope.path, epoch=epoch, metrics=metrics)
        after_end(epoch)


def _run_epoch(
    scope: PhaseScope,
    resolved: Resolved,
    step: Step,
    recording: Recording,
    epoch: int,
    begin: Callable[[np.ndarray], None],
) -> Iterator[Event]:
    began = time.perf_counter()
    drawn = resolved.feed.draw(scope.first_epoch + epoch)
    yield BatchesDrawn(
        run_id=scope.run_id,
        path=scope.path,
        epoch=epoch,
        n_batches=drawn.n_batches,
        duration_s=time.perf_counter() - began,
    )
    slots: list[Any] = [None] * resolved.forward.n_slots
    records = recording.keeps != "none"
    recorder = EpochRecorder(recording, epoch, resolved.recorded, drawn, resolved.targets)
    losses = _LossBuffer(len(resolved.losses))
    run_id, path, exec_ctx, n_done = scope.run_id, scope.path, scope.exec_ctx, 0
    next_event = time.perf_counter() + 1 / BATCH_EVENTS_PER_S
    recording.losses.append(losses.empty)
    recording.n_samples.append(np.empty(0, np.int32))
    offsets = next(iter(drawn.offsets.values()))
    n_samples = np.diff(offsets).astype(np.int32)
    n_told = 0
    begin(n_samples)
    try:
        for n_done, batch in enumerate(resolved.feed.batches(drawn), start=1):
            slots[: len(batch)] = batch
            if scope.watch_batches:
                exec_ctx.batch_idx = n_done - 1
                yield BatchStarted(run_id=run_id)
            losses.add(step(slots))
            if records:
                recorder.add(slots)
            if scope.watch_batches:
                _show(exec_ctx, resolved, slots, losses)
                yield BatchEnded(run_id=run_id)
            if time.perf_counter() >= next_event:
                yield BatchesEnded(
                    run_id=run_id,
                    path=path,
                    epoch=epoch,
                    n_done=n_done,
                    losses=losses.flush(),
                    n_samples=int(offsets[n_done] - offsets[n_told]),
                )
                n_told = n_done
                next_event = time.perf_counter() + 1 / BATCH_EVENTS_PER_S
            if scope.should_stop():
                break
    finally:
        # Also when a batch raises: what was done before it stays on record.
        last = losses.flush()
        recording.losses[epoch] = losses.all()
        recording.n_samples[epoch] = n_samples[: len(recording.losses[epoch])]
        if records:
            recorder.close()
    n_left = int(offsets[n_done] - offsets[n_told])
    yield BatchesEnded(run_id=run_id, path=path, epoch=epoch, n_done=n_done, losses=last, n_samples=n_left)


class _LossBuffer:
    """Losses stay tensors until somebody looks."""

    def __init__(self, n_losses: int) -> None:
        self.n_losses = n_losses
        self.empty = np.empty((0, n_losses), np.float32)
        self.pending: list[torch.Tensor] = []
        self._flushed: list[np.ndarray] = []
        self._n_batches = 0

    def add(self, values: Sequence[torch.Tensor]) -> None:
        self._n_batches += 1
        self.pending.extend(values)

    def flush(self) -> np.ndarray:
        """Return the values since the last flush, ``(n_batches, n_losses)``."""
        if not self.n_losses:
            return np.empty((0, 0), np.float32)
        if not self.pending:
            return self.empty
        values = (
            torch.stack([value.float() for value in self.pending]).cpu().numpy().reshape(-1, self.n_losses)
        )
        self.pending.clear()
        self._flushed.append(values)
        return values

    def all(self) -> np.ndarray:
        """Return the values of the epoch, ``(n_batches, n_losses)``."""
        if not self.n_losses:
            return np.empty((self._n_batches, 0), np.float32)
        return np.concatenate(self._flushed) if self._flushed else self.empty


def _show(exec_ctx: Any, resolved: Resolved, slots: list[Any], losses: _LossBuffer) -> None:
    exec_ctx.outputs = {}
    for stream, slot in resolved.forward.slot_of.items():
        label, role = label_and_role(stream)
        if role == DEFAULT_ROLE:
            exec_ctx.outputs[label] = slots[slot]
        else:
            exec_ctx.outputs.setdefault(label, {})[role] = slots[slot]
    latest = losses.pending[len(losses.pending) - losses.n_losses :]
    exec_ctx.losses = dict(zip(resolved.loss_nodes, latest, strict=True))


def _warn_unless_finite(scope: PhaseScope, recording: Recording, epoch: int) -> bool:
    """Tell whether the losses of an epoch are finite, and warn of the first that is not."""
    values = recording.losses[epoch]
    wrong = np.argwhere(~np.isfinite(values))
    if not len(wrong):
        return True
    batch, loss = wrong[0]
    label = list(recording.loss_nodes)[loss]
    warnings.warn(
        f"The loss {label!r} of phase {'/'.join(scope.path)!r} is {values[batch, loss]} since epoch {epoch}, "
        f"batch {batch}. The weights are most likely lost; lower the learning rate or look at the data.",
        ModularMLWarning,
        stacklevel=2,
    )
    return False
