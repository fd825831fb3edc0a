"""Conditions on a column: comparison, membership, or a function of yours.

They know no FeatureSet: a predicate turns an array of values into a mask.

Example:
    >>> fs.filter(conditions={"cell": ["A", "B"], "temperature": GT(25.0)})
"""

from __future__ import annotations

import datetime
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from modularml.base.config import Configurable
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    UnknownNameError,
)
from modularml.base.rows import SampleSource, is_missing


class Predicate(Configurable, ABC):
    """A condition that each sample of a column meets or not."""

    @abstractmethod
    def mask(self, values: np.ndarray) -> np.ndarray:
        """Return which samples meet the condition.

        Args:
            values: A column, shape ``(n_samples, *sample_shape)``.

        Returns:
            Bool array of shape ``(n_samples,)``.

        Raises:
            InvalidTypeError: If the column cannot be compared with the condition.
        """

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return `mask(values)`."""
        return self.mask(np.asarray(values))


class _Comparison(Predicate):
    """One value against every sample of a column."""

    _compare: ClassVar[Callable[[Any, Any], Any]]

    def __init__(self, value: Any) -> None:
        self.value = plain(value)

    def mask(self, values: np.ndarray) -> np.ndarray:
        """Compare each sample with the value."""
        return np.asarray(type(self)._compare(values, _comparable(values, self.value)), bool)


class EQ(_Comparison):
    """Equal to `value`; None, like NaN and NaT, stands for what is missing."""

    _compare = operator.eq

    def mask(self, values: np.ndarray) -> np.ndarray:
        """Compare each sample with the value."""
        return _missing(values) if self.value is None else super().mask(values)


class NE(EQ):
    """Not equal to `value`; None, like NaN and NaT, stands for what is missing."""

    def mask(self, values: np.ndarray) -> np.ndarray:
        """Compare each sample with the value."""
        return ~super().mask(values)


class LT(_Comparison):
    """Less than `value`."""

    _compare = operator.lt


class LTE(_Comparison):
    """Less than or equal to `value`."""

    _compare = operator.le


class GT(_Comparison):
    """Greater than `value`."""

    _compare = operator.gt


class GTE(_Comparison):
    """Greater than or equal to `value`."""

    _compare = operator.ge


class In(Predicate):
    """One of `values`, among which None, like NaN and NaT, stands for what is missing."""

    def __init__(self, values: Iterable[Any]) -> None:
        if not _is_several(values):
            raise InvalidTypeError(
                f"{type(self).__name__} needs a list of values, got {values!r} ({type(values).__name__})."
            )
        if isinstance(values, set | frozenset):
            values = sorted(values, key=repr)  # the order of a set is another one in each process
        self.values = [plain(value) for value in values]

    def mask(self, values: np.ndarray) -> np.ndarray:
        """Look each sample up among the values."""
        present = [_comparable(values, value) for value in self.values if value is not None]
        mask = np.isin(values, np.asarray(present)) if present else np.zeros(len(values), bool)
        return mask | _missing(values) if None in self.values else mask


class NotIn(In):
    """None of `values`."""

    def mask(self, values: np.ndarray) -> np.ndarray:
        """Look each sample up among the values."""
        return ~super().mask(values)


class Lambda(Predicate):
    """A function of yours.

    Args:
        function: Gets the whole column at once where a sample is one value, and one
            sample at a time where it is an array; returns bools.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        if not callable(function):
            raise InvalidTypeError(f"Lambda needs a function, got {function!r} ({type(function).__name__}).")
        self.function = function

    def mask(self, values: np.ndarray) -> np.ndarray:
        """Call the function.

        Raises:
            InvalidValueError: If it does not return one bool a sample.
        """
        if values.ndim > 1:
            return np.fromiter((self._one(row) for row in values), bool, len(values))
        result = np.asarray(self.function(values))
        if result.shape != values.shape or result.dtype.kind != "b":
            raise InvalidValueError(
                f"The condition must return {len(values)} bools for {len(values)} samples, got "
                f"{result.dtype} of shape {result.shape}."
            )
        return result

    def _one(self, row: np.ndarray) -> bool:
        result = np.asarray(self.function(row))
        if result.shape or result.dtype.kind != "b":
            raise InvalidValueError(
                f"The condition must return one bool for a sample of shape {row.shape}, got {result.dtype} "
                f"of shape {result.shape}."
            )
        return bool(result)


def as_predicate(condition: Any) -> Predicate:
    """Read a condition: a predicate, a function, values (membership), a value (equality) or None (missing).

    Values are whatever can be listed twice: a list, a set, an array, a Series, an Index.

    Raises:
        InvalidTypeError: If it is none of them.
    """
    if isinstance(condition, Predicate):
        return condition
    if callable(condition):
        return Lambda(condition)
    if isinstance(condition, Mapping | Iterator):
        raise InvalidTypeError(
            f"A condition must be a value, a list of values, a function or a predicate, got {condition!r}."
        )
    if isinstance(condition, np.ndarray) and not condition.ndim:
        condition = condition[()]
    return In(condition) if _is_several(condition) else EQ(condition)


