from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from modularml.base.config import same_tree
from modularml.base.errors import GraphError, InvalidValueError, StateError
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.fit_phase import FitPhase
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.training.optimizer import Optimizer
from modularml.models.torch import SequentialMLP


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


def test_shapes_flow_from_the_data_to_the_tails(bench: Any) -> None:
    nodes = bench.branches()
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
