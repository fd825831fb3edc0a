"""A scaler made of others, one for each stretch of features.

It knows no columns: an array ``(n_samples, n_features)`` in, one of the same shape out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from modularml.base.errors import InvalidValueError, StateError, check_int
from modularml.scalers.array_scaler import ArrayScaler
from modularml.scalers.registry import scaler_registry
from modularml.scalers.scaler import Scaler


@scaler_registry.register
class SegmentedScaler(ArrayScaler):
    """Cuts the features into stretches and gives each a scaler of its own.

    Args:
        boundaries: Where to cut, ascending; 0 and the number of features may be left out.
        scaler: What scales each stretch; see `Scaler`.
        scaler_kwargs: Its arguments.

    Raises:
        InvalidValueError: If the boundaries do not ascend.
    """

    _fixed = ("boundaries", "scaler", "scaler_kwargs")

    def __init__(
        self, boundaries: Sequence[int], scaler: Any, scaler_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self.boundaries = tuple(check_int(cut, "A boundary", minimum=0) for cut in boundaries)
        if not self.boundaries or any(a >= b for a, b in pairwise(self.boundaries)):
            raise InvalidValueError(f"boundaries must be ascending ints, at least one, got {boundaries!r}.")
        template = Scaler(scaler, scaler_kwargs)
        self.scaler = template.scaler
        self.scaler_kwargs = template.scaler_kwargs
        self._template = template
        self._parts: list[Scaler] = []
        self._cuts: list[int] = []

    def fit(self, X: np.ndarray, y: None = None) -> Self:
        """Fit a scaler to each stretch of `X`, shape ``(n_samples, n_features)``.

        Raises:
            InvalidValueError: If a boundary lies beyond the last feature.
        """
        n_features = np.shape(X)[1]
        if self.boundaries[-1] > n_features:
            raise InvalidValueError(
                f"The boundary {self.boundaries[-1]} lies beyond the {n_features} features."
            )
        self._cuts = sorted({0, *self.boundaries, n_features})
        self._parts = [self._template.clone_unfitted().fit(X[:, a:b]) for a, b in pairwise(self._cuts)]
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Scale each stretch."""
        return self._each(X, lambda part, stretch: part.transform(stretch))

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        """Undo the scaling of each stretch."""
        return self._each(X, lambda part, stretch: part.inverse_transform(stretch))

    def _each(self, X: np.ndarray, do: Callable[[Scaler, np.ndarray], np.ndarray]) -> np.ndarray:
        if not self._parts:
            raise StateError(f"{self!r} is not fitted.")
        if np.shape(X)[1] != self._cuts[-1]:
            raise InvalidValueError(
                f"{self!r} was fitted to {self._cuts[-1]} features, got {np.shape(X)[1]}."
            )
        stretches = pairwise(self._cuts)
        return np.hstack([do(part, X[:, a:b]) for part, (a, b) in zip(self._parts, stretches, strict=True)])

    def get_state(self) -> dict[str, Any]:
        """Return the state of each part."""
        return {"cuts": list(self._cuts), "parts": [part.get_state() for part in self._parts]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._cuts = list(state["cuts"])
        self._parts = [self._template.clone_unfitted() for _ in state["parts"]]
        for part, of_part in zip(self._parts, state["parts"], strict=True):
            part.set_state(of_part)
