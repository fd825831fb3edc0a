"""The parts of networks that are chosen by a name or a number.

They know no network.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache

from torch import nn
from torch.nn.modules import activation as _activations

from modularml.base.errors import InvalidTypeError, InvalidValueError, unknown_name


@cache
def activation_classes() -> Mapping[str, type[nn.Module]]:
    """Return torch's activations of single values, by their lower-cased class names."""
    classes = {name.lower(): getattr(_activations, name) for name in _activations.__all__}
    return {name: cls for name, cls in classes.items() if _is_elementwise(cls)}


def _is_elementwise(cls: type[nn.Module]) -> bool:
    """Tell whether it can be made without arguments and works along no dimension."""
    named = [p for p in inspect.signature(cls).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return all(p.default is not p.empty and p.name != "dim" for p in named) and cls is not nn.Softmax2d


def activation_class(name: str) -> type[nn.Module]:
    """Return the activation of that name; case and underscores do not count.

    Raises:
        InvalidValueError: If there is none, with the nearest match.
    """
    found = activation_classes().get(name.lower().replace("_", "")) if isinstance(name, str) else None
    if found is None:
        raise InvalidValueError(unknown_name("activation", name, activation_classes()))
    return found


def check_dropout(value: float) -> float:
    """Return a probability of dropout.

    Raises:
        InvalidTypeError: If it is no number.
        InvalidValueError: If it is not in ``[0, 1)``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"dropout must be a number in [0, 1), got {value!r}.")
    if not 0 <= value < 1:
        raise InvalidValueError(f"dropout must be in [0, 1), got {value}.")
    return float(value)
