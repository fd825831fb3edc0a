"""Rows of a sample set as samplers and splitters see them: columns, groups, seeds.

It knows no FeatureSet: whatever has `n_samples` and `column(name)` will do.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from modularml.base.errors import InvalidTypeError, InvalidValueError, check_int


class SampleSource(Protocol):
    """Samples that can be read by column; a row is a position from 0 to ``n_samples - 1``."""

    @property
    def n_samples(self) -> int:
        """How many rows there are."""
        ...

    def column(self, name: str) -> np.ndarray:
        """Return one column, shape ``(n_samples, *sample_shape)``."""
        ...


def as_names(value: str | Iterable[str] | None, what: str) -> tuple[str, ...]:
    """Return one name, several or none as a tuple.

    Raises:
        InvalidTypeError: If something in it is not a string.
    """
    if value is None:
        return ()
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    for name in names:
        if not isinstance(name, str):
            raise InvalidTypeError(f"{what} must be a name or a list of names, got {name!r}.")
    return names


def as_positions(indices: Sequence[int] | np.ndarray, what: str) -> np.ndarray:
    """Return positions of rows as int64 of shape ``(n,)``.

    Raises:
        InvalidValueError: If they are not one-dimensional.
        InvalidTypeError: If they are not integers.
    """
    array = np.asarray(indices)
    if array.ndim != 1:
        raise InvalidValueError(f"{what} must be one-dimensional, got shape {array.shape}.")
    if array.size and array.dtype.kind not in "iu":
        advice = "; np.flatnonzero(mask) makes integers of a mask" if array.dtype.kind == "b" else ""
        raise InvalidTypeError(f"{what} must be integers, got {array.dtype}{advice}.")
    return array.astype(np.int64, copy=False)


def check_flag(value: object, name: str) -> bool:
    """Return `value` if it is a bool, else raise InvalidTypeError."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidTypeError(f"{name} must be True or False, got {value!r} ({type(value).__name__}).")
    return bool(value)


def check_seed(seed: object) -> int | None:
    """Return `seed` if it is None or a non-negative int, else raise as `check_int` does."""
    return None if seed is None else check_int(seed, "seed", minimum=0)


def derived_seed(seed: int, *parts: str | int) -> int:
    """Return the seed of one part of a whole, independent of those of all other parts.

    It follows from the seed and the names alone: not from the order in which parts are made.
    """
    text = "\x1f".join(map(str, (seed, *parts)))  # labels are printable, so none holds it
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11


def new_seed() -> int:
    """Return a seed drawn from the system's entropy, small enough for any file format."""
    return secrets.randbits(53)


def group_codes(source: SampleSource, names: Sequence[str], what: str) -> tuple[np.ndarray, int]:
    """Number the distinct combinations of values in some columns.

    Args:
        source: The samples.
        names: Columns with one value a sample.
        what: The option the names were given to, for messages.

    Returns:
        The number of each row's group, int64 of shape ``(n_samples,)``, and how many
        groups there are. Groups are numbered in the sorted order of their values.

    Raises:
        InvalidValueError: If a column holds arrays.
    """
    codes = np.zeros(source.n_samples, np.int64)
    for name in names:
        values = source.column(name)
        if values.ndim != 1:
            raise InvalidValueError(
                f"{what} needs a column with one value a sample; {name!r} holds arrays "
                f"of shape {values.shape[1:]}."
            )
        codes = densify(values, codes)
    return codes, int(codes.max(initial=-1)) + 1


def densify(values: np.ndarray, within: np.ndarray | None = None) -> np.ndarray:
    """Number the distinct values from 0 on, in their sorted order.

    Args:
        values: Of shape ``(n,)``.
        within: Numbers of this kind, shape ``(n,)``: values count as distinct, too, where
            these differ, which come first in the order.

    Returns:
        Int64 array of shape ``(n,)``.
    """
    codes = np.zeros(len(values), np.int64) if within is None else within
    n_codes = int(codes.max(initial=-1)) + 1
    for part in _sortable_parts(values):
        codes, n_codes = _refine(codes, n_codes, part)
    return codes


def _sortable_parts(values: np.ndarray) -> Iterable[np.ndarray]:
    """Split values into columns of integers that sort as they do (text: one a character)."""
    values = np.ascontiguousarray(values)
    kind = values.dtype.kind
    if kind in "US" and values.size:
        width = values.dtype.itemsize
        chars = values.view(np.uint32 if kind == "U" else np.uint8).reshape(len(values), -1)
        return (chars[:, i] for i in range(chars.shape[1])) if width else ()
    if kind == "b":
        return (values.view(np.uint8),)
    if kind in "iu":
        return (values,)
    if kind in "mM":
        return (values.view(np.int64),)
    return (np.unique(values, return_inverse=True)[1],)


def _refine(codes: np.ndarray, n_codes: int, part: np.ndarray) -> tuple[np.ndarray, int]:
    """Split every group by the values of `part`: linear where the values lie close, else a sort."""
    if not len(codes):
        return codes, 0
    low, high = int(part.min()), int(part.max())
    if low == high:
        return codes, n_codes
    table_size = 4 * len(codes) + 65536
    if high - low + 1 > table_size // n_codes:
        distinct, part = np.unique(part, return_inverse=True)
        low, high = 0, len(distinct) - 1
    combined = codes * (high - low + 1) + (part - part.dtype.type(low)).astype(np.int64)
    span = n_codes * (high - low + 1)
    if span > table_size:
        distinct, combined = np.unique(combined, return_inverse=True)
        return combined, len(distinct)
    present = np.zeros(span, bool)
    present[combined] = True
    numbers = np.cumsum(present) - 1
    return numbers[combined], int(numbers[-1]) + 1


def is_missing(values: np.ndarray) -> np.ndarray:
    """Return which values stand for none, bools of the shape of `values`: NaN, NaT and empty text."""
    match values.dtype.kind:
        case "f":
            return np.isnan(values)
        case "m" | "M":
            return np.isnat(values)
        case "U":
            return values == ""
    return np.zeros(values.shape, bool)
