"""What a phase keeps of its batches: every loss as compact arrays, tensors within a budget.

It knows no phase and no history: loops write here, results read.

Losses and metrics cost a few bytes a batch and are kept whole. Outputs are kept as
one array an epoch, the newest ones, up to `budget_bytes`; what had to go is counted,
so that whoever asks for it can be told. Inputs are never kept: rows name them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch

from modularml.backends.torch import as_array
from modularml.core.execution.columns import Source, rows_of
from modularml.core.execution.feed import EpochFeed
from modularml.core.execution.streams import label_and_role, stream_of

DEFAULT_BUDGET_BYTES = 64 * 2**20
"""What the outputs of one run of a phase may take."""

HISTORY_BUDGET_BYTES = 4 * DEFAULT_BUDGET_BYTES
"""What the outputs of all runs of an experiment may take."""

KEEPS = ("all", "last", "none")

TRAIN_LOSS = "train_loss"
"""What the sum of the losses that a phase minimizes is called."""


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """The outputs of consecutive batches of one epoch.

    Attributes:
        epoch: The epoch, counted from 0 within the run of the phase.
        first_batch: Index of the first batch that was kept.
        offsets: Where each kept batch starts and the last one ends, ``(n_batches + 1,)``.
        offsets_of: The same for the streams of heads whose batches have other sizes.
        rows: Stream of a head -> absolute rows of its FeatureSet, ``(n_samples,)``.
        targets: Stream of a head -> the targets of those rows, ``(n_samples, n_keys, *key_shape)``.
        outputs: Stream of a node -> outputs, ``(n_samples, *output_shape)``.
    """

    epoch: int
    first_batch: int
    offsets: np.ndarray
    rows: Mapping[str, np.ndarray]
    targets: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    offsets_of: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def n_batches(self) -> int:
        """How many batches were kept."""
        return len(self.offsets) - 1

    @property
    def n_bytes(self) -> int:
        """Memory that it holds, in bytes."""
        return sum(a.nbytes for a in self._arrays())

    def _arrays(self) -> list[np.ndarray]:
        parts = (self.rows, self.targets, self.outputs, self.offsets_of)
        return [self.offsets, *(array for part in parts for array in part.values())]


def settled() -> None:
    """Nothing goes on."""


@dataclass
class Recording:
    """The record of one run of a phase.

    Attributes:
        loss_nodes: Label of each loss -> label of the node it is applied on.
        budget_bytes: How much memory outputs, targets and rows may take.
        keeps: Which epochs' outputs are kept: ``"all"``, ``"last"`` or ``"none"``.
        losses: One array an epoch, ``(n_batches, n_losses)``.
        n_samples: How many samples each batch had: one array an epoch, ``(n_batches,)``.
        metrics: Name of each metric -> its ``(epoch, batch or None, value)`` entries.
        tensors: What was kept of the outputs, oldest first.
        n_dropped: Batches whose outputs had to go.
        held_epoch: The epoch whose outputs stay where those of one epoch are kept; None is the last.
        minimized: Labels of the losses that are minimized, while the phase runs.
        settle: Enters the losses of the epoch that goes on, which are tensors until somebody looks.
    """

    loss_nodes: Mapping[str, str]
    budget_bytes: int = DEFAULT_BUDGET_BYTES
    keeps: str = "all"
    losses: list[np.ndarray] = field(default_factory=list)
    n_samples: list[np.ndarray] = field(default_factory=list)
    metrics: dict[str, list[tuple[int, int | None, float]]] = field(default_factory=dict)
    tensors: deque[TensorRecord] = field(default_factory=deque)
    n_dropped: int = 0
    settle: Callable[[], None] = field(default=settled, repr=False, compare=False)
    held_epoch: int | None = None
    minimized: Sequence[str] = ()
    _n_bytes: int = 0

    @property
    def reached(self) -> tuple[int, int] | None:
        """The last epoch that began and how many batches of it were done; None before the first."""
        self.settle()
        return (len(self.losses) - 1, len(self.losses[-1])) if self.losses else None

    def log(self, name: str, value: float, epoch: int, batch: int | None = None) -> None:
        """Note the value of a metric."""
        self.metrics.setdefault(name, []).append((epoch, batch, float(value)))

    def add_tensors(self, record: TensorRecord) -> None:
        """Keep a record."""
        self.tensors.append(record)
        self._n_bytes += record.n_bytes

    def make_room(self, n_bytes: int) -> int:
        """Let the oldest records go until `n_bytes` more fit the budget; return how many would fit."""
        return self.budget_bytes - self.make_room_within(max(self.budget_bytes - n_bytes, 0))

    def make_room_within(self, n_bytes: int) -> int:
        """Let the oldest records go until the rest take at most `n_bytes`; return how many they take."""
        while self.tensors and self._n_bytes > n_bytes:
            oldest = self.tensors.popleft()
            self._n_bytes -= oldest.n_bytes
            self.n_dropped += oldest.n_batches
        return self._n_bytes

    @property
    def n_bytes(self) -> int:
        """How much memory outputs, targets and rows take."""
        return self._n_bytes

    def forget_tensors(self, *, but: int | None = None) -> None:
        """Let go of every output, but for those of an epoch."""
        kept = [record for record in self.tensors if record.epoch == but]
        self.tensors.clear()
        self._n_bytes = 0
        for record in kept:
            self.add_tensors(record)

    def epoch_means(self, epoch: int) -> dict[str, float]:
        """The mean of each loss over the samples of an epoch: a short batch counts for less."""
        if not self.loss_nodes or not len(self.losses[epoch]):
            return {}
        means = np.average(self.losses[epoch], axis=0, weights=self.n_samples[epoch])
        return dict(zip(self.loss_nodes, means.tolist(), strict=True))

    def epoch_metrics(self, epoch: int) -> dict[str, float]:
        """The last value of each metric that was logged in an epoch."""
        last = {name: entries[-1] for name, entries in self.metrics.items()}
        return {name: value for name, (at, _, value) in last.items() if at == epoch}

    def values_of(self, epoch: int) -> dict[str, float]:
        """Everything that can be monitored in an epoch: losses, metrics, and the sum of what is minimized."""
        means = self.epoch_means(epoch)
        minimized = [means[label] for label in self.minimized if label in means]
        total = {TRAIN_LOSS: sum(minimized)} if minimized else {}
        return total | means | self.epoch_metrics(epoch)

    @property
    def monitored(self) -> set[str]:
        """The names in `values_of`, by now."""
        return {*self.loss_nodes, *self.metrics, *([TRAIN_LOSS] if self.minimized else [])}

    def get_state(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return the record as a tree of plain values and arrays.

        Args:
            tensors: Include recorded outputs and targets; without them they count as dropped.
        """
        self.settle()
        n_left_out = 0 if tensors else sum(record.n_batches for record in self.tensors)
        return {
            "loss_nodes": dict(self.loss_nodes),
            "budget_bytes": self.budget_bytes,
            # One array for all epochs: a long run has many, and each would be a member of a file.
            "losses": np.concatenate(self.losses or [np.empty((0, len(self.loss_nodes)), np.float32)]),
            "n_batches": [len(epoch) for epoch in self.losses],
            "n_samples": np.concatenate(self.n_samples or [np.empty(0, np.int32)]),
            "metrics": {name: [list(entry) for entry in entries] for name, entries in self.metrics.items()},
            "tensors": [vars(record) for record in self.tensors] if tensors else [],
            "n_dropped": self.n_dropped + n_left_out,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make a record of what `get_state` returned."""
        recording = cls(state["loss_nodes"], state["budget_bytes"], n_dropped=state["n_dropped"])
        ends = np.cumsum(state["n_batches"])
        if len(ends):
            recording.losses = np.split(state["losses"], ends[:-1])
            recording.n_samples = np.split(state["n_samples"], ends[:-1])
        for name, entries in state["metrics"].items():
            recording.metrics[name] = [(epoch, batch, value) for epoch, batch, value in entries]
        for record in state["tensors"]:
            recording.add_tensors(TensorRecord(**record))
        return recording


class EpochRecorder:
    """Gathers the outputs of one epoch, batch by batch, within the budget.

    Args:
        recording: Where the epoch goes when it is over.
        epoch: Its index.
        nodes: The slots and streams of the nodes whose outputs are kept.
        drawn: Which rows the epoch has.
        targets: Stream of a head, or of one of its targets -> the targets of its whole FeatureSet.
        n_done: How many of its first batches an earlier part of the run did.
    """

    def __init__(
        self,
        recording: Recording,
        epoch: int,
        nodes: Sequence[tuple[int, str]],
        drawn: EpochFeed,
        targets: Mapping[str, Source | np.ndarray],
        n_done: int = 0,
    ) -> None:
        self.recording, self.epoch, self.nodes = recording, epoch, nodes
        self.drawn, self.targets = drawn, targets
        # Of targets that differ in shape each has a stream of its own, and the rows of all.
        named = {stream: stream_of(*label_and_role(stream)) for stream in targets}
        self._rows_of = {stream: head for stream, head in named.items() if head in drawn.rows}
        self._batches: deque[tuple[Any, ...]] = deque()
        self._n_bytes: list[int] = []
        self._n_done = self._n_seen = n_done
        self._n_held = self._room = 0

    def add(self, slots: Sequence[Any]) -> None:
        """Keep the outputs of one batch, the newest of all if there is no room for more."""
        batch = tuple(_detached(slots[slot]) for slot, _ in self.nodes)
        if not self._n_bytes:
            self._begin(batch)
        self._n_held += self._n_bytes[self._n_seen]
        self._n_seen += 1
        self._batches.append(batch)
        if self._n_held > self._room:
            self._make_room()

    def _begin(self, batch: Sequence[Any]) -> None:
        if self.recording.keeps == "last" and not self._n_done:
            self.recording.forget_tensors(but=self.recording.held_epoch)
        sizes = self.drawn.sizes
        n_outputs = sum(array.nbytes for array in batch) / next(iter(sizes.values()))[0]
        n_bytes = n_outputs * next(iter(sizes.values()))
        for head, rows in self.drawn.rows.items():
            n_targets = sum(
                self.targets[stream][:1].nbytes for stream, of in self._rows_of.items() if of == head
            )
            n_bytes = n_bytes + sizes[head] * (rows.itemsize + n_targets)
        self._n_bytes = n_bytes.astype(int).tolist()

    def _make_room(self) -> None:
        self._room = self.recording.make_room(self._n_held)
        while self._n_held > self._room and len(self._batches) > 1:
            self._n_held -= self._n_bytes[self._n_seen - len(self._batches)]
            self._batches.popleft()

    def close(self) -> None:
        """Hand the epoch over as one array a node."""
        drawn, targets, kept = self.drawn, self.targets, len(self._batches)
        if not kept:
            return
        first = self._n_seen - kept
        offsets = next(iter(drawn.offsets.values()))
        cut = {head: (o[first], o[self._n_seen]) for head, o in drawn.offsets.items()}
        rows = {head: drawn.rows[head][start:stop] for head, (start, stop) in cut.items()}
        outputs = {
            label: _joined([batch[i] for batch in self._batches]) for i, (_, label) in enumerate(self.nodes)
        }
        self.recording.n_dropped += first - self._n_done
        self.recording.add_tensors(
            TensorRecord(
                epoch=self.epoch,
                first_batch=first,
                offsets=offsets[first : self._n_seen + 1] - offsets[first],
                offsets_of={
                    head: own[first : self._n_seen + 1] - own[first]
                    for head, own in drawn.offsets.items()
                    if own is not offsets and not np.array_equal(own, offsets)
                },
                rows={head: np.array(kept_rows) for head, kept_rows in rows.items()},
                targets={
                    stream: rows_of(targets[stream], rows, head) for stream, head in self._rows_of.items()
                },
                outputs=outputs,
            )
        )


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) and value.requires_grad else value


def _joined(batches: list[Any]) -> np.ndarray:
    if not isinstance(batches[0], torch.Tensor):
        return np.concatenate(batches)
    # Of a single batch, too: a module such as Flatten hands on a view of the data.
    return as_array(torch.cat(batches))
