"""A tree of values <-> a `.mml` file.

It knows no class of the library: callers hand over plain trees, and get them back.

A tree is made of dicts with text keys, lists, tuples, None, bool, int, float, str,
datetimes, timedeltas, paths, numpy arrays, scikit-learn estimators, and classes and functions.
``tree.json`` in the file shows it as JSON. What JSON has no word for is a dict with
one ``$`` tag: ``{"$tuple": [1, 2]}``, ``{"$float": "nan"}``, ``{"$datetime": "2026-..."}``,
``{"$timedelta": [days, seconds, microseconds]}``, ``{"$path": "a/b"}``,
``{"$array": "arrays/0.safetensors", "dtype": "<f8", "shape": [3]}``,
``{"$estimator": "estimators/0.skops", "type": ...}``, ``{"$symbol": "MyNet", "module": "__main__",
"source": "class MyNet..."}``, ``{"$object": {"$symbol": ...}, "state": {...}}``. A dict of
the caller's that has such keys itself is written as ``{"$dict": {...}}``; only ``"$type"``,
the tag of configurations, needs no such care: it is data here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from modularml.base.definitions import is_nameable
from modularml.base.errors import (
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    UnknownNameError,
)
from modularml.io import arrays, digests, trust
from modularml.io.archive import read_archive, write_archive
from modularml.io.strict_json import parse_json
from modularml.io.symbols import Symbol, bind, describe, ufunc_home

TREE = "tree.json"
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_PLAIN = (type(None), bool, int, str)


def save(path: str | os.PathLike[str], kind: str, tree: Any, *, overwrite: bool = False) -> Path:
    """Write `tree` as a file of `kind`, all or nothing.

    Args:
        path: Where to; the suffix of `kind` is appended when it is missing.
        kind: One of `modularml.io.names.SUFFIXES`.
        tree: What to write; numpy scalars come back as Python's numbers.
        overwrite: Whether to replace a file that is already there.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: If the file is there and `overwrite` is False.
        InvalidTypeError: If the tree holds something that no file can hold; the message
            names its place.
        OSError: If it cannot be written; what was there before stays as it was.
    """
    return prepared(path, kind, tree, overwrite=overwrite)()


def prepared(
    path: str | os.PathLike[str], kind: str, tree: Any, *, overwrite: bool = False
) -> Callable[[], Path]:
    """Return what writes `tree`, which may change by then but for its arrays; see `save`.

    Raises:
        InvalidTypeError: If the tree holds something that no file can hold.
    """
    encoder = _Encoder()
    try:
        encoded = encoder.encode(tree)
        text = json.dumps(encoded, indent=1, ensure_ascii=False, allow_nan=False)
    except RecursionError as error:
        raise InvalidValueError("The tree to write is nested too deeply, or contains itself.") from error
    data = text.encode("utf-8", "surrogatepass")
    return lambda: write_archive(path, kind, encoder.members(data), overwrite=overwrite)


def to_plain(tree: Any) -> Any:
    """Return `tree` as JSON (or YAML) can say it: what ``tree.json`` would hold.

    Raises:
        InvalidTypeError: If it holds arrays or estimators, which need a file.
    """
    encoder = _Encoder()
    plain = encoder.encode(tree)
    if encoder.has_members:
        held = "; ".join(dict.fromkeys(_told(tree, place) for place in encoder.places))
        raise InvalidTypeError(
            f"YAML is to be read, and holds no arrays and estimators: {held}. A file does; use save()."
        )
    return plain


def _told(tree: Any, place: Sequence[object]) -> str:
    """Say where something stands in a tree, with the innermost label around it."""
    label, found, steps = "", tree, list(place)
    for i, step in enumerate(place):
        if isinstance(found, Mapping) and isinstance(found.get("label"), str):
            label, steps = f"{found['label']!r}, ", list(place[i:])
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            break  # within an object of the user's, whose attributes are no part of the tree
    return label + ".".join(map(str, steps))


def from_plain(plain: Any, *, symbols: Mapping[str, Any] | None = None) -> Any:
    """Return the tree that `to_plain` was given; nothing is imported for it.

    Raises:
        FileFormatError: If it is not such a tree.
        UnknownNameError: If it names classes or functions that are not defined here.
    """
    return _Decoder("The tree", {}, symbols or {}, look=False).tree(plain)


def load(
    path: str | os.PathLike[str],
    kind: str | tuple[str, ...],
    *,
    symbols: Mapping[str, Any] | None = None,
    mmap: bool = False,
    look: bool = False,
) -> Any:
    """Return the tree in the file at `path`; no code of the file is run.

    Args:
        path: The file; the suffix of `kind` may be left out.
        kind: What the file must hold: one or several of `modularml.io.names.SUFFIXES`.
        symbols: The user's classes and functions that the file names, by name. Those
            that are defined in the notebook or in loaded modules are found without.
        mmap: Map the arrays from the file, read-only, instead of reading them.
        look: Only look: classes, functions and estimators come as `Symbol`, and neither
            torch nor scikit-learn is loaded.

    Raises:
        FileFormatError: If the file is cut short, changed, of another kind or newer.
        FileNotFoundError: If it is not there.
        UnknownNameError: If it names classes or functions that are not defined here; the
            message says what to pass as `symbols`.
    """
    if symbols is not None and not isinstance(symbols, Mapping):
        raise InvalidTypeError(
            f"symbols must be a dict, as {{'Net': Net}}, of names and classes or functions, got {symbols!r}."
        )
    for name, value in (symbols or {}).items():
        if not callable(value):
            raise InvalidTypeError(f"symbols[{name!r}] must be a class or a function, got {value!r}.")
    manifest, contents = read_archive(path, kind, mmap=mmap)
    where = f"{os.fspath(path)}: member {TREE!r}"
    if TREE not in contents:
        raise FileFormatError(f"{where} is missing.")
    plain = parse_json(bytes(contents.pop(TREE)), where)
    decoder = _Decoder(os.fspath(path), contents, symbols or {}, look)
    tree = decoder.tree(plain)
    for member, array in decoder.arrays.items() if mmap else ():
        digests.remember(array, manifest.members[member].sha256)
    return tree


class _Encoder:
    """Turns a tree into what JSON can say, and keeps aside what goes to other members."""

    def __init__(self) -> None:
        self._place: list[object] = []
        self.places: list[tuple[object, ...]] = []
        self._arrays: list[np.ndarray] = []
        self._estimators: list[bytes] = []
        self._symbols: dict[str, tuple[Any, Symbol]] = {}
        self._seen: dict[int, tuple[Any, dict[str, Any]]] = {}

    @property
    def has_members(self) -> bool:
        return bool(self._arrays or self._estimators)

    def members(self, tree: bytes) -> Iterator[tuple[str, list[Any]]]:
        yield TREE, [tree]
        for i, array in enumerate(self._arrays):
            yield f"arrays/{i}.safetensors", arrays.to_buffers(array)
        for i, data in enumerate(self._estimators):
            yield f"estimators/{i}.skops", [data]

    def encode(self, value: Any) -> Any:
        if isinstance(value, np.bool_ | np.integer | np.floating | np.str_) and value.dtype.kind != "m":
            value = value.item()
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if isinstance(value, Mapping):
            return self._dict(value)
        if kind is list:
            return [self._at(i, item) for i, item in enumerate(value)]
        if kind is tuple:
            return {"$tuple": [self._at(i, item) for i, item in enumerate(value)]}
        if kind is datetime:
            return {"$datetime": value.isoformat()}
        if kind is timedelta:
            return {"$timedelta": [value.days, value.seconds, value.microseconds]}
        if isinstance(value, PurePath):
            return {"$path": value.as_posix()}
        if id(value) not in self._seen:  # the value is kept, so that its id stays its own
            self._seen[id(value)] = (value, self._thing(value))
        return self._seen[id(value)][1]

    def _at(self, step: object, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        self._place.append(step)
        encoded = self.encode(value)
        self._place.pop()
        return encoded

    def _dict(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        for key in value:
            if not isinstance(key, str):
                raise self._refusal(f"a dict key must be text, got {key!r} ({type(key).__name__})")
        encoded = {str(key): self._at(key, item) for key, item in value.items()}
        return {"$dict": encoded} if any(map(_is_tag, encoded)) else encoded

    def _thing(self, value: Any) -> dict[str, Any]:
        if isinstance(value, np.ndarray):
            try:
                dtype, shape = arrays.describe(value)
            except InvalidTypeError as error:
                raise self._refusal(str(error)) from error
            self.places.append(tuple(self._place))
            self._arrays.append(value)
            return {"$array": f"arrays/{len(self._arrays) - 1}.safetensors", "dtype": dtype, "shape": shape}
        if is_nameable(value) or ufunc_home(value) is not None:
            return self._symbol(value)
        if trust.is_estimator(value):
            return self._estimator(value)
        raise self._refusal(
            f"a {type(value).__module__}.{type(value).__qualname__} cannot be written to a file; "
            "dicts, lists, tuples, plain values, numpy arrays, estimators, classes and functions can. Give "
            "its class and the arguments, or keep each argument in an attribute of its name"
        )

    def _symbol(self, value: Any) -> dict[str, Any]:
        if value.__name__ == "<lambda>":
            raise self._refusal("a lambda has no name that it could be found by again; define it with def")
        symbol = describe(value)
        other, known = self._symbols.setdefault(symbol.full_name, (value, symbol))
        if other is not value and known.source != symbol.source:
            raise self._refusal(
                f"two different things are named {symbol.full_name!r}; a file needs a name for each"
            )
        return {"$symbol": symbol.name, "module": symbol.module, "source": symbol.source}

    def _estimator(self, value: Any) -> dict[str, Any]:
        cls = type(value)
        if not cls.__module__.startswith("sklearn."):
            return {"$object": self._symbol(cls), "state": self._at(cls.__name__, vars(value))}
        self.places.append(tuple(self._place))
        try:
            self._estimators.append(trust.to_bytes(value))
        except InvalidTypeError as error:
            raise self._refusal(str(error)) from error
        member = f"estimators/{len(self._estimators) - 1}.skops"
        return {"$estimator": member, "type": cls.__qualname__, "module": cls.__module__}

    def _refusal(self, text: str) -> InvalidTypeError:
        place = "".join(f"[{step!r}]" for step in self._place) or "the top"
        return InvalidTypeError(f"At {place} of the tree: {text}.")


def _is_tag(key: str) -> bool:
    return key.startswith("$") and key != "$type"


class _Decoder:
    """Turns what JSON says back into the tree, taking the rest from the other members."""

    def __init__(
        self, path: str, contents: dict[str, memoryview], symbols: Mapping[str, Any], look: bool
    ) -> None:
        self._path = path
        self._contents = contents
        self._passed = symbols
        self._look = look
        self._used: dict[str, Any] = {}
        self._missing: dict[str, Symbol] = {}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Member -> the array in it."""
        return {member: read for member, read in self._used.items() if isinstance(read, np.ndarray)}

    def tree(self, plain: Any) -> Any:
        try:
            tree = self.decode(plain)
        except ModularMLError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise FileFormatError(f"{self._path}: no tree: {type(error).__name__}: {error}.") from error
        if unknown := sorted(self._contents.keys() - self._used.keys()):
            raise FileFormatError(
                f"{self._path}: member {unknown[0]!r} is unknown: nothing in {TREE!r} names it."
            )
        if self._missing and not self._look:
            raise UnknownNameError(self._missing_text())
        return tree

    def decode(self, node: Any) -> Any:
        if type(node) is not dict:
            return self._list(node) if type(node) is list else node
        tag = next(filter(_is_tag, node), None)
        if tag is None:
            return self._dict(node)
        if tag not in _READERS:
            raise ValueError(f"{tag!r} is no tag of this format")
        others, read = _READERS[tag]
        if node.keys() - {tag} != others:
            raise ValueError(f"{tag!r} stands with {sorted(node.keys() - {tag})}, not with {sorted(others)}")
        return read(self, node)

    def _list(self, node: list[Any]) -> list[Any]:
        if not isinstance(node, list):
            raise TypeError(f"{node!r} is not a list")
        return [self.decode(item) for item in node]

    def _dict(self, node: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(node, dict):
            raise TypeError(f"{node!r} is not a dict")
        return {key: self.decode(item) for key, item in node.items()}

    def _once(self, member: str, read: Callable[[memoryview, str], Any]) -> Any:
        """Return what a member holds; a member that is named twice is one object."""
        if member not in self._used:
            if member not in self._contents:
                raise FileFormatError(f"{self._path}: member {member!r} is missing.")
            self._used[member] = read(self._contents[member], f"{self._path}: member {member!r}")
        return self._used[member]

    def _array(self, node: dict[str, Any]) -> np.ndarray:
        dtype, shape = node["dtype"], node["shape"]
        return self._once(node["$array"], lambda data, where: arrays.from_buffer(data, dtype, shape, where))

    def _estimator(self, node: dict[str, Any]) -> Any:
        if self._look:
            return self._once(node["$estimator"], lambda *_: _symbol(node, "type"))
        estimator = self._once(node["$estimator"], trust.from_bytes)
        if (type(estimator).__module__, type(estimator).__qualname__) != (node["module"], node["type"]):
            raise FileFormatError(f"{self._path}: member {node['$estimator']!r} is not a {node['type']!r}.")
        return estimator

    def _symbol(self, node: dict[str, Any]) -> Any:
        symbol = _symbol(node, "$symbol")
        found = None if self._look else bind(symbol, self._passed)
        if found is None:
            self._missing[symbol.full_name] = symbol
            return symbol
        return found

    def _object(self, node: dict[str, Any]) -> Any:
        cls, state = self.decode(node["$object"]), self.decode(node["state"])
        if isinstance(cls, Symbol):
            return cls
        if not trust.is_estimator_class(cls) or not isinstance(state, dict):
            raise InvalidTypeError(
                f"{self._path} needs {node['$object']!r} to be an estimator class, got {cls!r}."
            )
        made = cls.__new__(cls)
        made.__dict__.update(state)
        return made

    def _missing_text(self) -> str:
        names = ", ".join(repr(symbol.full_name) for symbol in self._missing.values())
        passed = ", ".join(f"{s.short_name!r}: {s.short_name}" for s in self._missing.values())
        return (
            f"{self._path} names {names}, which is not defined here. Run the code that defines it, "
            f"or pass it: load(path, symbols={{{passed}}})."
        )


# Of the class and not of each decoder: what an object read would else be in a cycle with its own reader.
_READERS: dict[str, tuple[set[str], Callable[[_Decoder, dict[str, Any]], Any]]] = {
    "$dict": (set(), lambda decoder, node: decoder._dict(node["$dict"])),
    "$tuple": (set(), lambda decoder, node: tuple(decoder._list(node["$tuple"]))),
    "$float": (set(), lambda _, node: _FLOATS[node["$float"]]),
    "$datetime": (set(), lambda _, node: datetime.fromisoformat(node["$datetime"])),
    "$timedelta": (set(), lambda _, node: timedelta(*node["$timedelta"])),
    "$path": (set(), lambda _, node: Path(node["$path"])),
    "$array": ({"dtype", "shape"}, _Decoder._array),
    "$estimator": ({"type", "module"}, _Decoder._estimator),
    "$symbol": ({"module", "source"}, _Decoder._symbol),
    "$object": ({"state"}, _Decoder._object),
}


def _symbol(node: dict[str, Any], key: str) -> Symbol:
    texts = (node[key], node["module"], node.get("source", ""))
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{texts} is not a name")
    return Symbol(name=texts[0], module=texts[1], source=texts[2])
