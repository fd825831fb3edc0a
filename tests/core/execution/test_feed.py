from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution import feed as module
from modularml.core.execution.feed import Feed, Source, _cycled
from modularml.core.execution.streams import stream_of
from modularml.samplers import EpochIndex, PairedSampler, SimilarityCondition, SimpleSampler

N = 40
COLUMN = torch.arange(N, dtype=torch.float32)[:, None] * torch.tensor([1.0, 100.0])


@pytest.fixture(scope="module")
def fs() -> FeatureSet:
    with ExperimentContext().temporary():
        return FeatureSet.from_dict("S", {"x": COLUMN.numpy(), "g": np.arange(N) % 3}, "x", None, "g")


def batches(feed: Feed, epoch: int = 0) -> list[tuple[torch.Tensor, ...]]:
    return list(feed.batches(feed.draw(epoch)))


def one(fs: FeatureSet, rows: Any = None, **options: Any) -> Feed:
    view = fs.to_view() if rows is None else fs.take(rows)
    sampler = SimpleSampler(seed=7, **options) if options else None
    return Feed([Source(head="A", view=view, sampler=sampler)], [("A", COLUMN)])


@given(st.data(), st.integers(1, 50), st.booleans(), st.booleans(), st.integers(0, 5))
def test_an_epoch_holds_each_row_once_unless_the_last_batch_is_dropped(
    fs: FeatureSet, data: Any, batch_size: int, shuffle: bool, drop_last: bool, epoch: int
) -> None:
    rows = data.draw(st.lists(st.integers(0, N - 1), unique=True, min_size=1))
    if drop_last and batch_size > len(rows):
        batch_size = len(rows)
    feed = one(fs, rows, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last)
    found = [batch[:, 0].to(torch.int64).tolist() for (batch,) in batches(feed, epoch)]
    flat = [row for batch in found for row in batch]
    n_kept = len(rows) - len(rows) % batch_size if drop_last else len(rows)
    assert len(flat) == len(set(flat)) == n_kept
    assert set(flat) <= set(rows)
    assert all(len(batch) == batch_size for batch in found[:-1])
    assert shuffle or flat == rows[:n_kept]
    assert len(found) == feed.draw(epoch).n_batches


def test_a_shuffle_is_a_function_of_seed_and_epoch_alone(fs: FeatureSet) -> None:
    def order(epoch: int, seed: int = 7) -> list[int]:
        sampler = SimpleSampler(batch_size=8, shuffle=True, seed=seed)
        feed = Feed([Source(head="A", view=fs.to_view(), sampler=sampler)], [("A", COLUMN)])
        feed.draw(epoch + 3)
        return feed.draw(epoch).rows["A"].tolist()

    assert order(2) == order(2)
    assert len({tuple(order(epoch)) for epoch in range(4)} | {tuple(order(0, seed=8))}) == 5


@pytest.mark.parametrize("chunk_bytes", [1, 100, 333])
@pytest.mark.parametrize("group_by", [None, "g"])
def test_how_much_is_gathered_at_once_changes_nothing(
    fs: FeatureSet, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, group_by: str | None
) -> None:
    feed = one(fs, batch_size=6, shuffle=True, group_by=group_by)
    whole = batches(feed)
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    assert [[t.tolist() for t in batch] for batch in batches(feed)] == [
        [t.tolist() for t in b] for b in whole
    ]


@pytest.mark.parametrize("batch_size", [None, 7, 40, 100])
def test_rows_that_lie_side_by_side_are_views(fs: FeatureSet, batch_size: int | None) -> None:
    view = fs.take(range(5, 35))
    feed = Feed([Source(head="A", view=view, sampler=None, batch_size=batch_size)], [("A", COLUMN)])
    found = [batch for (batch,) in batches(feed)]
    begin = COLUMN.data_ptr() + 5 * 2 * 4
    for i, batch in enumerate(found):
        assert batch.data_ptr() == begin + i * (batch_size or 0) * 2 * 4
    assert torch.equal(torch.cat(found), COLUMN[5:35])


def test_scattered_rows_are_copies(fs: FeatureSet) -> None:
    (batch,) = batches(one(fs, [3, 1, 2]))[0]
    assert torch.equal(batch, COLUMN[[3, 1, 2]])
    batch.zero_()
    assert COLUMN[1, 1] == 100


def test_heads_with_one_sampler_get_the_same_rows_in_the_same_order(fs: FeatureSet) -> None:
    sampler = SimpleSampler(batch_size=8, shuffle=True)
    view = fs.take(range(0, N, 2))
    sources = [Source(head=head, view=view, sampler=sampler) for head in "AB"]
    feed = Feed(sources, [("A", COLUMN), ("B", COLUMN), ("B", COLUMN[:, 0])])
    for epoch in range(3):
        for a, b, c in batches(feed, epoch):
            assert torch.equal(a, b)
            assert torch.equal(a[:, 0], c)


