"""A file name made from a label is safe everywhere, and one label has one name."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import InvalidValueError
from modularml.io.names import SUFFIXES, existing, safe_name, with_suffix

LABELS = st.text(st.characters(codec=None) | st.sampled_from('./\\:%~ con"\x00'), min_size=1, max_size=400)


@given(LABELS)
def test_a_name_is_safe_on_every_system(label):
    name = safe_name(label)
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]{1,180}", name)
    assert not name.startswith(".")
    assert not name.endswith(".")
    assert name.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert unicodedata.is_normalized("NFC", name)


@given(LABELS, LABELS)
def test_different_labels_have_different_names(one, other):
    assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("lr0.1", "lr0.1"),
        ("a b", "a%20b"),
        ("..", "%2E%2E"),
        ("../x", "%2E.%2Fx"),
        ("100%", "100%25"),
        ("con", "%63on"),
        ("CON.txt", "%43ON.txt"),
        ("console", "console"),
        ("é", "%C3%A9"),
        ("a.", "a%2E"),
    ],
)
def test_names_of_labels(label, name):
    assert safe_name(label) == name


def test_long_labels_are_cut_and_stay_different():
    names = {safe_name("x" * 500 + end) for end in "abc"}
    assert len(names) == 3
    assert {len(name) for name in names} == {168}


def test_an_empty_label_names_nothing():
    with pytest.raises(InvalidValueError, match="empty label"):
        safe_name("")


@pytest.mark.parametrize("kind", SUFFIXES)
def test_suffixes(tmp_path, kind):
    path = with_suffix(tmp_path / "v1.2", kind)
    assert path == tmp_path / f"v1.2{SUFFIXES[kind]}"
    assert with_suffix(path, kind) == path


def test_a_file_is_found_without_its_suffix_and_what_is_not_there_is_told(tmp_path: Path) -> None:
    for name in ("diab.exp.mml", "first.exp.mml", "first.fs.mml", "other.txt"):
        (tmp_path / name).touch()
    assert existing(tmp_path / "diab").name == "diab.exp.mml"
    assert existing(tmp_path / "first", ["feature_set"]).name == "first.fs.mml"
    assert existing(tmp_path / "other.txt").name == "other.txt"
    for path, kinds, match in [
        (
            "diba",
            SUFFIXES,
            r"No such file: '.*diba'. The .mml .*'diab.exp.mml', .* mean 'diab.exp.mml'\?",
        ),
        ("diba", ["experiment"], r"The .exp.mml files in .*: 'diab.exp.mml', 'first.exp.mml'. Did you"),
        ("x", ["model"], r"The .md.mml files in .*: none\.$"),
        ("first", SUFFIXES, r"'first.fs.mml' and 'first.exp.mml'; name one of them"),
        ("nowhere/x", SUFFIXES, r"There is no folder '.*nowhere'"),
    ]:
        with pytest.raises(FileNotFoundError, match=match):
            existing(tmp_path / path, kinds)
