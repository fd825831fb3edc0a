"""Batches of an epoch: index arrays over whole columns, gathered many batches at a time.

It knows no node and no loss: it moves rows of tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from modularml.core.data.view import FeatureSetView
from modularml.core.execution.columns import CHUNK_BYTES, Column, Deferred
from modularml.core.execution.streams import DEFAULT_ROLE, label_and_role, stream_of
from modularml.samplers import EpochIndex, Sampler, SimpleSampler


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows that enter one head.

    Attributes:
        head: Label of the head node.
        view: The rows, as a view of a FeatureSet.
        sampler: Draws the batches; None takes the rows in their order.
        batch_size: Rows a batch where there is no sampler; None is all.
    """

    head: str
    view: FeatureSetView
    sampler: Sampler | None
    batch_size: int | None = None

    @property
    def may_weigh(self) -> bool:
        """Whether its sampler may give weights to samples."""
        return self.sampler is not None and type(self.sampler) is not SimpleSampler

    def draw(self, epoch: int) -> EpochIndex:
        """Return the batches of an epoch, in absolute rows."""
        if self.sampler is None:
            n = self.view.n_samples
            offsets = np.append(np.arange(0, n, self.batch_size or max(n, 1)), n)
            return EpochIndex(roles={DEFAULT_ROLE: self.view.rows}, offsets=offsets)
        index = self.sampler.epoch(self.view, epoch)
        return replace(index, roles={role: self.view.rows[rows] for role, rows in index.roles.items()})


@dataclass(frozen=True, kw_only=True)
class EpochFeed:
    """One epoch, drawn: which rows, in which batches.

    Attributes:
        n_batches: How many batches it has.
        rows: Stream of a head -> its rows in order.
        offsets: Stream of a head -> where its batches start and the last one ends.
        weights: For each mean of weights that a feed gives: the weights; None for all 1.
    """

    n_batches: int
    rows: Mapping[str, np.ndarray]
    offsets: Mapping[str, np.ndarray]
    weights: Sequence[torch.Tensor | None] = ()


class Feed:
    """Turns epochs into batches of tensors.

    Args:
        sources: The rows of each head.
        columns: Stream of a head and column, ``(n_rows_total, ...)``, in the order in which
            the tensors of a batch come.
        weights: Streams whose weights are averaged into one tensor, ``(n_samples,)``, that
            comes behind the columns of a batch; None comes where samples have none.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        columns: Sequence[tuple[str, Column]],
        weights: Sequence[tuple[str, ...]] = (),
    ) -> None:
        self.sources, self.columns, self.weights = sources, columns, weights
        self._row_bytes = sum(_row_bytes(column) for _, column in columns) or 1
        self._ahead: tuple[int, EpochFeed] | None = None

    def n_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has; it is drawn for that, and kept until `draw` asks for it."""
        self._ahead = (epoch, self._drawn(epoch))
        return self._ahead[1].n_batches

    def draw(self, epoch: int) -> EpochFeed:
        """Draw an epoch; heads with fewer batches bound those with more."""
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead is not None and ahead[0] == epoch else self._drawn(epoch)

    def _drawn(self, epoch: int) -> EpochFeed:
        drawn = {source.head: source.draw(epoch) for source in self.sources}
        n_batches = min(index.n_batches for index in drawn.values())
        streams = {
            stream_of(head, role): (rows, index.offsets[: n_batches + 1])
            for head, index in drawn.items()
            for role, rows in index.roles.items()
        }
        return EpochFeed(
            n_batches=n_batches,
            rows={stream: rows for stream, (rows, _) in streams.items()},
            offsets={stream: offsets for stream, (_, offsets) in streams.items()},
            weights=[_mean_weights(drawn, of) for of in self.weights],
        )

    def batches(self, drawn: EpochFeed) -> Iterator[tuple[torch.Tensor | None, ...]]:
        """Iterate over the batches of an epoch, one tensor a column and mean of weights."""
        longest = max((int(np.diff(o).max(initial=1)) for o in drawn.offsets.values()), default=1)
        step = max(1, CHUNK_BYTES // (self._row_bytes * longest))
        for first in range(0, drawn.n_batches, step):
            last = min(first + step, drawn.n_batches)
            yield from zip(*self._gather(drawn, first, last), strict=True)

    def _gather(self, drawn: EpochFeed, first: int, last: int) -> list[Sequence[torch.Tensor | None]]:
        picked = {}
        for stream, offsets in drawn.offsets.items():
            cuts = offsets[first : last + 1]
            picked[stream] = (_picker(drawn.rows[stream][cuts[0] : cuts[-1]]), _sizes(cuts))
        parts: list[Sequence[torch.Tensor | None]] = []
        for stream, column in self.columns:
            picker, sizes = picked[stream]
            parts.append(_rows(column, picker).split(sizes))
        for streams, weights in zip(self.weights, drawn.weights, strict=True):
            cuts = drawn.offsets[streams[0]][first : last + 1]
            if weights is None:
                parts.append([None] * (last - first))
            else:
                parts.append(weights[cuts[0] : cuts[-1]].split(_sizes(cuts)))
        return parts


def _mean_weights(drawn: Mapping[str, EpochIndex], streams: Sequence[str]) -> torch.Tensor | None:
    """Return the mean of the weights of one head's roles."""
    found = []
    for head, role in map(label_and_role, streams):
        weights = drawn[head].weights
        if weights is None:
            return None
        found.append(weights[role])
    return torch.from_numpy(np.mean(found, axis=0)).float()


def _rows(column: Column, picker: slice | torch.Tensor) -> torch.Tensor:
    if isinstance(column, Deferred):
        return column.take(picker)
    if isinstance(picker, slice):
        return column[picker]
    return column.index_select(0, picker.to(column.device))


def _row_bytes(column: Column) -> int:
    if isinstance(column, Deferred):
        return column.row_bytes
    return column[:1].numel() * column.element_size()


def _picker(rows: np.ndarray) -> slice | torch.Tensor:
    """Consecutive rows are a view; others are gathered."""
    n = len(rows)
    if n and rows[-1] - rows[0] == n - 1 and (n < 2 or bool((np.diff(rows) == 1).all())):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return torch.from_numpy(np.ascontiguousarray(rows))


def _sizes(cuts: np.ndarray) -> int | list[int]:
    sizes = np.diff(cuts)
    regular = len(sizes) == 1 or (bool((sizes[:-1] == sizes[0]).all()) and sizes[-1] <= sizes[0])
    return int(sizes[0]) if regular else sizes.tolist()
