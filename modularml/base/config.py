"""Configuration: the constructor's parameters, read back from the object.

It knows no class by name; classes of this package enter `type_registry` when they
are defined, and that closed registry is all that a configuration can name.

A class that keeps each constructor argument in an attribute of the same name gets
`get_config`, `from_config`, ``repr`` and ``==`` from `Configurable`::

    class SimpleSampler(Configurable):
        def __init__(self, *, batch_size=1, shuffle=False): ...

    SimpleSampler(batch_size=32).get_config()  # {"batch_size": 32, "shuffle": False}

A configuration is a tree of dicts, lists, tuples and plain values. A `Configurable`
inside it stands as ``{"$type": "SimpleSampler", "batch_size": 32, ...}``; one of a
user's own class has the class itself there. Classes and functions stay what they
are; how a file writes them is the file's business.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np

from modularml.base.attributes import as_made
from modularml.base.errors import InvalidValueError, StateError, UnknownNameError, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.base.registry import Registry

type_registry: Registry[type[Configurable]] = Registry("type")
"""Every `Configurable` class of this package, by its ``__qualname__``."""

_LATE_MODULES = (
    "modularml.models.torch",
    "modularml.samplers",
    "modularml.splitters",
    "modularml.scalers",
    "modularml.core.topology.concat_node",
    "modularml.core.topology.elementwise_nodes",
    "modularml.core.experiment.experiment",
    "modularml.core.experiment.cross_validation",
    "modularml.callbacks",
)
"""Modules that nothing below imports, and whose classes a configuration may name all the same."""


def _registered(name: str) -> type[Configurable]:
    for module in _LATE_MODULES:
        if name in type_registry:
            break
        importlib.import_module(module)
    return type_registry[name]


def all_types() -> Registry[type[Configurable]]:
    """Return the registry with every class of this package in it; loads all of the library."""
    for module in _LATE_MODULES:
        importlib.import_module(module)
    return type_registry


# Weak, so that a class which a re-run cell defines anew can go.
_known: WeakKeyDictionary[type, dict[str, inspect.Parameter]] = WeakKeyDictionary()


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class's constructor by name, those that take whatever is left aside."""
    known = _known.get(cls)
    if known is None:
        params = inspect.signature(cls).parameters.values()
        known = {p.name: p for p in params if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        _known[cls] = known
    return known


def argument_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments that go by position; none of what says nothing of itself."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function written in C, or a class of one
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


_LOST = object()
"""Stands for an argument that no attribute keeps."""


@checked_keywords
class Configurable:
    """An object that is described by the arguments it was made with.

    What is assigned to one of them later is checked, and read, as by the constructor. A class that keeps more
    of an argument than the attribute of its name has an `_assigned` of its own, or says that it is `_fixed`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] == "modularml":
            type_registry[cls.__qualname__] = cls
            checked_keywords(cls)

    def _assigned(self, name: str, value: Any) -> Any:
        return as_made(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as a tree of plain values.

        Raises:
            StateError: If an argument is kept in no attribute of its name.
        """
        kept = {name: getattr(self, name, _LOST) for name in parameters_of(type(self))}
        lost = [name for name, value in kept.items() if value is _LOST]
        if lost:
            raise StateError(
                f"{type(self).__qualname__} cannot be described: it keeps no attribute of the same name for "
                f"its parameters {lost}. Set self.{lost[0]} in its constructor, or define get_config()."
            )
        return {name: to_config(value) for name, value in kept.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make an object from what `get_config` returned.

        Raises:
            UnknownNameError: If the configuration names a parameter that this class
                does not have, or a type that is not in the registry.
        """
        known = parameters_of(cls)
        for name in config:
            if name not in known:
                raise UnknownNameError(unknown_name("parameter", name, known, where=cls.__qualname__))
        return cls(**{name: from_config(value) for name, value in config.items()})

    def __repr__(self) -> str:
        shown = []
        for name, param in parameters_of(type(self)).items():
            value = getattr(self, name, ...)  # a user's class may keep an argument elsewhere
            if param.default is param.empty or not _same(value, param.default):
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return same_tree(self.get_config(), other.get_config())

    __hash__ = object.__hash__  # a thing with a life is kept by identity in sets


def _same(value: object, default: object) -> bool:
    return type(value) is type(default) and same_tree(value, default)


def same_tree(left: Any, right: Any) -> bool:
    """Tell whether two trees hold equal values; arrays count by value, and NaN equals NaN in them."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same_tree(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and type(left) is type(right):
        return len(left) == len(right) and all(map(same_tree, left, right))
    if any(isinstance(side, np.ndarray) or getattr(side, "ndim", 0) for side in (left, right)):
        return _same_array(np.asarray(left), np.asarray(right))
    return bool(left == right)


def _same_array(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind in "fc")


PLAIN_TYPES = frozenset({bool, int, float, str})
"""What most of a tree is made of; it is asked for first, as classes with registered kin answer slowly."""


def to_config(value: Any) -> Any:
    """Return `value` as a configuration tree; a `Configurable` becomes a tagged dict."""
    if value is None or type(value) in PLAIN_TYPES:
        return value
    if isinstance(value, Configurable):
        cls = type(value)
        known = cls.__qualname__ in type_registry and type_registry[cls.__qualname__] is cls
        return {"$type": cls.__qualname__ if known else cls, **value.get_config()}
    if isinstance(value, Mapping):
        return {key: to_config(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_config(item) for item in value)
    return value


def from_config(tree: Any) -> Any:
    """Make what a configuration tree describes: the inverse of `to_config`.

    Raises:
        UnknownNameError: If a ``$type`` is not in the registry.
    """
    if isinstance(tree, Mapping):
        if "$type" not in tree:
            return {key: from_config(item) for key, item in tree.items()}
        named = tree["$type"]
        cls = _registered(named) if isinstance(named, str) else named
        if not (isinstance(cls, type) and issubclass(cls, Configurable)):
            raise InvalidValueError(f"A '$type' must name a configurable class, got {named!r}.")
        return cls.from_config({k: v for k, v in tree.items() if k != "$type"})
    if isinstance(tree, list | tuple):
        return type(tree)(from_config(item) for item in tree)
    return tree