def test_the_head_with_fewest_batches_bounds_the_epoch(fs: FeatureSet) -> None:
    sources = [
        Source(head=head, view=fs.take(range(n)), sampler=SimpleSampler(batch_size=size))
        for head, n, size in (("A", 40, 4), ("B", 15, 5))
    ]
    feed = Feed(sources, [("A", COLUMN), ("B", COLUMN)])
    assert [(len(a), len(b)) for a, b in batches(feed)] == [(4, 5)] * 3
    assert all(len(offsets) == 4 for offsets in feed.draw(0).offsets.values())


@pytest.mark.parametrize("chunk_bytes", [1, 2**20])
def test_batches_of_several_roles_have_the_rows_of_each_in_step(
    fs: FeatureSet, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    sampler = PairedSampler({"g": SimilarityCondition("similar")}, batch_size=4, shuffle=True, seed=1)
    view = fs.take(range(0, N, 2))
    anchor, pair = stream_of("A", "anchor"), stream_of("A", "pair")
    feed = Feed([Source(head="A", view=view, sampler=sampler)], [(anchor, COLUMN), (pair, COLUMN)], [(pair,)])
    for epoch in range(2):
        by_hand = list(sampler.batches(view, epoch))
        found = batches(feed, epoch)
        assert len(found) == len(by_hand)
        for (a, p, weights), rows in zip(found, by_hand, strict=True):
            assert torch.equal(a, COLUMN[view.rows[rows["anchor"]]])
            assert torch.equal(p, COLUMN[view.rows[rows["pair"]]])
            assert weights is None


def test_the_weights_of_roles_are_averaged_and_cut_as_their_rows_are(fs: FeatureSet) -> None:
    condition = SimilarityCondition("similar", tolerance=5.0, weight_mode="linear", allow_fallback=True)
    sampler = PairedSampler({"x": condition}, batch_size=7, shuffle=True, seed=1)
    data = FeatureSet.from_dict("W", {"x": np.arange(N) * 1.0}, "x")
    anchor, pair = stream_of("A", "anchor"), stream_of("A", "pair")
    source = Source(head="A", view=data.to_view(), sampler=sampler)
    feed = Feed([source], [(pair, COLUMN)], [(pair,), (anchor, pair)])
    index = sampler.epoch(data.to_view(), 3)
    assert index.weights is not None
    assert len(set(index.weights["pair"].tolist())) > 2
    found = batches(feed, 3)
    assert np.allclose(np.concatenate([w for _, w, _ in found]), index.weights["pair"])
    mean = (index.weights["pair"] + index.weights["anchor"]) / 2
    assert np.allclose(np.concatenate([w for _, _, w in found]), mean)
    assert [len(w) for _, w, _ in found] == [len(c) for c, _, _ in found]


def test_an_epoch_that_was_counted_is_not_drawn_again(fs: FeatureSet) -> None:
    drawn = []

    class Watched(SimpleSampler):
        def epoch(self, source: Any, epoch: int) -> Any:
            drawn.append(epoch)
            return super().epoch(source, epoch)

    sampler = Watched(batch_size=8, shuffle=True, seed=1)
    feed = Feed([Source(head="A", view=fs.to_view(), sampler=sampler)], [("A", COLUMN)])
    assert feed.n_batches(2) == feed.draw(2).n_batches == 5
    assert drawn == [2]
    feed.n_batches(2)
    by_hand = fs.to_view().rows[sampler.epoch(fs.to_view(), 3).roles["default"]]
    assert np.array_equal(feed.draw(3).rows["A"], by_hand)


def test_a_cycle_ends_with_the_longest_and_the_others_begin_again(fs: FeatureSet) -> None:
    long = FeatureSet.from_dict("Long", {"x": np.arange(100) * 1.0}, "x")
    sources = [
        Source(head="A", view=long.to_view(), sampler=SimpleSampler(batch_size=10, shuffle=True, seed=1)),
        Source(head="B", view=fs.to_view(), sampler=SimpleSampler(batch_size=16, shuffle=True, seed=2)),
    ]
    columns = [("A", torch.arange(100)), ("B", COLUMN)]
    strict, cycle = Feed(sources, columns), Feed(sources, columns, schedule="zip_cycle")
    short = [b for _, b in batches(strict, 0)]
    found = [b for _, b in batches(cycle, 0)]
    assert (len(short), len(found)) == (strict.n_batches(0), 10)
    for i, batch in enumerate(found):
        assert torch.equal(batch, short[i % len(short)])
    assert len({int(row) for a, _ in batches(cycle, 0) for row in a}) == 100


def test_weights_cycle_with_their_samples() -> None:
    index = EpochIndex(
        roles={"default": np.array([4, 5, 6])},
        offsets=np.array([0, 2, 3]),
        weights={"default": np.arange(3.0)},
    )
    cycled = _cycled(index, 5)
    assert cycled.roles["default"].tolist() == [4, 5, 6, 4, 5, 6, 4, 5]
    assert cycled.weights is not None
    assert cycled.weights["default"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert cycled.offsets.tolist() == [0, 2, 3, 5, 6, 8]
    assert _cycled(index, 2) is index