def _is_several(values: object) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    return isinstance(values, Iterable) and not isinstance(values, str | bytes)


def plain(condition: Any) -> Any:
    """Return what a condition compares with as files can hold it.

    Scalars and dates of numpy and pandas become Python's own, where those are as exact; dates with a
    time zone become those of UTC, what is missing becomes None, several values a list.
    """
    if isinstance(condition, Predicate) or callable(condition):
        return condition
    if _is_several(condition) and not isinstance(condition, Mapping | Iterator):
        return In(condition).values
    if type(condition).__name__ in ("NAType", "NaTType") or _is_nan(condition):
        return None
    if isinstance(condition, datetime.date | datetime.timedelta | np.datetime64 | np.timedelta64):
        return _plain_time(condition)
    return condition.item() if isinstance(condition, np.generic | np.ndarray) else condition


def _is_nan(value: Any) -> bool:
    return bool(np.isscalar(value) and value != value)


def _plain_time(time: Any) -> Any:
    """Return a date or a time span as Python's own, or as text if that is not as fine."""
    if getattr(time, "tzinfo", None) is not None:
        time = time.astimezone(datetime.UTC).replace(tzinfo=None)
    time = time.to_numpy() if hasattr(time, "to_numpy") else time  # pandas has nanoseconds
    is_date = isinstance(time, datetime.date | np.datetime64)
    exact: Any = np.datetime64(time) if is_date else np.timedelta64(time)
    in_us = exact.astype(f"{exact.dtype.kind}8[us]")
    own = in_us.item()
    if in_us == exact and not isinstance(own, int):
        return own
    return str(exact) if is_date else f"{exact.astype(int)} {np.datetime_data(exact.dtype)[0]}"


def _missing(values: np.ndarray) -> np.ndarray:
    _check_scalar(values, None)
    return is_missing(values)


def _check_scalar(values: np.ndarray, value: Any) -> None:
    if values.ndim > 1:
        raise InvalidTypeError(
            f"Its samples are arrays of shape {values.shape[1:]}; they cannot be compared with {value!r}. "
            "Pass a function, which gets one sample at a time."
        )


def _comparable(values: np.ndarray, value: Any) -> Any:
    """Return `value` in a form that compares with the column, else raise InvalidTypeError."""
    _check_scalar(values, value)
    if values.dtype.kind in "mM":
        return _time(values.dtype, value)
    is_text = isinstance(value, str)
    if is_text != (values.dtype.kind == "U") or np.ndim(value) or value is None:
        holds = "text" if values.dtype.kind == "U" else str(values.dtype)
        raise InvalidTypeError(f"It holds {holds}, which cannot be compared with {value!r}.")
    return value


def _time(dtype: np.dtype, value: Any) -> Any:
    """Return a date or a time span as numpy has it; text is ``"2024-01-31"`` or ``"5 s"``."""
    try:
        if dtype.kind == "M":
            return np.datetime64(value)
        if isinstance(value, str):
            number, _, unit = value.partition(" ")
            return np.timedelta64(int(number), unit)  # type: ignore[call-overload]
        return np.timedelta64(value)
    except (TypeError, ValueError) as error:
        form = "dates or text like '2024-01-31'" if dtype.kind == "M" else "time spans or text like '5 s'"
        raise InvalidTypeError(
            f"It holds {dtype}, which compares with {form}, but not with {value!r}."
        ) from error


def match_all(source: SampleSource, conditions: Mapping[str, Any]) -> np.ndarray:
    """Return which samples meet every condition, bool of shape ``(n_samples,)``.

    Args:
        source: The samples.
        conditions: Column -> condition, as `as_predicate` reads it.

    Raises:
        InvalidTypeError: If a condition does not fit its column; the message names it.
        UnknownColumnError: If there is no such column.
    """
    if not isinstance(conditions, Mapping):
        raise InvalidTypeError(f"Conditions must be a dict of column -> condition, got {conditions!r}.")
    mask = np.ones(source.n_samples, bool)
    faults = Faults(f"The filter of {source!r}")
    for name, condition in conditions.items():
        try:
            mask &= as_predicate(condition).mask(source.column(name))
        except ModularMLError as error:
            faults.add(
                type(error)(f"{name}: {error}" if not isinstance(error, UnknownNameError) else str(error))
            )
        except Exception as error:
            error.add_note(f"(in the condition on column {name!r})")
            raise
    faults.raise_if_any()
    return mask
