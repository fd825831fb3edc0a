from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestRegressor
from torch import nn

from modularml.base.config import same_tree
from modularml.base.errors import GraphError
from modularml.core.context import ExperimentContext
from modularml.core.topology.model_graph import ModelGraph
from modularml.models.torch import SequentialMLP


def twin_graph(bench: Any, **options: Any) -> ModelGraph:
    with ExperimentContext().temporary():
        bench.data()
        node = bench.node("A", model=options.pop("model", None) or SequentialMLP(output_shape=(1, 1)))
        torch.manual_seed(1)
        return bench.graph(node, **options)


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
