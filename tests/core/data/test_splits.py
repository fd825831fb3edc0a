"""Splits: kept by name, replaced by a re-run, and warned of where they overlap."""

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import KFold

from modularml.base.errors import (
    DuplicateLabelError,
    InvalidValueError,
    ModularMLWarning,
    SplitOverlapWarning,
    UnknownNameError,
)
from modularml.core.data.featureset import FeatureSet
from modularml.predicates import GT, LT
from modularml.splitters import ConditionSplitter, RandomSplitter

HALVES = {"train": 0.5, "test": 0.5}


def rows(fs: FeatureSet) -> dict[str, list[int]]:
    return {name: view.rows.tolist() for name, view in fs.splits.items()}


def test_splits_are_views_by_name(fs: FeatureSet) -> None:
    assert fs.split_random(HALVES) is None
    assert (fs.available_splits, fs.n_splits) == (["train", "test"], 2)
    assert fs["train"] == fs.get_split("train") == fs.splits["train"]
    assert fs["train"].label == "train"
    assert fs._ipython_key_completions_() == ["train", "test"]
    with pytest.raises(UnknownNameError, match=r"'trian' in FeatureSet 'Sensor'.*Did you mean 'train'"):
        fs["trian"]
    fs.clear_splits()
    assert fs.available_splits == [] and fs.splitter_records == []


def test_a_set_has_items_but_is_no_sequence(fs: FeatureSet) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        iter(fs)  # type: ignore[call-overload]


def test_a_rerun_cell_replaces_its_splits(fs: FeatureSet) -> None:
    fs.split_random(HALVES)
    before = rows(fs)
    fs.split_random(HALVES)
    assert rows(fs) == before
    fs.split_random(HALVES, seed=1)
    assert rows(fs) != before
    fs.split_random({"train": 0.6, "val": 0.2, "test": 0.2})
    fs.split_random({"train": 0.7, "test": 0.3})
    assert fs.available_splits == ["train", "test"]
    assert [r.produced_splits for r in fs.splitter_records] == [("train", "test")]


def test_a_split_of_another_origin_is_not_replaced(fs: FeatureSet) -> None:
    fs.split_random(HALVES)
    with pytest.raises(
        DuplicateLabelError, match=r"'train' exists already \(made by RandomSplitter.*clear_splits"
    ):
        fs.split_by_condition({"train": {"temperature": LT(20)}})
    assert fs.available_splits == ["train", "test"]


def test_parts_of_splits_stay_while_their_whole_does(fs: FeatureSet) -> None:
    fs.split_random(HALVES)
    fs["train"].split_random({"fit": 0.8, "val": 0.2})
    fs["fit"].split_random({"a": 0.5, "b": 0.5})
    assert [(r.order, r.applied_to) for r in fs.splitter_records] == [(0, None), (1, "train"), (2, "fit")]
    assert set(rows(fs)["fit"]) | set(rows(fs)["val"]) == set(rows(fs)["train"])
    before = rows(fs)
    fs.split_random(HALVES)
    assert rows(fs) == before
    with pytest.warns(ModularMLWarning, match="other rows.*'fit', 'val', 'a', 'b' were removed") as caught:
        fs.split_random(HALVES, seed=5)
    assert fs.available_splits == ["train", "test"]
    assert {warning.filename for warning in caught} == {__file__}
    assert [(r.order, r.applied_to) for r in fs.splitter_records] == [(0, None)]


def test_overlaps_are_told_once_where_they_happen(fs: FeatureSet) -> None:
    warm, cold = {"temperature": GT(15)}, {"temperature": LT(25)}
    n_both = int(((fs.column("temperature") > 15) & (fs.column("temperature") < 25)).sum())
    with pytest.warns(SplitOverlapWarning, match=f"'warm' and 'cold' share {n_both}") as caught:
        fs.split_by_condition({"warm": warm, "cold": cold})
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(SplitOverlapWarning, match="'warm' and 'train'.*'cold' and 'test'") as caught:
        fs.split(RandomSplitter(HALVES))
    assert len(caught) == 1 and caught[0].filename == __file__


