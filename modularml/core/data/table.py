"""A table: one contiguous array a column, and an id a sample.

It knows no views, splits or scalers. A table never changes; adding a column makes a
new one that shares all arrays with the old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    UnknownNameError,
    unknown_name,
)
from modularml.base.rows import new_seed
from modularml.core.data.columns import TAGS, Column
from modularml.core.data.values import as_column


class Table:
    """Columns of equal length.

    Args:
        columns: Full column name -> array of shape ``(n_samples, *sample_shape)``. Use
            `from_values` for data that is not known to be clean.
        sample_uuids: One id a sample, shape ``(n_samples,)``; None makes them when asked for.
        id_seed: Decides the ids that are made; None draws one.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        *,
        sample_uuids: np.ndarray | None = None,
        id_seed: int | None = None,
    ) -> None:
        self._columns = dict(columns)
        self._given_uuids = sample_uuids
        self._id_seed = new_seed() if id_seed is None else id_seed

    @classmethod
    def from_values(
        cls, values: Mapping[Column, Any], *, faults: Faults, sample_uuids: np.ndarray | None = None
    ) -> Self:
        """Make a table of arrays, lists or tensors, and tell all faults together.

        Args:
            values: Column -> values with one element a sample.
            faults: Collects what is wrong; it is raised here.
            sample_uuids: One id a sample.

        Raises:
            InvalidValueError: If a column is empty or ragged, or columns differ in length.
            InvalidTypeError: If a column holds what its domain may not hold.
        """
        columns: dict[str, np.ndarray] = {}
        for column, given in values.items():
            try:
                columns[str(column)] = as_column(given, is_tag=column.domain == TAGS)
            except ModularMLError as error:
                faults.add(type(error)(f"{column.domain} {column.key!r} {error}"))
        lengths = {name: len(array) for name, array in columns.items()}
        if sample_uuids is not None:
            lengths["sample_uuids"] = len(sample_uuids)
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            faults.add(f"columns differ in length: {listed}")
        faults.raise_if_any()
        return cls(columns, sample_uuids=sample_uuids)

    @property
    def columns(self) -> tuple[str, ...]:
        """The full names, in order."""
        return tuple(self._columns)

    @property
    def n_samples(self) -> int:
        """How many rows there are."""
        return next((len(array) for array in self._columns.values()), 0)

    def __repr__(self) -> str:
        return f"Table(n_samples={self.n_samples}, columns={list(self._columns)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return self.columns == other.columns and all(
            _same(array, other.column(name)) for name, array in self._columns.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str) -> np.ndarray:
        """Return a column by its full name, shape ``(n_samples, *sample_shape)``, not copied.

        Raises:
            UnknownNameError: If there is none.
        """
        try:
            return self._columns[name]
        except KeyError:
            raise UnknownNameError(unknown_name("column", name, self._columns)) from None

    def stack(self, names: Sequence[str]) -> np.ndarray:
        """Return columns side by side, shape ``(n_samples, n_keys, *key_shape)``.

        One column is not copied.

        Raises:
            InvalidValueError: If the columns' samples differ in shape, or there is no column.
        """
        return stack({name: self.column(name) for name in names})

    @cached_property
    def sample_uuids(self) -> np.ndarray:
        """An id a sample, shape ``(n_samples,)``, text."""
        return _uuids(self._id_seed, self.n_samples) if self._given_uuids is None else self._given_uuids

    def with_columns(self, columns: Mapping[str, np.ndarray]) -> Table:
        """Return a table with columns added or replaced; a new one stands behind its key's others."""
        merged = self._columns | dict(columns)
        keys = list(dict.fromkeys(Column.parse(name)[:2] for name in merged))
        order = sorted(merged, key=lambda name: keys.index(Column.parse(name)[:2]))
        return self._like({name: merged[name] for name in order})

    def without(self, names: Iterable[str]) -> Table:
        """Return a table without some columns."""
        dropped = set(names)
        return self._like({name: array for name, array in self._columns.items() if name not in dropped})

    def take(self, rows: np.ndarray | slice, columns: Sequence[str]) -> Table:
        """Return a table of some rows and columns; the samples keep their ids."""
        taken = {name: self.column(name)[rows] for name in columns}
        return Table(taken, sample_uuids=self.sample_uuids[rows])

    def _like(self, columns: Mapping[str, np.ndarray]) -> Table:
        return Table(columns, sample_uuids=self._given_uuids, id_seed=self._id_seed)

    def get_state(self) -> dict[str, Any]:
        """Return the arrays and what the ids are made from."""
        return {"columns": dict(self._columns), "sample_uuids": self._given_uuids, "id_seed": self._id_seed}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make a table of what `get_state` returned."""
        return cls(state["columns"], sample_uuids=state["sample_uuids"], id_seed=state["id_seed"])


def stack(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return columns side by side, shape ``(n_samples, n_keys, *key_shape)``; one is not copied.

    Raises:
        InvalidValueError: If the columns' samples differ in shape, or there is no column.
    """
    if not columns:
        raise InvalidValueError("There is no column to stack.")
    if len({array.shape for array in columns.values()}) > 1:
        listed = ", ".join(f"{name} {array.shape[1:]}" for name, array in columns.items())
        raise InvalidValueError(f"Columns of different sample shapes cannot be stacked: {listed}.")
    if len({array.dtype.kind == "U" for array in columns.values()}) > 1:
        listed = ", ".join(f"{name} {array.dtype}" for name, array in columns.items())
        raise InvalidTypeError(f"Text and numbers cannot be stacked: {listed}.")
    arrays = list(columns.values())
    return arrays[0][:, None] if len(arrays) == 1 else np.stack(arrays, axis=1)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fmM"))


def _uuids(seed: int, n: int) -> np.ndarray:
    """Make n version-4 uuids as text, all at once."""
    octets = np.frombuffer(np.random.default_rng(seed).bytes(16 * n), np.uint8).reshape(n, 16).copy()
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(b"0123456789abcdef", "S1")
    nibbles = np.stack([octets >> 4, octets & 0x0F], axis=2).reshape(n, 32)
    text = np.full((n, 36), b"-", "S1")
    text[:, [i for i in range(36) if i not in (8, 13, 18, 23)]] = digits[nibbles]
    return text.reshape(-1).view("S36").astype("U36")
