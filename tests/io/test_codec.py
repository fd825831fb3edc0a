"""Trees go into a file and come back the same."""

import json
import linecache
import math
import pickle
import re
import subprocess
import sys
import weakref
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from modularml.base.config import from_config
from modularml.base.errors import FileFormatError, InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.io.archive import read_manifest
from modularml.io.codec import from_plain, load, save, to_plain

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
    | st.timedeltas()
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


@given(
    st.recursive(LEAVES.filter(lambda leaf: not isinstance(leaf, np.ndarray)), lambda inner: st.lists(inner))
)
def test_a_tree_without_arrays_is_the_same_as_plain_json(tree):
    plain = json.loads(json.dumps(to_plain({"$type": "X", "$dict": tree, "t": (tree,)}), allow_nan=False))
    assert_same(from_plain(plain), {"$type": "X", "$dict": tree, "t": (tree,)})


def test_plain_json_holds_no_data():
    with pytest.raises(
        InvalidTypeError, match="holds no arrays and estimators: weights. A file does; use save"
    ):
        to_plain({"weights": np.zeros(3)})
    with pytest.raises(FileFormatError, match="is missing"):
        from_plain({"$array": "arrays/0.safetensors", "dtype": "<f8", "shape": [1]})
    with pytest.raises(UnknownNameError, match="own_function"):
        from_plain(to_plain([own_function]))
    assert from_plain(to_plain([own_function]), symbols={"own_function": own_function}) == [own_function]


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


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("mmap", [False, True])
def test_what_was_loaded_goes_with_its_last_reference(tmp_path, mmap):
    path = save(tmp_path / "a", "model", {"array": np.arange(3.0), "estimator": StandardScaler()})
    loaded = load(path, "model", mmap=mmap)
    held = [weakref.ref(thing) for thing in loaded.values()]
    del loaded
    assert [ref() is None for ref in held] == [True, True]


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
    ],
)
def test_what_no_file_can_hold_is_named_with_its_place(tmp_path, tree, place):
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


class OwnScaler(BaseEstimator):
    """Stands for an estimator of the user's own."""

    def __init__(self, factor=2.0):
        self.factor = factor

    def fit(self, x, y=None):
        self.mean_ = x.mean(axis=0)
        self.inner_ = StandardScaler().fit(x)
        return self

    def transform(self, x):
        return self.inner_.transform(x - self.mean_) * self.factor


def test_an_own_estimator_comes_back_bound_to_its_class(tmp_path):
    x = np.arange(12.0).reshape(4, 3)
    scaler = OwnScaler(3.0).fit(x)
    path = save(tmp_path / "a", "scaler", scaler)
    if sys.modules.get(OwnScaler.__module__) is None:  # as in a new process
        with pytest.raises(UnknownNameError, match="'OwnScaler': OwnScaler"):
            load(path, "scaler")
    loaded = load(path, "scaler", symbols={"OwnScaler": OwnScaler})
    np.testing.assert_array_equal(loaded.transform(x), scaler.transform(x))
    assert "class OwnScaler" in load(path, "scaler", look=True).source


def test_what_is_passed_must_be_a_class_or_function(tmp_path):
    path = save(tmp_path / "a", "scaler", OwnScaler())
    with pytest.raises(
        InvalidTypeError, match=r"symbols must be a dict, as \{'Net': Net\}.*got <module 'pytest'"
    ):
        load(path, "scaler", symbols=pytest)
    with pytest.raises(InvalidTypeError, match=r"symbols\['OwnScaler'\] must be a class or a function"):
        load(path, "scaler", symbols={"OwnScaler": "OwnScaler"})
    with pytest.raises(InvalidTypeError, match="estimator class"):
        load(path, "scaler", symbols={"OwnScaler": own_function})


def test_all_that_is_missing_is_told_at_once(tmp_path):
    def first(): ...

    def second(): ...

    path = save(tmp_path / "a", "loss", [first, second, first])
    with pytest.raises(UnknownNameError, match=r"symbols=\{'first': first, 'second': second\}"):
        load(path, "loss")
    assert load(path, "loss", symbols={"first": first, "second": second}) == [first, second, first]


def test_two_things_of_one_name_are_refused(tmp_path):
    scopes = [{"__name__": "a_notebook"} for _ in range(2)]
    for i, scope in enumerate(scopes):
        text = f"def f():\n    return {i}\n"
        linecache.cache[f"<cell {i}>"] = (len(text), None, text.splitlines(keepends=True), f"<cell {i}>")
        exec(compile(text, f"<cell {i}>", "exec"), scope)
    with pytest.raises(InvalidTypeError, match=r"two different things are named 'a_notebook\.f'"):
        save(tmp_path / "a", "loss", [scope["f"] for scope in scopes])


