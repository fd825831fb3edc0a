"""ModularML: see, stop, re-run and compare machine-learning experiments in a notebook.

It knows where each public name lives and nothing else: a name is imported when it is first
used, so ``import modularml`` loads neither torch nor scikit-learn nor a widget.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from modularml.base.errors import nearest

if TYPE_CHECKING:  # the same table once more, for type checkers and for the test of the layers
    from modularml.core.context import ExperimentContext as ExperimentContext
    from modularml.core.context import RegistrationPolicy as RegistrationPolicy

_HOMES = {
    "ExperimentContext": "core.context",
    "RegistrationPolicy": "core.context",
}
_PACKAGES = ("callbacks", "models", "samplers", "scalers", "splitters")

__version__ = version("modularml-jupyter")
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        match = nearest(name, __dir__())
        hint = f" Did you mean {match!r}?" if match else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])
