"""Classes and functions of the user's own: what objects are made with, and what a name means by now.

It knows no notebook, no file and no kind of object: where to look is told by how objects are made.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

from modularml.base.config import Configurable

Definition = Any
"""A class or a function."""

_LIBRARIES = frozenset({"builtins", "modularml", "numpy", "sklearn", "torch"})
_NOTHING: Mapping[str, Any] = {}
_PLAIN = (str, int, float, type(None))
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MANY = 1000  # of so many elements in a list each is hardly a class, a layer or a step
_NO_CONTENT = frozenset(
    {"__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"}
)


def is_nameable(value: object) -> bool:
    """Return whether `value` is a class or a function, which has a name to find it by."""
    return isinstance(value, type | FunctionType | BuiltinFunctionType)


def is_own(definition: Definition) -> bool:
    """Tell whether a class or function is of none of the libraries whose objects are in every graph."""
    return (definition.__module__ or "builtins").partition(".")[0] not in _LIBRARIES


def defined(module: str, name: str) -> Definition | None:
    """Return the class or function that a module itself defines as `name`; no code of it is run."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", _NOTHING).get(part)
    if is_nameable(found) and (found.__module__, found.__qualname__) == (module, name):
        return found
    return None


def newer(definition: Definition) -> Definition | None:
    """Return what is defined under its name by now, if that is another version of it; else None."""
    found = defined(definition.__module__, definition.__qualname__)
    if found is None or found is definition or isinstance(found, type) != isinstance(definition, type):
        return None
    now: Any = definition
    # A library may have wrapped what is still defined there, as Keras does in its objects.
    while now is not None:
        if _content(found) == _content(now):
            return None
        now = getattr(now, "__wrapped__", None)
        now = getattr(now, "__func__", now)
    return found


def version(function: Any) -> str:
    """Return a digest of what a function does, whatever the lines that it stands in."""
    return hashlib.blake2b(repr(_content(function)).encode(), digest_size=8).hexdigest()


def own_definitions(thing: Any) -> list[Definition]:
    """Return the user's own classes and functions that an object is made with: those of its parts too.

    A class comes before those it derives from. Parts are looked for in lists and dicts, and in the
    attributes of whatever is `Configurable`, a torch module or an estimator of scikit-learn.
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()
    rest = [thing]
    while rest:
        value = rest.pop()
        if isinstance(value, _PLAIN) or id(value) in seen:
            continue
        seen.add(id(value))
        kind = value if is_nameable(value) else type(value)
        if kind is value or id(kind) not in seen:
            seen.add(id(kind))
            found |= {id(known): known for known in getattr(kind, "__mro__", (kind,)) if is_own(known)}
        if kind is not value:
            rest.extend(_parts(value, is_root=value is thing))
    return list(found.values())


def _parts(value: Any, *, is_root: bool) -> Iterator[Any]:
    if isinstance(value, list | tuple | dict):
        if len(value) < _MANY:
            yield from value.values() if isinstance(value, dict) else value
    elif isinstance(value, functools.partial):
        yield value.func
    elif hasattr(type(value), "register_forward_hook"):
        # A torch module: hooks and tensors aside.
        yield from (part for name, part in vars(value).items() if name[0] != "_" or name == "_modules")
    elif is_root or isinstance(value, Configurable) or hasattr(type(value), "get_params"):
        yield from getattr(value, "__dict__", _NOTHING).values()


def _content(value: Any) -> Any:
    """Return what makes up a definition, as a tree of plain values that compares by value."""
    if isinstance(value, FunctionType):
        arguments = [repr(given) for given in (value.__defaults__, value.__kwdefaults__)]
        return (
            *map(_without_address, arguments),
            _of_code(value.__code__, value.__doc__),
            _content(getattr(value, "__wrapped__", None)),
        )
    if isinstance(value, staticmethod | classmethod):
        return type(value).__name__, _content(value.__func__)
    if isinstance(value, property):
        return [_content(part) for part in (value.fget, value.fset, value.fdel)]
    if isinstance(value, type):
        members = {name: _content(m) for name, m in vars(value).items() if name not in _NO_CONTENT}
        return [base.__qualname__ for base in value.__bases__], members
    return _without_address(repr(value))


def _of_code(code: CodeType, doc: str | None = None) -> tuple[Any, ...]:
    known = [None if doc is not None and c == doc else c for c in code.co_consts]
    constants = [_of_code(c) if isinstance(c, CodeType) else repr(c) for c in known]
    return code.co_code, code.co_names, code.co_varnames, constants


def _without_address(text: str) -> str:
    return _ADDRESS.sub("", text)
