"""Columns side by side, as one array.

It knows no collection and no domains.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modularml.base.errors import InvalidTypeError, InvalidValueError


def stack(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return columns side by side, shape ``(n_samples, n_keys, *key_shape)``; one is not copied.

    Raises:
        InvalidValueError: If the columns' samples differ in shape, or there is no column.
    """
    if not columns:
        raise InvalidValueError("There is no column to stack.")
    if len(columns) == 1:
        (array,) = columns.values()
        return array[:, None]
    if len({array.shape for array in columns.values()}) > 1:
        listed = ", ".join(f"{name} {array.shape[1:]}" for name, array in columns.items())
        raise InvalidValueError(
            f"Columns of different sample shapes cannot be stacked: {listed}. "
            "Name some of one shape, or take them apart as a dict."
        )
    if len({array.dtype.kind if array.dtype.kind in "UmM" else "" for array in columns.values()}) > 1:
        listed = ", ".join(f"{name} {array.dtype}" for name, array in columns.items())
        raise InvalidTypeError(
            f"Numbers, text, dates and time spans cannot be stacked: {listed}. Take them apart as a dict."
        )
    return np.stack(list(columns.values()), axis=1)


def side_by_side(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return columns as a model is fed them: stacked, or where samples differ in shape, flattened and joined.

    Returns:
        Shape ``(n_samples, n_keys, *key_shape)``, or ``(n_samples, n_values)``: numbers beside a text that
        was encoded are a table.

    Raises:
        InvalidValueError: If there is no column.
    """
    if len({array.shape[1:] for array in columns.values()}) < 2:
        return stack(columns)
    return np.concatenate([array.reshape(len(array), -1) for array in columns.values()], axis=1)
