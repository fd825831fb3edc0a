"""The `.mml` file: a zip of named members and their manifest, written all or nothing.

It knows nothing of what the members hold: names, bytes, sizes and digests only.

Members lie uncompressed, one after the other, each aligned to 64 bytes, so that an
array can be mapped from the file. The last one, ``manifest.json``, says what the file
is and what every other member must be::

    {"format": 1, "kind": "experiment", "versions": {"numpy": "2.4.6", ...},
     "members": {"tree.json": {"size": 812, "sha256": "9f86d0..."}, ...}}

A file is read in place: nothing is extracted, and whatever differs from the manifest
is refused before a member is looked into.

Format 1 is final with the first release; until then it may change, and its golden files with it
(``python tests/formats/write.py tests/formats/v1``).

To change the format: add 1 to `FORMAT`; keep reading every older number (`read_archive`
hands the manifest on, so that a reader can tell them apart); write one file of each kind
with the release before the change and add it to the files that tests load for ever; say
in the changelog what is new. A reader meets a newer number with an error, so a change
that older releases would misread must always change the number.
"""

from __future__ import annotations

import hashlib
import json
import mmap as memory_map
import os
import platform
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from modularml.base.errors import FileFormatError
from modularml.io.names import SUFFIXES, existing, with_suffix
from modularml.io.strict_json import parse_json
from modularml.io.writing import writing

FORMAT = 1
MANIFEST = "manifest.json"

_ALIGNMENT = 64
_ALIGNMENT_FIELD = 0xD935  # the zip extra field that zipalign defined for padding
_CHUNK = 1 << 20  # digested, summed and written while it is in the cache of the processor
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_MEMBER_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*\.[a-z]+")
_PACKAGES = ("modularml-jupyter", "numpy", "torch", "scikit-learn", "skops")


@dataclass(frozen=True, kw_only=True)
class Member:
    """What the manifest says of one member: its bytes and their digest."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a file says of itself.

    Attributes:
        format: The number of the format it was written in.
        kind: One of `SUFFIXES`.
        versions: Versions of Python and of the packages that wrote it.
        members: What each member must be, by name.
    """

    format: int
    kind: str
    versions: Mapping[str, str]
    members: Mapping[str, Member]


