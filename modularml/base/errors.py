"""The exception tree, and the words an error is told in.

It knows no object of the library: callers pass labels, names and allowed values.

Every error is also one of the built-in kinds, so ``except ValueError`` works::

    ModularMLError
    ├── InvalidValueError (ValueError)     a value that is not allowed
    │   ├── LossError, OptimizerError      an unknown loss or optimizer
    │   ├── DuplicateLabelError            a label that is taken
    │   ├── GraphError                     nodes that do not fit together
    │   └── FileFormatError                a file that is not what it should be
    ├── InvalidTypeError (TypeError)       a value of a wrong type
    ├── InvalidAttributeError (AttributeError)   an attribute that is not there, or cannot be set
    ├── UnknownNameError (KeyError)        a name that nothing answers to
    │   └── UnknownColumnError             a column that is not there; also a ResolutionError
    ├── ResolutionError (RuntimeError)     a reference that leads nowhere
    ├── StateError (RuntimeError)          a call at the wrong time
    │   └── OptimizerNotSetError
    └── CallbackError (RuntimeError)       a callback raised; it names callback and hook
    ModularMLWarning (UserWarning)
    └── SplitOverlapWarning
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


_MOST_LISTED, _N_LISTED = 100, 20
"""The most names that an error lists one by one, and how many where there are more."""


class ModularMLError(Exception):
    """The root of every error that this library raises on purpose."""


class InvalidValueError(ModularMLError, ValueError):
    """A value that is not allowed where it was given."""


class InvalidTypeError(ModularMLError, TypeError):
    """A value of a type that is not allowed where it was given."""


class InvalidAttributeError(ModularMLError, AttributeError):
    """An attribute that is not there, or that nothing would follow from if it were set."""


class UnknownNameError(ModularMLError, KeyError):
    """A name that nothing in its scope answers to."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class ResolutionError(ModularMLError, RuntimeError):
    """A reference that leads to nothing, or to more than one thing."""


class UnknownColumnError(UnknownNameError, ResolutionError):
    """A selector that no column answers to."""


class StateError(ModularMLError, RuntimeError):
    """A call at the wrong time: not built, not fitted, frozen, closed."""


class LossError(InvalidValueError):
    """A loss that is unknown or cannot be computed."""


class OptimizerError(InvalidValueError):
    """An optimizer that is unknown or cannot be built."""


class OptimizerNotSetError(StateError):
    """Training was asked for, and no optimizer is there to do it."""


class CallbackError(ModularMLError, RuntimeError):
    """A callback raised; the message names it and its hook."""


class DuplicateLabelError(InvalidValueError):
    """A label that something else already bears."""


class GraphError(InvalidValueError):
    """Nodes that do not fit together: cycles, shapes, missing upstreams."""


class FileFormatError(InvalidValueError):
    """A file that is cut short, changed, of another kind or of a newer format."""


class ModularMLWarning(UserWarning):
    """The root of every warning that this library emits."""


class SplitOverlapWarning(ModularMLWarning):
    """Two splits share rows."""


def warn(text: str, kind: type[ModularMLWarning] = ModularMLWarning) -> None:
    """Warn of the line of the user's that led here, however deep in this package it is noticed."""
    level, frame = 1, sys._getframe()
    within = ("modularml", "contextlib")  # whose frames lie between a ``with`` and what it enters
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in within:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, kind, stacklevel=level)


_ELSEWHERE = {
    "random_state": "seed",
    "n_splits": "n_folds",
    "cv": "splitter",
    "learning_rate": "lr",
    "hidden_layer_sizes": "hidden_dim",
}
"""What other libraries call something -> what it is called here."""


