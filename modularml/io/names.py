"""How files are called: the suffix of each kind, and names made from labels.

It knows no file's content.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from modularml.base.errors import InvalidValueError, check_choice, nearest

SUFFIXES = {
    "feature_set": ".fs.mml",
    "model_graph": ".mg.mml",
    "experiment": ".exp.mml",
    "checkpoint": ".ckpt.mml",
    "model": ".md.mml",
    "scaler": ".sc.mml",
    "splitter": ".sp.mml",
    "sampler": ".sm.mml",
    "optimizer": ".op.mml",
    "loss": ".ls.mml",
    "run": ".run.mml",
}
"""What a file can hold, and the suffix that says so."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)
_MOST_LISTED = 10
_LONGEST_NAME = 150  # leaves room for suffixes and counters below the usual 255


def safe_name(label: str) -> str:
    """Return a file name made from `label`, different for every label.

    Letters, digits, ``_ . - ~`` stay; the rest is percent-escaped, as are a dot at
    either end and names that Windows keeps for devices. A long name is cut and
    completed by a digest.

    Raises:
        InvalidValueError: If `label` is empty.
    """
    if not label:
        raise InvalidValueError("A file name cannot be made from an empty label.")
    name = quote(label, safe="", errors="surrogatepass")
    if name.startswith(".") or _RESERVED.match(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name.endswith("."):
        name = f"{name[:-1]}%2E"
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name[:_LONGEST_NAME]}%-{digest[:16]}"  # "%-" is no escape, so no other label gives this
    return name


def with_suffix(path: str | os.PathLike[str], kind: str) -> Path:
    """Return `path` with the suffix of `kind`, appended where it is missing."""
    suffix = SUFFIXES[check_choice(kind, "kind of file", SUFFIXES)]
    path = Path(path)
    return path if path.name.endswith(suffix) else path.with_name(path.name + suffix)


def existing(path: str | os.PathLike[str], kinds: Iterable[str] = tuple(SUFFIXES)) -> Path:
    """Return the file that a path names; the suffix of one of the kinds may be left out.

    Raises:
        FileNotFoundError: If there is none, or several kinds have a file of that name; the
            message lists those there are.
    """
    path = Path(path)
    if path.exists():
        return path
    kinds = list(kinds)
    found = [form for form in (with_suffix(path, kind) for kind in kinds) if form.is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        listed = " and ".join(repr(form.name) for form in found)
        raise FileNotFoundError(errno.ENOENT, f"No such file: {str(path)!r}, but {listed}; name one of them.")
    raise FileNotFoundError(errno.ENOENT, _absence(path, kinds))


def _absence(path: Path, kinds: list[str]) -> str:
    if not path.parent.is_dir():
        return f"No such file: {str(path)!r}. There is no folder {str(path.parent)!r}."
    suffixes = tuple(SUFFIXES[kind] for kind in kinds)
    names = sorted(name for name in os.listdir(path.parent) if name.endswith(suffixes))
    short = {name[: -len(suffix)]: name for name in names for suffix in suffixes if name.endswith(suffix)}
    close = nearest(path.name, [*short, *names])
    what = suffixes[0] if len(suffixes) == 1 else ".mml"
    listed = ", ".join(map(repr, names[:_MOST_LISTED])) or "none"
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    hint = f" Did you mean {short.get(close, close)!r}?" if close else ""
    place = f"The {what} files in {str(path.parent.resolve())!r}"
    return f"No such file: {str(path)!r}. {place}: {listed}{more}.{hint}"
