"""Values of any kind -> one contiguous numpy array a column.

It knows no FeatureSet and no column names, only what a column may hold: numbers, bools, text,
dates and time spans. Of these only numbers and bools can feed a model, which is the business
of the phase that would do so; a FeatureSet holds them all, for data are data.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError

_KINDS = "biufUmM"
# The units that Arrow, pandas and files have, too, and what each other unit of numpy becomes. Years and
# months are dates but no time spans: their length varies.
_SPAN_UNITS = {"W": "s", "D": "s", "h": "s", "m": "s", "s": "s", "ms": "ms", "us": "us", "ns": "ns"}
_DATE_UNITS = {**_SPAN_UNITS, "Y": "D", "M": "D", "W": "D", "D": "D"}
KIND_NAMES = {"U": "text", "M": "dates", "m": "time spans"}


def as_column(values: Any) -> np.ndarray:
    """Return values as a contiguous array of shape ``(n_samples, *sample_shape)``.

    An array that is fit to be kept is kept, not copied. Samples of length 1 become
    scalars. What is missing becomes NaN among numbers and bools (which makes them floats), NaT
    among dates and the empty text among text. Dates with a time zone become those of UTC,
    categories their values, decimals and bfloat16 floats. Dates and time spans in units that
    numpy alone has come in a finer one.

    Args:
        values: An array, tensor or sequence with one element a sample.

    Raises:
        InvalidTypeError: If the values are of a kind that is not allowed.
        InvalidValueError: If there are none, or samples differ in shape.
    """
    array = _as_array(values)
    if array.dtype.kind == "O":
        array = _from_objects(array)
    if array.dtype.kind == "S":
        array = _decoded(array)
    if array.dtype.kind in "mM":
        array = _in_common_unit(array)
    if array.ndim == 0:
        raise InvalidTypeError(f"needs one element a sample, got the single value {values!r}")
    if array.size == 0:
        raise InvalidValueError(f"holds no values (shape {array.shape})")
    is_wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    if is_wide or array.dtype.kind not in _KINDS:
        raise InvalidTypeError(_refusal(array))
    if array.shape[1:] == (1,):
        array = array[:, 0]
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _as_array(values: Any) -> np.ndarray:
    if np.ma.isMaskedArray(values):
        raise InvalidTypeError("is a masked array; decide what stands for the missing values: .filled(...)")
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if isinstance(values, str | bytes | dict | set | Iterator):
        raise InvalidTypeError(f"needs an array or a list with one element a sample, got {values!r:.60}")
    if hasattr(values, "detach"):
        return _of_tensor(values)
    if callable(getattr(values, "toarray", None)):
        raise InvalidTypeError(f"is sparse ({type(values).__name__}); pass its toarray()")
    if not isinstance(values, list | tuple):
        return np.asarray(values)
    if not values:
        raise InvalidValueError("is an empty list")
    if hasattr(values[0], "detach"):  # numpy would read tensors number by number
        values = [_as_array(sample) for sample in values]
    if isinstance(values[0], datetime.datetime):
        values = [_naive(value) for value in values]
    try:
        array = np.stack(values) if isinstance(values[0], np.ndarray) else np.asarray(values)
        if array.dtype.kind in "US" and not set(map(type, values)) <= {str}:
            # numpy makes text of whatever stands beside text: of NaN "nan", and of 1 "1".
            return np.asarray(values, object)
        return array
    except ValueError:
        raise _ragged(values) from None


def _of_tensor(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)  # numpy has none


def _decoded(array: np.ndarray) -> np.ndarray:
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"holds bytes that are no UTF-8 text: {error}") from None


def _in_common_unit(array: np.ndarray) -> np.ndarray:
    units = _DATE_UNITS if array.dtype.kind == "M" else _SPAN_UNITS
    unit = np.datetime_data(array.dtype)[0]
    if unit == "generic" and np.isnat(array).all():
        unit = "s"
    if unit not in units:
        what = KIND_NAMES[array.dtype.kind]
        raise InvalidTypeError(
            f"holds {what} in the unit {unit!r}; possible are {', '.join(map(repr, units))}"
        )
    return array.astype(f"{array.dtype.kind}8[{units[unit]}]", copy=False)


def _ragged(values: Sequence[Any]) -> InvalidValueError:
    def shape(sample: Any) -> Any:
        try:
            return np.shape(sample)
        except ValueError:
            return None

    first = shape(values[0])
    row = next((i for i, sample in enumerate(values) if shape(sample) != first), 0)
    other = f", sample {row} {_has(shape(values[row]))}" if row else ""
    return InvalidValueError(
        f"is ragged: sample 0 {_has(first)}{other}; all samples of a column need one shape"
    )


def _has(shape: tuple[int, ...] | None) -> str:
    return "is ragged itself" if shape is None else f"has shape {shape}"


def _from_objects(array: np.ndarray) -> np.ndarray:
    """Find the type that the objects of an array share; arrays within it are stacked."""
    items = array.ravel().tolist()
    first = next((item for item in items if not _is_missing(item)), None)
    if isinstance(first, list | tuple | np.ndarray):
        inner = _as_array(items)
        return inner.reshape(array.shape + inner.shape[1:])

    def are(kind: Any) -> bool:
        return isinstance(first, kind) and all(isinstance(item, kind) or _is_missing(item) for item in items)

    if are(str) or are(bytes):
        empty: str | bytes = "" if isinstance(first, str) else b""
        return np.array([empty if _is_missing(item) else item for item in items]).reshape(array.shape)
    for kind, unit in ((datetime.date, "datetime64[us]"), (datetime.timedelta, "timedelta64[us]")):
        if are(kind):
            dates = [None if _is_missing(item) else _naive(item) for item in items]
            return np.array(dates, unit).reshape(array.shape)
    if all(isinstance(item, _NUMBERS) or _is_missing(item) for item in items):
        numbers = [np.nan if _is_missing(item) else item for item in items]
        return np.array(numbers, float if isinstance(first, Decimal) else None).reshape(array.shape)
    return array


_NUMBERS = (int, float, np.number, np.bool_, Decimal)


def _naive(date: Any) -> Any:
    """Return a date with a time zone as one of UTC: numpy has no zones."""
    if getattr(date, "tzinfo", None) is None:
        return date
    return date.astimezone(datetime.UTC).replace(tzinfo=None)


def _is_missing(item: Any) -> bool:
    if isinstance(item, float):
        return item != item
    return item is None or type(item).__name__ in ("NAType", "NaTType")


def _refusal(array: np.ndarray) -> str:
    if array.dtype.kind == "c":
        return "holds complex numbers; pass the real and the imaginary part as two columns"
    allowed = "a column holds numbers, bools, text, dates or time spans"
    if array.dtype.kind != "O":
        return f"holds values of type {array.dtype}; {allowed}"
    kinds = list(dict.fromkeys(type(item).__name__ for item in array.flat if not _is_missing(item)))
    if kinds == ["int"]:
        return "holds whole numbers that need more than 64 bits; pass them as floats or as text"
    listed = ", ".join(kinds[:4]) + (", ..." if len(kinds) > 4 else "")
    one_kind = "" if len(kinds) == 1 else ", and one kind of them"
    return f"holds objects ({listed}); {allowed}{one_kind}"


def check_feeds(columns: Mapping[str, np.ndarray], where: str) -> None:
    """Check that columns can feed a model: numbers and bools, which count as 0 and 1.

    Args:
        columns: Full column name -> values.
        where: The node that they feed, for the message.

    Raises:
        InvalidTypeError: If one holds text, dates or time spans, which have to be encoded.
    """
    faults = Faults(where)
    for name, values in columns.items():
        kind = KIND_NAMES.get(values.dtype.kind)
        if kind:
            domain, key, _ = name.split(".")
            dtype = "dtype=int" if domain == "targets" else ""  # as losses of classes want them
            advice = (
                f"Encode it, e.g. with fit_transform(OrdinalEncoder({dtype}), domain={domain!r}, "
                f"keys={key!r}), and refer to rep='transformed'; or leave it out: reference({domain}=[...])."
            )
            holds = f"holds {kind} ({values.dtype}); only numbers and bools feed a model"
            faults.add(InvalidTypeError(f"{name!r} {holds}. {advice}"))
    faults.raise_if_any()