def nearest(name: object, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that `name` was most likely meant to be."""
    by_lower = {a.lower(): a for a in allowed}
    meant = str(name).lower()
    if _ELSEWHERE.get(meant) in by_lower:
        return _ELSEWHERE[meant]
    found = difflib.get_close_matches(meant, by_lower, n=5, cutoff=0.6)
    if not found:  # "cosine" is no slip of "cosine_annealing", nor "validation" of "val"
        found = [name for name in by_lower if _begins(meant, name) or _begins(name, meant)][:1]
    # The most alike first, but "adma" is one slip away from "adam", and three from "adamax".
    return by_lower[min(found, key=lambda near: _slips(meant, near))] if found else None


def _begins(short: str, long: str) -> bool:
    return len(short) > 2 and long.startswith(short)


def _slips(left: str, right: str) -> int:
    """Return how many slips of the keyboard lead from one word to another.

    A slip is a letter more, a letter less, another letter, or two letters the wrong way round.
    """
    above: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        above, before, row = row, above, [i]
        for j, b in enumerate(right, start=1):
            n = min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b))
            if min(i, j) > 1 and (a, left[i - 2]) == (right[j - 2], b):
                n = min(n, before[j - 2] + 1)
            row.append(n)
    return row[-1]


def unknown_name(what: str, name: object, allowed: Iterable[str], *, where: str = "") -> str:
    """Say that `name` is unknown, what is allowed, and the nearest match.

    Args:
        what: The kind of thing that was named, e.g. ``"split"``.
        name: What came.
        allowed: Every name that would have done.
        where: The label of the place, e.g. ``"FeatureSet 'Sensor'"``.

    Returns:
        One sentence or two, e.g. ``"Unknown split 'trian' in FeatureSet 'Sensor'.
        Available: 'train', 'test'. Did you mean 'train'?"``.
    """
    in_order = sorted(allowed) if isinstance(allowed, set | frozenset) else allowed
    allowed = [str(a) for a in in_order]
    place = f" in {where}" if where else ""
    match = nearest(name, allowed)
    hint = f" Did you mean {match!r}?" if match else ""
    return f"Unknown {what} {name!r}{place}. Available: {listed(allowed)}.{hint}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them; of very many, as columns can be, the first ones."""
    if len(names) <= _MOST_LISTED:
        return ", ".join(map(repr, names)) or "none"
    return f"{', '.join(map(repr, names[:_N_LISTED]))} and {len(names) - _N_LISTED:,} more"


class Faults:
    """Collects the faults of one object, so that all are told at once.

    Example:
        >>> faults = Faults("TrainPhase 'train'")
        >>> faults.add("n_epochs must be a positive int, got 0")
        >>> faults.raise_if_any()
        Traceback (most recent call last):
        ...
        modularml.base.errors.InvalidValueError: TrainPhase 'train': n_epochs must be ...
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._errors: list[ModularMLError] = []

    def add(self, fault: str | ModularMLError) -> None:
        """Note a fault; a plain string counts as an `InvalidValueError`."""
        self._errors.append(InvalidValueError(fault) if isinstance(fault, str) else fault)

    def __bool__(self) -> bool:
        return bool(self._errors)

    def attempt(self, check: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """Return what ``check(*args, **kwargs)`` returns; note the error if it raises one of ours."""
        try:
            return check(*args, **kwargs)
        except ModularMLError as error:
            self.add(error)
            return None

    def raise_if_any(self) -> None:
        """Raise what was noted: the one error, or all in one `InvalidValueError`.

        Several faults are raised as the kind that they share, else as
        `InvalidValueError`.
        """
        if not self._errors:
            return
        kinds = {type(e) for e in self._errors}
        kind = kinds.pop() if len(kinds) == 1 else InvalidValueError
        own = f"{self.where}: "  # which what was attempted may say, too
        # One device that is not there is one fault.
        told = list(dict.fromkeys(str(error).removeprefix(own) for error in self._errors))
        if len(told) == 1:
            raise kind(f"{self.where}: {told[0]}")
        listed = "\n".join(f"  - {text}" for text in told)
        raise kind(f"{self.where} has {len(told)} faults:\n{listed}")


@contextmanager
def told_of(where: str) -> Iterator[None]:
    """Say in an error of ours that is raised within a ``with`` block which object it is about.

    Args:
        where: What the message begins with, e.g. ``"FeatureSet 'Sensor'"``.
    """
    try:
        yield
    except ModularMLError as error:
        raise type(error)(f"{where}: {error}") from error.__cause__


def check_label(label: object, what: str) -> str:
    """Return `label` if it can name something, else raise.

    Raises:
        InvalidTypeError: If it is not a string.
        InvalidValueError: If it is empty or holds unprintable characters.
    """
    if not isinstance(label, str):
        raise InvalidTypeError(
            f"The label of {_a(what)} must be a string, got {label!r} ({type(label).__name__})."
        )
    if not label.strip() or not label.isprintable():
        raise InvalidValueError(f"The label of {_a(what)} must be printable, non-empty text, got {label!r}.")
    return label


def _a(what: str) -> str:
    """Return a word after its article."""
    return f"{'an' if what[:1].lower() in 'aeiou' else 'a'} {what}"


def check_int(value: object, name: str, *, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`, else raise.

    Raises:
        InvalidTypeError: If it is not an integer (a bool and a float are not).
        InvalidValueError: If it is below `minimum`.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidTypeError(
            f"{name} must be an int of at least {minimum}, got {value!r} ({type(value).__name__})."
        )
    number = int(value.__index__())
    if number < minimum:
        raise InvalidValueError(f"{name} must be an int of at least {minimum}, got {number}.")
    return number


def check_choice(value: object, name: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the allowed words, else raise `InvalidValueError`."""
    allowed = list(allowed)
    if value not in allowed:
        raise InvalidValueError(unknown_name(name, value, allowed))
    return str(value)
