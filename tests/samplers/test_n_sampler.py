"""Tuples: partners meet their conditions, in every role, and weigh what they should."""

from typing import Any

import numpy as np
import pytest

from modularml.base.errors import InvalidTypeError, InvalidValueError, ModularMLWarning
from modularml.samplers import NSampler, PairedSampler, SimilarityCondition, TripletSampler

SAME, OTHER = SimilarityCondition(), SimilarityCondition("dissimilar")


def test_pairs_are_alike_and_no_sample_is_its_own_pair(cells: Any) -> None:
    index = PairedSampler({"kind": SAME, "cell": OTHER}, max_pairs_per_anchor=4, seed=0).epoch(cells, 0)
    anchor, pair = index.roles["anchor"], index.roles["pair"]
    assert (cells.column("kind")[anchor] == cells.column("kind")[pair]).all()
    assert (cells.column("cell")[anchor] != cells.column("cell")[pair]).all()
    assert np.bincount(anchor).tolist() == [4] * 240
    assert index.weights is None


def test_triplets_have_one_of_each(cells: Any) -> None:
    roles = TripletSampler({"cell": SAME}, {"cell": OTHER}, seed=0, shuffle=True).epoch(cells, 0).roles
    cell = cells.column("cell")
    assert (cell[roles["anchor"]] == cell[roles["positive"]]).all()
    assert (cell[roles["anchor"]] != cell[roles["negative"]]).all()
    assert (roles["anchor"] != roles["positive"]).all()


def test_a_role_with_fewer_partners_takes_them_in_turn(make_source: Any) -> None:
    source = make_source(kind=np.array([0, 0, 1, 1, 1]))
    roles = TripletSampler({"kind": SAME}, {"kind": OTHER}, seed=0).epoch(source, 0).roles
    assert np.bincount(roles["anchor"]).tolist() == [3, 3, 2, 2, 2]
    assert set(roles["positive"][roles["anchor"] == 0]) == {1}


def test_an_anchor_without_a_partner_is_left_out(make_source: Any) -> None:
    roles = PairedSampler({"kind": SAME}).epoch(make_source(kind=np.array([0, 0, 7])), 0).roles
    assert set(roles["anchor"]) == {0, 1}
    with pytest.raises(InvalidValueError, match=r"3 has a partner for \['pair'\]"):
        PairedSampler({"kind": SAME}).epoch(make_source(kind=np.arange(3)), 0)


def test_the_best_pair_is_the_nearest(make_source: Any) -> None:
    source = make_source(x=np.array([0.0, 1.0, 1.5, 4.0]))
    sampler = PairedSampler({"x": SimilarityCondition(tolerance=3.0)}, choose_best_only=True)
    roles = sampler.epoch(source, 0).roles
    assert dict(zip(roles["anchor"].tolist(), roles["pair"].tolist(), strict=True))[3] == 2
    assert len(roles["anchor"]) == 4


def test_a_fallback_weighs_little(make_source: Any) -> None:
    source = make_source(kind=np.array([0, 0, 7]), site=np.array(["a", "a", "a"]))
    lenient = SimilarityCondition(allow_fallback=True, max_weight=0.8, min_weight=0.1)
    index = PairedSampler({"kind": lenient, "site": SAME}, seed=0).epoch(source, 0)
    assert index.weights is not None
    alone = index.roles["anchor"] == 2
    assert alone.sum() == 2
    assert index.weights["pair"][alone] == pytest.approx(0.1)
    assert index.weights["pair"][~alone] == pytest.approx(0.8)
    assert (index.weights["anchor"] == 1).all()


def test_batching_can_look_at_any_role(cells: Any) -> None:
    sampler = NSampler({"far": {"kind": OTHER}}, group_by="kind", group_by_role="far", batch_size=8, seed=0)
    for batch in sampler.batches(cells):
        assert len(set(cells.column("kind")[batch["far"]])) == 1
    with pytest.raises(InvalidValueError, match="'anchor', 'far'"):
        NSampler({"far": {"kind": OTHER}}, group_by_role="near")


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({}, "needs conditions"),
        (None, "needs conditions"),
        ({"anchor": {"kind": SAME}}, "other than 'anchor'"),
        ({"near": {}}, "'near'"),
        ({"near": {"kind": "similar"}}, "no SimilarityCondition"),
        ({"near": {}, "far": {"kind": 3}}, "2 faults"),
    ],
)
def test_wrong_conditions_are_refused(mapping: Any, says: str) -> None:
    with pytest.raises(InvalidTypeError, match=says):
        NSampler(mapping)


def test_counts_are_checked() -> None:
    for options in ({"max_pairs_per_anchor": 0}, {"n_workers": 0}):
        with pytest.raises(InvalidValueError):
            PairedSampler({"kind": SAME}, **options)  # type: ignore[arg-type]


def test_workers_are_told_to_have_no_effect() -> None:
    with pytest.warns(ModularMLWarning, match="n_workers=4 has no effect"):
        PairedSampler({"cell": SimilarityCondition()}, n_workers=4)