def test_parts_of_a_view_and_folds_may_overlap(fs: FeatureSet) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fs.split(KFold(3))
        fs["fold_0_train"].split(ConditionSplitter(a={"temperature": GT(12)}, b={"temperature": GT(13)}))


def test_a_view_is_added_under_its_label(fs: FeatureSet) -> None:
    fs.add_split(fs.take([1, 2], label="few"))
    fs.add_split(fs.take([1, 2], label="few"))
    assert rows(fs) == {"few": [1, 2]}
    with pytest.raises(DuplicateLabelError, match="added by hand"):
        fs.add_split(fs.take([3], label="few"))
    with pytest.warns(SplitOverlapWarning, match="'few' and 'more' share 1"):
        fs.add_split(fs.take([2, 3], label="more"))
    other = FeatureSet.from_dict("other", {"x": [1, 2]}, "x")
    for wrong in (
        fs.take([1]),
        fs.take(np.array([], int), label="none"),
        other.take([0], label="other"),
        None,
    ):
        with pytest.raises(InvalidValueError):
            fs.add_split(wrong)  # type: ignore[arg-type]


def test_a_split_has_the_columns_of_now_unless_it_chose_some(fs: FeatureSet) -> None:
    fs.split_random(HALVES)
    with pytest.warns(SplitOverlapWarning):
        fs.add_split(fs.take([0]).select(features="voltage", label="narrow"))
    fs.fit_transform("StandardScaler", domain="targets")
    assert fs["train"].columns == fs.columns
    assert fs["narrow"].columns == ("features.voltage.raw",)


def test_a_view_that_only_bears_the_name_of_a_split_is_not_taken_for_it(fs: FeatureSet) -> None:
    fs.split_random(HALVES)
    fs.take([0, 1, 2, 3], label="train").split_random({"a": 0.5, "b": 0.5})
    assert fs.splitter_records[-1].applied_to is None


def is_warm(temperature: np.ndarray) -> np.ndarray:
    return temperature > 25


def test_a_record_outlives_a_function_that_no_file_can_give_back(fs: FeatureSet) -> None:
    nameless = {"warm": {"temperature": lambda t: t > 25}}
    fs.split_by_condition(nameless)
    assert fs.splitter_records[0].splitter == ConditionSplitter(**nameless)
    before, twin = rows(fs), fs.copy(restore_splits=True)
    assert twin.splitter_records == fs.splitter_records
    fs.set_state(fs.get_state())
    assert twin._splits == fs._splits
    assert (fs.splitter_records[0].kind, fs.splitter_records[0].splitter) == ("ConditionSplitter", None)
    assert rows(fs) == before
    with pytest.raises(DuplicateLabelError, match="made by ConditionSplitter"):
        fs.split_random({"warm": 1.0})
    fs.split_by_condition({"warm": {"temperature": is_warm}})
    fs.set_state(fs.get_state())
    assert fs.splitter_records[0].splitter == ConditionSplitter(warm={"temperature": is_warm})


@pytest.mark.parametrize(
    "splitter",
    [
        ConditionSplitter(a={"rul": np.isfinite}),
        ConditionSplitter(a={"rul": functools.partial(np.greater, 50)}),
        KFold(2, shuffle=True, random_state=np.random.RandomState(0)),
        ConditionSplitter(a={"day": GT(np.datetime64("2024-01-05"))}),
    ],
    ids=lambda splitter: type(splitter).__name__,
)
def test_no_splitter_keeps_a_set_from_being_saved(fs: FeatureSet, splitter: Any, tmp_path: Path) -> None:
    fs.split(splitter)
    again = FeatureSet.load(fs.save(tmp_path / "fs"), overwrite=True)
    assert rows(again) == rows(fs)
