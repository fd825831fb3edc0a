"""Trees of configuration: what is plain about them, and where two differ."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.trees import Difference, differences, leaves, plain, values_of

values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
trees = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(trees)
def test_a_tree_differs_from_itself_nowhere_and_is_plain_once_it_is(tree: object) -> None:
    assert differences(tree, tree) == []
    assert differences(plain(tree), tree) == []
    assert leaves(plain(tree)) == leaves(tree)
    json.dumps(plain(tree))


@given(trees, trees)
def test_differences_are_the_same_both_ways(a: object, b: object) -> None:
    forth = {(d.path, d.before, d.after) for d in differences(a, b)}
    assert forth == {(d.path, d.after, d.before) for d in differences(b, a)}


def test_differences_name_the_entry_by_its_label_and_tell_what_is_missing() -> None:
    before = {"phases": [{"label": "train", "n_epochs": 3, "lr": 0.1}, {"label": "eval"}]}
    after = {"phases": [{"label": "warm up"}, {"label": "train", "n_epochs": 5, "lr": 0.1}]}
    assert differences(before, after) == [
        Difference(("phases", "train", "n_epochs"), "3", "5"),
        Difference(("phases", "eval", "label"), "eval", None),
        Difference(("phases", "warm up", "label"), None, "warm up"),
    ]
    assert str(differences(before, after)[0]) == "phases.train.n_epochs: 3 → 5"


def test_an_empty_part_is_no_value() -> None:
    assert values_of({"a": {}, "b": {"c": 1, "d": []}}) == {("b", "c"): "1", ("b", "d"): "[]"}


def test_what_was_empty_is_told_by_what_fills_it_now() -> None:
    assert [str(one) for one in differences({"a": {}, "b": []}, {"a": {"c": 1}, "b": [{"label": "x"}]})] == [
        "a.c: – → 1",
        "b.x.label: – → x",
    ]
    assert [str(one) for one in differences({"a": []}, {"b": {}})] == ["a: [] → –", "b: – → {}"]
    assert [str(one) for one in differences({"a": []}, {"a": 3})] == ["a: [] → 3"]


def test_ids_are_no_settings_and_classes_functions_and_arrays_have_a_text_without_addresses() -> None:
    tree = {
        "node_id": "x",
        "$type": json.JSONDecoder,
        "loss": json.dumps,
        "x": np.arange(3.0),
        "n": np.int64(2),
    }
    assert plain(tree) == {
        "type": "json.decoder.JSONDecoder",
        "loss": "json.dumps",
        "x": f"float64 (3,) {plain(np.arange(3.0)).split(') ')[1]}",
        "n": 2,
    }
    assert plain(np.arange(3.0)) != plain(np.array([0.0, 1.0, 3.0]))
    assert [str(d) for d in differences({"a": True}, {"a": 1})] == ["a: True → 1"]
