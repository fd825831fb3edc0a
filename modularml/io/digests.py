"""What an array holds, as a short text: dtype, shape and a digest, kept as long as the array lives.

It knows no table and no tree. The digest is that of the member that a file would hold the array
in, so what was read from a file needs no reading again (`remember`).
"""

from __future__ import annotations

import functools
import hashlib
import os
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from modularml.io import arrays

_SMALL = 1 << 16
_LANES = 1024
_N_CHARS = 12

_known: dict[int, tuple[weakref.ref[np.ndarray], bytes, str]] = {}


def digests(given: Iterable[np.ndarray]) -> list[str]:
    """Return ``"<dtype> <shape> <digest>"`` of each array; large ones are read side by side.

    An array that was digested before is only looked through for changes: an order of magnitude
    faster, and not at all where it is mapped from a file.

    Raises:
        InvalidTypeError: If an array holds objects.
    """
    listed = list(given)
    if sum(array.nbytes for array in listed) < 16 * _SMALL:
        return [_digest(array) for array in listed]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(_digest, listed))  # hashing and summing free the interpreter lock


def remember(array: np.ndarray, sha256: str) -> None:
    """Note the digest of an array that was read from a member of a file."""
    if array.nbytes > _SMALL:
        _keep(array, sha256[:_N_CHARS])


def _digest(array: np.ndarray) -> str:
    found = _known.get(id(array)) if array.nbytes > _SMALL else None
    if found is None or found[0]() is not array or found[1] != _version(array):
        sha = hashlib.sha256()
        for buffer in arrays.to_buffers(array):
            sha.update(buffer)
        code = sha.hexdigest()[:_N_CHARS]
        if array.nbytes > _SMALL:
            _keep(array, code)
    else:
        code = found[2]
    return f"{_name(array.dtype)} {array.shape} {code}"


@functools.lru_cache(maxsize=256)
def _name(dtype: np.dtype) -> str:
    return str(dtype)  # which numpy puts together in Python


def _keep(array: np.ndarray, code: str) -> None:
    key = id(array)
    _known[key] = (weakref.ref(array, lambda _: _known.pop(key, None)), _version(array), code)


def _version(array: np.ndarray) -> bytes:
    """Sums along and across the words of an array: changed values and swapped ones show in them."""
    if _is_mapped(array):
        return b""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = len(data) // (8 * _LANES) * (8 * _LANES)
    words = data[:whole].view(np.uint64).reshape(-1, _LANES)
    return words.sum(axis=0).tobytes() + words.sum(axis=1).tobytes() + data[whole:].tobytes()


def _is_mapped(array: np.ndarray) -> bool:
    """Whether an array lies in a file that was mapped read-only, so that nobody can change it."""
    base: object = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return isinstance(base, memoryview) and base.readonly
