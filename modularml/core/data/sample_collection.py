"""A collection of samples: one contiguous array a column, and an id a sample.

It knows no views, splits or scalers. A collection never changes; adding a column makes a
new one that shares all arrays with the old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from modularml.base.errors import Faults, ModularMLError
from modularml.base.rows import new_seed
from modularml.core.data import columns as names
from modularml.core.data import interchange
from modularml.core.data.columns import SAMPLE_UUIDS, TAGS, Column
from modularml.core.data.reader import ColumnReader
from modularml.core.data.table import stack
from modularml.core.data.values import as_column


class SampleCollection(ColumnReader):
    """Columns of equal length.

    Args:
        table: Full column name, ``<domain>.<key>.<rep>`` -> values with one element a sample,
            or anything that speaks Arrow and has such columns. A column ``sample_uuids``
            holds one id a sample; else ids are made when asked for. Arrays are kept as
            they are, not copied.

    Raises:
        InvalidValueError: If a column is misnamed, empty or ragged, or columns differ in length.
        InvalidTypeError: If a column holds what its domain may not hold.

    Example:
        >>> SampleCollection({"features.x.raw": [1.0, 2.0], "tags.cell.raw": ["a", "b"]})
        SampleCollection(n_samples=2, columns=['features.x.raw', 'tags.cell.raw'])
    """

    _columns: dict[str, np.ndarray]
    _given_uuids: np.ndarray | None
    _id_seed: int

    def __init__(self, table: Any) -> None:
        values = dict(table) if isinstance(table, Mapping) else interchange.from_arrow(table)
        uuids = values.pop(SAMPLE_UUIDS, None)
        faults = Faults("SampleCollection")
        parsed = {faults.attempt(Column.parse, name): given for name, given in values.items()}
        checked = type(self).from_values(
            {column: given for column, given in parsed.items() if column is not None},
            faults=faults,
            sample_uuids=None if uuids is None else np.asarray(uuids, str),
        )
        vars(self).update(vars(checked))

    @classmethod
    def of_arrays(
        cls,
        columns: Mapping[str, np.ndarray],
        *,
        sample_uuids: np.ndarray | None = None,
        id_seed: int | None = None,
    ) -> Self:
        """Make a collection of arrays that are known to be clean.

        Args:
            columns: Full column name -> array of shape ``(n_samples, *sample_shape)``.
            sample_uuids: One id a sample, shape ``(n_samples,)``; None makes them when asked for.
            id_seed: Decides the ids that are made; None draws one.
        """
        made = cls.__new__(cls)
        made._columns = dict(columns)
        made._given_uuids = sample_uuids
        made._id_seed = new_seed() if id_seed is None else id_seed
        return made

    @classmethod
    def from_values(
        cls, values: Mapping[Column, Any], *, faults: Faults, sample_uuids: np.ndarray | None = None
    ) -> Self:
        """Make a collection of arrays, lists or tensors, and tell all faults together.

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
        return cls.of_arrays(columns, sample_uuids=sample_uuids)

    @property
    def table(self) -> Self:
        """This collection itself."""
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The full names, in order."""
        return tuple(self._columns)

    @property
    def n_samples(self) -> int:
        """How many rows there are."""
        return next((len(array) for array in self._columns.values()), 0)

    @property
    def _index(self) -> slice:
        return slice(None)

    @property
    def _where(self) -> str:
        return "this collection"

    def __repr__(self) -> str:
        return f"SampleCollection(n_samples={self.n_samples}, columns={list(self._columns)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SampleCollection):
            return NotImplemented
        return self.columns == other.columns and all(
            _same(array, other.column(name)) for name, array in self._columns.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str) -> np.ndarray:
        """Return a column, shape ``(n_samples, *sample_shape)``, not copied; see `ColumnReader`."""
        if name == SAMPLE_UUIDS:
            return self.sample_uuids
        full = name if name in self._columns else names.one(name, self.columns, where=self._where)
        return self._columns[full]

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

    def with_columns(self, columns: Mapping[str, np.ndarray]) -> Self:
        """Return a collection with columns added or replaced; a new one stands behind its key's others."""
        merged = self._columns | dict(columns)
        keys = list(dict.fromkeys(Column.parse(name)[:2] for name in merged))
        order = sorted(merged, key=lambda name: keys.index(Column.parse(name)[:2]))
        return self._like({name: merged[name] for name in order})

    def without(self, names: Iterable[str]) -> Self:
        """Return a collection without some columns."""
        dropped = set(names)
        return self._like({name: array for name, array in self._columns.items() if name not in dropped})

    def take(self, rows: np.ndarray | slice, columns: Sequence[str]) -> Self:
        """Return a collection of some rows and columns; the samples keep their ids."""
        taken = {name: self.column(name)[rows] for name in columns}
        return type(self).of_arrays(taken, sample_uuids=self.sample_uuids[rows])

    def _like(self, columns: Mapping[str, np.ndarray]) -> Self:
        return type(self).of_arrays(columns, sample_uuids=self._given_uuids, id_seed=self._id_seed)

    def get_state(self) -> dict[str, Any]:
        """Return the arrays and what the ids are made from."""
        return {"columns": dict(self._columns), "sample_uuids": self._given_uuids, "id_seed": self._id_seed}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make a collection of what `get_state` returned."""
        return cls.of_arrays(state["columns"], sample_uuids=state["sample_uuids"], id_seed=state["id_seed"])


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
