"""Columns from and to pandas, Arrow and whatever speaks Arrow (polars, duckdb, datasets).

It knows no FeatureSet. pandas and pyarrow are optional and imported here only.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError, UnknownNameError, unknown_name


def require(package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ImportError: If it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f'This needs {package}, which is not installed: pip install "modularml-jupyter[data]"',
            name=package,
        ) from error


def to_pandas(columns: Mapping[str, np.ndarray]) -> Any:
    """Return a DataFrame; the samples of an array column become objects."""
    pandas = require("pandas")
    return pandas.DataFrame(
        {name: array if array.ndim == 1 else pandas.Series(list(array)) for name, array in columns.items()}
    )


def from_pandas(
    df: Any, names: Iterable[str], tags: Iterable[str], group_by: Sequence[str], sort_by: Sequence[str]
) -> dict[str, Any]:
    """Return name -> values of some columns of a DataFrame.

    Args:
        df: The DataFrame.
        names: The columns wanted.
        tags: Those among them whose samples become one value a group.
        group_by: Columns; each combination of their values becomes one sample, in the
            order they come. None for a sample a row.
        sort_by: Columns that order the rows of a group.

    Raises:
        InvalidTypeError: If it is no DataFrame.
        UnknownNameError: If it lacks one of the columns.
        InvalidValueError: If groups differ in size, or there is nothing to group.
    """
    if not hasattr(df, "groupby"):
        raise InvalidTypeError(f"A pandas DataFrame is needed, got a {type(df).__name__}; see from_arrow.")
    wanted = list(names)
    faults = Faults("The DataFrame")
    for name in dict.fromkeys((*wanted, *group_by, *sort_by)):
        if name not in df.columns:
            faults.add(UnknownNameError(unknown_name("column", name, df.columns)))
    faults.raise_if_any()
    if not group_by:
        if sort_by:
            raise InvalidValueError("sort_by orders the rows of a group; it needs group_by.")
        return {name: df[name].to_numpy() for name in wanted}
    if sort_by:
        df = df.sort_values(list(sort_by), kind="stable")
    group = df.groupby(list(group_by), sort=False, dropna=False).ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    one_a_group = set(tags)
    return {
        name: _constant(df[name].to_numpy()[order], starts, sizes, name)
        if name in one_a_group
        else _by_group(df[name].to_numpy()[order], sizes, name)
        for name in wanted
    }


def _by_group(values: np.ndarray, sizes: np.ndarray, name: str) -> np.ndarray:
    if (sizes != sizes[0]).any():
        raise InvalidValueError(
            f"The groups have between {sizes.min()} and {sizes.max()} rows, so {name!r} is ragged; "
            "a column needs samples of one shape. Cut or pad the groups first."
        )
    return values.reshape(len(sizes), -1)


def _constant(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray, name: str) -> np.ndarray:
    first = values[starts]
    expected = np.repeat(first, sizes)
    differs = (values != expected) & (
        (values == values) | (expected == expected)
    )  # a missing value is like itself
    if differs.any():
        row = int(np.argmax(differs))
        raise InvalidValueError(
            f"A tag has one value a group, but {name!r} has {values[row - 1]!r} and {values[row]!r} in one."
        )
    return first


def from_numpy(array: Any, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Return key -> values: the whole array for one key, else a column of it for each.

    Raises:
        InvalidValueError: If the array does not have as many columns as there are keys.
    """
    array = np.asarray(array)
    if len(keys) == 1:
        return {keys[0]: array}
    if array.ndim < 2 or array.shape[1] != len(keys):
        raise InvalidValueError(
            f"An array of shape {array.shape} has no column for each of the {len(keys)} keys {list(keys)}."
        )
    return {key: np.ascontiguousarray(array[:, i]) for i, key in enumerate(keys)}


def to_arrow(columns: Mapping[str, np.ndarray]) -> Any:
    """Return a pyarrow Table; the samples of an array column become fixed-size lists."""
    arrow = require("pyarrow")

    def nest(array: np.ndarray) -> Any:
        nested = arrow.array(array.reshape(-1))
        for size in reversed(array.shape[1:]):
            nested = arrow.FixedSizeListArray.from_arrays(nested, size)
        return nested

    return arrow.table({name: nest(array) for name, array in columns.items()})


def from_arrow(data: Any) -> dict[str, Any]:
    """Return name -> values of everything that has ``__arrow_c_stream__``.

    Raises:
        InvalidTypeError: If it has not.
        InvalidValueError: If the lists of a column differ in length.
    """
    arrow = require("pyarrow")
    if not isinstance(data, arrow.Table):
        if not hasattr(data, "__arrow_c_stream__"):
            raise InvalidTypeError(
                "Something that speaks Arrow is needed (it has __arrow_c_stream__), "
                f"got a {type(data).__name__}."
            )
        data = arrow.table(data)
    return {name: _unnest(data.column(name).combine_chunks(), name) for name in data.column_names}


def _unnest(array: Any, name: str) -> np.ndarray:
    types = require("pyarrow").types
    if not any(
        is_list(array.type) for is_list in (types.is_list, types.is_large_list, types.is_fixed_size_list)
    ):
        return array.to_numpy(zero_copy_only=False)
    lengths = require("pyarrow.compute").list_value_length(array)
    if lengths.null_count or len(lengths.unique()) > 1:
        raise InvalidValueError(
            f"The lists of {name!r} differ in length or are missing; a column needs samples of one shape."
        )
    inner = _unnest(array.flatten(), name)
    return inner.reshape(len(array), -1, *inner.shape[1:])
