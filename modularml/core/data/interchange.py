"""Columns from and to pandas, Arrow and whatever speaks Arrow (polars, duckdb, datasets).

It knows no FeatureSet. pandas and pyarrow are optional, and imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modularml.base.errors import (
    Faults,
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    UnknownNameError,
    unknown_name,
)
from modularml.base.optional import optional
from modularml.base.rows import as_names
from modularml.io.writing import writing


def require(package: str) -> Any:
    """Return a package of the extra ``data``, or a module of it; raises as `optional` does."""
    return optional(package, "data", "This")


def to_pandas(columns: Mapping[str, np.ndarray]) -> Any:
    """Return a DataFrame; the samples of an array column become objects, empty text is missing."""
    pandas = require("pandas")

    def series(array: np.ndarray) -> Any:
        if array.ndim > 1:
            return pandas.Series(list(array))
        return pandas.Series(array).where(array != "", None) if array.dtype.kind == "U" else array

    return pandas.DataFrame({name: series(array) for name, array in columns.items()})


def column_names(value: Any, what: str) -> tuple[str, ...]:
    """Return the columns that are named, as a tuple.

    Raises:
        InvalidTypeError: If one is not named by text, as a DataFrame's columns may be, and a column here is.
    """
    try:
        return as_names(value, what)
    except InvalidTypeError as error:
        raise InvalidTypeError(f"{error} df.rename(columns=str) makes names of numbers.") from None


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
        InvalidValueError: If it has several of a name, groups differ in size, or there is nothing
            to group.
    """
    if not (hasattr(df, "groupby") and hasattr(df, "columns")):
        got = f"{type(df).__module__}.{type(df).__name__}"
        raise InvalidTypeError(f"A pandas DataFrame is needed, got a {got}; see from_arrow.")
    wanted = list(names)
    _check_columns(df, dict.fromkeys((*wanted, *group_by, *sort_by)))
    if sort_by and not group_by:
        raise InvalidValueError("sort_by orders the rows of a group; it needs group_by.")
    if not group_by or not len(df):
        return {name: _to_numpy(df[name]) for name in wanted}
    if sort_by:
        df = df.sort_values(list(sort_by), kind="stable")
    group = df.groupby(list(group_by), sort=False, dropna=False, observed=True).ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    if set(tags) < set(wanted):
        _check_sizes(sizes, df.iloc[order[starts]], group_by)
    one_a_group = set(tags)
    return {
        name: _distinct(_to_numpy(df[name])[order], starts, sizes, name)
        if name in one_a_group
        else _to_numpy(df[name])[order].reshape(len(sizes), -1)
        for name in wanted
    }


def _check_columns(df: Any, names: Iterable[str]) -> None:
    faults = Faults("The DataFrame")
    for name in names:
        if name not in df.columns:
            told = unknown_name("column", name, df.columns)
            told += " It is in its index: pass df.reset_index()." if name in df.index.names else ""
            faults.add(UnknownNameError(told))
        elif df[name].ndim > 1:
            faults.add(f"{df[name].shape[1]} columns are named {name!r}; a name must stand for one")
    faults.raise_if_any()


def _check_sizes(sizes: np.ndarray, firsts: Any, group_by: Sequence[str]) -> None:
    """Check that all groups have as many rows.

    Args:
        sizes: How many each has.
        firsts: The first row of each.
        group_by: What tells the groups apart.
    """
    if (sizes == sizes[:1]).all():
        return
    usual = np.bincount(sizes).argmax()
    other = int(np.flatnonzero(sizes != usual)[0])
    which = ", ".join(f"{name}={firsts[name].iloc[other]}" for name in group_by)
    raise InvalidValueError(
        f"The groups have between {sizes.min()} and {sizes.max()} rows (most {usual}, {which} has "
        f"{sizes[other]}), but samples need one shape. Cut or pad the groups first."
    )


def _to_numpy(series: Any) -> np.ndarray:
    """Return a column of a DataFrame, in which categories are values and dates those of UTC."""
    if hasattr(series, "cat"):
        return _coded(series.cat.categories.tolist(), series.cat.codes.to_numpy())
    if isinstance(series.dtype, require("pandas").StringDtype):
        text: np.ndarray = series.fillna("").to_numpy(object).astype(str)
        return text
    if hasattr(series, "dt") and getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert(None)
    values: np.ndarray = series.to_numpy()
    return values


def _distinct(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray, name: str) -> np.ndarray:
    """Return the one value of each group, or the distinct ones where every group has as many."""
    first = values[starts]
    if isinstance(first[0], list | tuple | np.ndarray):
        raise InvalidValueError(f"The cells of {name!r} hold arrays, but a tag has one value a group.")
    expected = np.repeat(first, sizes)
    differs = (values != expected) & (
        (values == values) | (expected == expected)
    )  # a missing value is like itself
    if not differs.any():
        return first
    groups = np.split(values, starts[1:])
    distinct = [list(dict.fromkeys(group.tolist())) for group in groups]
    counts = {len(of_group) for of_group in distinct}
    if len(counts) > 1:
        raise InvalidValueError(
            f"A tag has one value a group, or as many in each, but {name!r} has between {min(counts)} and "
            f"{max(counts)}. Leave it out, or add it to group_by."
        )
    return np.array(distinct, None if values.dtype.kind == "O" else values.dtype)


