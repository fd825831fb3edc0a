from typing import Any

import numpy as np
import pytest
from torch import nn

from modularml.base.errors import DuplicateLabelError, InvalidTypeError, InvalidValueError
from modularml.core.context import ExperimentContext
from modularml.core.data.reference import FeatureSetReference, GraphNodeReference
from modularml.core.topology.graph_node import GraphNode


def test_every_kind_of_upstream_becomes_a_reference(bench: Any) -> None:
    first = GraphNode("First", [bench.fs])
    second = GraphNode("Second", [first, bench.ref(), first.reference()])
    assert first.featureset_refs == (bench.fs.reference(),)
    assert second.node_refs == (GraphNodeReference("First", first.node_id),) * 2
    assert second.featureset_refs == (bench.ref(),)
    assert all(isinstance(ref, FeatureSetReference | GraphNodeReference) for ref in second.upstream_refs)


@pytest.mark.parametrize("upstream", [None, "Sensor", 3, nn.Linear(1, 1)])
def test_any_other_upstream_is_a_type_error_that_says_what_will_do(bench: Any, upstream: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"upstream of GraphNode 'A' must be a FeatureSet.*got"):
        GraphNode("A", [upstream])
    assert not bench.ctx.has_node("A")


def test_an_array_as_upstream_is_told_in_a_few_words(bench: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"must be a FeatureSet.*\(ndarray\)") as told:
        GraphNode("A", [np.zeros((900, 2))])
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("label", ["", "\t", None, 3])
def test_a_label_is_printable_text(bench: Any, label: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match="label of a GraphNode must be"):
        GraphNode(label, [bench.fs])


def test_nodes_register_unless_told_not_to(bench: Any) -> None:
    node = GraphNode("A", [bench.fs], node_id="given")
    assert bench.ctx.get_node("given") is node
    GraphNode("A", [bench.fs], register=False)
    assert bench.ctx.get_node("A") is node
    with pytest.raises(DuplicateLabelError):
        GraphNode("A", [bench.fs])


def test_ids_are_unlike(bench: Any) -> None:
    assert len({GraphNode("A", [bench.fs], register=False).node_id for _ in range(10)}) == 10


def test_who_froze_it_is_known(bench: Any) -> None:
    node = GraphNode("A", [bench.fs])
    assert (node.is_frozen, node.frozen_by) == (False, None)
    node.freeze()
    assert (node.is_frozen, node.frozen_by) == (True, "user")
    node.freeze(by="fit")
    assert node.frozen_by == "fit"
    node.unfreeze()
    assert not node.is_frozen


def test_moving_replaces_what_bears_the_label_there_and_renames_there_from_then_on(bench: Any) -> None:
    node, there = GraphNode("A", [bench.fs]), ExperimentContext()
    there.register(GraphNode("A", [bench.fs], register=False))
    node._move_to(there)
    assert there.get_node("A") is node
    node.label = "B"
    assert list(there.nodes) == ["B"]
    assert bench.ctx.has_node("A")


def test_rows_are_chosen_by_a_phase_and_not_by_what_feeds_a_node(bench: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"got FeatureSetVie.*FeatureSetView.*phase: split='train'"):
        bench.node("A", bench.fs["train"])
