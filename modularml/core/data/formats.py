"""The forms in which columns are handed out: dicts, arrays, tensors, lists, frames.

They know no FeatureSet: columns come as a dict of arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
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
            return {name: _tensor(array) for name, array in columns.items()}
        case DataFormat.NUMPY:
            return stack(columns)
        case DataFormat.LIST:
            return stack(columns).tolist()
        case DataFormat.TORCH:
            return _tensor(stack(columns))
        case DataFormat.PANDAS:
            return to_pandas(columns)


def _tensor(array: np.ndarray) -> Any:
    import torch  # here only: data are looked at without it, too

    return torch.from_numpy(array if array.flags.writeable else array.copy())