def from_numpy(array: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Return key -> values: the whole array for one key, else a column of it for each.

    Raises:
        InvalidValueError: If the array does not have as many columns as there are keys.
    """
    if len(keys) == 1:
        return {keys[0]: array}
    array = np.asarray(array)
    if array.ndim < 2 or array.shape[1] != len(keys):
        raise InvalidValueError(
            f"An array of shape {array.shape} has no column for each of the {len(keys)} keys {list(keys)}."
        )
    return {key: np.ascontiguousarray(array[:, i]) for i, key in enumerate(keys)}


def to_arrow(columns: Mapping[str, np.ndarray]) -> Any:
    """Return a pyarrow Table; the samples of an array column become fixed-size lists, empty text null."""
    arrow = require("pyarrow")

    def nest(array: np.ndarray) -> Any:
        flat = array.reshape(-1)
        nested = arrow.array(flat, mask=flat == "") if flat.dtype.kind == "U" else arrow.array(flat)
        for size in reversed(array.shape[1:]):
            nested = arrow.FixedSizeListArray.from_arrays(nested, size)
        return nested

    return arrow.table({name: nest(array) for name, array in columns.items()})


def from_arrow(data: Any, schema: Any = None) -> dict[str, Any]:
    """Return name -> values of everything that has ``__arrow_c_stream__``, and of `datasets`.

    Args:
        data: The columns.
        schema: A pyarrow schema that they are cast to; None leaves them as they are.

    Raises:
        InvalidTypeError: If it does not speak Arrow.
        InvalidValueError: If the lists of a column differ in length, two columns bear one name, or it
            cannot be cast.
    """
    table = _table(data)
    doubled = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if doubled:
        raise InvalidValueError(f"The table has several columns named {', '.join(map(repr, doubled))}.")
    if schema is not None:
        try:
            table = table.cast(schema)
        except (ValueError, NotImplementedError) as error:
            raise InvalidValueError(f"The table cannot be cast to the schema: {error}") from error
    return {name: _unnest(_whole(table.column(name)), name) for name in table.column_names}


def _table(data: Any) -> Any:
    arrow = require("pyarrow")
    if isinstance(data, arrow.Table):
        return data
    if hasattr(data, "__arrow_c_stream__"):
        try:
            return arrow.table(data)
        except arrow.ArrowInvalid as error:
            told = f"pyarrow cannot read the {type(data).__name__}: {error}"
            if hasattr(data, "to_frame"):  # a Series, often a row as df.iloc[0] gives it
                kind = type(data).__name__
                told = f"A {kind} is one row or one column; pass a frame, as df.iloc[[0]] or df[['x']]."
            raise InvalidValueError(told) from error
    if isinstance(data, Mapping) and callable(getattr(data, "with_format", None)):
        raise InvalidTypeError(
            f"A {type(data).__name__} holds several tables, {list(data)}; pass one of them."
        )
    if callable(getattr(data, "with_format", None)):  # a Dataset of Hugging Face
        return data.with_format("arrow")[:]
    advice = "; call its collect() first" if callable(getattr(data, "collect", None)) else ""
    raise InvalidTypeError(
        "Something that speaks Arrow is needed (it has __arrow_c_stream__), "
        f"got a {type(data).__name__}{advice}."
    )


def _whole(column: Any) -> Any:
    """Return a chunked column as one array, whose dictionaries are the same in every chunk."""
    return column.unify_dictionaries().combine_chunks()


def _unnest(array: Any, name: str) -> np.ndarray:
    types = require("pyarrow").types
    if not any(
        is_list(array.type) for is_list in (types.is_list, types.is_large_list, types.is_fixed_size_list)
    ):
        return _flat(array, types)
    lengths = require("pyarrow.compute").list_value_length(array)
    if lengths.null_count or len(lengths.unique()) > 1:
        raise InvalidValueError(
            f"The lists of {name!r} differ in length or are missing; a column needs samples of one shape."
        )
    inner = _unnest(array.flatten(), name)
    return inner.reshape(len(array), -1, *inner.shape[1:])


def _coded(categories: list[Any], codes: np.ndarray) -> np.ndarray:
    """Return the category of each code; the last code, or -1, stands for none."""
    if categories and all(isinstance(category, str) for category in categories):
        return np.array([*categories, ""])[codes]
    return np.array([*categories, None], object)[codes]


def _flat(array: Any, types: Any) -> np.ndarray:
    if types.is_dictionary(array.type):
        codes = array.indices.fill_null(len(array.dictionary)).to_numpy(zero_copy_only=False)
        return _coded(_flat(array.dictionary, types).tolist(), codes)
    if types.is_string(array.type) or types.is_large_string(array.type):
        return array.fill_null("").to_numpy(zero_copy_only=False).astype(str)
    if types.is_decimal(array.type):
        array = array.cast("float64")
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return values


def write_arrow(filepath: str | Path, table: Any, *, overwrite: bool) -> Path:
    """Write a table to an Arrow IPC file, all or nothing, and return its path.

    Raises:
        FileExistsError: If the file is there and `overwrite` is False.
    """
    arrow, path = require("pyarrow"), Path(filepath)
    with writing(path, overwrite=overwrite) as file, arrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return path


def read_arrow(filepath: str | Path) -> Any:
    """Return the table of an Arrow IPC file, mapped into memory.

    Raises:
        FileFormatError: If it is no such file.
        FileNotFoundError: If it is not there.
    """
    arrow = require("pyarrow")
    try:
        return arrow.ipc.open_file(arrow.memory_map(str(filepath))).read_all()
    except arrow.ArrowInvalid as error:
        raise FileFormatError(f"{filepath} is no Arrow IPC file: {error}") from error
