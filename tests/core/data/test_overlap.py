"""What splits share: rows, equal samples, values of tags; counted as a person would."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from modularml.base.errors import UnknownNameError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet

HALVES = {"train": 0.5, "test": 0.5}
ROWS = st.lists(st.integers(0, 29), min_size=1, unique=True)
VALUES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, -0.0, 1.5])), min_size=30, max_size=30)


@given(values=VALUES, a=ROWS, b=ROWS)
@pytest.mark.filterwarnings("ignore::modularml.base.errors.SplitOverlapWarning")
def test_counts_are_those_of_a_loop_over_rows(
    values: list[tuple[int, float]], a: list[int], b: list[int]
) -> None:
    with ExperimentContext().temporary():
        data = {"n": [v[0] for v in values], "x": [[v[1], 1.0] for v in values], "t": [v[0] for v in values]}
        fs = FeatureSet.from_dict("A", data, ["n", "x"], None, "t")
        fs.add_split(fs.take(a, label="a"))
        fs.add_split(fs.take(b, label="b"))
        found, turned = fs.overlap("a", "b"), fs.overlap("b", "a")
    assert found.n_rows == len(set(a) & set(b))
    contents = {values[row] for row in a}
    assert found.n_equal == sum(values[row] in contents for row in set(b) - set(a))
    tags_a, tags_b = ({values[row][0] for row in rows} for rows in (a, b))
    assert found.tags == ({"t": (len(tags_a & tags_b), len(tags_a | tags_b))} if tags_a & tags_b else {})
    assert bool(found) == bool(found.n_rows or found.n_equal or found.tags)
    assert (turned.n_rows, turned.tags, bool(turned)) == (found.n_rows, found.tags, bool(found))


def test_what_is_missing_is_no_value_that_splits_share() -> None:
    data = {"x": [1, 2, 3, 4], "t": ["a", "", "b", ""], "n": [np.nan, 1.0, np.nan, 1.0]}
    fs = FeatureSet.from_dict("A", data, "x", None, ["t", "n"])
    fs.add_split(fs.take([0, 1], label="a"))
    fs.add_split(fs.take([2, 3], label="b"))
    assert fs.overlap("a", "b").tags == {"n": (1, 1)}


def test_a_split_that_keeps_groups_whole_leaks_no_group(fs: FeatureSet) -> None:
    fs.split_random(HALVES)
    assert fs.overlap("train", "test").tags["cell"] == (6, 6)
    fs.split_random(HALVES, group_by="cell")
    assert "cell" not in fs.overlap("train", "test").tags
    assert fs.overlap("train", "test").n_equal == 0
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        fs.overlap("trian", "test")


def test_many_rows_are_compared_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(100, 5))
    x[50:] = x[:50]
    fs = FeatureSet.from_dict("A", {"x": x, "y": x.astype(np.float32)}, ["x", "y"])
    fs.add_split(fs.take(range(50), label="a"))
    fs.add_split(fs.take(range(50, 100), label="b"))
    whole = fs.overlap("a", "b")
    monkeypatch.setattr("modularml.core.data.overlap._CHUNK_BYTES", 700)
    assert fs.overlap("a", "b") == whole and whole.n_equal == 50 and whole.n_rows == 0


@pytest.mark.filterwarnings("ignore::modularml.base.errors.SplitOverlapWarning")
def test_the_summary_shows_what_leaks(fs: FeatureSet) -> None:
    fs.split_random(HALVES)
    html = fs._repr_html_()
    ElementTree.fromstring(html)
    for text in (fs.summary(), html):
        assert "train, test" in text and "cell 6 of 6" in text
    fs.split_by_condition({"a": {"cell": "cell 1", "ok": True}, "b": {"cell": "cell 2", "ok": False}})
    assert [(o.first, o.second) for o in fs.leakage() if "b" in (o.first, o.second)] == [
        ("train", "b"),
        ("test", "b"),
    ]
    assert fs["train"].leakage() == []


def test_nothing_shared_is_told_too() -> None:
    fs = FeatureSet.from_dict("A", {"x": np.arange(10.0)}, "x")
    assert "share" not in fs.summary()
    fs.split_random(HALVES)
    for text in (fs.summary(), fs._repr_html_()):
        assert "No two splits share" in text


def test_folds_and_parts_are_not_compared_with_each_other() -> None:
    fs = FeatureSet.from_dict("A", {"x": np.arange(40.0), "t": [0] * 40}, "x", None, "t")
    fs.split(KFold(3))
    assert [(o.first, o.second) for o in fs.leakage()] == [
        (f"fold_{i}_train", f"fold_{i}_test") for i in range(3)
    ]
    fs.clear_splits()
    fs.split_random(HALVES)
    fs["train"].split_random({"fit": 0.5, "val": 0.5})
    pairs = {(o.first, o.second) for o in fs.leakage()}
    assert pairs == {("train", "test"), ("test", "fit"), ("test", "val"), ("fit", "val")}


@pytest.mark.filterwarnings("ignore::modularml.base.errors.SplitOverlapWarning")
def test_a_long_list_of_pairs_is_cut(fs: FeatureSet) -> None:
    for i in range(6):
        fs.add_split(fs.take([0, i + 1], label=f"s{i}"))
    assert len(fs.leakage()) == 15
    assert "and 5 more pairs" in fs.summary()
