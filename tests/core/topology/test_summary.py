from typing import Any

from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from torch import nn

import modularml as mml
from modularml.models.torch import SequentialMLP


def test_a_summary_tells_of_each_node_and_of_the_whole(bench: Any) -> None:
    a = bench.node("A", model=nn.Linear(4, 4))
    b = bench.node("B", a, SequentialMLP(output_shape=(1, 1), hidden_dim=3, n_layers=2))
    c = mml.ConcatNode("C", [a, b], -1)
    d = bench.node("D", c, Ridge())
    graph = bench.graph(a, b, c, d)
    a.freeze()
    summary = graph.summary()
    told = {row.label: row for row in summary.nodes}
    assert (told["A"].n_parameters, told["A"].n_trainable, told["A"].is_frozen) == (20, 0, True)
    assert told["C"].input_shapes == ((1, 4), (1, 1))
    assert told["C"].output_shape == (1, 5)
    assert (told["D"].kind, told["D"].n_parameters, told["D"].device) == ("Ridge", None, None)
    assert summary.n_parameters == told["A"].n_parameters + told["B"].n_parameters
    lines = repr(summary).splitlines()
    assert len(lines) == 3 + len(graph.nodes)
    assert [line.split()[:2] for line in lines[3:]] == [
        ["A", "Linear"],
        ["B", "SequentialMLP"],
        ["C", "ConcatNode"],
        ["D", "Ridge"],
    ]
    assert lines[0] == "ModelGraph 'model-graph': 39 parameters, 19 trainable, float32, cpu"
    assert "frozen" in lines[3]
    assert "<td" in summary._repr_mimebundle_()["text/html"]


def test_what_is_so_of_all_nodes_is_said_once(bench: Any) -> None:
    bench.graph(bench.node("A", model=nn.Linear(4, 4)), bench.node("B", model=nn.Linear(4, 2).double()))
    heads = repr(bench.ctx.model_graph.summary()).splitlines()[1].split()
    assert heads == ["node", "kind", "fed", "by", "input", "output", "parameters", "dtype"]


def test_containers_that_count_as_false_are_named_all_the_same(bench: Any) -> None:
    nodes = bench.node("A", model=RandomForestRegressor()), bench.node("B", model=nn.Sequential())
    bench.graph(*nodes, optimizer=None)
    assert [row.kind for row in bench.ctx.model_graph.summary().nodes] == [
        "RandomForestRegressor",
        "Sequential",
    ]


def test_before_the_build_shapes_are_not_known(bench: Any) -> None:
    bench.node("A<b>", bench.ref(), SequentialMLP())
    summary = mml.ModelGraph().summary()
    assert summary.nodes[0].output_shape is None
    assert summary.n_parameters == 0
    assert "A<b>" not in summary._repr_mimebundle_()["text/html"]
