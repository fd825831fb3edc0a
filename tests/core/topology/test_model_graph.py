from typing import Any

import pytest
import torch
from sklearn.ensemble import RandomForestRegressor
from torch import nn

from modularml.base.errors import (
    DuplicateLabelError,
    GraphError,
    InvalidTypeError,
    OptimizerError,
    UnknownNameError,
)
from modularml.core.context import ExperimentContext
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.training.optimizer import Optimizer


def test_nodes_come_in_the_order_given_and_in_topological_order(bench: Any) -> None:
    nodes = bench.branches()
    graph = bench.graph(*nodes.values())
    assert graph.node_labels == ["Left", "Other", "Right", "Trunk"]
    assert list(graph.nodes) == [node.node_id for node in nodes.values()]
    order = [node.label for node in graph.topological_nodes()]
    assert order.index("Trunk") < min(order.index("Left"), order.index("Right"))
    assert {node.label for node in graph.head_nodes} == {"Trunk", "Other"}
    assert [node.label for node in graph.tail_nodes] == ["Left", "Other", "Right"]
    assert graph.upstreams() == {"Left": ("Trunk",), "Other": (), "Right": ("Trunk",), "Trunk": ()}


def test_nodes_are_found_by_id_and_by_label(bench: Any) -> None:
    graph = bench.graph(bench.node("A"))
    ((node_id, node),) = graph.nodes.items()
    assert graph.nodes[node_id] is graph.nodes["A"] is node
    with pytest.raises(UnknownNameError, match="Unknown node 'B' in the graph. Available: 'A'"):
        graph.nodes["B"]


def test_labels_do_as_well_as_nodes_and_none_takes_all(bench: Any) -> None:
    bench.branches()
    assert ModelGraph(["Trunk", "Left"], register=False).node_labels == ["Trunk", "Left"]
    assert ModelGraph(register=False).node_labels == ["Trunk", "Left", "Right", "Other"]


@pytest.mark.parametrize(
    ("nodes", "kind", "match"),
    [
        ([], GraphError, "needs at least one node"),
        (["Left", "Trunk", "Left"], GraphError, "'Left' is given twice"),
        (["Left"], GraphError, "Unknown upstream 'Trunk' in ModelNode.'Left'.*must be in `nodes`"),
        (["Trnk"], UnknownNameError, "Unknown node 'Trnk'.*Did you mean 'Trunk'"),
        (["Sensor"], InvalidTypeError, "'Sensor' is a FeatureSet; a GraphNode is needed"),
        ("Trunk", InvalidTypeError, "nodes must be a list of nodes, got 'Trunk'"),
        (3, InvalidTypeError, "nodes must be a list"),
    ],
)
def test_nodes_that_do_not_fit_together_are_refused(bench: Any, nodes: Any, kind: Any, match: str) -> None:
    bench.branches()
    with pytest.raises(kind, match=match):
        ModelGraph(nodes)
    assert bench.ctx.model_graph is None


def test_all_faults_are_told_together(bench: Any) -> None:
    bench.branches()
    with pytest.raises(GraphError, match=r"(?s)3 faults.*given twice.*upstream 'Trunk'.*upstream 'Trunk'"):
        ModelGraph(["Left", "Right", "Other", "Other"])


def test_a_cycle_is_refused(bench: Any) -> None:
    first, second = bench.chain(nn.Linear(4, 4), nn.Linear(4, 1))
    with bench.ctx.use_policy("overwrite"):
        bench.node(first.label, second)
    with pytest.raises(GraphError, match="cycle: 'A' -> 'B' -> 'A'|cycle: 'B' -> 'A' -> 'B'"):
        ModelGraph(["A", "B"])


def test_an_optimizer_is_an_optimizer(bench: Any) -> None:
    bench.node("A")
    with pytest.raises(InvalidTypeError, match="ModelGraph 'model-graph': An optimizer is .* got 3"):
        ModelGraph(optimizer=3)  # type: ignore[arg-type]
    with pytest.raises(OptimizerError, match="Unknown optimizer 'adma'.*mean 'adam'"):
        ModelGraph(optimizer="adma")
    assert ModelGraph(optimizer="adam").optimizer == Optimizer("adam")


