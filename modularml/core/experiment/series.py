"""Values by coordinates, such as a loss by epoch, batch and label, to be picked, grouped and drawn.

It knows no phase and no recording: it is given columns of coordinates and one column of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np

from modularml.base.errors import InvalidValueError, UnknownNameError, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.base.optional import optional
from modularml.core.data.batch import SampleData
from modularml.core.data.formats import DataFormat, concatenate, convert
from modularml.display.card import card, table
from modularml.display.figures import format_value
from modularml.display.text_table import text_table

T = TypeVar("T")

Reducer = str | Callable[[Sequence[Any]], Any]

_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "mean": lambda values, weights: np.average(np.asarray(values), axis=0, weights=weights),
    "sum": lambda values, _: np.sum(np.asarray(values), axis=0),
    "min": lambda values, _: np.min(np.asarray(values), axis=0),
    "max": lambda values, _: np.max(np.asarray(values), axis=0),
    "std": lambda values, _: np.std(np.asarray(values), axis=0),
    "first": lambda values, _: values[0],
    "last": lambda values, _: values[-1],
    "concat": lambda values, _: concatenate(values),
}


_MOST_PRINTED = 20
"""How many rows a printed table has."""


@checked_keywords
class AxisSeries(Generic[T]):
    """Values in order, each at one coordinate on every axis.

    A key is the coordinates in the order of the axes; where there is one axis, the
    coordinate itself. ``series[key]`` is a value, and the first coordinates alone give the
    values of all that have them: ``results.metrics()["val_loss"]``.

    Args:
        coordinates: Axis -> the coordinate of each value, ``(n,)``.
        values: The values: numbers as an array ``(n,)``, or a list of anything.
        weights: How much each counts in a mean, ``(n,)``; None where all count alike.
        where: The words for the series in messages.
        apart: A sentence for messages about what one may look for in it, and is elsewhere.
    """

    def __init__(
        self,
        coordinates: Mapping[str, Any],
        values: np.ndarray | Sequence[T],
        *,
        weights: np.ndarray | None = None,
        where: str = "the series",
        apart: str = "",
    ) -> None:
        self._coordinates = {axis: _column(column) for axis, column in coordinates.items()}
        self._values, self._weights, self._where, self._apart = values, weights, where, apart

    @classmethod
    def gathered(cls, axis: str, parts: Mapping[str, Any], *, where: str = "the series") -> AxisSeries[Any]:
        """Return values by their names on an axis; of series, that axis comes before their own.

        Raises:
            InvalidValueError: If some are series and others not, or their axes differ.
        """
        names, found = list(parts), list(parts.values())
        kinds = {one.axes if isinstance(one, AxisSeries) else None for one in found}
        if kinds <= {None}:
            return cls({axis: names}, np.array(found) if _are_numbers(found) else found, where=where)
        if len(kinds) > 1:
            told = {name: getattr(one, "axes", type(one).__name__) for name, one in parts.items()}
            raise InvalidValueError(f"{where} cannot be put together: {told}.")
        columns = {axis: _column([name for name, one in parts.items() for _ in range(len(one))])}
        for own in found[0].axes:
            columns[own] = np.concatenate([one._coordinates[own] for one in found])
        arrays = [one.values() for one in found]
        are_arrays = all(isinstance(array, np.ndarray) for array in arrays)
        values = np.concatenate(arrays) if are_arrays else [value for array in arrays for value in array]
        weights = [one._weights for one in found]
        counted = None if any(of is None for of in weights) else np.concatenate(weights)
        return cls(columns, values, weights=counted, where=where)

    # -- what is in it ---------------------------------------------------------------

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes."""
        return tuple(self._coordinates)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many different coordinates each axis has."""
        return tuple(len(self.axis_values(axis)) for axis in self.axes)

    @property
    def data(self) -> dict[Any, T]:
        """Every value by its key."""
        return dict(self.items())

    def axis_values(self, axis: str) -> list[Any]:
        """Return the different coordinates of an axis, in order of their first appearance.

        Raises:
            UnknownNameError: If there is no such axis.
        """
        return list(dict.fromkeys(self._axis(axis).tolist()))

    def axes_values(self) -> dict[str, list[Any]]:
        """Return the different coordinates of every axis."""
        return {axis: self.axis_values(axis) for axis in self.axes}

    def keys(self) -> list[Any]:
        """Return the key of each value."""
        columns = [column.tolist() for column in self._coordinates.values()]
        return list(columns[0]) if len(columns) == 1 else list(zip(*columns, strict=True))

    def values(self) -> Any:
        """Return the values: numbers as an array of shape ``(n,)``, all else as a list."""
        return self._values if isinstance(self._values, np.ndarray) else list(self._values)

    def items(self) -> Iterator[tuple[Any, T]]:
        """Iterate over ``(key, value)``."""
        values = self._values.tolist() if isinstance(self._values, np.ndarray) else self._values
        return zip(self.keys(), values, strict=True)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return bool(self._begins_with(key).any())

    def __getitem__(self, key: Any) -> Any:
        found = self._begins_with(key)
        if not found.any():
            raise UnknownNameError(self._absence(key))
        if len(_as_tuple(key)) == len(self.axes):
            return self._taken(found).one()
        return self._taken(found).values()

    def _absence(self, key: Any) -> str:
        """Say which part of a key is not there, and the nearest one that is."""
        parts = dict(zip(self.axes, _as_tuple(key), strict=False))
        for axis, part in parts.items():
            if not _matches(self._axis(axis), part).any():
                told = unknown_name(axis, part, map(str, self.axis_values(axis)), where=self._where)
                return told + self._apart
        if len(_as_tuple(key)) > len(self.axes):
            return f"{self._where} has the axes {self.axes}, got the key {key!r}."
        return f"{self._where} has nothing at {parts}."

    def __float__(self) -> float:
        value: Any = self.one()
        return float(value)

    def _ipython_key_completions_(self) -> list[Any]:
        return self.axis_values(self.axes[0])

    def __repr__(self) -> str:
        shape = ", ".join(f"{axis}={n}" for axis, n in zip(self.axes, self.shape, strict=True))
        return f"AxisSeries({shape}; {len(self)} values)"

    def __str__(self) -> str:
        return (
            "\n".join([repr(self), text_table(*self._table(), max_rows=_MOST_PRINTED)])
            if len(self)
            else repr(self)
        )

    def _repr_html_(self) -> str | None:
        if not len(self) or not isinstance(self._values, np.ndarray):
            return None
        heads, rows = self._table()
        half = _MOST_PRINTED // 2
        some = rows if len(rows) <= _MOST_PRINTED else [*rows[:half], ["…"] * len(heads), *rows[-half:]]
        told = repr(self).removeprefix("AxisSeries(").removesuffix(")")
        return str(card("AxisSeries", None, table(heads, some), note=told))

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Return heads and rows: a column for each name or label, where there is an axis of them."""
        across = next((axis for axis in self.axes if axis in ("name", "label") and len(self.axes) > 1), None)
        down = [axis for axis in self.axes if axis != across]
        down = [axis for axis in down if len(self.axis_values(axis)) > 1] or down[:1]
        heads = ["value"] if across is None else [str(value) for value in self.axis_values(across)]
        names = ["value"] * len(self) if across is None else [str(value) for value in self._axis(across)]
        rows: dict[tuple[Any, ...], dict[str, str]] = {}
        places = zip(*(self._axis(axis).tolist() for axis in down), strict=True)
        for place, name, value in zip(places, names, self.values(), strict=True):
            told = format_value(float(value)) if isinstance(value, int | float | np.number) else repr(value)
            rows.setdefault(place, {})[name] = told
        right = ">" if isinstance(self._values, np.ndarray) else ""
        cells = [[*map(str, place), *(of.get(head, "") for head in heads)] for place, of in rows.items()]
        return [*(f">{axis}" for axis in down), *(f"{right}{head}" for head in heads)], cells

    # -- picking ---------------------------------------------------------------------

    def where(self, **wanted: Any) -> Self:
        """Return the values at some coordinates, with all axes.

        Args:
            **wanted: Axis -> a coordinate, a list of them, or a function that says which.

        Raises:
            UnknownNameError: If there is no such axis.
        """
        found = np.ones(len(self), bool)
        for axis, value in wanted.items():
            found &= _matches(self._axis(axis), value)
        return self._taken(found)

    def select(self, **wanted: Any) -> Self:
        """Return the values at some coordinates, without the axes that one coordinate was given for.

        Raises:
            UnknownNameError: If there is no such axis, or nothing is there.
        """
        found = self.where(**wanted)
        if not len(found):
            for axis, value in wanted.items():
                if not _matches(self._axis(axis), value).any():
                    known = self.axis_values(axis)
                    raise UnknownNameError(unknown_name(axis, value, known, where=self._where))
            raise UnknownNameError(f"{self._where} has nothing at {wanted}.")
        return found._without([axis for axis, value in wanted.items() if _is_single(value)])

    def at(self, **wanted: Any) -> T:
        """Return the value at one coordinate of every axis; axes with one coordinate may be left out.

        Raises:
            UnknownNameError: If there is no such axis, or nothing is there.
            InvalidValueError: If that leaves several values.
        """
        return self.select(**wanted).one()

    def one(self) -> T:
        """Return the only value.

        Raises:
            InvalidValueError: If there are several, or none.
        """
        if len(self) != 1:
            hint = " Take one of them: .last(), or .at(...)." if len(self) else ""
            raise InvalidValueError(f"{self._where} has {len(self)} values here, not one: {self!r}.{hint}")
        return self.first()

    def first(self, sort_by: str | None = None) -> T:
        """Return the first value, or the one with the least coordinate on an axis."""
        return self._value_at(0, sort_by)

    def last(self, sort_by: str | None = None) -> T:
        """Return the last value, or the one with the greatest coordinate on an axis."""
        return self._value_at(-1, sort_by)

    def squeeze(self) -> Self:
        """Return the same without the axes that have one coordinate; the last axis stays."""
        single = [axis for axis, n in zip(self.axes, self.shape, strict=True) if n == 1]
        return self._without(single if len(single) < len(self.axes) else single[:-1])

    def mean(self) -> Any:
        """Return the mean of all values; of losses it is over samples."""
        return self._of_all("mean")

    def sum(self) -> Any:
        """Return the sum of all values."""
        return self._of_all("sum")

    def concat(self) -> Any:
        """Return the arrays or tensors of all values, one behind the other."""
        return self._of_all("concat")

    def _of_all(self, reducer: str) -> Any:
        if not len(self):
            raise InvalidValueError(f"{self._where} has no values here.")
        reduced = self._reduced(np.arange(len(self)), reducer)
        return reduced.item() if isinstance(reduced, np.generic) else reduced

    def to_format(self, fmt: str | DataFormat) -> AxisSeries[Any]:
        """Return the same series with its arrays, or the samples of its batches, in a format.

        Raises:
            InvalidValueError: If the format is unknown.
        """
        given: list[Any] = [
            value.to_format(fmt) if isinstance(value, SampleData) else convert(value, fmt)
            for value in self._values
        ]
        return type(self)(self._coordinates, given, weights=self._weights, where=self._where)

    def collapse(self, axis: str, reducer: Reducer = "mean") -> AxisSeries[Any]:
        """Return the series without an axis: what differs on it alone becomes one value.

        Args:
            axis: The axis to lose.
            reducer: ``"mean"`` (of losses: over samples), ``"sum"``, ``"min"``, ``"max"``, ``"std"``,
                ``"first"``, ``"last"``, ``"concat"`` (of arrays), or a function of a list of values.

        Raises:
            UnknownNameError: If there is no such axis or reducer.
            InvalidValueError: If it is the only axis; reduce `values` instead.
        """
        self._axis(axis)
        if len(self.axes) == 1:
            raise InvalidValueError(f"{axis!r} is the only axis; reduce series.values() instead.")
        if not callable(reducer) and reducer not in _REDUCERS:
            raise UnknownNameError(unknown_name("reducer", reducer, _REDUCERS))
        rest = {name: column for name, column in self._coordinates.items() if name != axis}
        groups = _groups(list(rest.values()))
        reduced = [self._reduced(group, reducer) for group in groups]
        weights = None
        if self._weights is not None:
            weights = np.array([self._weights[group].sum() for group in groups])
        leaders = np.array([group[0] for group in groups], dtype=np.intp)
        coordinates = {name: column[leaders] for name, column in rest.items()}
        values = np.array(reduced) if _are_numbers(reduced) else reduced
        return type(self)(coordinates, values, weights=weights, where=self._where)

    def _reduced(self, group: np.ndarray, reducer: Reducer) -> Any:
        values = _picked(self._values, group)
        if callable(reducer):
            return reducer(values)
        return _REDUCERS[reducer](values, None if self._weights is None else self._weights[group])

    # -- looking ---------------------------------------------------------------------

    def to_pandas(self) -> Any:
        """Return a data frame with a column for each axis and one named ``value``.

        Raises:
            ImportError: If pandas is not installed.
        """
        pandas = optional("pandas", "data", f"to_pandas() of {self._where}")
        values = self._values.tolist() if isinstance(self._values, np.ndarray) else list(self._values)
        columns = {axis: column.tolist() for axis, column in self._coordinates.items()}
        return pandas.DataFrame({**columns, "value": values})

    def _axis(self, axis: str) -> np.ndarray:
        if axis not in self._coordinates:
            raise UnknownNameError(unknown_name("axis", axis, self.axes, where=self._where))
        return self._coordinates[axis]

    def _begins_with(self, key: Any) -> np.ndarray:
        parts = _as_tuple(key)
        found = np.full(len(self), len(parts) <= len(self.axes))
        for column, part in zip(self._coordinates.values(), parts, strict=False):
            found &= _matches(column, part)
        return found

    def _taken(self, found: np.ndarray) -> Self:
        index = np.flatnonzero(found)
        coordinates = {axis: column[index] for axis, column in self._coordinates.items()}
        weights = None if self._weights is None else self._weights[index]
        return type(self)(coordinates, _picked(self._values, index), weights=weights, where=self._where)

    def _without(self, axes: Sequence[str]) -> Self:
        rest = {axis: column for axis, column in self._coordinates.items() if axis not in axes}
        kept = rest or dict(list(self._coordinates.items())[:1])
        return type(self)(kept, self._values, weights=self._weights, where=self._where)

    def _value_at(self, place: int, sort_by: str | None) -> T:
        if not len(self):
            raise InvalidValueError(f"{self._where} has no values here.")
        if sort_by is not None:
            place = int(np.argsort(self._axis(sort_by), kind="stable")[place])
        values: Any = self._values
        value: T = values[place].item() if isinstance(values, np.ndarray) else values[place]
        return value


def _column(values: Any) -> np.ndarray:
    """Return coordinates as an array; whole numbers compactly, all else as they are."""
    if isinstance(values, np.ndarray):
        return values
    if all(type(value) is int for value in values):
        return np.array(values, dtype=np.int64)
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _as_tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _is_single(wanted: Any) -> bool:
    return isinstance(wanted, str) or not (callable(wanted) or np.iterable(wanted))


def _matches(column: np.ndarray, wanted: Any) -> np.ndarray:
    if callable(wanted):
        return np.array([bool(wanted(value)) for value in column.tolist()], bool)
    allowed = [wanted] if _is_single(wanted) else list(wanted)
    return np.array([value in allowed for value in column.tolist()], bool)


def _picked(values: Any, index: np.ndarray) -> Any:
    return values[index] if isinstance(values, np.ndarray) else [values[i] for i in index.tolist()]


def _groups(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the positions that have the same coordinates, in order of the first of each."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, key in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        groups.setdefault(key, []).append(i)
    return [np.array(group, dtype=np.intp) for group in groups.values()]


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float | np.number) for value in values)
