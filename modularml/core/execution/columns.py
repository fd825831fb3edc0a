"""Columns side by side as tensors: whole where that is cheap, else converted as rows are asked for.

It knows no node and no batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modularml.backends.torch import as_tensor
from modularml.backends.torch_losses import Alignment
from modularml.core.data.table import stack
from modularml.core.execution.streams import label_and_role, stream_of
from modularml.core.topology.merge_strategy import Strategy, join

WHOLE_BYTES = 64 * 2**20
"""The most that is converted whole."""

CHUNK_BYTES = 16 * 2**20
"""How much is gathered at once: while the next chunk is made, the one before is still there."""

MAX_BYTES_ELSEWHERE = 2**30
"""The most of a column that is held on another device than the CPU."""


class Stack:
    """Columns side by side, ``(n_rows, n_keys, *key_shape)``; rows are put together when they are asked for.

    Args:
        columns: Full column name -> array of shape ``(n_rows, *key_shape)``.
        together: Puts rows of columns together.

    Raises:
        InvalidValueError: If the columns' samples differ in shape and are stacked, or there is no column.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        together: Callable[[Mapping[str, np.ndarray]], np.ndarray] = stack,
    ) -> None:
        self.columns, self._together = dict(columns), together
        first = self[:1]
        self.dtype, self.shape = first.dtype, first.shape[1:]
        self.row_bytes = math.prod(self.shape) * first.itemsize
        self.n_bytes = self.row_bytes * len(next(iter(self.columns.values())))

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._together({name: column[rows] for name, column in self.columns.items()})

    @property
    def is_ready(self) -> bool:
        """Whether all rows are there as they are, and may be handed out."""
        return len(self.columns) == 1 and next(iter(self.columns.values())).flags.writeable


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """A large column that is converted, or copied from a file, a chunk of rows at a time.

    Attributes:
        source: The column.
        alignment: What is done with its rows.
        device: Where its rows are computed with; None is the CPU.
    """

    source: Stack
    alignment: Alignment
    device: torch.device | None = None

    def take(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Return some rows, as a tensor that shares no memory with a file."""
        array = self.source[rows if isinstance(rows, slice) else rows.numpy()]
        rows_there = as_tensor(array if array.flags.writeable else array.copy(), device=self.device)
        return self.alignment.apply(rows_there)

    @property
    def row_bytes(self) -> int:
        """How much memory a row takes while it is converted."""
        item = self.alignment.dtype.itemsize if self.alignment.dtype else self.source.dtype.itemsize
        return self.source.row_bytes // self.source.dtype.itemsize * item + self.source.row_bytes


class JoinedStack:
    """Columns of several entries of data, of which each has rows of its own in a batch.

    Args:
        parts: Key of each entry, and its columns.
        how: The axis along which samples are joined, or ``"mean"``.
    """

    def __init__(self, parts: Sequence[tuple[str, Source]], how: Strategy) -> None:
        self.parts, self.how = list(parts), how
        first = self[:1]
        self.dtype, self.shape = first.dtype, first.shape[1:]

    def __getitem__(self, rows: slice) -> np.ndarray:
        values: np.ndarray = join([source[rows] for _, source in self.parts], self.how)
        return values


Source = Stack | JoinedStack
"""What a loss or a fit reads besides outputs."""


def rows_of(source: Source | np.ndarray, rows: Mapping[str, np.ndarray], stream: str) -> np.ndarray:
    """Return samples of a source.

    Args:
        source: The columns.
        rows: Stream of each entry -> its rows.
        stream: The stream of the source; its role is that of the samples.
    """
    if not isinstance(source, JoinedStack):
        return source[rows[stream]]
    role = label_and_role(stream)[1]
    parts = [rows_of(part, rows, stream_of(key, role)) for key, part in source.parts]
    joined: np.ndarray = join(parts, source.how)
    return joined


@dataclass(frozen=True, kw_only=True)
class JoinedColumn:
    """Columns that are joined batch by batch.

    Attributes:
        parts: Key of each entry, and its column.
        how: The axis along which samples are joined, or ``"mean"``.
        alignment: What is done with joined rows.
    """

    parts: Sequence[tuple[str, Column]]
    how: Strategy
    alignment: Alignment


Column = torch.Tensor | Deferred | JoinedColumn
"""A whole column, or what makes its rows."""


def column_of(source: Source, alignment: Alignment, device: torch.device | None = None) -> Column:
    """Return a column in the shape and dtype that its reader computes with.

    What is there as it is stays where it is. Anything else is a copy: made here where it is
    small, made by chunks where it is large. A column that may not be written is copied, too,
    for a module that works in place would write into a file. On another device than the
    CPU it is there whole for a phase, unless it is very large.
    """
    if isinstance(source, JoinedStack):
        parts = [(key, column_of(part, Alignment(), device)) for key, part in source.parts]
        return JoinedColumn(parts=parts, how=source.how, alignment=alignment)
    if device is not None and device.type != "cpu":
        if source.n_bytes > MAX_BYTES_ELSEWHERE:
            return Deferred(source=source, alignment=alignment, device=device)
        return alignment.apply(as_tensor(source[:], device=device))
    converts = alignment.dtype not in (None, dtype_in_torch(source))
    if (converts or not source.is_ready) and source.n_bytes > WHOLE_BYTES:
        return Deferred(source=source, alignment=alignment)
    array = source[:]
    return alignment.apply(as_tensor(array if converts or array.flags.writeable else array.copy()))


def dtype_in_torch(source: Source) -> torch.dtype:
    """Return the dtype that the rows have as a tensor."""
    return _in_torch(source.dtype)


@functools.lru_cache(maxsize=64)
def _in_torch(dtype: np.dtype) -> torch.dtype:
    return as_tensor(np.empty(0, dtype)).dtype
