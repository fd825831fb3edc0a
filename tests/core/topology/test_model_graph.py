from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from modularml.base.config import same_tree
from modularml.base.errors import (
    DuplicateLabelError,
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    OptimizerError,
    StateError,
    UnknownNameError,
)
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.fit_phase import FitPhase
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.optimizer import Optimizer
from modularml.models.torch import SequentialMLP


def diamondless(bench: Any) -> dict[str, ModelNode]:
    """A trunk with two branches, and a second head of its own."""
    trunk = bench.node("Trunk", model=nn.Linear(4, 8))
    left = bench.node("Left", trunk, nn.Linear(8, 1))
    right = bench.node("Right", trunk, nn.Linear(8, 3))
    other = bench.node("Other")
    return {node.label: node for node in (left, other, right, trunk)}


# Structure.


def test_nodes_come_in_the_order_given_and_in_topological_order(bench: Any) -> None:
    nodes = diamondless(bench)
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
    diamondless(bench)
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
    diamondless(bench)
    with pytest.raises(kind, match=match):
        ModelGraph(nodes)
    assert bench.ctx.model_graph is None


def test_all_faults_are_told_together(bench: Any) -> None:
    diamondless(bench)
    with pytest.raises(GraphError, match=r"(?s)3 faults.*given twice.*upstream 'Trunk'.*upstream 'Trunk'"):
        ModelGraph(["Left", "Right", "Other", "Other"])


def test_a_cycle_is_refused(bench: Any) -> None:
    first, second = bench.chain(nn.Linear(4, 4), nn.Linear(4, 1))
    with bench.ctx.use_policy("overwrite"):
        bench.node(first.label, second)
    with pytest.raises(GraphError, match="cycle: 'A' -> 'B' -> 'A'|cycle: 'B' -> 'A' -> 'B'"):
        ModelGraph(["A", "B"])


def test_data_that_are_not_there_are_told_when_the_graph_is_made(bench: Any) -> None:
    bench.node("A")
    bench.ctx.remove_node(label="Sensor")
    bench.data("Sensors")
    with pytest.raises(GraphError, match=r"Unknown FeatureSet 'Sensor' in ModelNode\('A'\).*mean 'Sensors'"):
        ModelGraph()


def test_columns_that_a_re_run_cell_took_away_are_told(bench: Any) -> None:
    graph = bench.graph(bench.node("A"))
    with bench.ctx.use_policy("overwrite"):
        FeatureSet.from_dict("Sensor", {"x": np.ones((3, 4)), "z": np.ones(3)}, "x", "z")
    with pytest.raises(GraphError, match=r"Unknown column 'targets.y.raw' in 'Sensor', which feeds"):
        graph.build()


def test_an_optimizer_is_an_optimizer(bench: Any) -> None:
    bench.node("A")
    with pytest.raises(InvalidTypeError, match="ModelGraph 'model-graph': An optimizer is .* got 3"):
        ModelGraph(optimizer=3)  # type: ignore[arg-type]
    with pytest.raises(OptimizerError, match="Unknown optimizer 'adma'.*mean 'adam'"):
        ModelGraph(optimizer="adma")
    assert ModelGraph(optimizer="adam").optimizer == Optimizer("adam")


# Shapes.


def test_shapes_flow_from_the_data_to_the_tails(bench: Any) -> None:
    nodes = diamondless(bench)
    assert not ModelGraph(register=False).is_built
    graph = bench.graph(*nodes.values())
    assert graph.is_built
    assert {label: (n.input_shape, n.output_shape) for label, n in nodes.items()} == {
        "Left": ((1, 8), (1, 1)),
        "Other": ((1, 4), (1, 1)),
        "Right": ((1, 8), (1, 3)),
        "Trunk": ((1, 4), (1, 8)),
    }


