"""When two samples count as alike, or as different, in one column.

It knows no sampler: values in, matches and scores out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from modularml.base.config import Configurable
from modularml.base.errors import Faults, InvalidTypeError, check_choice
from modularml.display.card import Shown

MODES = ("similar", "dissimilar")
WEIGHT_MODES = ("binary", "linear", "exp")


class SimilarityCondition(Shown, Configurable):
    """Compares samples by the difference of their values.

    The difference is ``|a - b|`` for numbers, 0 or infinity for anything else, or
    ``|metric(a, b)|``.

    Args:
        mode: ``"similar"``: the difference is at most the tolerance; ``"dissimilar"``: it is more.
        tolerance: In the units of the column; for numbers, or with a metric.
        metric: A function of two samples; it is called once a pair.
        weight_mode: How a match is weighed if `allow_fallback`: ``"binary"``: by
            `max_weight`; ``"linear"`` or ``"exp"``: the less, the less clear it is, in
            units of the tolerance.
        max_weight: The largest weight.
        min_weight: The smallest weight, and that of a pair which does not match.
        allow_fallback: Whether an anchor without a match takes a sample that does not.

    Raises:
        InvalidValueError, InvalidTypeError: If an option is not allowed.
    """

    def __init__(
        self,
        mode: str = "similar",
        tolerance: float = 0.0,
        metric: Callable[[Any, Any], float] | None = None,
        weight_mode: str = "binary",
        max_weight: float = 1.0,
        min_weight: float = 0.0,
        allow_fallback: bool = False,
    ) -> None:
        faults = Faults("SimilarityCondition")
        faults.attempt(check_choice, mode, "mode", MODES)
        faults.attempt(check_choice, weight_mode, "weight_mode", WEIGHT_MODES)
        if metric is not None and not callable(metric):
            faults.add(InvalidTypeError(f"metric must be a function of two samples, got {metric!r}"))
        if not isinstance(allow_fallback, bool | np.bool_):
            faults.add(InvalidTypeError(f"allow_fallback must be True or False, got {allow_fallback!r}"))
        numbers = {"tolerance": tolerance, "min_weight": min_weight, "max_weight": max_weight}
        wrong = {name: value for name, value in numbers.items() if not _is_real(value)}
        for name, value in wrong.items():
            faults.add(InvalidTypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})"))
        if "tolerance" not in wrong and not tolerance >= 0:
            faults.add(f"tolerance must be at least 0, got {tolerance!r}")
        if not wrong.keys() & {"min_weight", "max_weight"} and not 0 <= min_weight <= max_weight < math.inf:
            faults.add(
                "weights must be finite and 0 <= min_weight <= max_weight, got "
                f"{min_weight!r} and {max_weight!r}"
            )
        faults.raise_if_any()
        self.mode = mode
        self.tolerance = tolerance
        self.metric = metric
        self.weight_mode = weight_mode
        self.max_weight = max_weight
        self.min_weight = min_weight
        self.allow_fallback = allow_fallback

    @property
    def is_similar(self) -> bool:
        """Whether it looks for small differences."""
        return self.mode == "similar"

    def difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the differences of samples, pair by pair.

        Args:
            a: Shape ``(n_pairs, *sample_shape)``.
            b: Likewise.

        Returns:
            Float array of shape ``(n_pairs,)``.
        """
        if self.metric is not None:
            return np.array([self._measured(x, y) for x, y in zip(a, b, strict=True)])
        if not is_number(a):
            return np.where(a == b, 0.0, np.inf)
        return np.abs(a.astype(float) - b.astype(float))

    def _measured(self, x: Any, y: Any) -> float:
        measured = self.metric(x, y)  # type: ignore[misc]
        if np.ndim(measured) or np.asarray(measured).dtype.kind not in "biuf":
            raise InvalidTypeError(f"metric must return a number for two samples, got {measured!r:.60}.")
        return abs(float(measured))

    def matches(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return which pairs match, bool of shape ``(n_pairs,)``."""
        return self._matching(self.difference(a, b))

    def score(self, a: Any, b: Any) -> Any:
        """Return how well pairs match: 0 or 1, or a weight if `allow_fallback`.

        Args:
            a: One value, or values of shape ``(n_pairs, *sample_shape)``.
            b: Likewise.
        """
        if np.ndim(a) == 0:
            return float(self.score(np.asarray([a]), np.asarray([b]))[0])
        difference = self.difference(np.asarray(a), np.asarray(b))
        matching = self._matching(difference)
        if not self.allow_fallback:
            return matching.astype(float)
        return np.where(matching, self._weight(difference), self.min_weight)

    def _matching(self, difference: np.ndarray) -> np.ndarray:
        return difference <= self.tolerance if self.is_similar else difference > self.tolerance

    def _weight(self, difference: np.ndarray) -> np.ndarray:
        if self.weight_mode == "binary":
            return np.full(difference.shape, float(self.max_weight))
        unit = self.tolerance or 1.0
        if self.is_similar:
            distance = difference / unit
            share = 1 - distance if self.weight_mode == "linear" else np.exp(-distance)
        else:
            distance = (difference - self.tolerance) / unit
            share = distance if self.weight_mode == "linear" else 1 - np.exp(-distance)
        return np.clip(self.max_weight * share, self.min_weight, self.max_weight)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_number(values: np.ndarray) -> bool:
    """Tell whether the differences of values are numbers: not those of text, dates and bools."""
    return values.dtype.kind in "iuf"
