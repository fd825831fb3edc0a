"""What becomes of targets and tags where several inputs are merged into one.

It knows no node and no graph: it joins values that lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from modularml.base.errors import InvalidTypeError, InvalidValueError, check_choice


class MergeStrategy(StrEnum):
    """The strategies that have a name; an axis to join along is an int."""

    FIRST = "first"
    LAST = "last"
    MEAN = "mean"


Strategy = int | str
"""An axis, or the word of a `MergeStrategy`."""


def as_strategy(value: Any, name: str) -> Strategy:
    """Return a strategy given as an axis, a word or a `MergeStrategy`.

    Raises:
        InvalidTypeError: If it is neither an int nor text.
        InvalidValueError: If it is another word.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise InvalidTypeError(
            f"{name} must be an axis (an int), 'first', 'last', 'mean' or an upstream whose data to keep, "
            f"got {value!r} ({type(value).__name__})."
        )
    return str(MergeStrategy(check_choice(value, name, [str(one) for one in MergeStrategy])))


def join(values: Sequence[Any], how: Strategy) -> Any:
    """Return batches as one: along an axis of a sample, their mean, or one of them.

    Args:
        values: Arrays or tensors ``(n_samples, ...)``, all of one kind.
        how: An axis, counted without the samples, or a strategy.

    Raises:
        InvalidTypeError: If text is to be averaged.
        InvalidValueError: If samples of such shapes cannot be joined so.
    """
    if how == MergeStrategy.FIRST or how == MergeStrategy.LAST:
        return values[0 if how == MergeStrategy.FIRST else -1]
    is_torch = isinstance(values[0], torch.Tensor)
    if how == MergeStrategy.MEAN and not (is_torch or all(_holds_numbers(value) for value in values)):
        raise InvalidTypeError("'mean' averages numbers, and these are text; take 'first', or an axis.")
    try:
        if how == MergeStrategy.MEAN:
            return _mean(values) if is_torch else np.mean(values, axis=0)
        axis = batch_axis(int(how))
        return torch.cat(list(values), axis) if is_torch else np.concatenate(values, axis)
    except (ValueError, IndexError, RuntimeError) as error:
        shapes = ", ".join(str(tuple(value.shape[1:])) for value in values)
        along = "averaged" if how == MergeStrategy.MEAN else f"joined along axis {how}"
        raise InvalidValueError(f"samples of the shapes {shapes} cannot be {along}.") from error


def _holds_numbers(values: Any) -> bool:
    return np.asarray(values).dtype.kind in "biufc"


def _mean(values: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([v if v.is_floating_point() else v.float() for v in values]).mean(0)


def batch_axis(axis: int) -> int:
    """Return an axis of a sample as the axis of a batch."""
    return axis + 1 if axis >= 0 else axis
