from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

import modularml as mml
from modularml.base.config import same_tree
from modularml.base.errors import GraphError, InvalidTypeError, UnknownNameError
from modularml.models.torch import SequentialMLP


@pytest.fixture
def graph(bench: Any) -> mml.ModelGraph:
    """A -> B -> C and B -> D, with E spare; all of 4 values but the tails."""
    a = bench.node("A", model=nn.Linear(4, 4))
    b = bench.node("B", a, nn.Linear(4, 4))
    c, d = bench.node("C", b, nn.Linear(4, 1)), bench.node("D", b, nn.Linear(4, 1))
    made = bench.graph(a, b, c, d)
    bench.node("E", bench.ref(), nn.Linear(4, 4))
    return made


def feeding(graph: mml.ModelGraph) -> dict[str, list[str]]:
    return {node.label: [ref.node_label for ref in node.upstream_refs] for node in graph.nodes.values()}


AS_MADE = {"A": ["Sensor"], "B": ["A"], "C": ["B"], "D": ["B"]}
EDITS: dict[str, tuple[Callable[[mml.ModelGraph], Any], dict[str, list[str]]]] = {
    "add": (lambda g: g.add_node("E"), AS_MADE | {"E": ["Sensor"]}),
    "remove a head": (lambda g: g.remove_node("A"), {"B": ["Sensor"], "C": ["B"], "D": ["B"]}),
    "remove between": (lambda g: g.remove_node("B"), {"A": ["Sensor"], "C": ["A"], "D": ["A"]}),
    "remove a tail": (lambda g: g.remove_node("D"), {"A": ["Sensor"], "B": ["A"], "C": ["B"]}),
    "replace": (lambda g: g.replace_node("B", "E"), {"A": ["Sensor"], "E": ["A"], "C": ["E"], "D": ["E"]}),
    "between": (
        lambda g: g.insert_node_between("E", upstream="B", downstream="C"),
        AS_MADE | {"E": ["B"], "C": ["E"]},
    ),
    "between data and a head": (
        lambda g: g.insert_node_between("E", upstream="Sensor", downstream="A"),
        AS_MADE | {"E": ["Sensor"], "A": ["E"]},
    ),
    "before": (lambda g: g.insert_node_before("E", downstream="B"), AS_MADE | {"E": ["A"], "B": ["E"]}),
    "after": (
        lambda g: g.insert_node_after("E", upstream="B"),
        AS_MADE | {"E": ["B"], "C": ["E"], "D": ["E"]},
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_change_connects_as_it_says_and_the_rest_keeps_its_weights(
    bench: Any, graph: mml.ModelGraph, name: str
) -> None:
    edit, expected = EDITS[name]
    before = graph.get_state()["nodes"]
    assert edit(graph) is graph
    assert feeding(graph) == expected
    assert not graph.is_built or name == "remove a tail"
    graph.build()
    assert graph.is_built
    after = graph.get_state()["nodes"]
    for label in before.keys() & after.keys():
        assert same_tree(before[label]["model"]["weights"], after[label]["model"]["weights"])
    losses = {tail.label: "mse" for tail in graph.tail_nodes if tail.output_shape == (1, 1)}
    active = None if "E" not in losses and name != "add" else ["A", "B", "C", "D"]
    bench.exp.run_phase(bench.train(losses, active_nodes=active))
    bench.exp.run_phase(bench.evaluate(losses, active_nodes=active))


@pytest.mark.parametrize(
    ("edit", "kind", "match"),
    [
        (lambda g: g.add_node("A"), GraphError, "'A'.* is in .* already"),
        (lambda g: g.add_node("Aa"), UnknownNameError, "mean 'A'"),
        (lambda g: g.add_node("Sensor"), InvalidTypeError, "'Sensor' is a FeatureSet"),
        (lambda g: g.remove_node("E"), GraphError, "Unknown node 'E' in ModelGraph.*Available: 'A'"),
        (lambda g: g.replace_node("E", "A"), GraphError, "Unknown node 'E'"),
        (lambda g: g.replace_node("A", "B"), GraphError, "already"),
        (lambda g: g.insert_node_after("E", upstream="X"), UnknownNameError, "Unknown node 'X'"),
        (
            lambda g: g.insert_node_between("E", upstream="A", downstream="C"),
            GraphError,
            "Unknown upstream 'A' in the node 'C'. Available: 'B'",
        ),
        (
            lambda g: g.insert_node_between("E", upstream="Sensor", downstream="B"),
            GraphError,
            "Unknown upstream 'Sensor' in the node 'B'",
        ),
        (lambda g: g.insert_node_before("M", downstream="B"), GraphError, "needs at least two upstreams"),
        (lambda g: g.add_node("Loose"), GraphError, "'E' feeds 'Loose' and is not in the graph"),
    ],
)
def test_a_change_that_raises_leaves_everything_as_it_was(
    bench: Any, graph: mml.ModelGraph, edit: Any, kind: type, match: str
) -> None:
    mml.SumNode("M", [bench.ctx.get_node("A"), bench.ctx.get_node("B")])
    bench.node("Loose", bench.ctx.get_node("E"))
    before, state = feeding(graph), graph.get_state()
    with pytest.raises(kind, match=match):
        edit(graph)
    assert feeding(graph) == before
    assert same_tree(graph.get_state(), state)
    assert graph.is_built


def test_the_last_node_stays(bench: Any) -> None:
    graph = bench.graph(bench.node("A"))
    with pytest.raises(GraphError, match="at least one node"):
        graph.remove_node("A")
    assert graph.node_labels == ["A"]


def test_a_node_is_put_behind_data_that_were_renamed(bench: Any, graph: mml.ModelGraph) -> None:
    bench.fs.label = "Renamed"
    with pytest.raises(GraphError, match="Unknown upstream 'Renamed' in the node 'B'. Available: 'A'"):
        graph.insert_node_between("E", upstream=bench.fs, downstream="B")
    graph.insert_node_between("E", upstream=bench.fs, downstream="A")
    assert graph.upstreams()["A"] == ("E",)


def test_what_no_longer_fits_is_named_and_built_anew_when_asked(bench: Any, graph: mml.ModelGraph) -> None:
    bench.node("Wide", bench.ref(), SequentialMLP(output_shape=(1, 6)))
    weights = bench.ctx.get_node("A").model.get_weights()
    graph.insert_node_between("Wide", upstream="B", downstream="D")
    with pytest.raises(GraphError, match=r"'D'.*cannot be built for inputs of shape \(1, 6\)"):
        graph.build()
    graph.remove_node("Wide").build(force=["D"])
    assert same_tree(bench.ctx.get_node("A").model.get_weights(), weights)


def test_one_node_is_built_anew_and_the_others_keep_their_weights(bench: Any) -> None:
    a, b = bench.chain(SequentialMLP(output_shape=(1, 4)), SequentialMLP(output_shape=(1, 1)))
    graph = bench.graph(a, b)
    before = graph.get_state()["nodes"]
    for one in (["B"], "B", b):
        graph.build(force=one)
        after = graph.get_state()["nodes"]
        assert same_tree(before["A"], after["A"])
        assert not same_tree(before["B"]["model"]["weights"], after["B"]["model"]["weights"])
        before = after
    with pytest.raises(UnknownNameError, match="Unknown node 'X'"):
        graph.build(force=["X"])


def test_a_tail_that_is_built_anew_takes_the_targets_of_now(bench: Any) -> None:
    tail = bench.node("A", bench.ref(targets="y"), SequentialMLP())
    graph = bench.graph(tail)
    assert tail.output_shape == (1, 1)
    tail.set_upstream_ref(bench.ref(targets=["y", "kind"]))
    assert not graph.is_built
    graph.build(force=True)
    assert tail.output_shape == (1, 2)


def test_a_merge_follows_what_takes_the_place_of_an_upstream(bench: Any) -> None:
    left, right = bench.node("L", model=nn.Linear(4, 2)), bench.node("R", model=nn.Linear(4, 2))
    merged = mml.ConcatNode("C", [left, right], concat_axis_targets=right)
    graph = bench.graph(left, right, merged)
    other = bench.node("X", bench.ref(), nn.Linear(4, 2))
    graph.replace_node(right, other).build()
    assert merged.target_strategy == other.reference()
    assert [ref.node_label for ref in merged.upstream_refs] == ["L", "X"]
    graph.remove_node("L")
    assert [ref.node_label for ref in merged.upstream_refs] == ["Sensor", "X"]
    merged.add_upstream_ref(left)
    with pytest.raises(GraphError, match="target_strategy keeps the data of 'X'"):
        merged.remove_upstream_ref(other)
    merged.target_strategy = "first"
    merged.remove_upstream_ref(other)
    with pytest.raises(GraphError, match="at least two upstreams"):
        merged.remove_upstream_ref(left)
    with pytest.raises(GraphError, match="Unknown upstream 'X'"):
        merged.remove_upstream_ref(other)
    assert len(merged.get_upstream_refs()) == 2


def test_a_model_takes_one_upstream(bench: Any, graph: mml.ModelGraph) -> None:
    node, e = bench.ctx.get_node("C"), bench.ctx.get_node("E")
    with pytest.raises(GraphError, match=r"exactly one upstream, not \['B', 'E'\]; merge several"):
        node.add_upstream_ref(e)
    node.set_upstream_ref(e)
    assert [ref.node_label for ref in node.upstream_refs] == ["E"]


def test_the_parameters_of_what_is_not_frozen_are_the_optimizers(bench: Any, graph: mml.ModelGraph) -> None:
    graph.freeze(["A", "B"])
    assert list(graph.get_optimizer_parameters()) == ["C.weight", "C.bias", "D.weight", "D.bias"]
    assert all(np.prod(p.shape) for p in graph.get_optimizer_parameters().values())
