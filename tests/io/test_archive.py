"""Nothing but what its manifest says is read of a file."""

import re
import stat
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import FileFormatError, InvalidValueError
from modularml.io.archive import MANIFEST, read_archive, read_manifest
from modularml.io.codec import load, save

TREE = {"label": "x", "weights": np.arange(12.0).reshape(3, 4), "bias": np.array([True, False])}
MEMBERS = {"tree.json": b"{}"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save(tmp_path_factory.mktemp("archive") / "a", "model", TREE)


def assert_is_tree(loaded):
    assert loaded.keys() == TREE.keys()
    assert all(np.array_equal(loaded[key], TREE[key]) for key in TREE)


def load_or_refuse(path, content):
    """Load a file with this content; a `FileFormatError` that names the file is all that may happen."""
    path.write_bytes(content)
    try:
        assert_is_tree(load(path, "model"))
    except FileFormatError as refusal:
        told = str(refusal)
    else:
        return True
    assert str(path) in told
    return False


# What is written


def test_members_are_stored_aligned_and_any_zip_reader_opens_them(saved):
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
        assert [info.filename for info in archive.infolist()][-1] == MANIFEST
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            with archive.open(info) as member:
                member.read(1)
            data = archive.read(info)
            assert saved.read_bytes().find(data) % 64 == 0


def test_the_suffix_is_appended_when_it_is_missing(tmp_path):
    assert save(tmp_path / "lr0.1", "experiment", {}) == tmp_path / "lr0.1.exp.mml"
    assert save(tmp_path / "b.exp.mml", "experiment", {}) == tmp_path / "b.exp.mml"
    assert load(tmp_path / "lr0.1", "experiment") == {}
    assert load(tmp_path / "lr0.1", ("model", "experiment")) == {}


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match="Did you mean 'experiment'"):
        save(tmp_path / "a", "experimint", 1)


def test_a_large_array_is_written_and_read_without_a_second_copy(tmp_path):
    array = np.zeros(4_000_000)
    tracemalloc.start()
    try:
        path = save(tmp_path / "a", "model", array)
        assert tracemalloc.get_traced_memory()[1] < array.nbytes / 2
        tracemalloc.reset_peak()
        loaded = load(path, "model")
        assert tracemalloc.get_traced_memory()[1] < array.nbytes * 1.5
        del loaded
        tracemalloc.reset_peak()
        load(path, "model", mmap=True)
        assert tracemalloc.get_traced_memory()[1] - tracemalloc.get_traced_memory()[0] < array.nbytes / 2
    finally:
        tracemalloc.stop()


def test_the_manifest_says_what_wrote_the_file(saved):
    found = read_manifest(saved)
    assert (found.format, found.kind) == (1, "model")
    assert found.versions["numpy"] == np.__version__
    assert list(found.members) == ["tree.json", "arrays/0.safetensors", "arrays/1.safetensors"]


# What is refused


def test_a_file_cut_short_anywhere_is_refused(saved, tmp_path):
    content = saved.read_bytes()
    for size in range(len(content)):
        assert not load_or_refuse(tmp_path / "cut.md.mml", content[:size])


def test_a_flipped_bit_is_refused_or_without_effect(saved, tmp_path):
    content = saved.read_bytes()
    without_effect = 0
    for i in range(len(content)):
        flipped = content[:i] + bytes([content[i] ^ (1 << i % 8)]) + content[i + 1 :]
        without_effect += load_or_refuse(tmp_path / "flipped.md.mml", flipped)
    assert without_effect < len(content) / 2  # dates, padding and checksums nobody reads


@given(st.data())
def test_changed_bytes_are_refused_or_without_effect(saved, tmp_path_factory, data):
    content = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    load_or_refuse(tmp_path_factory.getbasetemp() / "changed.md.mml", bytes(content))


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04", b"text", bytes(1000)])
def test_what_is_no_such_file_is_refused(tmp_path, content):
    assert not load_or_refuse(tmp_path / "a.md.mml", content)