def test_several_features_are_stacked(bench: Any) -> None:
    fs = FeatureSet.from_dict(
        "Two", {"a": np.ones((5, 6)), "b": np.zeros((5, 6)), "t": np.ones(5)}, ["a", "b"], "t"
    )
    node = bench.node("A", fs.reference(features=["a", "b"], targets="t"), SequentialMLP(output_shape=(1, 1)))
    bench.graph(node)
    assert node.input_shape == (2, 6)


@pytest.mark.parametrize(
    ("targets", "shape"), [("y", (1, 1)), (["y", "kind"], (1, 2)), ("kind", (1, 1))], ids=str
)
def test_a_tail_without_a_shape_of_its_own_takes_that_of_its_targets(
    bench: Any, targets: Any, shape: tuple[int, ...]
) -> None:
    trunk = bench.node("Trunk", bench.ref(targets=targets), SequentialMLP(output_shape=(1, 5)))
    tail = bench.node("Tail", trunk, SequentialMLP())
    bench.graph(trunk, tail)
    assert trunk.output_shape == (1, 5)
    assert np.prod(tail.output_shape) == np.prod(shape)


def test_a_tail_keeps_the_shape_that_its_model_names(bench: Any) -> None:
    tail = bench.node("A", bench.ref(targets="kind"), SequentialMLP(output_shape=(3,)))
    bench.graph(tail)
    assert tail.output_shape == (1, 3)


def test_torch_and_sklearn_mix(bench: Any) -> None:
    scaler, network, forest = bench.chain(PCA(3), SequentialMLP(output_shape=(1, 6)), RandomForestRegressor())
    graph = bench.graph()
    assert (scaler.output_shape, network.input_shape, forest.input_shape) == ((3,), (3,), (1, 6))
    assert graph.optimizer.is_built
    assert all(name.startswith("B.") for name in graph.optimizer.parameter_names)


def test_behind_an_estimator_of_unknown_outputs_it_is_said_how_to_go_on(bench: Any) -> None:
    proba = bench.node("A", bench.ref(targets="kind"), LogisticRegression())
    proba.model.output_method = "predict_proba"
    tail = bench.node("B", proba, SequentialMLP(output_shape=(1, 3)))
    graph = ModelGraph([proba, tail], Optimizer("sgd"))
    with pytest.raises(StateError, match=r"output shape of ModelNode\('A'\).*fit it first \(FitPhase"):
        graph.build()
    bench.exp.run_phase(FitPhase.from_split("fit", split="train", active_nodes=["A"]))
    graph.build()
    assert tail.input_shape == (3,)


def test_a_shape_that_does_not_fit_names_the_node(bench: Any) -> None:
    bench.chain(nn.Linear(4, 3), nn.Linear(5, 1))
    with pytest.raises(GraphError, match=r"(?s)ModelNode\('B'\) cannot be built.*in_features=5"):
        bench.graph()


def test_building_again_keeps_weights_unless_forced(bench: Any) -> None:
    node = bench.node("A", model=SequentialMLP(output_shape=(1, 1)))
    graph = bench.graph(node)
    before = node.model.get_weights()
    graph.build()
    assert same_tree(node.model.get_weights(), before)
    graph.build(force=True)
    assert not same_tree(node.model.get_weights(), before)


# Freezing.


def test_some_or_all_nodes_are_frozen_and_unfrozen(bench: Any) -> None:
    nodes = diamondless(bench)
    graph = bench.graph(*nodes.values())
    graph.freeze([nodes["Trunk"], "Left"])
    assert {node.label for node in graph.frozen_nodes} == {"Trunk", "Left"}
    graph.unfreeze(["Left"])
    assert [node.label for node in graph.frozen_nodes] == ["Trunk"]
    graph.freeze()
    assert len(graph.frozen_nodes) == 4
    graph.unfreeze()
    assert graph.frozen_nodes == []
    with pytest.raises(UnknownNameError, match="mean 'Trunk'"):
        graph.freeze(["Trnk"])


# State.


