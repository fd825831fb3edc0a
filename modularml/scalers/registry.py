"""The scalers by name: ours as classes, scikit-learn's by address until they are used.

It knows no data.
"""

from __future__ import annotations

import importlib
from collections.abc import ItemsView, ValuesView
from typing import Any

from modularml.base.errors import InvalidValueError, unknown_name
from modularml.base.registry import Registry

SKLEARN_SCALERS = (
    "StandardScaler",
    "MinMaxScaler",
    "MaxAbsScaler",
    "RobustScaler",
    "Normalizer",
    "QuantileTransformer",
    "PowerTransformer",
)


class ScalerRegistry(Registry[Any]):
    """A registry that imports scikit-learn when one of its scalers is first looked up."""

    def __init__(self) -> None:
        super().__init__("scaler")
        for name in SKLEARN_SCALERS:
            self[name] = None

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise InvalidValueError(unknown_name("scaler", name, self))
        found = super().__getitem__(name)
        if found is None:
            name = next(n for n in SKLEARN_SCALERS if n.lower() == name.lower())
            # By name, so that names can be listed and configurations read without scikit-learn.
            found = self[name] = getattr(importlib.import_module("sklearn.preprocessing"), name)
        return found

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """Return the classes."""
        return {name: self[name] for name in self}.values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Return names and classes."""
        return {name: self[name] for name in self}.items()

    def name_of(self, cls: type) -> str | None:
        """Return the name a class is registered under, or None."""
        if cls.__module__.startswith("sklearn.") and cls.__name__ in SKLEARN_SCALERS:
            return cls.__name__
        return next((name for name in self if dict.__getitem__(self, name) is cls), None)


scaler_registry = ScalerRegistry()
"""Every scaler that can be named; classes of yours can be added."""

supported_scalers = scaler_registry
"""The same by its other public name."""
