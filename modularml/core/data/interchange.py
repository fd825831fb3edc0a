"""Columns from and to pandas, Arrow and whatever speaks Arrow (polars, duckdb, datasets).

It knows no FeatureSet. pandas and pyarrow are optional and imported here only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np


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