def test_the_state_comes_back_as_it_was(bench: Any) -> None:
    nodes = bench.chain(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), nn.Linear(8, 1))
    graph = bench.graph(*nodes, optimizer="adam")
    phase = bench.train([bench.loss("B")])
    bench.exp.run_phase(phase)
    graph.freeze(["A"])
    before = graph.get_state()
    graph.unfreeze()
    bench.exp.run_phase(phase)
    assert not same_tree(graph.get_state(), before)
    graph.set_state(before)
    assert same_tree(graph.get_state(), before)
    assert [node.label for node in graph.frozen_nodes] == ["A"]


def test_a_state_is_a_copy(bench: Any) -> None:
    node = bench.node("A")
    graph = bench.graph(node, optimizer="adam")
    before = graph.get_state()
    kept = {name: value.copy() for name, value in before["nodes"]["A"]["model"]["weights"].items()}
    bench.exp.run_phase(bench.train())
    assert same_tree(before["nodes"]["A"]["model"]["weights"], kept)


def test_the_state_of_another_graph_is_refused_and_changes_nothing(bench: Any) -> None:
    graph = bench.graph(*bench.chain(nn.Linear(4, 2), nn.Linear(2, 1)))
    small = ModelGraph(["A"], register=False).get_state()
    before = graph.get_state()
    with pytest.raises(GraphError, match=r"belongs to another graph.*\['A'\].*\['A', 'B'\]"):
        graph.set_state(small)
    assert same_tree(graph.get_state(), before)


def test_a_renamed_node_keeps_its_optimizer_state(bench: Any) -> None:
    node = bench.node("A")
    graph = bench.graph(node, optimizer="adam")
    bench.exp.run_phase(bench.train())
    node.label = "Renamed"
    state = graph.get_state()
    assert list(state["nodes"]) == ["Renamed"]
    assert all(name.startswith("Renamed.") for name in state["optimizer"]["state"])
    with ExperimentContext().temporary():
        bench.data()
        twin = bench.graph(bench.node("Renamed"), optimizer="adam")
        twin.set_state(state)
        assert same_tree(twin.get_state(), state)


def twin_graph(bench: Any, **options: Any) -> ModelGraph:
    with ExperimentContext().temporary():
        bench.data()
        node = bench.node("A", model=options.pop("model", None) or SequentialMLP(output_shape=(1, 1)))
        torch.manual_seed(1)
        return bench.graph(node, **options)


def test_graphs_are_equal_if_structure_optimizer_and_state_are(bench: Any) -> None:
    graph = twin_graph(bench)
    assert graph == twin_graph(bench)
    assert graph != twin_graph(bench, lr=0.2)
    assert graph != twin_graph(bench, model=SequentialMLP(output_shape=(1, 1), activation="tanh"))
    assert graph != "graph"
    frozen = twin_graph(bench)
    frozen.freeze()
    assert graph != frozen


def test_estimators_are_equal_if_they_learnt_the_same(bench: Any) -> None:
    def fitted(seed: int) -> ModelGraph:
        rng = np.random.default_rng(seed)
        forest = RandomForestRegressor(3, random_state=0).fit(rng.random((20, 4)), rng.random(20))
        return twin_graph(bench, model=forest, optimizer=None)

    assert fitted(0) == fitted(0)
    assert fitted(0) != fitted(1)


def test_another_context_can_take_a_graph_over(bench: Any) -> None:
    node = bench.node("A")
    graph, there = bench.graph(node), ExperimentContext(registration_policy="raise")
    bench.fs.move_to(there)
    node.move_to(there)
    graph.move_to(there)
    assert there.model_graph is graph
    assert graph.topological_nodes() == [node]
    bench.ctx.clear()
    assert graph.build().is_built


# Looking.


def test_what_print_shows_is_the_plain_object_and_repr_the_content(bench: Any) -> None:
    graph = bench.graph(bench.node("A"))
    assert str(graph).startswith("<modularml.core.topology.model_graph.ModelGraph object at 0x")
    assert repr(graph) == "ModelGraph(label='model-graph', nodes=['A'])"