def test_looking_loads_neither_torch_nor_scikit_learn(tmp_path):
    path = save(
        tmp_path / "a", "model", {"estimator": StandardScaler().fit(np.eye(3)), "curve": np.arange(3.0)}
    )
    code = (
        "import sys; from modularml.io.codec import load; "
        f"tree = load({str(path)!r}, 'model', look=True); "
        "assert tree['curve'].tolist() == [0, 1, 2]; assert tree['estimator'].name == 'StandardScaler'; "
        "assert not {'torch', 'sklearn', 'skops', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


HOSTILE_NAMES = ["os.system", "subprocess.Popen", "builtins.eval", "posix.system", "this.that"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_of_a_library_is_never_bound(forge, name):
    module, _, function = name.rpartition(".")
    symbol = {"$symbol": function, "module": module, "source": ""}
    for tree in (symbol, {"deep": [symbol]}, {"$object": symbol, "state": {}}):
        with pytest.raises(UnknownNameError, match=name):
            load(forge({"tree.json": tree}), "model")
        assert load(forge({"tree.json": tree}), "model", look=True)
    assert "this" not in sys.modules


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_type_of_a_configuration_is_data_and_names_only_what_is_registered(forge, name):
    tree = {"$type": name, "args": ["true"]}
    loaded = load(forge({"tree.json": tree}), "model")
    assert loaded == tree
    with pytest.raises(UnknownNameError):
        from_config(loaded)


@pytest.mark.parametrize(
    "tree",
    [
        {"$unknown": 1},
        {"$tuple": 1},
        {"$tuple": {"a": 1}},
        {"$tuple": [1], "more": 1},
        {"$tuple": [1], "$float": "nan"},
        {"$tuple": [1], "$type": "x"},
        {"$float": "1.5"},
        {"$float": 1.5},
        {"$float": ["nan"]},
        {"$datetime": "yesterday"},
        {"$datetime": 3},
        {"$timedelta": "a day"},
        {"$path": 3},
        {"$dict": [1]},
        {"$array": "arrays/0.safetensors"},
        {"$array": "arrays/0.safetensors", "dtype": "<f8", "shape": [1]},
        {"$array": "tree.json", "dtype": "|u1", "shape": [1]},
        {"$array": "../../a.npy", "dtype": "|u1", "shape": [1]},
        {"$array": ["tree.json"], "dtype": "|u1", "shape": [1]},
        {"$estimator": "a.pkl", "type": "A", "module": "sklearn"},
        {"$symbol": 3, "module": "a", "source": ""},
        {"$symbol": "f", "module": ["a"], "source": ""},
        {"$symbol": "f"},
        {"$object": {"$symbol": "f", "module": "a", "source": ""}},
        {"$object": "OwnScaler", "state": {}},
        {"$object": {"$symbol": "BaseEstimator", "module": "sklearn.base", "source": ""}, "state": [1]},
        {
            "$object": {"$symbol": "Configurable", "module": "modularml.base.config", "source": ""},
            "state": {},
        },
    ],
)
def test_a_tag_that_is_misused_is_refused(forge, tree):
    for nested in (tree, [{"a": tree}], {"$tuple": [tree]}):
        with pytest.raises((FileFormatError, InvalidTypeError), match=r"forged\.md\.mml"):
            load(forge({"tree.json": nested}), "model")


@pytest.mark.parametrize("name", ["model.pkl", "arrays/0.npy", "arrays/0.safetensors", "code.py"])
def test_a_member_that_nothing_names_is_refused(forge, name):
    content = pickle.dumps(print)
    with pytest.raises(FileFormatError, match=f"'{re.escape(name)}' is unknown"):
        load(forge({"tree.json": {}, name: content}), "model")


def test_a_pickle_is_refused_wherever_it_stands(forge):
    content = pickle.dumps(print)
    array = {"$array": "arrays/0.safetensors", "dtype": "<f8", "shape": [1]}
    estimator = {"$estimator": "estimators/0.skops", "type": "StandardScaler", "module": "sklearn"}
    for tree, name in ((array, array["$array"]), (estimator, estimator["$estimator"])):
        with pytest.raises(FileFormatError, match=name):
            load(forge({"tree.json": tree, name: content}), "model")
    with pytest.raises(FileFormatError, match=r"tree\.json"):
        load(forge({"tree.json": content}), "model")


def test_a_file_without_a_tree_is_refused(forge):
    with pytest.raises(FileFormatError, match=r"'tree\.json' is missing"):
        load(forge({"other.json": b"{}"}), "model")


def test_an_estimator_is_of_the_type_that_the_tree_says(tmp_path, forge, unpack):
    members = unpack(save(tmp_path / "a", "model", StandardScaler().fit(np.eye(2))))
    tree = json.loads(members["tree.json"])
    assert isinstance(load(forge(members), "model"), StandardScaler)
    with pytest.raises(FileFormatError, match="is not a 'MinMaxScaler'"):
        load(forge({**members, "tree.json": {**tree, "type": "MinMaxScaler"}}), "model")


def test_a_lambda_is_refused_as_nothing_could_find_it_again(tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match=r"At \['loss'\].*lambda.*def"):
        save(tmp_path / "x", "loss", {"loss": lambda outputs, targets: outputs})
