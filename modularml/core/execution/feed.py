"""Batches of an epoch: index arrays over whole columns, gathered many batches at a time.

It knows no node and no loss: it moves rows of tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modularml.base.errors import InvalidValueError
from modularml.core.data.view import FeatureSetView
from modularml.core.execution.columns import CHUNK_BYTES, Column, Deferred
from modularml.samplers import Sampler


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

    def draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of an epoch, absolute, and the offsets of its batches."""
        if self.sampler is None:
            n = self.view.n_samples
            return self.view.rows, np.append(np.arange(0, n, self.batch_size or max(n, 1)), n)
        index = self.sampler.epoch(self.view, epoch)
        if list(index.roles) != ["default"]:
            raise InvalidValueError(
                f"{type(self.sampler).__name__} draws the roles {list(index.roles)} for {self.head!r}; "
                "a node takes batches of one role, as SimpleSampler draws them."
            )
        return self.view.rows[index.roles["default"]], index.offsets


@dataclass(frozen=True, kw_only=True)
class EpochFeed:
    """One epoch, drawn: which rows, in which batches.

    Attributes:
        n_batches: How many batches it has.
        rows: Head label -> its rows in order.
        offsets: Head label -> where its batches start and the last one ends.
    """

    n_batches: int
    rows: Mapping[str, np.ndarray]
    offsets: Mapping[str, np.ndarray]


class Feed:
    """Turns epochs into batches of tensors.

    Args:
        sources: The rows of each head.
        columns: Head label and column, ``(n_rows_total, ...)``, in the order in which
            the tensors of a batch come.
    """

    def __init__(self, sources: Sequence[Source], columns: Sequence[tuple[str, Column]]) -> None:
        self.sources, self.columns = sources, columns
        self._row_bytes = sum(_row_bytes(column) for _, column in columns) or 1

    def draw(self, epoch: int) -> EpochFeed:
        """Draw an epoch; heads with fewer batches bound those with more."""
        drawn = {source.head: source.draw(epoch) for source in self.sources}
        n_batches = min(len(offsets) - 1 for _, offsets in drawn.values())
        return EpochFeed(
            n_batches=n_batches,
            rows={head: rows for head, (rows, _) in drawn.items()},
            offsets={head: offsets[: n_batches + 1] for head, (_, offsets) in drawn.items()},
        )

    def batches(self, drawn: EpochFeed) -> Iterator[tuple[torch.Tensor, ...]]:
        """Iterate over the batches of an epoch, one tensor a column."""
        longest = max((int(np.diff(o).max(initial=1)) for o in drawn.offsets.values()), default=1)
        step = max(1, CHUNK_BYTES // (self._row_bytes * longest))
        for first in range(0, drawn.n_batches, step):
            last = min(first + step, drawn.n_batches)
            yield from zip(*self._gather(drawn, first, last), strict=True)

    def _gather(self, drawn: EpochFeed, first: int, last: int) -> list[Sequence[torch.Tensor]]:
        picked = {}
        for head, offsets in drawn.offsets.items():
            cuts = offsets[first : last + 1]
            picked[head] = (_picker(drawn.rows[head][cuts[0] : cuts[-1]]), _sizes(cuts))
        parts = []
        for head, column in self.columns:
            picker, sizes = picked[head]
            parts.append(_rows(column, picker).split(sizes))
        return parts


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
