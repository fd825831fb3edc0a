"""Scalers that act on each value by itself.

They know no columns: an array in, an array of the same shape out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modularml.base.errors import InvalidValueError, StateError
from modularml.scalers.array_scaler import ArrayScaler, as_floats
from modularml.scalers.registry import scaler_registry


@scaler_registry.register
class Negate(ArrayScaler):
    """Turns every sign around."""

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return ``-X``, shape ``(n_samples, n_features)``."""
        return -as_floats(X)

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        """Return ``-X``."""
        return -as_floats(X)


@scaler_registry.register
class Absolute(ArrayScaler):
    """Drops every sign, and remembers those of the last array to put them back."""

    def __init__(self) -> None:
        self._signs: np.ndarray | None = None

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return ``|X|``, shape ``(n_samples, n_features)``."""
        X = as_floats(X)
        self._signs = np.where(X < 0, -1, 1).astype(np.int8)
        return np.abs(X)

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        """Give the last transformed array its signs back.

        Raises:
            StateError: If nothing was transformed.
            InvalidValueError: If `X` has another shape than what was transformed last.
        """
        X = np.asarray(X)
        return X * last_transformed(self._signs, X, self)

    def get_state(self) -> dict[str, Any]:
        """Return the signs."""
        return {"signs": self._signs}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._signs = state["signs"]


def last_transformed(kept: np.ndarray | None, X: np.ndarray, scaler: object) -> np.ndarray:
    """Return what a scaler kept of its last array, if it fits `X`.

    Raises:
        StateError: If it kept nothing.
        InvalidValueError: If it does not fit.
    """
    if kept is None:
        raise StateError(f"{scaler!r} has transformed nothing that it could invert.")
    if len(kept) != len(X) or kept.shape[1:] not in ((1,), X.shape[1:]):
        raise InvalidValueError(
            f"{scaler!r} can invert only the array that it transformed last ({len(kept)} samples), "
            f"got shape {X.shape}."
        )
    return kept
