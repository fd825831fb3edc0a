"""New samples: what comes later than a set was made, as columns that are named as the set's.

They know no scalers and no graph, only names and the table that they are to be like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modularml.base.errors import Faults, InvalidValueError, told_of, unknown_name
from modularml.core.data import interchange
from modularml.core.data.columns import RAW, Column
from modularml.core.data.reader import ColumnReader
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.values import as_column


@dataclass(frozen=True)
class NamedColumns:
    """Columns of whatever names them.

    Attributes:
        names: Their names: keys, with or without domain and representation.
        get: Returns the values of one of them.
    """

    names: tuple[str, ...]
    get: Callable[[str], Any]

    def find(self, column: Column) -> str | None:
        """Return the name by which a column is there, or None; a key alone stands for the raw one."""
        forms = [column.short(domain=domain, rep=True) for domain in (True, False)]
        if column.rep == RAW:
            forms += [column.short(domain=domain, rep=False) for domain in (True, False)]
        return next((form for form in forms if form in self.names), None)


def named(data: Any) -> NamedColumns | None:
    """Return the columns of a mapping, data frame, samples or Arrow; None of what names none."""
    if isinstance(data, ColumnReader):
        return NamedColumns(data.columns, data.column)
    if isinstance(data, Mapping):
        return NamedColumns(tuple(data), data.__getitem__)
    if hasattr(data, "groupby") and hasattr(data, "columns"):
        own = {str(name): name for name in data.columns}
        return NamedColumns(
            tuple(own), lambda name: interchange.from_pandas(data, [own[name]], (), (), ())[own[name]]
        )
    if hasattr(data, "__arrow_c_stream__"):
        columns = interchange.from_arrow(data)
        return NamedColumns(tuple(columns), columns.__getitem__)
    return None


def as_raw(data: Any, table: SampleCollection, keys: Sequence[str], where: str) -> SampleCollection:
    """Return new samples as raw columns of a table; those that are not there are left out.

    Args:
        data: What names its columns, or an array ``(n_samples, ...)`` of some of them side by side.
        table: What they are to be like: its raw columns say which shape each sample has.
        keys: The full names of the raw columns that an array holds, in order.
        where: The place, for messages.

    Raises:
        InvalidValueError: If none of the columns is there, or samples have other shapes than the table's.
        InvalidTypeError: If a column holds what no column may hold.
    """
    faults = Faults(f"New samples for {where}")
    wanted = [c for c in map(Column.parse, table.columns) if c.rep == RAW]
    columns = named(data)
    if columns is None:
        found: dict[Column, Any] = _apart(data, table, keys, where)
    else:
        names = {column: columns.find(column) for column in wanted}
        found = {column: columns.get(name) for column, name in names.items() if name is not None}
        if not found:
            first = next(iter(wanted)).key
            raise InvalidValueError(
                unknown_name("column", first, columns.names, where=f"new samples for {where}")
            )
    ids = data.column("sample_uuids") if isinstance(data, ColumnReader) else None
    made = SampleCollection.from_values(found, faults=faults, sample_uuids=ids)
    for column in found:
        shape, expected = (one.column(str(column)).shape[1:] for one in (made, table))
        if shape != expected:
            faults.add(f"{column.domain} {column.key!r} needs samples of shape {expected}, got {shape}.")
    faults.raise_if_any()
    return made


def _apart(data: Any, table: SampleCollection, keys: Sequence[str], where: str) -> dict[Column, np.ndarray]:
    # A column of objects may hold text and numbers; each key of it is looked at by itself.
    with told_of(f"New samples for {where}"):
        array = data if isinstance(data, np.ndarray) and data.dtype.kind == "O" else as_column(data)
    shapes = {name: table.column(name).shape[1:] for name in keys}
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    n_values = int(np.prod(array.shape[1:]))
    # Of columns of arrays, those of one key lie together: time along the last axis, say, and not before it.
    together = (len(keys), *next(iter(shapes.values())))
    is_turned = array.ndim > 2 and _without_ones(array.shape[1:]) != _without_ones(together)
    if n_values != sum(sizes) or is_turned:
        listed = ", ".join(f"{Column.parse(name).key!r} {shape}" for name, shape in shapes.items())
        are_alike = len(set(shapes.values())) == 1 and len(together) > 1
        stacked = f" or (n, {', '.join(map(str, together))})" if are_alike else ""
        raise InvalidValueError(
            f"New samples for {where} are an array of shape {array.shape}, but the columns {listed} hold "
            f"{sum(sizes)} values a sample: (n, {sum(sizes)}){stacked}."
        )
    parts = np.split(array.reshape(len(array), -1), np.cumsum(sizes)[:-1], axis=1)
    return {
        Column.parse(name): part.reshape(len(array), *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]
