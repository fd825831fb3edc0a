"""The forms in which columns are handed out: dicts, arrays, tensors, lists, frames.

They know no FeatureSet: columns come as a dict of arrays.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import ModuleType
from typing import Any

import numpy as np

from modularml.base.errors import InvalidValueError, unknown_name
from modularml.core.data.interchange import to_pandas
from modularml.core.data.table import stack


class DataFormat(StrEnum):
    """A form for columns; every method with a `fmt` takes one of these or its name.

    ``dict`` and ``dict_*`` keep columns apart, one array of shape ``(n_samples,
    *sample_shape)`` each. ``numpy``, ``torch`` and ``list`` put them side by side,
    shape ``(n_samples, n_keys, *key_shape)``.
    """

    DICT = "dict"
    DICT_NUMPY = "dict_numpy"
    DICT_LIST = "dict_list"
    DICT_TORCH = "dict_torch"
    NUMPY = "numpy"
    LIST = "list"
    TORCH = "torch"
    PANDAS = "pandas"

    @classmethod
    def from_value(cls, value: str | DataFormat) -> DataFormat:
        """Read a format or one of the names ``np``, ``pd``, ``df``.

        Raises:
            InvalidValueError: If it is unknown.
        """
        name = str(value).lower()
        name = {"np": "numpy", "pd": "pandas", "df": "pandas"}.get(name, name)
        if name not in [fmt.value for fmt in cls]:
            raise InvalidValueError(unknown_name("data format", value, [fmt.value for fmt in cls]))
        return cls(name)


SIDE_BY_SIDE = (DataFormat.NUMPY, DataFormat.LIST, DataFormat.TORCH)
"""The forms in which columns have no names."""


def export(columns: Mapping[str, np.ndarray], fmt: str | DataFormat) -> Any:
    """Return columns in a format.

    Args:
        columns: Name -> array of shape ``(n_samples, *sample_shape)``.
        fmt: The format.

    Raises:
        InvalidValueError: If the format is unknown, or puts columns side by side whose
            samples differ in shape.
        ImportError: If the format needs a package that is not installed.
    """
    match DataFormat.from_value(fmt):
        case DataFormat.DICT | DataFormat.DICT_NUMPY:
            return dict(columns)
        case DataFormat.DICT_LIST:
            return {name: array.tolist() for name, array in columns.items()}
        case DataFormat.DICT_TORCH:
            return {name: tensors().as_tensor(array) for name, array in columns.items()}
        case DataFormat.NUMPY:
            return stack(columns)
        case DataFormat.LIST:
            return stack(columns).tolist()
        case DataFormat.TORCH:
            return tensors().as_tensor(stack(columns))
        case DataFormat.PANDAS:
            return to_pandas(columns)


def convert(values: Any, fmt: str | DataFormat) -> Any:
    """Return values that were exported before in another format; a tensor stays one.

    Args:
        values: A dict of columns, or columns side by side: an array, a tensor or a list.
        fmt: The format.

    Raises:
        InvalidValueError: If the format is unknown, or needs the names of columns that were
            put side by side.
    """
    fmt = DataFormat.from_value(fmt)
    if isinstance(values, Mapping):
        return dict(values) if fmt == DataFormat.DICT else export(as_arrays(values), fmt)
    match fmt:
        case DataFormat.NUMPY:
            return as_array(values)
        case DataFormat.TORCH:
            return values if hasattr(values, "detach") else tensors().as_tensor(as_array(values))
        case DataFormat.LIST:
            return as_array(values).tolist()
    raise InvalidValueError(
        f"Columns that were put side by side have lost their names and cannot become {fmt.value!r}; "
        "'numpy', 'torch' and 'list' are possible."
    )


def as_arrays(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return a dict of arrays, tensors or lists as one of arrays."""
    return {name: as_array(values) for name, values in columns.items()}


def as_array(values: Any) -> np.ndarray:
    """Return an array, a tensor or a list as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def concatenate(parts: Sequence[Any]) -> Any:
    """Return values of one format one behind the other."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: concatenate([part[name] for part in parts]) for name in first}
    if hasattr(first, "detach"):
        return tensors().concatenate(parts)
    joined = np.concatenate([np.asarray(part) for part in parts])
    return joined.tolist() if isinstance(first, list) else joined


def tensors() -> ModuleType:
    """Return `modularml.core.data.tensors`, by name: data are looked at without torch, too."""
    return importlib.import_module("modularml.core.data.tensors")
