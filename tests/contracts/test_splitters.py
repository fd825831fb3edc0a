"""What every splitter keeps to; a new one must give an example here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import KFold, StratifiedGroupKFold

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidValueError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.predicates import GTE, LT
from modularml.splitters import ConditionSplitter, RandomSplitter, Splitter, splitter_registry
from modularml.splitters.sklearn import SklearnSplitter

N = 60
RATIOS = {"train": 0.5, "val": 0.25, "test": 0.25}

EXAMPLES: dict[str, list[Callable[[], Splitter]]] = {
    "RandomSplitter": [
        lambda: RandomSplitter(RATIOS),
        lambda: RandomSplitter(RATIOS, group_by="cell"),
        lambda: RandomSplitter(RATIOS, stratify_by="site", strict_stratification=True),
        lambda: RandomSplitter(RATIOS, group_by="cell", stratify_by="site"),
    ],
    "ConditionSplitter": [
        lambda: ConditionSplitter(low={"number": LT(20)}, high={"number": GTE(20), "site": ["a"]})
    ],
    "SklearnSplitter": [
        lambda: SklearnSplitter(KFold(3)),
        lambda: SklearnSplitter(StratifiedGroupKFold(2), group_by="cell", stratify_by="site"),
    ],
}
every_splitter = pytest.mark.parametrize(
    "make",
    [pytest.param(make, id=f"{name}-{i}") for name, all_ in EXAMPLES.items() for i, make in enumerate(all_)],
)


@pytest.fixture
def fs() -> FeatureSet:
    numbers = np.arange(N)
    data = {
        "x": numbers * 1.0,
        "number": numbers,
        "cell": numbers % 12,
        "site": np.array(["a", "b"])[numbers % 2],
    }
    with ExperimentContext().temporary():
        return FeatureSet.from_dict("A", data, "x", None, ["number", "cell", "site"])


def parts(splitter: Splitter, fs: FeatureSet) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in splitter.indices(fs).items()}


def test_every_splitter_has_an_example() -> None:
    assert EXAMPLES.keys() == splitter_registry.keys()
    for name, makes in EXAMPLES.items():
        assert all(type(make()) is splitter_registry[name] for make in makes)


@every_splitter
def test_parts_are_sound_and_the_same_again(make: Callable[[], Splitter], fs: FeatureSet) -> None:
    found = make().indices(fs)
    assert all(rows.dtype == np.int64 and rows.size for rows in found.values())
    assert all(0 <= rows.min() <= rows.max() < N and len(set(rows)) == len(rows) for rows in found.values())
    assert parts(make(), fs) == parts(make(), fs)


@every_splitter
def test_a_view_is_split_by_its_own_rows(make: Callable[[], Splitter], fs: FeatureSet) -> None:
    view = fs.take(np.arange(N)[::-1])
    for name, part in make().split(view).items():
        assert set(part.rows) <= set(view.rows)
        assert part.rows.tolist() == view.rows[make().indices(view)[name]].tolist()


@every_splitter
def test_splitting_again_replaces_what_was_there(make: Callable[[], Splitter], fs: FeatureSet) -> None:
    for _ in range(2):
        fs.split(make())
    assert {name: split.rows.tolist() for name, split in fs.splits.items()} == parts(make(), fs)
    assert len(fs.splitter_records) == 1


@every_splitter
def test_it_comes_back_from_its_configuration_and_from_files(
    make: Callable[[], Splitter], fs: FeatureSet, tmp_path: Path
) -> None:
    expected = parts(make(), fs)
    assert parts(from_config(to_config(make())), fs) == expected
    assert parts(Splitter.load(make().save(tmp_path / "s")), fs) == expected
    assert parts(Splitter.from_yaml(make().to_yaml(tmp_path / "s.yaml")), fs) == expected


@every_splitter
def test_nothing_cannot_be_split(make: Callable[[], Splitter], fs: FeatureSet) -> None:
    with pytest.raises(InvalidValueError, match="0 samples"):
        make().indices(fs.take([]))
