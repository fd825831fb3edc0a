"""Batches that were drawn: they are the rows of the epoch, taken when asked for."""

from typing import Any

import numpy as np
import pytest

from modularml.base.errors import InvalidValueError, StateError, UnknownNameError
from modularml.core.data.batch_view import BatchView, SampledView
from modularml.core.data.featureset import FeatureSet
from modularml.core.topology.graph_node import GraphNode
from modularml.samplers import PairedSampler, Sampler, SimilarityCondition, SimpleSampler, TripletSampler

ALIKE = {"cell": SimilarityCondition("similar", allow_fallback=True, min_weight=0.0)}
OTHER = {"cell": SimilarityCondition("dissimilar")}
SAMPLERS = [
    SimpleSampler(batch_size=7, shuffle=True, seed=1),
    PairedSampler(ALIKE, batch_size=8, shuffle=True, seed=1),
    TripletSampler(ALIKE, OTHER, batch_size=9, seed=1),
]
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)


@every_sampler
@pytest.mark.parametrize("is_view", [True, False])
def test_batches_hold_the_values_of_the_rows_that_were_drawn(
    fs: FeatureSet, sampler: Sampler, is_view: bool
) -> None:
    source: Any = fs.take(np.arange(5, 50)) if is_view else fs
    drawn = sampler.epoch(source, 3)
    sampler.bind_sources([source])
    assert sampler.is_bound and not sampler.is_materialized
    sampler.materialize_batches(epoch=3)
    assert sampler.is_materialized_for(source) and not sampler.is_materialized_for(fs.take([0]))
    assert sampler.num_batches == drawn.n_batches == len(sampler.get_batches())
    rows = list(sampler.batches(source, 3))
    for named, expected in zip(sampler, rows, strict=True):
        batch = named["default"].materialize_batch(features="voltage", targets="soh")
        assert batch.roles == sampler.role_names
        for role, positions in expected.items():
            values = source.column("voltage")[positions]
            np.testing.assert_array_equal(batch.role_data[role].features[:, 0], values)
            assert batch.shapes[role].targets == (1,)


def test_weights_become_masks(fs: FeatureSet) -> None:
    view = BatchView(
        fs, {"anchor": np.array([1, 2]), "pair": np.array([3, 4])}, {"pair": np.array([0.0, 0.5])}
    )
    batch = view.materialize_batch("torch", features="voltage")
    assert {role: mask.tolist() for role, mask in batch.role_masks.items()} == {
        "anchor": [1, 1],
        "pair": [0, 1],
    }
    assert batch.role_weights["pair"].tolist() == [0, 0.5]
    assert view.get_role_view("pair") == fs.take([3, 4]) and view.get_role_view("pair").label == "pair"
    with pytest.raises(UnknownNameError, match="role 'pairs'.*Did you mean 'pair'"):
        view.get_role_view("pairs")


def test_roles_of_unequal_length_are_refused(fs: FeatureSet) -> None:
    for roles, weights in (
        ({"a": [1, 2], "b": [1]}, {}),
        ({"a": [1, 2]}, {"a": [1.0]}),
        ({"a": [1, 2]}, {"b": [1.0, 1.0]}),
    ):
        with pytest.raises(InvalidValueError, match="needs 2 rows"):
            BatchView(
                fs, {k: np.array(v) for k, v in roles.items()}, {k: np.array(v) for k, v in weights.items()}
            )


def test_streams_run_side_by_side_until_the_shortest_ends(fs: FeatureSet) -> None:
    short, long = (
        fs._sampled(SimpleSampler(batch_size=n).epoch(fs, 0)).get_stream("default") for n in (30, 20)
    )
    view = SampledView({"short": short, "long": long})
    assert (view.num_batches, len(view), view.num_streams, view.stream_names) == (2, 2, 2, ["short", "long"])
    assert [(b["short"].n_samples, b["long"].n_samples) for b in view] == [(30, 20), (30, 20)]
    assert [b.n_samples for b in long[1:]] == [20, 20] and long[-1].n_samples == 20
    with pytest.raises(IndexError):
        long[3]
    with pytest.raises(UnknownNameError, match="stream 'shrt'"):
        view.get_stream("shrt")


def test_another_source_makes_other_batches(fs: FeatureSet) -> None:
    sampler = SimpleSampler(batch_size=10, source=fs)
    assert (sampler.stream_names, sampler.num_streams, sampler.num_roles) == (["default"], 1, 1)
    assert sampler.num_batches == 6
    sampler.bind_sources([fs.take(range(20))])
    assert sampler.num_batches == 2
    with pytest.raises(InvalidValueError, match="one source, as a list of one"):
        sampler.bind_sources([fs, fs])
    with pytest.raises(StateError, match="no source"):
        SimpleSampler().get_batches()


def test_a_batch_has_the_columns_that_a_node_reads(fs: FeatureSet) -> None:
    node = GraphNode("node", [fs.reference(features="voltage", targets="soh", tags="cell")])
    batch = next(iter(SimpleSampler(batch_size=8, source=fs.take(range(20)))))["default"]
    data = batch.materialize_batch("dict", node=node).role_data
    assert (list(data.features), list(data.targets), list(data.tags)) == (["voltage"], ["soh"], ["cell"])
    other = GraphNode("other", [node])
    with pytest.raises(InvalidValueError, match="GraphNode.*other.*reads nothing of FeatureSet"):
        batch.materialize_batch(node=other)