def test_bytes_before_or_after_the_zip_are_refused(saved, tmp_path):
    content = saved.read_bytes()
    assert not load_or_refuse(tmp_path / "a.md.mml", b"#!/bin/sh\n" + content)
    assert not load_or_refuse(tmp_path / "a.md.mml", content + b"\n")
    assert not load_or_refuse(tmp_path / "a.md.mml", content[:-2] + b"\x05\x00hello")


def test_the_right_file_passes(forge):
    assert load(forge(MEMBERS), "model") == {}


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = save(tmp_path / "a", "feature_set", {})
    with pytest.raises(FileFormatError, match="holds a 'feature_set', not a 'model' or 'loss'"):
        load(path, ("model", "loss"))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"format": 2}, "format 2, this release reads up to 1; update"),
        ({"format": True}, "no format"),
        ({"format": 0}, "no format"),
        ({"format": "1"}, "no format"),
        ([], "no format"),
        ("manifest", "no format"),
        ({"kind": "os.system"}, "not a manifest"),
        ({"kind": ["model"]}, "not a manifest"),
        ({"versions": []}, "not a manifest"),
        ({"versions": {"numpy": 2}}, "not a manifest"),
        ({"members": []}, "not a manifest"),
        ({"more": 1}, "not a manifest"),
        ({"members": {"tree.json": 2}}, "not a manifest"),
        ({"members": {"tree.json": {"size": 2.0, "sha256": ""}}}, "not a manifest"),
        ({"members": {"tree.json": {"size": 2, "sha256": ""}}}, "'tree.json' was changed"),
        (
            {"members": {"tree.json": {"size": 3, "sha256": ""}}},
            "'tree.json' has 2 bytes, the manifest says 3",
        ),
        ({"members": {"a.json": {"size": 2, "sha256": ""}}}, "'a.json' is missing"),
        ({"members": {}}, "'tree.json' is unknown"),
    ],
)
def test_a_manifest_that_lies_is_refused(forge, described, message):
    with pytest.raises(FileFormatError, match=message):
        load(forge(MEMBERS, described=described), "model")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd", "/etc/passwd",
        "a/../../b.json", "..", "C:\\evil.json", "a\\b.json", "tree.json/", "",
        "Arrays/0.safetensors", "a b.json", "arrays//0.json", "é.json", "x" * 300,
    ],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_refused(forge, name):
    with pytest.raises(FileFormatError, match="not allowed"):
        load(forge({**MEMBERS, name: b"1"}), "model")


def test_a_file_of_torch_is_told_from_one_of_ours(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "net.pt")
    with pytest.raises(FileFormatError, match=r"net.pt: a file of torch.save.*load_state_dict"):
        load(tmp_path / "net.pt", "model")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_occurs_twice_is_refused(forge):
    path = forge(MEMBERS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("tree.json", b"[]")
    with pytest.raises(FileFormatError, match=r"'tree\.json' occurs twice"):
        load(path, "model")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_is_refused(forge, mode):
    def change(info):
        info.external_attr = (mode | 0o777) << 16

    with pytest.raises(FileFormatError, match="not a plain file"):
        load(forge(MEMBERS, change=change), "model")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_is_refused_before_it_inflates(forge, method):
    path = forge({"tree.json": b" " * 50_000_000}, method=method)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="compressed"):
            load(path, "model")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_members_that_share_their_bytes_are_refused(saved, tmp_path):
    """The bomb that needs no compression: many names for one place."""
    content = bytearray(saved.read_bytes())
    first, second = (m.start() for m in list(re.finditer(b"PK\x01\x02", content))[:2])
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    assert not load_or_refuse(tmp_path / "a.md.mml", bytes(content))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"[Infinity]", b'{"a": 1, "a": 2}', b"[" * 100_000, b"\xff", b"1" * 10_000, b"'a'"],
)
def test_what_is_no_strict_json_is_refused(forge, text):
    with pytest.raises(FileFormatError, match=r"'tree\.json' is not valid JSON"):
        load(forge({"tree.json": text}), "model")


def test_read_archive_hands_members_over(saved, unpack):
    found, contents = read_archive(saved, "model")
    assert {name: bytes(view) for name, view in contents.items()} == unpack(saved)
    assert contents.keys() == found.members.keys()
