"""Scalers that look at each sample by itself.

They know no columns: an array ``(n_samples, n_features)`` in, one of the same shape out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.scalers.array_scaler import ArrayScaler, as_floats
from modularml.scalers.elementwise import last_transformed
from modularml.scalers.registry import scaler_registry


@scaler_registry.register
class PerSampleMinMaxScaler(ArrayScaler):
    """Stretches each sample to a range; a constant sample becomes the range's lower end.

    It remembers the extremes of the last array that it transformed, to invert that one.

    Args:
        feature_range: The lower and the upper end.

    Raises:
        InvalidTypeError: If these are no two numbers.
        InvalidValueError: If the lower end is not below the upper one.
    """

    _fixed: ClassVar[Mapping[str, str]] = {
        "feature_range": "what it transformed could not be inverted then; make a new PerSampleMinMaxScaler"
    }

    def __init__(self, feature_range: tuple[float, float] = (0, 1)) -> None:
        is_pair = isinstance(feature_range, list | tuple) and len(feature_range) == 2
        if not is_pair or not all(isinstance(end, int | float | np.number) for end in feature_range):
            raise InvalidTypeError(f"feature_range must be two numbers (low, high), got {feature_range!r}.")
        if not -np.inf < feature_range[0] < feature_range[1] < np.inf:
            raise InvalidValueError(
                f"feature_range must be (low, high) with low < high, got {feature_range!r}."
            )
        self.feature_range = tuple(feature_range)
        self._low: np.ndarray | None = None
        self._span: np.ndarray | None = None

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Stretch each row of `X`, shape ``(n_samples, n_features)``."""
        X = as_floats(X)
        low, high = self.feature_range
        self._low = np.fmin.reduce(X, axis=1, keepdims=True)  # which leave out what is missing
        span = np.fmax.reduce(X, axis=1, keepdims=True) - self._low
        self._span = np.where(span == 0, 1, span)
        return (X - self._low) / self._span * (high - low) + low

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        """Give the last transformed array its extremes back.

        Raises:
            StateError: If nothing was transformed.
            InvalidValueError: If `X` has other samples than what was transformed last.
        """
        X = np.asarray(X)
        low, high = self.feature_range
        span = last_transformed(self._span, X, self)
        return (X - low) / (high - low) * span + last_transformed(self._low, X, self)

    def get_state(self) -> dict[str, Any]:
        """Return the extremes."""
        return {"low": self._low, "span": self._span}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._low, self._span = state["low"], state["span"]


@scaler_registry.register
class PerSampleZeroStart(ArrayScaler):
    """Shifts each sample so that it begins at zero.

    It remembers the beginnings of the last array that it transformed, to invert that one.
    """

    def __init__(self) -> None:
        self._start: np.ndarray | None = None

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Shift each row of `X`, shape ``(n_samples, n_features)``."""
        X = as_floats(X)
        self._start = X[:, :1].copy()
        return X - self._start

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        """Shift the last transformed array back.

        Raises:
            StateError: If nothing was transformed.
            InvalidValueError: If `X` has other samples than what was transformed last.
        """
        X = np.asarray(X)
        return X + last_transformed(self._start, X, self)

    def get_state(self) -> dict[str, Any]:
        """Return the beginnings."""
        return {"start": self._start}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._start = state["start"]
