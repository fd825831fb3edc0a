"""Trees of configuration: as plain values, as one line a value, and where two of them differ.

It knows no class and no file: what is no plain value is handed to a function that gives its text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modularml.base.config import PLAIN_TYPES

Path = tuple[str, ...]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_LONGEST = 300  # characters of the text of an object; of longer ones a digest tells what follows

OWN_IDS = frozenset({"node_id", "id_seed", "sample_uuids"})
"""Keys whose values are different in every object, and no setting of it."""


@dataclass(frozen=True)
class Difference:
    """A value that two trees do not share.

    Attributes:
        path: The keys that lead to it, e.g. ``("plan", "train", "n_epochs")``.
        before: Its text in the first tree; None if it is not there.
        after: Its text in the second tree; None if it is not there.
    """

    path: Path
    before: str | None
    after: str | None

    def __str__(self) -> str:
        before, after = ("–" if text is None else text for text in (self.before, self.after))
        return f"{'.'.join(self.path)}: {before} → {after}"


def differences(before: Any, after: Any) -> list[Difference]:
    """Return where two trees differ: what the first holds in its order, then what is new in the second.

    The trees may hold what a configuration may hold, or be what `plain` returned. An empty part of one
    is no difference to what is in it in the other: what is there is.
    """
    old, new = leaves(before), leaves(after)
    paths = dict.fromkeys([*old, *new])
    found = [Difference(p, old.get(p), new.get(p)) for p in paths if old.get(p) != new.get(p)]
    return [one for one in found if not _is_filled(one, paths)]


def _is_filled(one: Difference, paths: Iterable[Path]) -> bool:
    """Whether something is empty in one tree and filled in the other, which what it is filled with tells."""
    if None not in (one.before, one.after) or not {one.before, one.after} & {"{}", "[]"}:
        return False
    n = len(one.path)
    return any(len(path) > n and path[:n] == one.path for path in paths)


def leaves(tree: Any, text: Callable[[Any], str] | None = None) -> dict[Path, str]:
    """Return the text of each value of a tree by its path; the keys of `OWN_IDS` are left out."""
    return dict(_leaves(plain(tree, text), ()))


def values_of(tree: Any) -> dict[Path, str]:
    """Return the leaves of a tree that hold something, which its empty parts do not."""
    return {path: text for path, text in leaves(tree).items() if text != "{}"}


def plain(tree: Any, text: Callable[[Any], str] | None = None) -> Any:
    """Return a tree as dicts, numbers, texts, booleans and None: small, and fit for any file.

    Lists that hold dicts become dicts by their labels, where these tell them apart, and by position
    elsewhere; other lists become their text, arrays their dtype, shape and digest.

    Args:
        tree: What a configuration may hold.
        text: Gives the text of what is no plain value; None names classes and functions, and
            takes the ``repr`` of all else.
    """
    if tree is None or type(tree) in PLAIN_TYPES:
        return tree
    said = text or text_of
    if type(tree) is dict or isinstance(tree, Mapping):
        return {
            str(key).removeprefix("$"): plain(value, text)
            for key, value in tree.items()
            if key not in OWN_IDS
        }
    if isinstance(tree, (list, tuple)) and any(isinstance(item, (Mapping, np.ndarray)) for item in tree):
        return {name: plain(item, text) for name, item in zip(_names(tree), tree, strict=True)}
    if isinstance(tree, np.ndarray):
        return f"{tree.dtype} {tree.shape} {digest(_bytes(tree))}"
    if isinstance(tree, np.generic):
        return tree.item()
    return tree if tree is None or isinstance(tree, bool | int | float | str) else said(tree)


def text_of(value: Any) -> str:
    """Return a value as the text of a leaf."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(text_of, value))}]"
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return f"{value.__module__}.{name}"
    if value is None or isinstance(value, bool | int | float | str):
        return str(value)
    text = _ADDRESS.sub("", repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… {digest(text.encode('utf-8', 'replace'))}"


def digest(data: bytes | memoryview) -> str:
    """Return a short digest of bytes, with the name of its method."""
    return f"sha256 {hashlib.sha256(data).hexdigest()[:12]}"


def _leaves(tree: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(tree, dict) and (tree or not path):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, str(tree)


def _names(items: list[Any] | tuple[Any, ...]) -> list[str]:
    labels = [
        str(item.get("label", i)) if isinstance(item, Mapping) else str(i) for i, item in enumerate(items)
    ]
    return labels if len(set(labels)) == len(labels) else [str(i) for i in range(len(items))]


def _bytes(array: np.ndarray) -> bytes | memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.nbytes else b""