def write_archive(
    path: str | os.PathLike[str],
    kind: str,
    members: Iterable[tuple[str, Sequence[Any]]],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a file of `kind`, all or nothing, and return its path.

    Args:
        path: Where to; the suffix of `kind` is appended when it is missing.
        kind: One of `SUFFIXES`.
        members: Name and contiguous buffers of each member; taken one at a time, so
            a generator need hold only one member in memory.
        overwrite: Whether to replace a file that is already there.

    Raises:
        FileExistsError: If the file is there and `overwrite` is False.
        OSError: If it cannot be written; what was there before stays as it was.
    """
    target = with_suffix(path, kind)
    with writing(target, overwrite=overwrite) as file:
        _write_members(file, kind, members)
    return target


def _write_members(file: BinaryIO, kind: str, members: Iterable[tuple[str, Sequence[Any]]]) -> None:
    listed = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive, ThreadPoolExecutor(1) as beside:
        for name, buffers in members:
            listed[name] = _write_member(archive, file, name, buffers, beside)
        manifest = {"format": FORMAT, "kind": kind, "versions": _versions(), "members": listed}
        _write_member(archive, file, MANIFEST, [json.dumps(manifest, indent=2).encode()], beside)


def _write_member(
    archive: zipfile.ZipFile, file: BinaryIO, name: str, buffers: Sequence[Any], beside: Executor
) -> dict[str, int | str]:
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    size = sum(view.nbytes for view in views)
    zip64 = size > zipfile.ZIP64_LIMIT
    header_size = _LOCAL_HEADER.size + len(name) + 6 + (20 if zip64 else 0)
    padding = -(file.tell() + header_size) % _ALIGNMENT
    info = zipfile.ZipInfo(name)  # dated 1980: equal content makes equal files
    info.external_attr = (stat.S_IFREG | 0o600) << 16
    info.extra = struct.pack("<HHH", _ALIGNMENT_FIELD, 2 + padding, _ALIGNMENT) + bytes(padding)
    digest = hashlib.sha256()
    with archive.open(info, "w", force_zip64=zip64) as member:
        if size <= _CHUNK:
            for chunk in map(bytes, views):  # an array may change meanwhile, and digest and file must agree
                digest.update(chunk)
                member.write(chunk)
        else:
            _pour(views, digest.update, member.write, beside)
    return {"size": size, "sha256": digest.hexdigest()}


def _pour(
    views: Sequence[memoryview],
    digest: Callable[[memoryview], object],
    write: Callable[[memoryview], object],
    beside: Executor,
) -> None:
    """Digest and write chunk by chunk, the former in another thread: each takes about half of the time."""
    copies = [memoryview(bytearray(_CHUNK)) for _ in range(2)]
    digested: Future[object] | None = None
    parts = (view[start : start + _CHUNK] for view in views for start in range(0, view.nbytes, _CHUNK))
    for i, part in enumerate(parts):
        chunk = copies[i % 2][: part.nbytes]
        chunk[:] = part
        if digested is not None:
            digested.result()
        digested = beside.submit(digest, chunk)
        write(chunk)
    if digested is not None:
        digested.result()


@cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Return what the file at `path` says of itself; its members stay unread.

    Raises:
        FileFormatError: If it is no such file, or not laid out as its manifest says.
    """
    with _opened(Path(path)) as (_, manifest, _spans):
        return manifest


def read_archive(
    path: str | os.PathLike[str], kind: str | tuple[str, ...], *, mmap: bool = False
) -> tuple[Manifest, dict[str, memoryview]]:
    """Return the manifest and the members of a file, each checked against its digest.

    Args:
        path: The file; the suffix of `kind` may be left out.
        kind: What the file must hold: one or several of `SUFFIXES`.
        mmap: Map the file instead of reading it; the members are then read-only.

    Raises:
        FileFormatError: If the file is cut short, changed, of another kind or newer.
        FileNotFoundError: If it is not there.
    """
    kinds = (kind,) if isinstance(kind, str) else kind
    with _opened(existing(path, kinds)) as (file, manifest, spans):
        if manifest.kind not in kinds:
            wanted = " or ".join(repr(k) for k in kinds)
            raise FileFormatError(f"{file.name}: this file holds a {manifest.kind!r}, not a {wanted}.")
        if mmap:
            whole = memoryview(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ))
            contents = {name: whole[start : start + size] for name, (start, size) in spans.items()}
        else:
            contents = {name: np.empty(size, np.uint8).data for name, (_, size) in spans.items()}
        lock = threading.Lock()

        def check(name: str) -> None:
            digest = hashlib.sha256()
            start, size = spans[name]
            for done in range(0, size, _CHUNK):
                chunk = contents[name][done : done + _CHUNK]
                if not mmap:
                    with lock:
                        file.seek(start + done)
                        if file.readinto(chunk) != len(chunk):  # type: ignore[attr-defined]
                            raise FileFormatError(f"{file.name}: member {name!r} is cut short.")
                digest.update(chunk)
            if digest.hexdigest() != manifest.members[name].sha256:
                raise FileFormatError(f"{file.name}: member {name!r} was changed: its sha256 differs.")

        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(check, spans))  # hashing frees the interpreter lock
        return manifest, contents


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Manifest, dict[str, tuple[int, int]]]]:
    """Open a file whose layout agrees with its manifest; give the place of each member."""
    with open(path, "rb") as file:
        manifest, spans = _listed(file, path)
        for fault in _misfits(path, manifest, spans):
            raise FileFormatError(fault)
        yield file, manifest, spans


def _listed(file: BinaryIO, path: Path) -> tuple[Manifest, dict[str, tuple[int, int]]]:
    """Return the manifest of a file and where its other members are."""
    spans, checksum = _spans(file)
    if MANIFEST not in spans:
        raise FileFormatError(f"{path}: there is no {MANIFEST!r}: this is not a file of this library.")
    start, size = spans.pop(MANIFEST)
    file.seek(start)
    data, where = file.read(size), f"{path}: member {MANIFEST!r}"
    if zlib.crc32(data) != checksum:
        raise FileFormatError(f"{where} was changed: its checksum differs.")
    return _manifest(parse_json(data, where), where), spans


