"""A tree of values <-> a YAML file for people to read, compare and edit.

It knows no class of the library. What is written is what ``tree.json`` in a `.mml` file says;
arrays and estimators have no place in it. PyYAML is optional and imported here only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modularml.base.errors import FileFormatError
from modularml.base.optional import optional
from modularml.io.codec import from_plain, to_plain


def save_yaml(path: str | os.PathLike[str], tree: Any, *, overwrite: bool = False) -> Path:
    """Write a tree and return the path.

    Raises:
        FileExistsError: If the file is there and `overwrite` is False.
        ImportError: If PyYAML is not installed.
        InvalidTypeError: If the tree holds what only a `.mml` file can hold.
    """
    yaml = optional("yaml", "yaml", "A YAML file")
    text = yaml.safe_dump(to_plain(tree), sort_keys=False, allow_unicode=True)
    with open(path, "w" if overwrite else "x", encoding="utf-8") as file:
        file.write(text)
    return Path(path)


def load_yaml(path: str | os.PathLike[str], *, symbols: Mapping[str, Any] | None = None) -> Any:
    """Return the tree in a file; nothing is imported or run for it.

    Args:
        path: The file.
        symbols: Classes and functions of yours that the file names, by name.

    Raises:
        FileFormatError: If it is no such file.
        ImportError: If PyYAML is not installed.
        UnknownNameError: If it names classes or functions that are not defined here.
    """
    yaml = optional("yaml", "yaml", "A YAML file")
    try:
        plain = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{os.fspath(path)}: no YAML: {error}.") from error
    return from_plain(plain, symbols=symbols)