def test_some_or_all_nodes_are_frozen_and_unfrozen(bench: Any) -> None:
    nodes = bench.branches()
    graph = bench.graph(*nodes.values())
    graph.freeze([nodes["Trunk"], "Left"])
    assert {node.label for node in graph.frozen_nodes} == {"Trunk", "Left"}
    graph.unfreeze(["Left"])
    assert [node.label for node in graph.frozen_nodes] == ["Trunk"]
    graph.freeze()
    assert len(graph.frozen_nodes) == 4
    graph.unfreeze()
    assert graph.frozen_nodes == []
    for one in ("Left", nodes["Left"]):
        graph.freeze(one)
        assert graph.frozen_nodes == [nodes["Left"]]
        graph.unfreeze(one)
        assert graph.frozen_nodes == []
    with pytest.raises(UnknownNameError, match="mean 'Trunk'"):
        graph.freeze(["Trnk"])
    with pytest.raises(UnknownNameError, match="Unknown node 'Trnk'.*mean 'Trunk'"):
        graph.freeze("Trnk")


def test_another_context_can_take_a_graph_over(bench: Any) -> None:
    node = bench.node("A")
    graph, there = bench.graph(node), ExperimentContext(registration_policy="raise")
    bench.fs._move_to(there)
    node._move_to(there)
    graph._move_to(there)
    assert there.model_graph is graph
    assert graph.topological_nodes() == [node]
    bench.ctx.clear()
    assert graph.build().is_built


def test_what_print_shows_is_the_plain_object_and_repr_the_content(bench: Any) -> None:
    graph = bench.graph(bench.node("A"))
    assert str(graph).startswith("<modularml.core.topology.model_graph.ModelGraph object at 0x")
    assert repr(graph) == "ModelGraph(label='model-graph', nodes=['A'])"


def test_a_duplicate_graph_is_refused_by_the_policy(bench: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(DuplicateLabelError):
        ModelGraph()


def test_whether_steps_are_compiled_is_said_of_a_graph_and_goes_with_its_files(
    bench: Any, tmp_path: Any
) -> None:
    graph = ModelGraph.chain(bench.ref(), [nn.Linear(4, 1)], "sgd", compile=True)
    assert graph.compile is True
    file = graph.save(tmp_path / "compiled")
    with ExperimentContext().temporary():
        assert ModelGraph.load(file).compile is True
    graph.compile = False
    assert ModelGraph(graph.node_labels, register=False).compile is False
    with pytest.raises(InvalidTypeError, match="compile must be True or False, got 'yes'"):
        graph.compile = "yes"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="(?s)'g'.*2 faults.*'adma'.*compile must be True or False"):
        ModelGraph(graph.node_labels, "adma", "g", register=False, compile=1)  # type: ignore[arg-type]


def test_a_chain_is_the_graph_of_its_nodes(bench: Any) -> None:
    torch.manual_seed(0)
    graph = ModelGraph.chain(bench.ref(), {"A": nn.Linear(4, 3), "B": nn.Linear(3, 1)}, optimizer="adam")
    assert graph.is_built and graph.upstreams() == {"A": (), "B": ("A",)}
    assert graph.optimizer == Optimizer("adam") and bench.ctx.model_graph is graph


def test_models_of_a_chain_are_called_after_their_classes(bench: Any) -> None:
    graph = ModelGraph.chain(bench.ref(), [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)])
    assert graph.node_labels == ["Linear", "ReLU", "Linear_2"]


@pytest.mark.parametrize(("models", "kind"), [("mlp", InvalidTypeError), ([], GraphError)])
def test_a_chain_needs_models(bench: Any, models: Any, kind: Any) -> None:
    with pytest.raises(kind, match=r"models must be a list|at least one node"):
        ModelGraph.chain(bench.ref(), models)


def test_the_backend_of_a_graph_is_that_of_all_its_models(bench: Any) -> None:
    a = bench.node("A")
    b = bench.node("B", model=RandomForestRegressor())
    assert ModelGraph([a], register=False).backend == "torch"
    assert ModelGraph([b], register=False).backend == "scikit"
    assert ModelGraph([a, b], register=False).backend == "none"


def test_a_chain_that_cannot_be_built_leaves_nothing_behind(bench: Any) -> None:
    before = list(bench.ctx.nodes)
    for models in ({"A": nn.Linear(4, 2), "B": nn.Linear(3, 1)}, {"A": nn.Linear(4, 1), "B": "mlp"}):
        with pytest.raises((GraphError, InvalidTypeError)):
            ModelGraph.chain(bench.ref(), models, "sgd")
        assert list(bench.ctx.nodes) == before and bench.ctx.model_graph is None
    ModelGraph.chain(bench.ref(), {"A": nn.Linear(4, 1)}, "sgd")
