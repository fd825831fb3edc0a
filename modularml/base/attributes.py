"""Attributes that are not there, or are assigned without effect: an error at the line, with what is meant.

It knows no class; `modularml.base.keywords.checked_keywords` hands them in.

The code of this package sets what it likes. From outside, what an object has may be set, unless its class
says that it is ``_fixed``, and so may what begins with an underscore; a new name is a slip. Classes of a
user's own, and torch modules, take any.

``_fixed`` holds names, or name -> what to do instead. A class whose attributes are arguments of its
constructor has a method ``_assigned(name, value)``, which returns what they are to hold, and raises as
the constructor does.

``_elsewhere`` has the names that things which are found elsewhere here have in other libraries, several
in a row, and a sentence for them that ends with what to write. It is told where such an attribute is
read or set, and where such a keyword is given.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from modularml.base.errors import InvalidAttributeError, nearest


def close(cls: type) -> None:
    """Let instances of `cls` refuse attributes that nothing reads."""
    if cls.__setattr__ is object.__setattr__:
        cls.__setattr__ = _set  # type: ignore[assignment, method-assign]
    elif dataclasses.is_dataclass(cls) and "__setattr__" in vars(cls):  # which frozen ones have
        cls.__setattr__ = _refuse  # type: ignore[method-assign]
    if "_elsewhere" in vars(cls):
        cls.__getattr__ = _absent  # type: ignore[attr-defined]


def elsewhere(cls: type | None, name: str) -> str | None:
    """Return the sentence that says where to find what others call `name`, if there is one."""
    told: Mapping[str, str] = getattr(cls, "_elsewhere", {})
    return next((sentence for names, sentence in told.items() if name in names.split()), None)


def _absent(self: Any, name: str) -> Any:
    if hasattr(type(self), name):
        return object.__getattribute__(self, name)  # a property, whose own error is the one to tell
    raise InvalidAttributeError(_Absence(self, name))


class _Absence:
    """The text of an error; it is made when it is read, for most only ask whether an attribute is there."""

    def __init__(self, instance: Any, name: str) -> None:
        self._instance, self._name = instance, name

    def __str__(self) -> str:
        cls, name = type(self._instance), self._name
        match = nearest(name, [known for known in dir(self._instance) if not known.startswith("_")])
        hint = elsewhere(cls, name) or (f"Did you mean {match!r}?" if match else "")
        return f"{cls.__name__} has no {name!r}. {hint}".rstrip()

    __repr__ = __str__

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def _refuse(self: Any, name: str, value: Any) -> None:
    raise InvalidAttributeError(
        f"{name!r} of {self!r} cannot be set: it does not change. dataclasses.replace(this, {name}=...) "
        "makes another."
    )


def _set(self: Any, name: str, value: Any) -> None:
    cls = type(self)
    if (
        name[0] != "_"
        and (name not in vars(self) or hasattr(cls, "_assigned") or name in getattr(cls, "_fixed", ()))
        and not _is_ours(sys._getframe(1).f_globals.get("__name__"))
        and _is_ours(cls.__module__)
    ):
        value = _from_outside(self, cls, name, value)
    object.__setattr__(self, name, value)


def as_made(self: Any, name: str, value: Any, **others: Any) -> Any:
    """Return what the constructor would make of an argument; a method ``_assigned`` of classes that it makes.

    For objects that nobody else knows of, as another one is made, of the present arguments and `others`.
    """
    parameters = inspect.signature(type(self)).parameters
    if name not in parameters:
        return value
    arguments = {parameter: getattr(self, parameter) for parameter in parameters}
    return getattr(type(self)(**arguments | others | {name: value}), name)


def _from_outside(instance: Any, cls: type, name: str, value: Any) -> Any:
    """Return what an attribute is to hold that code of others sets to `value`."""
    if hasattr(cls, "register_forward_hook"):
        return value
    if name not in vars(instance) or name in getattr(cls, "_fixed", ()):
        _check(instance, cls, name)
        return value
    return instance._assigned(name, value)


def _check(instance: Any, cls: type, name: str) -> None:
    fixed = getattr(cls, "_fixed", ())
    if name in fixed:
        if isinstance(fixed, Mapping):
            raise InvalidAttributeError(f"{name!r} of {instance!r} cannot be set: {fixed[name]}.")
        raise InvalidAttributeError(
            f"{name!r} of {instance!r} is said when it is made, and nothing would follow from setting it "
            f"now; make a new {cls.__name__}."
        )
    found = getattr(cls, name, None)
    if isinstance(found, property) and found.fset is None:
        raise InvalidAttributeError(
            f"{name!r} of {instance!r} cannot be set: it follows from what that holds."
        )
    if not hasattr(cls, name):
        known = _settable(instance, cls)
        match = nearest(name, known)
        listed = f"Did you mean {match!r}?" if match else f"It has: {', '.join(known)}."
        hint = elsewhere(cls, name) or listed
        raise InvalidAttributeError(f"{instance!r} has no {name!r} to set. {hint}")


def _is_ours(module: Any) -> bool:
    return str(module).partition(".")[0] == "modularml"


def _settable(instance: Any, cls: type) -> list[str]:
    """Return the names that may be set."""
    properties = [name for name in dir(cls) if getattr(getattr(cls, name, None), "fset", None) is not None]
    names = {*vars(instance), *properties} - set(getattr(cls, "_fixed", ()))
    return sorted(name for name in names if not name.startswith("_"))
