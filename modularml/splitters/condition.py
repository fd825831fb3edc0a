"""Splits by conditions on columns.

It knows no FeatureSet, and lets a sample be in several parts or in none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from modularml.base.config import from_config, to_config
from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError
from modularml.base.rows import SampleSource
from modularml.predicates import match_all, plain
from modularml.splitters.splitter import Splitter


class ConditionSplitter(Splitter):
    """Puts into each part the samples that meet all of its conditions.

    Args:
        **conditions: Part -> {column: condition}; a condition is a value (equality), a
            list (membership), a predicate of `modularml.predicates` or a function.

    Example:
        >>> ConditionSplitter(cold={"temperature": LT(10)}, lab={"site": ["A", "B"]})
    """

    _fixed = ("conditions",)

    def __init__(self, /, **conditions: Mapping[str, Any]) -> None:
        if not conditions:
            raise InvalidValueError("A ConditionSplitter needs at least one split: name={column: condition}.")
        for name, of_part in conditions.items():
            if not isinstance(of_part, Mapping) or not of_part:
                raise InvalidTypeError(
                    f"The conditions of the split {name!r} must be a dict of column -> condition, "
                    f"got {of_part!r}."
                )
        self.conditions = {
            name: {column: plain(condition) for column, condition in of_part.items()}
            for name, of_part in conditions.items()
        }

    def _indices(self, source: SampleSource) -> dict[str, np.ndarray]:
        faults = Faults(type(self).__name__)
        masks = {name: faults.attempt(match_all, source, of) for name, of in self.conditions.items()}
        faults.raise_if_any()
        return {name: np.flatnonzero(mask) for name, mask in masks.items() if mask is not None}

    def get_config(self) -> dict[str, Any]:
        """Return the conditions as a tree."""
        return {name: to_config(of_part) for name, of_part in self.conditions.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a splitter of what `get_config` returned."""
        return cls(**from_config(dict(config)))

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}={of_part!r}" for name, of_part in self.conditions.items())
        return f"ConditionSplitter({listed})"
