"""What the scalers of this package share: they are used as those of scikit-learn are.

It knows no columns: an array ``(n_samples, n_features)`` in, one of the same shape out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from modularml.base.config import Configurable
from modularml.display.card import Shown


def as_floats(X: np.ndarray) -> np.ndarray:
    """Return an array as one of floats: whole numbers wrap around where they get too large or negative."""
    X = np.asarray(X)
    return X if X.dtype.kind == "f" else X.astype(float)


class ArrayScaler(Shown, Configurable, ABC):
    """A scaler of arrays, which learns nothing unless it says so."""

    def fit(self, X: np.ndarray, y: None = None) -> Self:
        """Learn from `X`, shape ``(n_samples, n_features)``."""
        return self

    @abstractmethod
    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return `X`, scaled."""

    @abstractmethod
    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        """Return `X` as it was before scaling."""

    def fit_transform(self, X: np.ndarray, y: None = None) -> np.ndarray:
        """Learn from `X` and return it, scaled."""
        return self.fit(X).transform(X)
