"""Random splits: nothing lost, nothing twice, shares kept, groups whole, strata in proportion."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.splitters import RandomSplitter

RATIOS = {"train": 0.6, "val": 0.15, "test": 0.25}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"stratify_by": "kind"},
    {"stratify_by": ["kind", "grade"]},
    {"group_by": "cell"},
    {"group_by": "cell", "stratify_by": "grade"},
    {"group_by": "cell", "stratify_by": "kind"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_every_sample_is_in_exactly_one_part(cells: Any, options: dict[str, Any]) -> None:
    parts = RandomSplitter(RATIOS, **options).indices(cells)
    assert list(parts) == list(RATIOS)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(240))
    assert all(rows.dtype == np.int64 and (np.diff(rows) > 0).all() for rows in parts.values())


@pytest.mark.parametrize("options", OPTIONS)
def test_a_seed_decides_the_parts(cells: Any, options: dict[str, Any]) -> None:
    once, again, other = (RandomSplitter(RATIOS, seed=s, **options).indices(cells) for s in (1, 1, 2))
    assert all(np.array_equal(once[name], again[name]) for name in RATIOS)
    assert any(not np.array_equal(once[name], other[name]) for name in RATIOS)


@given(n=st.integers(20, 300), weights=st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_sizes_are_the_shares_rounded(n: int, weights: list[int]) -> None:
    class Samples:
        n_samples = n

        def column(self, name: str) -> np.ndarray:
            raise KeyError(name)

    shares = {f"part {i}": w / sum(weights) for i, w in enumerate(weights)}
    parts = RandomSplitter(shares).indices(Samples())
    assert sum(len(rows) for rows in parts.values()) == n
    assert all(abs(len(parts[name]) - share * n) < 1 for name, share in shares.items())


def test_every_stratum_keeps_its_shares(cells: Any) -> None:
    parts = RandomSplitter(RATIOS, stratify_by="kind").indices(cells)
    for kind, total in enumerate(np.bincount(cells.column("kind"))):
        for name, share in RATIOS.items():
            n = (cells.column("kind")[parts[name]] == kind).sum()
            assert abs(n - share * total) < 1


def test_strict_strata_weigh_the_same(make_source: Any) -> None:
    source = make_source(kind=np.repeat([0, 1, 2], [50, 20, 130]))
    parts = RandomSplitter({"a": 0.5, "b": 0.5}, stratify_by="kind", strict_stratification=True).indices(
        source
    )
    for rows in parts.values():
        assert np.bincount(source.column("kind")[rows]).tolist() == [10, 10, 10]


@pytest.mark.parametrize("stratify_by", [None, "kind", "grade"])
def test_groups_stay_whole_and_shares_come_near(cells: Any, stratify_by: str | None) -> None:
    parts = RandomSplitter(RATIOS, group_by="cell", stratify_by=stratify_by).indices(cells)
    groups = [set(cells.column("cell")[rows]) for rows in parts.values()]
    assert sum(map(len, groups)) == 24
    assert all(abs(len(parts[name]) / 240 - share) < 0.1 for name, share in RATIOS.items())


def test_groups_are_balanced_over_strata(make_source: Any) -> None:
    # 40 groups, of which only 8 hold the rare kind: by chance alone a fifth would often miss it.
    group = np.repeat(np.arange(40), 5)
    source = make_source(group=group, rare=(group < 8).astype(int))
    for seed in range(20):
        parts = RandomSplitter(
            {"train": 0.75, "test": 0.25}, group_by="group", stratify_by="rare", seed=seed
        ).indices(source)
        assert source.column("rare")[parts["test"]].sum() == 10


def test_no_part_goes_without_a_group(make_source: Any) -> None:
    source = make_source(group=np.repeat([0, 1, 2], [98, 1, 1]))
    for seed in range(10):
        parts = RandomSplitter({"a": 0.9, "b": 0.05, "c": 0.05}, group_by="group", seed=seed).indices(source)
        assert all(rows.size for rows in parts.values())


@pytest.mark.parametrize(
    ("ratios", "error", "says"),
    [
        ({}, InvalidValueError, "at least one"),
        ([0.5, 0.5], InvalidTypeError, "dict"),
        ({"a": 0.5, "b": 0.4}, InvalidValueError, "add up to 1, got 0.9"),
        ({"a": 1.5, "b": -0.5}, InvalidValueError, "2 faults"),
        ({"a": float("nan")}, InvalidValueError, "'a'"),
        ({"a": 1.0, "b": 0.0}, InvalidValueError, "'b'.*above 0"),
        ({"a": "half"}, InvalidTypeError, "number, got 'half'"),
        ({"a": True}, InvalidTypeError, "number, got True"),
        ({"": 1.0}, InvalidTypeError, "name"),
        ({3: 1.0}, InvalidTypeError, "name"),
    ],
)
def test_wrong_ratios_are_refused(ratios: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        RandomSplitter(ratios)


def test_splits_that_cannot_be_made_say_why(make_source: Any) -> None:
    halves = {"a": 0.5, "b": 0.5}
    with pytest.raises(InvalidValueError, match="0 samples"):
        RandomSplitter(halves).indices(make_source(x=np.array([])))
    with pytest.raises(InvalidValueError, match=r"RandomSplitter on .*\['b'\] would be empty"):
        RandomSplitter({"a": 0.9, "b": 0.1}).indices(make_source(x=np.zeros(2)))
    with pytest.raises(InvalidValueError, match="1 of the 2 strata .* 'b' gets 0.5 of the 1 of one"):
        RandomSplitter(halves, stratify_by="x").indices(make_source(x=np.array([0, 0, 1])))
    with pytest.raises(InvalidValueError, match="1 groups, too few for the 2"):
        RandomSplitter(halves, group_by="x").indices(make_source(x=np.zeros(9)))
    with pytest.raises(InvalidValueError, match="needs stratify_by"):
        RandomSplitter(halves, strict_stratification=True)
    with pytest.raises(InvalidTypeError, match="strict_stratification must be True or False"):
        RandomSplitter(halves, stratify_by="x", strict_stratification="yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="(?s)3 faults.*add up to 1, got 0.9.*group_by.*seed"):
        RandomSplitter({"a": 0.5, "b": 0.4}, group_by=3, seed=-1)  # type: ignore[arg-type]


def test_an_option_that_is_assigned_means_what_it_means_to_the_constructor(cells: Any) -> None:
    splitter = RandomSplitter({"train": 0.5, "test": 0.5})
    splitter.ratios, splitter.seed, splitter.group_by = {"a": 0.25, "b": 0.75}, 3, "cell"
    other = RandomSplitter({"a": 0.25, "b": 0.75}, seed=3, group_by="cell")
    assert splitter == other
    for name, rows in splitter.indices(cells).items():
        assert rows.tolist() == other.indices(cells)[name].tolist()
    splitter.group_by, splitter.seed = None, None
    assert isinstance(splitter.seed, int)


def test_an_unseeded_splitter_keeps_the_seed_that_it_drew(make_source: Any) -> None:
    splitter = RandomSplitter({"a": 0.5, "b": 0.5}, seed=None)
    source = make_source(x=np.zeros(50))
    again = RandomSplitter.from_config(splitter.get_config())
    assert np.array_equal(splitter.indices(source)["a"], again.indices(source)["a"])
    assert splitter.seed != RandomSplitter({"a": 1.0}, seed=None).seed


def test_parts_get_their_share_of_the_whole_where_every_group_is_its_own_stratum(
    make_source: Any,
) -> None:
    rows = make_source(cell=np.repeat(np.arange(6), 10))
    splitter = RandomSplitter({"a": 0.5, "b": 0.5}, group_by="cell", stratify_by="cell")
    assert {name: len(found) for name, found in splitter.indices(rows).items()} == {"a": 30, "b": 30}