def _misfits(path: Path, manifest: Manifest, spans: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """Yield where the layout of a file and its manifest differ."""
    for name in sorted(spans.keys() | manifest.members.keys()):
        where = f"{path}: member {name!r}"
        if name not in spans:
            yield f"{where} is missing."
        elif name not in manifest.members:
            yield f"{where} is unknown: the manifest does not list it."
        elif spans[name][1] != manifest.members[name].size:
            yield (f"{where} has {spans[name][1]} bytes, the manifest says {manifest.members[name].size}.")


def faults_in(path: str | os.PathLike[str]) -> list[str]:
    """Return everything that is wrong with the members of a file, where others stop at the first.

    Raises:
        OSError: If it is not there or cannot be read.
    """
    path = existing(path)
    with open(path, "rb") as file:
        try:
            manifest, spans = _listed(file, path)
        except FileFormatError as error:
            return [str(error)]  # where members are cannot be told any more
        faults = list(_misfits(path, manifest, spans))
        for name, (start, size) in spans.items():
            member = manifest.members.get(name)
            if member is not None and member.size == size:
                file.seek(start)
                digest = hashlib.sha256()
                for done in range(0, size, _CHUNK):
                    digest.update(file.read(min(_CHUNK, size - done)))
                if digest.hexdigest() != member.sha256:
                    faults.append(f"{path}: member {name!r} was changed: its sha256 differs.")
    return faults


def _spans(file: BinaryIO) -> tuple[dict[str, tuple[int, int]], int]:
    """Return start and size of each member's bytes, and the checksum of the manifest."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OSError) as error:
        text = Path(file.name).suffix in (".yaml", ".yml")
        hint = " YAML is read by from_yaml of the class that wrote it." if text else ""
        raise FileFormatError(f"{file.name}: no whole zip file, as a .mml is: {error}.{hint}") from error
    if any(name.endswith("/data.pkl") for name in archive.namelist()):
        raise FileFormatError(
            f"{file.name}: a file of torch.save, and no .mml. Weights of it go to a module: "
            "graph.nodes['net'].module.load_state_dict(torch.load(path))."
        )
    spans: dict[str, tuple[int, int]] = {}
    checksum = end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        name, where = info.filename, f"{file.name}: member {info.filename!r}"
        if name in spans:
            raise FileFormatError(f"{where} occurs twice.")
        if not _MEMBER_NAME.fullmatch(info.orig_filename):
            raise FileFormatError(f"{where} has a name that is not allowed.")
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise FileFormatError(f"{where} is not a plain file ({stat.filemode(mode)}).")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits:
            raise FileFormatError(f"{where} is compressed or encrypted; members must be stored as they are.")
        if info.header_offset != end:
            raise FileFormatError(f"{where} overlaps another, or there are bytes that belong to none.")
        start = _data_start(file, info)
        end = start + info.file_size
        spans[name] = (start, info.file_size)
        if name == MANIFEST:
            checksum = info.CRC
    file.seek(-22, os.SEEK_END)
    if end != archive.start_dir or archive.comment or file.read(4) != b"PK\x05\x06":
        raise FileFormatError(f"{file.name}: there are bytes that belong to no member.")
    return spans, checksum


def _data_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise FileFormatError(f"{file.name}: member {info.filename!r} is cut short.")
    _, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    if file.read(name_size) != info.orig_filename.encode():
        raise FileFormatError(f"{file.name}: member {info.filename!r} bears another name in its own header.")
    return info.header_offset + _LOCAL_HEADER.size + name_size + int(extra_size)


def _manifest(tree: Any, where: str) -> Manifest:
    """Return the manifest that a JSON tree describes, else raise `FileFormatError`."""
    number = tree.get("format") if isinstance(tree, dict) else None
    if type(number) is not int or number < 1:
        raise FileFormatError(f"{where} names no format.")
    if number > FORMAT:
        raise FileFormatError(
            f"{where}: the file has format {number}, this release reads up to {FORMAT}; update modularml."
        )
    members, versions = tree.get("members"), tree.get("versions")
    if (
        tree.keys() != {"format", "kind", "versions", "members"}
        or tree["kind"] not in list(SUFFIXES)
        or not isinstance(versions, dict)
        or not all(isinstance(version, str) for version in versions.values())
        or not isinstance(members, dict)
        or not all(_describes_member(member) for member in members.values())
    ):
        raise FileFormatError(f"{where} is not a manifest of format {number}.")
    return Manifest(
        format=number,
        kind=tree["kind"],
        versions=versions,
        members={name: Member(**member) for name, member in members.items()},
    )


def _describes_member(tree: Any) -> bool:
    return (
        isinstance(tree, dict)
        and tree.keys() == {"size", "sha256"}
        and type(tree["size"]) is int
        and isinstance(tree["sha256"], str)
    )
