"""Batches of an epoch: index arrays over whole columns, gathered many batches at a time.

It knows no node and no loss: it moves rows of tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from modularml.base.errors import InvalidValueError
from modularml.core.data.view import FeatureSetView
from modularml.core.execution.columns import CHUNK_BYTES, Column, Deferred, JoinedColumn
from modularml.core.execution.streams import DEFAULT_ROLE, label_and_role, stream_of
from modularml.core.topology.merge_strategy import join
from modularml.samplers import EpochIndex, Sampler, SimpleSampler

SCHEDULES = ("zip_strict", "zip_cycle")
"""Entries side by side: until the shortest ends, or until the longest does while others begin again."""


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
            size = self.batch_size or max(n, 1)
            offsets = np.minimum(np.arange(0, n + size, size), n)
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

    @cached_property
    def sizes(self) -> dict[str, np.ndarray]:
        """Stream of a head -> how many samples each of its batches has, ``(n_batches,)``."""
        return {stream: np.diff(offsets) for stream, offsets in self.offsets.items()}


class Feed:
    """Turns epochs into batches of tensors.

    Args:
        sources: The rows of each head.
        columns: Stream of a head and column, ``(n_rows_total, ...)``, in the order in which
            the tensors of a batch come.
        weights: Streams whose weights are averaged into one tensor, ``(n_samples,)``, that
            comes behind the columns of a batch; None comes where samples have none.
        joined: Key of data that are joined of several entries -> key of the entry whose rows count.
        together: Keys of entries whose samples meet in a node, and so must be as many in each batch.
        schedule: What an epoch is where entries have different numbers of batches: one of `SCHEDULES`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        columns: Sequence[tuple[str, Column]],
        weights: Sequence[tuple[str, ...]] = (),
        joined: Mapping[str, str] | None = None,
        together: Sequence[Sequence[str]] = (),
        schedule: str = "zip_strict",
    ) -> None:
        self._cycles = schedule == "zip_cycle"
        self.sources, self.columns, self.weights = sources, columns, weights
        self._joined, self._together = joined or {}, together
        self._row_bytes = sum(_row_bytes(column) for _, column in columns) or 1
        self._ahead: tuple[int, EpochFeed] | None = None

    def n_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has; it is drawn for that, and kept until `draw` asks for it."""
        self._ahead = (epoch, self._drawn(epoch))
        return self._ahead[1].n_batches

    def draw(self, epoch: int) -> EpochFeed:
        """Draw an epoch; heads with fewer batches bound those with more.

        Raises:
            InvalidValueError: If samples that meet in a node are not as many in a batch.
        """
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead is not None and ahead[0] == epoch else self._drawn(epoch)

    def _drawn(self, epoch: int) -> EpochFeed:
        drawn = {source.head: source.draw(epoch) for source in self.sources}
        if self._cycles:
            longest = max(index.n_batches for index in drawn.values())
            drawn = {head: _cycled(index, longest) for head, index in drawn.items()}
        n_batches = min(index.n_batches for index in drawn.values())
        for keys in self._together:
            _check_sizes({key: drawn[key].offsets[: n_batches + 1] for key in keys})
        drawn |= {key: drawn[of] for key, of in self._joined.items()}
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

    def batches(self, drawn: EpochFeed, n_done: int = 0) -> Iterator[tuple[torch.Tensor | None, ...]]:
        """Iterate over the batches of an epoch, one tensor a column and mean of weights.

        Args:
            drawn: The epoch.
            n_done: How many of its first batches are left out.
        """
        longest = max((int(sizes.max(initial=1)) for sizes in drawn.sizes.values()), default=1)
        step = max(1, CHUNK_BYTES // (self._row_bytes * longest))
        # Chunks begin where they always do: a tensor's address may decide how its last bits are rounded.
        for first in range(n_done - n_done % step, drawn.n_batches, step):
            last = min(first + step, drawn.n_batches)
            batches = zip(*self._gather(drawn, first, last), strict=True)
            yield from itertools.islice(batches, max(0, n_done - first), None)

    def _gather(self, drawn: EpochFeed, first: int, last: int) -> list[Sequence[torch.Tensor | None]]:
        picked: dict[str, Pick] = {}
        for stream, offsets in drawn.offsets.items():
            cuts = offsets[first : last + 1]
            rows_of_stream = drawn.rows[stream][cuts[0] : cuts[-1]]
            picked[stream] = (_picker(rows_of_stream), _split_sizes(drawn.sizes[stream][first:last]))
        parts: list[Sequence[torch.Tensor | None]] = []
        for stream, column in self.columns:
            picker, sizes = picked[stream]
            if isinstance(column, JoinedColumn):
                role = label_and_role(stream)[1]
                rows = _joined(column, role, picked)
            else:
                rows = _rows(column, picker)
            parts.append((rows,) if last - first == 1 else rows.split(sizes))
        for streams, weights in zip(self.weights, drawn.weights, strict=True):
            if weights is None:
                parts.append([None] * (last - first))
            else:
                cuts = drawn.offsets[streams[0]][first : last + 1]
                parts.append(weights[cuts[0] : cuts[-1]].split(picked[streams[0]][1]))
        return parts


def _cycled(index: EpochIndex, n_batches: int) -> EpochIndex:
    """Return an epoch whose batches come again, in their order, until there are so many."""
    if not 0 < index.n_batches < n_batches:
        return index
    batches = np.arange(n_batches) % index.n_batches
    sizes = np.diff(index.offsets)[batches]
    offsets = np.append(0, np.cumsum(sizes))
    # Where each sample lies: the start of its batch, and its place within the batch.
    places = np.repeat(index.offsets[batches] - offsets[:-1], sizes) + np.arange(offsets[-1])
    weights = index.weights and {role: of_role[places] for role, of_role in index.weights.items()}
    return EpochIndex(
        roles={role: rows[places] for role, rows in index.roles.items()}, offsets=offsets, weights=weights
    )


def _check_sizes(offsets: Mapping[str, np.ndarray]) -> None:
    """Refuse batches that cannot be merged."""
    first = next(iter(offsets.values()))
    for cuts in offsets.values():
        differ = np.flatnonzero(np.diff(cuts) != np.diff(first))
        if len(differ):
            i = int(differ[0])
            sizes = {key: int(cuts[i + 1] - cuts[i]) for key, cuts in offsets.items()}
            raise InvalidValueError(
                f"Samples that are merged must be as many in each batch, and batch {i} has {sizes}. Give "
                "the samplers one batch_size and drop_last=True, or bind all to one sampler."
            )


def _mean_weights(drawn: Mapping[str, EpochIndex], streams: Sequence[str]) -> torch.Tensor | None:
    """Return the mean of the weights of streams; None if none has weights.

    A sample that does not count in one entry of data does not count where it is merged.
    """
    roles: dict[str, list[str]] = {}
    for head, role in map(label_and_role, streams):
        roles.setdefault(head, []).append(role)
    if all(drawn[head].weights is None for head in roles):
        return None
    found = []
    for head, of_head in roles.items():
        weights = drawn[head].weights
        n = len(drawn[head].roles[of_head[0]])
        found.append(np.ones(n) if weights is None else np.mean([weights[role] for role in of_head], axis=0))
    n = min(map(len, found))
    of_heads = np.stack([one[:n] for one in found])
    counts = (of_heads != 0).all(axis=0)
    return torch.from_numpy(of_heads.mean(axis=0) * counts).float()


Pick = tuple[slice | torch.Tensor, int | list[int]]


def _joined(column: JoinedColumn, role: str, picked: Mapping[str, Pick]) -> torch.Tensor:
    parts = [
        _joined(part, role, picked)
        if isinstance(part, JoinedColumn)
        else _rows(part, picked[stream_of(key, role)][0])
        for key, part in column.parts
    ]
    return column.alignment.apply(join(parts, column.how))


def _rows(column: torch.Tensor | Deferred, picker: slice | torch.Tensor) -> torch.Tensor:
    if isinstance(column, Deferred):
        return column.take(picker)
    if isinstance(picker, slice):
        return column[picker]
    return column.index_select(0, picker.to(column.device))


def _row_bytes(column: Column) -> int:
    if isinstance(column, JoinedColumn):
        return sum(_row_bytes(part) for _, part in column.parts)
    if isinstance(column, Deferred):
        return column.row_bytes
    return math.prod(column.shape[1:]) * column.element_size()


def _picker(rows: np.ndarray) -> slice | torch.Tensor:
    """Consecutive rows are a view; others are gathered."""
    n = len(rows)
    if n and rows[-1] - rows[0] == n - 1 and (n < 2 or bool((np.diff(rows) == 1).all())):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return torch.from_numpy(rows if rows.flags.carray else rows.copy())  # those of a view are read-only


def _split_sizes(sizes: np.ndarray) -> int | list[int]:
    """Return sizes as `torch.split` takes them: one number where all but the last are alike."""
    regular = len(sizes) == 1 or (bool((sizes[:-1] == sizes[0]).all()) and sizes[-1] <= sizes[0])
    return int(sizes[0]) if regular else sizes.tolist()
