"""One numpy array <-> one safetensors member.

It knows nothing of trees or zips: an array, its dtype and shape, and bytes.

Numbers that safetensors has a name for are written under it, as tensor ``"array"``;
complex numbers, text and dates are written as the plain bytes of the array, and only
the dtype beside them (in the tree) says what they are. Nothing is ever pickled.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from modularml.base.errors import FileFormatError, InvalidTypeError
from modularml.io.strict_json import parse_json

_NAMED = {
    "|b1": "BOOL", "|u1": "U8", "|i1": "I8", "<u2": "U16", "<i2": "I16", "<f2": "F16", "<u4": "U32",
    "<i4": "I32", "<f4": "F32", "<u8": "U64", "<i8": "I64", "<f8": "F64",
}  # fmt: skip
_AS_BYTES = re.compile(r"<c8|<c16|<U\d{1,9}|\|S\d{1,9}|<[mM]8(\[\d{0,9}[a-zA-Z]{1,2}\])?")
_LARGEST_HEADER = 4096  # 64 dimensions of 20 digits fit


def describe(array: np.ndarray) -> tuple[str, list[int]]:
    """Return dtype and shape as the tree tells them.

    Raises:
        InvalidTypeError: If the array holds objects, records or masked values.
    """
    dtype = array.dtype.newbyteorder("<").str
    if type(array) not in (np.ndarray, np.memmap) or not _is_allowed(dtype):
        raise InvalidTypeError(
            f"a {type(array).__name__} of dtype {array.dtype} cannot be written to a file; "
            "arrays of numbers, bool, text of fixed length and datetime64 can"
        )
    return dtype, list(array.shape)


def to_buffers(array: np.ndarray) -> list[Any]:
    """Return the buffers that make the member; C-ordered data is not copied."""
    dtype, shape = describe(array)
    data = np.asarray(array, dtype=dtype, order="C")
    body = data.reshape(-1).view(np.uint8).data if data.nbytes else b""
    return [_header(dtype, tuple(shape), data.nbytes), body]


def from_buffer(member: memoryview, dtype: object, shape: object, where: str) -> np.ndarray:
    """Return the array in `member`, as a view of it.

    Raises:
        FileFormatError: If the member is not just this array; `where` names it.
    """
    if not isinstance(dtype, str) or not _is_allowed(dtype):
        raise FileFormatError(f"{where}: {dtype!r} is not a dtype that a file may hold.")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise FileFormatError(f"{where}: {shape!r} is not a shape.")
    size = int.from_bytes(member[:8], "little")
    if len(member) < 8 or size > min(len(member) - 8, _LARGEST_HEADER):
        raise FileFormatError(f"{where}: the safetensors header is cut short or too long.")
    try:
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        header = parse_json(bytes(member[8 : 8 + size]), where)
        if n_bytes != len(member) - 8 - size or header != _tensor(dtype, shape, n_bytes):
            raise FileFormatError(
                f"{where}: the safetensors header and the data are not a {dtype} array of {shape}."
            )
        array = np.ndarray(shape, dtype, buffer=member, offset=8 + size)
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{where}: no {dtype} array has the shape {shape}: {error}.") from error
    if dtype == "|b1" and array.size and array.view(np.uint8).max() > 1:
        raise FileFormatError(f"{where}: a bool array holds bytes other than 0 and 1.")
    return array


def _is_allowed(dtype: str) -> bool:
    return dtype in _NAMED or _AS_BYTES.fullmatch(dtype) is not None


def _tensor(dtype: str, shape: Sequence[int], n_bytes: int) -> dict[str, Any]:
    named = _NAMED.get(dtype)
    listed = list(shape) if named else [n_bytes]
    return {"array": {"dtype": named or "U8", "shape": listed, "data_offsets": [0, n_bytes]}}


@functools.lru_cache(maxsize=256)
def _header(dtype: str, shape: tuple[int, ...], n_bytes: int) -> bytes:
    text = json.dumps(_tensor(dtype, shape, n_bytes)).encode()
    text += b" " * (-(8 + len(text)) % 64)  # so that the data is aligned as the member is
    return len(text).to_bytes(8, "little") + text