def test_a_duplicate_graph_is_refused_by_the_policy(bench: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(DuplicateLabelError):
        ModelGraph()


# The shorter road.


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


def test_a_graph_that_could_not_be_built_after_a_change_keeps_its_state(bench: Any, tmp_path: Any) -> None:
    a = bench.node("A", model=SequentialMLP(output_shape=(1, 8)))
    graph = bench.graph(a, bench.node("B", a, SequentialMLP(output_shape=(1, 1))))
    between = bench.node("C", a, SequentialMLP(output_shape=(1, 4)))
    graph.insert_node_between(between, a, "B")
    with pytest.raises(GraphError, match="'B' cannot be built|ModelNode..B"):
        graph.build()
    state = graph.get_state()
    graph.set_state(state)
    with ExperimentContext().temporary():
        loaded = ModelGraph.load(graph.save(tmp_path / "between"))
        assert same_tree(loaded.get_state(), state)


def test_a_chain_that_cannot_be_built_leaves_nothing_behind(bench: Any) -> None:
    before = list(bench.ctx.nodes)
    for models in ({"A": nn.Linear(4, 2), "B": nn.Linear(3, 1)}, {"A": nn.Linear(4, 1), "B": "mlp"}):
        with pytest.raises((GraphError, InvalidTypeError)):
            ModelGraph.chain(bench.ref(), models, "sgd")
        assert list(bench.ctx.nodes) == before and bench.ctx.model_graph is None
    ModelGraph.chain(bench.ref(), {"A": nn.Linear(4, 1)}, "sgd")


def test_one_optimizer_of_several_nodes_is_told(bench: Any) -> None:
    shared = Optimizer("sgd")
    a, b = bench.node("A", optimizer=shared), bench.node("B", optimizer=shared)
    with pytest.raises(GraphError, match=r"ModelNode\('A'\) and ModelNode\('B'\) have one Optimizer object"):
        ModelGraph([a, b], register=False).build()
    with pytest.raises(GraphError, match=r"ModelGraph.* and ModelNode\('A'\) have one Optimizer object"):
        ModelGraph([a], shared, register=False).build()
    b.optimizer = "sgd"
    ModelGraph([a, b]).build()


def test_a_layer_that_was_replaced_after_the_build_is_trained(bench: Any) -> None:
    node = bench.node("A", model=nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)))
    graph = bench.graph(node)
    bench.exp.run_phase(bench.train())
    node.module[1] = nn.Linear(3, 1)
    before = node.module[1].weight.detach().clone()
    bench.exp.run_phase(bench.train())
    assert not torch.equal(node.module[1].weight, before)
    assert set(graph.optimizer.parameters) == set(node.module.parameters())


def test_columns_of_unlike_shapes_are_fed_flattened_and_side_by_side(bench: Any) -> None:
    curves = np.arange(12.0).reshape(3, 2, 2)
    data = {"age": [1.0, 2.0, 3.0], "site": ["x", "y", "z"], "curve": curves, "y": [0.0, 1.0, 2.0]}
    fs = FeatureSet.from_dict("Plant", data, ["age", "site", "curve"], "y")
    fs.fit_transform(OneHotEncoder(), domain="features", keys="site")
    ref = fs.reference(features=["age.raw", "features.site.transformed", "curve"])
    table = np.hstack([np.array([[1.0], [2.0], [3.0]]), np.eye(3), curves.reshape(3, 4)])
    graph = ModelGraph.chain(ref, {"A": nn.Identity()})
    assert graph.nodes[graph.head_nodes[0].node_id].input_shape == (8,)
    for new in (fs, data):
        np.testing.assert_allclose(graph.predict(new), table)
    binding = InputBinding.for_evaluation(node=graph.head_nodes[0], upstream=fs)
    results = bench.exp.run_phase(EvalPhase("look", input_sources=[binding]))
    np.testing.assert_allclose(results.stacked_tensors("A"), table)
    with pytest.raises(InvalidValueError, match=r"hold 6 values a sample: \(n, 6\)\.$"):
        graph.predict(np.zeros((2, 7)))
