"""Trees go into a file and come back the same."""

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from modularml.base.errors import InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.io.archive import read_manifest
from modularml.io.codec import load, save

DTYPES = st.one_of(
    st_numpy.boolean_dtypes(),
    st_numpy.integer_dtypes(endianness="="),
    st_numpy.unsigned_integer_dtypes(endianness="="),
    st_numpy.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
    st_numpy.complex_number_dtypes(endianness="=", sizes=(64, 128)),
    st_numpy.unicode_string_dtypes(endianness="=", min_len=1),
    st_numpy.byte_string_dtypes(endianness="=", min_len=1),
    st_numpy.datetime64_dtypes(endianness="="),
    st_numpy.timedelta64_dtypes(endianness="="),
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: st_numpy.arrays(
        dtype, st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)
TEXT = st.text(st.characters(codec=None) | st.sampled_from('$\ud800\x00"\\'), max_size=8)
KEYS = TEXT | st.sampled_from(["$type", "$array", "$tuple", "$symbol", "$dict", "$"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30))))
    | ARRAYS
    | ARRAYS.map(np.transpose)
    | st.just(Path("a/b.txt"))
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)


def assert_same(one, other):
    """Fail unless two trees are equal in types, values, signs of zero and order of keys."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, float):
        assert math.isnan(one) == math.isnan(other)
        assert math.isnan(one) or (one, math.copysign(1, one)) == (other, math.copysign(1, other))
    elif isinstance(one, datetime):
        assert (one, one.utcoffset()) == (other, other.utcoffset())
    else:
        assert one == other


@given(TREES)
def test_a_tree_comes_back_the_same(tmp_path_factory, tree):
    path = save(tmp_path_factory.getbasetemp() / "tree", "experiment", tree, overwrite=True)
    assert_same(load(path, "experiment"), tree)
    assert_same(load(path, "experiment", mmap=True), tree)
    assert_same(load(path, "experiment", look=True), tree)


def test_equal_trees_make_equal_files(tmp_path):
    paths = [save(tmp_path / name, "model", {"w": np.arange(5.0), "n": 1}) for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_numpy_scalars_come_back_as_plain_numbers(tmp_path):
    path = save(
        tmp_path / "a", "model", [np.float64(0.1), np.float32(1.5), np.int8(3), np.bool_(True), np.str_("x")]
    )
    assert_same(load(path, "model"), [0.1, 1.5, 3, True, "x"])


def test_an_array_that_stands_twice_is_written_once(tmp_path):
    array = np.arange(1000.0)
    path = save(tmp_path / "a", "model", {"one": array, "two": array})
    loaded = load(path, "model")
    assert loaded["one"] is loaded["two"]
    assert list(read_manifest(path).members) == ["tree.json", "arrays/0.safetensors"]


def test_mapped_arrays_are_aligned_and_read_only(tmp_path):
    path = save(tmp_path / "a", "model", [np.arange(n, dtype=np.float32) for n in range(1, 20)])
    for array in load(path, "model", mmap=True):
        assert array.ctypes.data % 64 == 0
        assert not array.flags.writeable
    assert all(array.flags.writeable for array in load(path, "model"))


def test_a_mapped_array_outlives_the_file(tmp_path):
    path = save(tmp_path / "a", "model", np.arange(10))
    mapped = load(path, "model", mmap=True)
    save(path, "model", np.zeros(10), overwrite=True)
    path.unlink()
    np.testing.assert_array_equal(mapped, np.arange(10))


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"a": [1, {2: 3}]}, r"\['a'\]\[1\] of the tree: a dict key must be text, got 2 \(int\)"),
        ({"a": object()}, r"\['a'\] of the tree: a builtins.object cannot"),
        ({"a": ({1, 2},)}, r"\['a'\]\[0\] of the tree: a builtins.set cannot"),
        (np.array([None]), "the top of the tree: a ndarray of dtype object"),
        ({"a": np.ma.array([1], mask=[True])}, r"\['a'\] of the tree: a MaskedArray"),
        (np.zeros(2, [("a", "f8")]), "dtype"),
        (np.longdouble(1), "longdouble"),
        (lambda: 0, None),
    ],
)
def test_what_no_file_can_hold_is_named_with_its_place(tmp_path, tree, place):
    if place is None:
        save(tmp_path / "a", "model", tree)
        return
    with pytest.raises(InvalidTypeError, match=place):
        save(tmp_path / "a", "model", tree)
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_contains_itself_is_refused(tmp_path):
    tree = []
    tree.append(tree)
    with pytest.raises(InvalidValueError, match="contains itself"):
        save(tmp_path / "a", "model", tree)


def own_function(x):
    return x + 1


def test_a_function_is_bound_to_what_is_passed(tmp_path):
    path = save(tmp_path / "a", "loss", {"function": own_function})
    with pytest.raises(UnknownNameError, match=r"load\(path, symbols=\{'own_function': own_function\}\)"):
        load(path, "loss")
    assert load(path, "loss", symbols={"own_function": own_function})["function"] is own_function
    assert "return x + 1" in load(path, "loss", look=True)["function"].source
