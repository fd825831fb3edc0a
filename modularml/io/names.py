"""How files are called: the suffix of each kind, and names made from labels.

It knows no file's content.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote

from modularml.base.errors import InvalidValueError, check_choice

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
