"""A collection of samples: one contiguous array a column, and an id a sample.

It knows no views, splits or scalers. A collection never changes; adding a column makes a
new one that shares all arrays with the old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError, ModularMLError, told_of
from modularml.base.keywords import checked_keywords
from modularml.base.rows import is_missing, new_seed
from modularml.core.data import columns as names
from modularml.core.data import interchange
from modularml.core.data.columns import RAW, SAMPLE_UUIDS, TAGS, Column
from modularml.core.data.reader import ColumnReader, Selector
from modularml.core.data.table import stack
from modularml.core.data.values import as_column

_CHUNK_BYTES = 1 << 18  # what is compared at once stays in the cache


@checked_keywords
class SampleCollection(ColumnReader):
    """Columns of equal length.

    Args:
        table: Full column name, ``<domain>.<key>.<rep>`` -> values with one element a sample,
            or anything that speaks Arrow and has such columns. A column ``sample_uuids``
            holds one id a sample; else ids are made when asked for. Arrays are kept as
            they are, not copied.
        schema: A pyarrow schema that an Arrow table is cast to.

    Raises:
        InvalidValueError: If a column is misnamed, empty or ragged, columns differ in length, or ids
            are missing.
        InvalidTypeError: If a column holds what its domain may not hold.

    Example:
        >>> SampleCollection({"features.x.raw": [1.0, 2.0], "tags.cell.raw": ["a", "b"]})
        SampleCollection(n_samples=2, columns=['features.x.raw', 'tags.cell.raw'])
    """

    _columns: dict[str, np.ndarray]
    _given_uuids: np.ndarray | None
    _id_seed: int

    def __init__(self, table: Any, schema: Any = None) -> None:
        is_arrow = not isinstance(table, Mapping)
        if schema is not None and not is_arrow:
            raise InvalidTypeError("A schema is for Arrow tables; the arrays of a dict have their dtypes.")
        values = interchange.from_arrow(table, schema) if is_arrow else dict(table)
        uuids = values.pop(SAMPLE_UUIDS, None)
        faults = Faults("SampleCollection")
        parsed = {faults.attempt(Column.parse, name): given for name, given in values.items()}
        checked = type(self).from_values(
            {column: given for column, given in parsed.items() if column is not None},
            faults=faults,
            sample_uuids=None if uuids is None else faults.attempt(_as_ids, uuids),
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
                columns[str(column)] = as_column(given)
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
        """Return the array of a column itself, shape ``(n_samples, *sample_shape)``; see `ColumnReader`."""
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
        return _as_text(self._octets) if self._given_uuids is None else self._given_uuids

    def ids(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the ids of some rows, shape ``(n_rows,)``, text; none of others is made."""
        if self._given_uuids is None and "sample_uuids" not in vars(self):
            return _as_text(self._octets[rows])
        return self.sample_uuids[rows]

    @cached_property
    def _octets(self) -> np.ndarray:
        return _uuids(self._id_seed, self.n_samples)

    @property
    def available_domains(self) -> list[str]:
        """The domains that have columns."""
        return list(dict.fromkeys(Column.parse(name).domain for name in self._columns))

    @property
    def has_tags(self) -> bool:
        """Whether there are tags."""
        return TAGS in self.available_domains

    def select(
        self,
        columns: Selector = None,
        *,
        features: Selector = None,
        targets: Selector = None,
        tags: Selector = None,
        rep: str | None = None,
    ) -> Self:
        """Return a collection of some columns; selectors are those of ``FeatureSet.select``.

        Raises:
            UnknownColumnError: If a selector matches nothing.
        """
        return self.without(set(self._columns) - set(self._picked(columns, features, targets, tags, rep)))

    def to_dict(self) -> dict[str, np.ndarray]:
        """Return full column name -> values, read-only."""
        columns: dict[str, np.ndarray] = self.get_data()
        return columns

    def add_rep(self, domain: str, key: str, rep: str, data: Any, *, overwrite: bool = False) -> Self:
        """Return a collection in which a key has one more representation.

        Args:
            domain: Its domain.
            key: A key that is there.
            rep: ``"raw" | "transformed"``.
            data: Values with one element a sample.
            overwrite: Whether a representation that is there is replaced.

        Raises:
            InvalidValueError: If the representation is there, or unknown, or `data` has samples
                more or fewer.
            UnknownColumnError: If there is no such key.
        """
        names.check_rep(rep)
        names.match(f"{key}.*", self.columns, domain=domain, where=self._where)
        column = Column(domain, key, rep)
        if str(column) in self._columns and not overwrite:
            raise InvalidValueError(f"{column!s} is there already; pass overwrite=True to replace it.")
        faults = Faults("SampleCollection")
        values = type(self).from_values({column: data}, faults=faults).column(str(column))
        if len(values) != self.n_samples:
            raise InvalidValueError(f"{column!s} needs {self.n_samples} samples, got {len(values)}.")
        return self.with_columns({str(column): values})

    def delete_rep(self, domain: str, key: str, rep: str) -> Self:
        """Return a collection without a representation of a key.

        Raises:
            UnknownColumnError: If it is not there.
            InvalidValueError: If there is no other column.
        """
        name = names.one(f"{domain}.{key}.{rep}", self.columns, where=self._where)
        if len(self._columns) == 1:
            raise InvalidValueError(f"{name} is the only column; a collection without any has no samples.")
        return self.without([name])

    def copy(self, *, raw_only: bool = False, deep: bool = False) -> Self:
        """Return a collection of the same samples.

        Args:
            raw_only: Whether transformed columns are left out.
            deep: Whether it has arrays of its own.
        """
        kept = {n: a for n, a in self._columns.items() if not raw_only or Column.parse(n).rep == RAW}
        return self._like({name: array.copy() for name, array in kept.items()} if deep else kept)

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write columns and ids to an Arrow IPC file, which others can read, and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
            ImportError: If pyarrow is not installed.
        """
        return interchange.write_arrow(filepath, self.to_arrow(), overwrite=overwrite)

    @classmethod
    def load(cls, filepath: str | Path) -> Self:
        """Read what `save` wrote; numbers are mapped into memory, read-only.

        Raises:
            FileFormatError: If it is no Arrow IPC file.
            FileNotFoundError: If it is not there.
        """
        return cls(interchange.read_arrow(filepath))

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
        return type(self).of_arrays(taken, sample_uuids=self.ids(rows))

    def _like(self, columns: Mapping[str, np.ndarray]) -> Self:
        return type(self).of_arrays(columns, sample_uuids=self._given_uuids, id_seed=self._id_seed)

    def get_state(self) -> dict[str, Any]:
        """Return the arrays and what the ids are made from."""
        return {"columns": dict(self._columns), "sample_uuids": self._given_uuids, "id_seed": self._id_seed}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make a collection of what `get_state` returned."""
        return cls.of_arrays(state["columns"], sample_uuids=state["sample_uuids"], id_seed=state["id_seed"])


