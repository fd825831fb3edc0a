"""Misspelt keyword arguments, and such as came by position: an error with what is meant.

It knows no class; a class is handed in, or comes as a subclass of `Configurable`.

A call costs no check: Python itself refuses an unknown keyword, or an argument too many, and only
then is its message completed. Signatures stay as they are for `inspect` and for Shift-Tab.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from modularml.base.attributes import close, elsewhere
from modularml.base.errors import InvalidTypeError, nearest

ClassT = TypeVar("ClassT", bound=type)
CallableT = TypeVar("CallableT", bound=Callable[..., Any])

_TOO_MANY = re.compile(r"takes .*positional arguments? but \d+ ")
_UNKNOWN = re.compile(r"got an unexpected keyword argument '([^']*)'")


def checked_keywords(cls: ClassT) -> ClassT:
    """Complete the error of a misspelt keyword in the constructor and public methods that `cls` defines.

    Its instances refuse misspelt attributes, too; see `modularml.base.attributes`.
    """
    close(cls)
    is_module = hasattr(cls, "register_forward_hook")
    for name, member in list(vars(cls).items()):
        # torch traces what a module computes; hooks are called by the library alone.
        if name != "__init__" and (is_module or name.startswith(("_", "on_"))):
            continue
        if isinstance(member, classmethod | staticmethod):
            found = type(member)(checked(member.__func__, cls))
            setattr(cls, name, found) if _takes_keywords(member.__func__) else None
        elif inspect.isfunction(member) and _takes_keywords(member):
            setattr(cls, name, checked(member, cls))
    return cls


def checked(function: CallableT, owner: type | None = None) -> CallableT:
    """Return `function`, whose error of a misspelt or unnamed argument says which one is meant."""
    if hasattr(function, "_is_checked"):
        return function
    makes = owner is not None and function.__name__ == "__init__"

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True  # IPython and pytest pass this frame by: it is on the way of every error
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            told = _misnamed(error, kwargs, function, owner) or _misplaced(error, args, function, owner)
            if told is None:
                raise
            where = _place(function, args[0] if args and owner is not None else None, makes=makes)
            raise InvalidTypeError(f"{where}() {told}") from None

    vars(call)["_is_checked"] = True
    return call  # type: ignore[return-value]


def _place(function: Callable[..., Any], of: Any, *, makes: bool) -> str:
    """Return the name that whoever called knows: with the class that was asked, also for what it inherits."""
    cls = of if isinstance(of, type) else type(of)
    if of is None or getattr(cls, function.__name__, None) is None:
        return function.__qualname__
    return cls.__name__ if makes else f"{cls.__name__}.{function.__name__}"


def _takes_keywords(function: Callable[..., Any]) -> bool:
    kinds = [p.kind for p in list(inspect.signature(function).parameters.values())[1:]]
    named = any(
        kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY) for kind in kinds
    )
    return named and inspect.Parameter.VAR_KEYWORD not in kinds


def _misnamed(
    error: TypeError, kwargs: dict[str, Any], function: Callable[..., Any], owner: type | None
) -> str | None:
    """Say which name was meant, if it is one of this call that is unknown; else something within it was."""
    found = _UNKNOWN.search(str(error))
    if found is None or found[1] not in kwargs or found[1] in inspect.signature(function).parameters:
        return None
    told = elsewhere(owner, found[1]) or _likely(found[1], kwargs[found[1]], function)
    return f"got an unexpected keyword argument {found[1]!r}. {told}"


def _misplaced(
    error: TypeError, args: tuple[Any, ...], function: Callable[..., Any], owner: type | None
) -> str | None:
    """Say what goes by name, if more came by position than this call takes, and no call within it."""
    within = error.__traceback__ is None or error.__traceback__.tb_next is not None
    if within or not _TOO_MANY.search(str(error)):
        return None
    first = 0 if owner is None else 1  # self or cls
    parameters = list(inspect.signature(function).parameters.values())[first:]
    by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if not by_name:
        return None
    taken = " and ".join(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY) or "nothing"
    got = ", ".join(f"{value!r:.40}" for value in args[first:])
    return f"takes {taken} by position, got {got}. By name: {', '.join(by_name)}."


def _likely(name: str, value: Any, function: Callable[..., Any]) -> str:
    """Return a sentence about the keyword that was meant, or those that there are."""
    parameters = inspect.signature(function).parameters.values()
    by_position = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
    allowed = [p.name for p in parameters if p.kind not in by_position and p.name not in ("self", "cls")]
    match = nearest(name, allowed)
    takes = f"It takes: {', '.join(allowed)}." if allowed else "It takes its arguments by position."
    passed_on = next((one for one in allowed if one.endswith("_kwargs")), None)
    if passed_on is not None:
        takes += f" What is passed on goes to {passed_on}={{{name!r}: {value!r:.40}}}."
    return f"Did you mean {match!r}?" if match else takes
