"""One object <-> one file: its configuration, and in a `.mml` file its state where it has one.

It knows no class: whoever saves says the kind, and whoever loads the class that it must be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from modularml.base.config import from_config, to_config
from modularml.base.errors import FileFormatError, ModularMLError
from modularml.base.keywords import checked_keywords
from modularml.io import codec
from modularml.io.yaml import load_yaml, save_yaml

T = TypeVar("T")


def save_object(
    path: str | os.PathLike[str],
    kind: str,
    saved: Any,
    state: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write an object as a file of `kind` and return the path; raises as `codec.save`."""
    return codec.save(path, kind, {"config": to_config(saved), "state": state}, overwrite=overwrite)


def load_object(
    path: str | os.PathLike[str],
    kind: str,
    cls: type[T],
    *,
    symbols: Mapping[str, Any] | None = None,
) -> tuple[T, Any]:
    """Return the object in a file, without its state, and the state.

    Args:
        path: The file; the suffix of `kind` may be left out.
        kind: What the file must hold.
        cls: The class that the object must be of.
        symbols: Classes and functions of yours that the file names, by name.

    Raises:
        FileFormatError: If it is no whole file of that kind, or holds an object of another class.
        UnknownNameError: If it names classes or functions that are not defined here.
    """
    tree = codec.load(path, kind, symbols=symbols)
    with no_surprises(path, kind):
        made, state = from_config(tree["config"]), tree["state"]
    return checked_class(made, cls, path), state


@checked_keywords
class InYaml:
    """A class whose objects a YAML file holds whole, as their configuration is all that there is to them."""

    def to_yaml(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write how it was made to a YAML file, for people to read, and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
            ImportError: If PyYAML is not installed.
        """
        return save_yaml(path, to_config(self), overwrite=overwrite)

    @classmethod
    def from_yaml(cls, path: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Self:
        """Make what a YAML file describes in the active experiment; nothing is imported for it.

        Args:
            path: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If it is no such file, or describes an object of another class.
            UnknownNameError: If it names classes or functions that are not defined here.
        """
        tree = load_yaml(path, symbols=symbols)
        with no_surprises(path, "configuration"):
            made = from_config(tree)
        return checked_class(made, cls, path)


def checked_class(made: Any, cls: type[T], path: str | os.PathLike[str]) -> T:
    """Return what a file holds if it is of a class, else raise FileFormatError."""
    if not isinstance(made, cls):
        raise FileFormatError(f"{os.fspath(path)!r} holds a {type(made).__name__}, not a {cls.__name__}.")
    return made


@contextmanager
def no_surprises(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Tell a tree that is whole as a file but lacks what it should hold from all other errors.

    Raises:
        FileFormatError: In the place of what Python says of a tree that is none of its kind.
    """
    try:
        yield
    except ModularMLError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = kind.replace("_", " ")
        raise FileFormatError(
            f"{os.fspath(path)!r} is no whole {what}: {type(error).__name__}: {error}"
        ) from error
