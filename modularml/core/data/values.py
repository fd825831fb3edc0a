"""Values of any kind -> one contiguous numpy array a column.

It knows no FeatureSet and no column names, only what a feature, a target or a tag may hold.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from modularml.base.errors import InvalidTypeError, InvalidValueError

_NUMBERS = "biuf"
_TAGS = _NUMBERS + "UmM"


def as_column(values: Any, *, is_tag: bool) -> np.ndarray:
    """Return values as a contiguous array of shape ``(n_samples, *sample_shape)``.

    An array that is fit to be kept is kept, not copied. Samples of length 1 become
    scalars. A missing text is the empty text; a missing number is NaN.

    Args:
        values: An array, tensor or sequence with one element a sample.
        is_tag: Whether text and dates are allowed beside numbers and bools.

    Raises:
        InvalidTypeError: If the values are of a kind that is not allowed.
        InvalidValueError: If there are none, or samples differ in shape.
    """
    array = _as_array(values)
    if array.dtype.kind == "O":
        array = _from_objects(array)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.ndim == 0:
        raise InvalidTypeError(f"needs one element a sample, got the single value {values!r}")
    if array.size == 0:
        raise InvalidValueError(f"holds no values (shape {array.shape})")
    is_wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    if is_wide or array.dtype.kind not in (_TAGS if is_tag else _NUMBERS):
        raise InvalidTypeError(_refusal(array, is_tag))
    if array.shape[1:] == (1,):
        array = array[:, 0]
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _as_array(values: Any) -> np.ndarray:
    if np.ma.isMaskedArray(values):
        raise InvalidTypeError("is a masked array; decide what stands for the missing values: .filled(...)")
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if isinstance(values, str | bytes | dict | set):
        raise InvalidTypeError(f"needs an array or a list with one element a sample, got {values!r:.60}")
    if hasattr(values, "detach"):
        return np.asarray(values.detach().cpu())
    if not isinstance(values, list | tuple):
        return np.asarray(values)
    if not values:
        raise InvalidValueError("is an empty list")
    if hasattr(values[0], "detach"):  # numpy would read tensors number by number
        values = [_as_array(sample) for sample in values]
    try:
        return np.stack(values) if isinstance(values[0], np.ndarray) else np.asarray(values)
    except ValueError:
        raise _ragged(values) from None


def _ragged(values: Sequence[Any]) -> InvalidValueError:
    def shape(sample: Any) -> Any:
        try:
            return np.shape(sample)
        except ValueError:
            return "ragged itself"

    first = shape(values[0])
    row = next((i for i, sample in enumerate(values) if shape(sample) != first), 0)
    return InvalidValueError(
        f"is ragged: sample 0 has shape {first}, sample {row} has shape {shape(values[row])}; "
        "all samples of a column need one shape"
    )


def _from_objects(array: np.ndarray) -> np.ndarray:
    """Find the type that the objects of an array share; arrays within it are stacked."""
    items = array.ravel().tolist()
    first = next((item for item in items if not _is_missing(item)), None)
    if isinstance(first, list | tuple | np.ndarray):
        return _as_array(items)
    if isinstance(first, str) and all(isinstance(item, str) or _is_missing(item) for item in items):
        return np.array(["" if _is_missing(item) else item for item in items]).reshape(array.shape)
    for kind, dtype in ((datetime.date, "datetime64[us]"), (datetime.timedelta, "timedelta64[us]")):
        if isinstance(first, kind):
            return np.array([None if _is_missing(i) else i for i in items], dtype).reshape(array.shape)
    if all(isinstance(item, int | float | np.number | np.bool_) or _is_missing(item) for item in items):
        return np.array([np.nan if _is_missing(i) else i for i in items]).reshape(array.shape)
    return array


def _is_missing(item: Any) -> bool:
    if isinstance(item, float):
        return item != item
    return item is None or type(item).__name__ in ("NAType", "NaTType")


def _refusal(array: np.ndarray, is_tag: bool) -> str:
    kinds = {"U": "text", "O": "objects", "c": "complex numbers", "M": "dates", "m": "time spans"}
    holds = kinds.get(array.dtype.kind, f"values of type {array.dtype}")
    if array.dtype.kind == "O":
        holds = f"objects ({type(array.ravel()[0]).__name__})"
    if is_tag:
        return f"holds {holds}; a tag holds numbers, bools, text or dates"
    advice = {
        "U": "; encode it as integers, or pass it as a tag",
        "M": "; convert them to numbers, or pass them as a tag",
        "m": "; convert them to numbers, or pass them as a tag",
        "c": "; pass the real and the imaginary part as two columns",
    }
    return f"holds {holds}; features and targets hold numbers{advice.get(array.dtype.kind, '')}"