def _as_ids(given: Any) -> np.ndarray:
    with told_of(SAMPLE_UUIDS):
        ids = as_column(given)
        if ids.ndim > 1 or is_missing(ids).any():
            raise InvalidValueError("each sample needs one id, and none may be missing")
    return ids.astype(str)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if a is b or a.dtype != b.dtype or a.shape != b.shape:
        return a is b
    step = max(1, _CHUNK_BYTES // max(1, a[:1].nbytes))
    has_nan = a.dtype.kind in "fmM"
    parts = ((a[i : i + step], b[i : i + step]) for i in range(0, len(a), step))
    return all(np.array_equal(x, y) or (has_nan and np.array_equal(x, y, equal_nan=True)) for x, y in parts)


def _uuids(seed: int, n: int) -> np.ndarray:
    """Make n version-4 uuids, all at once, as numbers of shape ``(n, 16)``."""
    octets = np.frombuffer(np.random.default_rng(seed).bytes(16 * n), np.uint8).reshape(n, 16).copy()
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    return octets


def _as_text(octets: np.ndarray) -> np.ndarray:
    n = len(octets)
    digits = np.frombuffer(b"0123456789abcdef", "S1")
    nibbles = np.stack([octets >> 4, octets & 0x0F], axis=2).reshape(n, 32)
    text = np.full((n, 36), b"-", "S1")
    text[:, [i for i in range(36) if i not in (8, 13, 18, 23)]] = digits[nibbles]
    return text.reshape(-1).view("S36").astype("U36")
