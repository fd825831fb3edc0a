from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from modularml.base.config import from_config, to_config
from modularml.base.errors import (
    InvalidAttributeError,
    InvalidTypeError,
    InvalidValueError,
    ResolutionError,
    StateError,
    UnknownNameError,
)
from modularml.core.context import ExperimentContext
from modularml.core.execution.binding import InputBinding
from modularml.core.topology.graph_node import GraphNode
from modularml.samplers import SimpleSampler

SAMPLER = SimpleSampler(batch_size=8, shuffle=True, seed=1)


def test_a_node_is_named_by_itself_its_label_or_its_id_and_data_likewise(bench: Any) -> None:
    node = bench.node("A")
    upstreams = (None, bench.fs, "Sensor", bench.fs.node_id, bench.fs.get_split("train"))
    bindings = [
        InputBinding.for_evaluation(node=name, upstream=upstream, split="train")
        for name in (node, "A", node.node_id)
        for upstream in upstreams
    ]
    assert all(binding == bindings[0] for binding in bindings)
    assert bindings[0].node_id == node.node_id


def test_a_binding_leads_to_the_columns_and_rows_of_its_split(bench: Any) -> None:
    bench.node("A")
    view = InputBinding.for_evaluation(node="A", split="train").resolve_input_view()
    assert np.array_equal(view.rows, bench.fs.get_split("train").rows)
    assert view.columns == bench.ref().columns
    assert InputBinding.for_evaluation(node="A").resolve_input_view().n_samples == 60


def test_it_looks_in_the_context_that_it_is_told(bench: Any) -> None:
    bench.node("A")
    binding = InputBinding.for_evaluation(node="A", split="test")
    with ExperimentContext().temporary():
        assert binding.resolve_input_view(bench.ctx).n_samples == 12
        with pytest.raises(ResolutionError, match="'Sensor.test' leads nowhere"):
            binding.resolve_input_view()


def test_training_needs_a_sampler(bench: Any) -> None:
    bench.node("A")
    for wrong in (None, "random", SimpleSampler, 32):
        with pytest.raises(InvalidTypeError, match=r"InputBinding for 'A': sampler must be a Sampler.*got"):
            InputBinding.for_training(node="A", sampler=wrong)
    binding = InputBinding.for_training(node="A", sampler=SAMPLER, split="train")
    assert (binding.sampler, binding.split) == (SAMPLER, "train")


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"node": "AA"}, UnknownNameError, "Unknown node 'AA'.*mean 'A'"),
        ({"node": "Sensor"}, InvalidTypeError, "'Sensor' is a FeatureSet; a GraphNode is needed"),
        ({"node": None}, UnknownNameError, "Unknown node None"),
        ({"node": "B"}, StateError, "fed by other nodes, not by a FeatureSet"),
        ({"node": "Two"}, InvalidValueError, r"several FeatureSets upstream, \['Sensor', 'More'\]"),
        ({"split": "trian"}, InvalidValueError, "Unknown split 'trian' in FeatureSet 'Sensor'.*mean 'train'"),
        ({"upstream": "Sensro"}, InvalidValueError, "Unknown upstream 'Sensro' in .*mean 'Sensor'"),
        ({"upstream": "More"}, InvalidValueError, "Unknown upstream 'More'.*Available: 'Sensor'"),
    ],
)
def test_names_that_lead_nowhere_are_told_with_the_nearest(
    bench: Any, arguments: dict[str, Any], kind: type[Exception], match: str
) -> None:
    bench.chain(nn.Linear(4, 2), nn.Linear(2, 1))
    GraphNode("Two", [bench.fs, bench.data("More")])
    with pytest.raises(kind, match=match):
        InputBinding.for_training(**({"node": "A", "sampler": SAMPLER} | arguments))


def test_with_several_featuresets_upstream_one_is_named(bench: Any) -> None:
    GraphNode("Two", [bench.fs, bench.data("More")])
    assert InputBinding.for_evaluation(node="Two", upstream="More").upstream_ref.node_label == "More"


def test_a_featureset_upstream_is_known_by_the_name_that_it_has_now(bench: Any) -> None:
    node = bench.node("A")
    bench.fs.label = "Renamed"
    assert InputBinding.for_evaluation(node=node, upstream="Renamed").upstream_ref == node.featureset_refs[0]
    with pytest.raises(InvalidValueError, match="'Sensor' in ModelNode.*Available: 'Renamed'"):
        InputBinding.for_evaluation(node=node, upstream="Sensor")


def test_a_split_may_be_given_as_a_view_and_no_other_view_may(bench: Any) -> None:
    bench.node("A")
    train = bench.fs.get_split("train")
    assert InputBinding.for_evaluation(node="A", upstream=train).split == "train"
    part = train.take(range(5))
    for view, split in [
        (part, None),
        (part, "train"),
        (train, "test"),
        (train.take([0], label="train"), None),
    ]:
        with pytest.raises(InvalidValueError, match="is not the split .* of 'Sensor'"):
            InputBinding.for_evaluation(node="A", upstream=view, split=split)


def test_a_split_that_went_is_told_when_it_is_looked_for(bench: Any) -> None:
    bench.node("A")
    binding = InputBinding.for_evaluation(node="A", split="train")
    bench.fs.clear_splits()
    with pytest.raises(ResolutionError, match="train"):
        binding.resolve_input_view()


def test_what_a_configuration_describes_is_the_same_binding(bench: Any) -> None:
    bench.node("A")
    for binding in (
        InputBinding.for_training(node="A", sampler=SAMPLER, split="train"),
        InputBinding.for_evaluation(node="A"),
    ):
        assert from_config(to_config(binding)) == binding


def test_a_binding_hands_out_the_batches_of_the_first_epoch(bench: Any) -> None:
    bench.graph(bench.node("A"))
    sampler = SimpleSampler(batch_size=16, shuffle=True, seed=5)
    drawn = InputBinding.for_training(node="A", sampler=sampler, split="train").materialize_batches()
    assert [batch.n_samples for batch in drawn] == [16, 16, 16]
    rows = [batch.get_role_view("default").rows for batch in drawn]
    phase = bench.train(sampler=sampler)
    assert all(map(np.array_equal, rows, bench.rows(phase)))
    (whole,) = InputBinding.for_evaluation(node="A", split="test").materialize_batches()
    assert whole.n_samples == 12


def test_a_binding_does_not_change_and_says_what_does(bench: Any) -> None:
    bench.graph(bench.node("A"))
    binding = InputBinding.for_evaluation(node="A", split="test")
    with pytest.raises(InvalidAttributeError, match=r"dataclasses.replace\(this, split=...\)"):
        binding.split = "train"  # type: ignore[misc]
    assert replace(binding, split="train").split == "train"
