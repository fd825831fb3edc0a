"""A file that is written all or nothing.

It knows no format.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def writing(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file to write to that takes its place when it is whole, and leaves nothing if not.

    Raises:
        FileExistsError: If the file is there and `overwrite` is False.
        OSError: If it cannot be written; what was there before stays as it was.
    """
    _refuse_existing(target, overwrite)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(target.parent)!r} for the file {target.name!r}.")
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _refuse_existing(target, overwrite)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if not overwrite and target.exists():
        raise FileExistsError(f"The file {str(target)!r} exists; pass overwrite=True to replace it.")


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder, and makes renames durable itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
