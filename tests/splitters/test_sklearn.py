"""scikit-learn's splitters: the same rows, under names."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.splitters import RandomSplitter, SklearnSplitter, as_splitter

SPLITTERS = [
    (KFold(3, shuffle=True, random_state=0), {}),
    (RepeatedKFold(n_splits=2, n_repeats=2, random_state=0), {}),
    (TimeSeriesSplit(3), {}),
    (PredefinedSplit(np.arange(240) % 2), {}),
    (StratifiedKFold(3), {"stratify_by": "kind"}),
    (GroupKFold(3), {"group_by": "cell"}),
    (StratifiedGroupKFold(3), {"group_by": "cell", "stratify_by": "kind"}),
]


@pytest.mark.parametrize(("splitter", "options"), SPLITTERS)
def test_folds_are_those_of_the_splitter(cells: Any, splitter: Any, options: dict[str, str]) -> None:
    parts = as_splitter(splitter, **options).indices(cells)
    y, groups = (cells.column(options[o]) if o in options else None for o in ("stratify_by", "group_by"))
    folds = list(splitter.split(np.zeros((240, 1)), y, groups))
    assert len(parts) == 2 * len(folds)
    for i, (train, test) in enumerate(folds):
        assert parts[f"fold_{i}_train"].tolist() == train.tolist()
        assert parts[f"fold_{i}_test"].tolist() == test.tolist()


def test_one_fold_needs_no_number(cells: Any) -> None:
    assert list(as_splitter(ShuffleSplit(1, random_state=0)).indices(cells)) == ["train", "test"]


@pytest.mark.parametrize(("splitter", "options"), SPLITTERS)
def test_config_makes_a_splitter_of_the_same_folds(
    cells: Any, splitter: Any, options: dict[str, str]
) -> None:
    wrapped = SklearnSplitter(splitter, **options)
    again = from_config(to_config(wrapped))
    for name, rows in wrapped.indices(cells).items():
        assert again.indices(cells)[name].tolist() == rows.tolist()


class Halves:
    """A splitter of a user's own."""

    def __init__(self, at: int) -> None:
        self.at = at

    def split(self, X: np.ndarray, y: None = None, groups: None = None) -> Iterator[tuple[range, range]]:
        yield range(self.at), range(self.at, len(X))


def test_anything_that_splits_will_do(cells: Any) -> None:
    again = from_config(to_config(as_splitter(Halves(100))))
    assert {name: len(rows) for name, rows in again.indices(cells).items()} == {"train": 100, "test": 140}


def test_what_is_no_splitter_is_refused() -> None:
    for wrong in (None, KFold, {"train": 1.0}, "KFold"):
        with pytest.raises(InvalidTypeError, match="splitter"):
            as_splitter(wrong)
    with pytest.raises(InvalidTypeError, match="group_by"):
        as_splitter(RandomSplitter({"a": 1.0}), group_by="cell")


def test_what_a_splitter_of_scikit_learn_refuses_is_told_with_the_columns(cells: Any) -> None:
    with pytest.raises(
        InvalidValueError, match=r"(?s)GroupKFold.*groups come from group_by, which names no columns"
    ):
        as_splitter(GroupKFold(3)).indices(cells)
    with pytest.raises(InvalidValueError, match="KFold.*n_splits=999"):
        as_splitter(KFold(999)).indices(cells)
    with pytest.raises(InvalidTypeError, match="itself, not one of it"):
        as_splitter(KFold)


def test_a_configuration_names_splitters_only() -> None:
    with pytest.raises(UnknownNameError, match="KFold"):
        SklearnSplitter.from_config({"splitter": {"class": "KFolds", "arguments": {}}})
    with pytest.raises(UnknownNameError):
        SklearnSplitter.from_config({"splitter": {"class": "cross_validate", "arguments": {}}})
