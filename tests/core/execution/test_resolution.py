from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import nn

from modularml.base.errors import InvalidTypeError, InvalidValueError, LossError, StateError
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import FeatureSetReference
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.resolution import nodes_of_losses, nodes_with_gradients, resolve
from modularml.core.topology.concat_node import ConcatNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.training.optimizer import Optimizer
from modularml.models.torch import SequentialMLP


def resolved(bench: Any, *losses: Any, split: str | None = "train", **options: Any) -> Any:
    graph = bench.ctx.model_graph
    bindings = [InputBinding.for_evaluation(node=head, split=split) for head in graph.head_nodes]
    return resolve(graph, graph.topological_nodes(), bindings, losses, where="Phase 'p'", **options)


def losses_of(found: Any) -> list[list[float]]:
    """The losses of each batch of an epoch."""
    values = []
    for batch in found.feed.batches(found.feed.draw(0)):
        slots = [*batch, *[None] * (found.forward.n_slots - len(batch))]
        with torch.no_grad():
            found.forward.run(slots)
            values.append([float(loss(slots)) for loss in found.losses])
    return values


# Refusals, all before the first step.


def test_an_unbuilt_graph_is_told_before_anything_else(bench: Any) -> None:
    nodes = bench.chain(SequentialMLP(), SequentialMLP())
    ModelGraph(nodes, Optimizer("sgd"))
    with pytest.raises(StateError, match=r"Phase 'p': The nodes \['A', 'B'\] are not built"):
        resolved(bench, bench.loss("B"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_by_column_and_split_where_a_model_would_learn(
    bench: Any, value: float
) -> None:
    fs = bench.data("Bad")
    x, y = fs.table.column("features.x.raw"), fs.table.column("targets.y.raw")
    row = fs.get_split("train").rows[3]
    x[row, :2] = value
    y[row] = value
    bench.graph(bench.node("A", bench.ref(fs)))
    with pytest.raises(
        InvalidValueError,
        match=r"(?s)Phase 'p' has 2 faults.*'features.x.raw' of split 'train' "
        r"holds 2 values.*of 192.*'targets.y.raw' of split 'train' holds 1 values",
    ):
        resolved(bench, bench.loss(), nan="raise")
    resolved(bench, bench.loss(), nan="allow")
    resolved(bench, bench.loss(), nan="raise", split="test")


def test_text_feeds_no_model(bench: Any) -> None:
    node = bench.node("A")
    graph = bench.graph(node)
    ref = FeatureSetReference(
        "Sensor", bench.fs.node_id, features=("tags.name.raw",), targets=("targets.y.raw",)
    )
    binding = InputBinding(node_ref=node.reference(), upstream_ref=ref)
    node.upstream_refs = (ref,)
    with pytest.raises(InvalidTypeError, match="'A'.*'tags.name.raw' holds text"):
        resolve(graph, [node], [binding], [], where="Phase 'p'")


def test_a_split_without_rows_is_refused(bench: Any) -> None:
    empty = bench.fs.take([]).to_featureset("Empty")
    bench.graph(bench.node("A", bench.ref(empty)))
    with pytest.raises(StateError, match="Phase 'p': there are no rows to feed 'A'"):
        resolved(bench, split=None)


def test_rows_that_batches_would_leave_out_are_refused(bench: Any) -> None:
    bench.graph(bench.node("A"), bench.node("B", bench.ref(bench.data("Short", n=30))))
    with pytest.raises(InvalidValueError, match=r"different numbers of rows, \{'A': 48, 'B': 24\}"):
        resolved(bench, batch_size=10)
    assert resolved(bench).feed.draw(0).n_batches == 1


@pytest.mark.parametrize("name", ["outputs.anchor", "targets.pair"])
def test_a_role_that_no_batch_has_is_told(bench: Any, name: str) -> None:
    bench.graph(bench.node("A"))
    inputs = ["outputs", "targets"]
    inputs[name.startswith("targets")] = name
    with pytest.raises(LossError, match=f"The loss 'mse' on 'A': the input '{name}': Unknown column or role"):
        resolved(bench, bench.loss(inputs=inputs))


def test_targets_that_the_reference_does_not_name_are_missed(bench: Any) -> None:
    fs = FeatureSet.from_dict("Bare", {"x": np.ones((6, 4))}, "x")
    bench.graph(bench.node("A", fs.reference()))
    with pytest.raises(
        StateError,
        match="loss 'mse' on 'A' needs targets, but the reference of 'A' names none. To compare .*'features'",
    ):
        resolved(bench, bench.loss(), split=None)


@pytest.mark.parametrize("how", [{}, {"concat_axis_targets": "first"}])
def test_targets_that_a_merge_joined_are_told_with_the_way_to_keep_those_of_one(bench: Any, how: Any) -> None:
    x = np.ones((6, 4), np.float32)
    sets = [FeatureSet.from_numpy(label, x, x.sum(1)) for label in ("one", "other")]
    heads = [bench.node(f"Of {fs.label}", fs, nn.Linear(4, 2)) for fs in sets]
    merged = ConcatNode("both", heads, concat_axis=-1, **how)
    bench.graph(*heads, merged, bench.node("A", merged, nn.Linear(4, 1)))
    if how:
        assert resolved(bench, bench.loss(), split=None).losses
    else:
        with pytest.raises(
            LossError, match=r"\['one', 'other'\] are joined on .*concat_axis_targets 'first'"
        ):
            resolved(bench, bench.loss(), split=None)


def test_text_enters_no_loss(bench: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(InvalidTypeError, match="The loss 'mse' on 'A': tags of dtype <U2 are no numbers"):
        resolved(bench, bench.loss(inputs=["outputs", "tags"]))


def test_shapes_that_cannot_be_compared_are_told_with_both(bench: Any) -> None:
    bench.graph(bench.node("A", model=nn.Linear(4, 3)))
    with pytest.raises(LossError, match=r"on 'A'.*\(n, 1, 3\).*\(n, 1\).*cannot be compared"):
        resolved(bench, bench.loss())


# What is computed.


def test_losses_are_those_of_torch_over_each_batch_times_their_weight(bench: Any) -> None:
    node = bench.node("A")
    bench.graph(node)
    found = resolved(bench, bench.loss(), bench.loss(loss="l1", weight=0.5), batch_size=20)
    rows = bench.fs.get_split("train").rows
    x = torch.from_numpy(bench.fs.table.column("features.x.raw")[rows])
    y = torch.from_numpy(bench.fs.table.column("targets.y.raw")[rows])
    for start, (mse, l1) in zip((0, 20, 40), losses_of(found), strict=True):
        outputs = node.module(x[start : start + 20])[:, 0]
        assert mse == pytest.approx(nn.functional.mse_loss(outputs, y[start : start + 20]).item(), rel=1e-5)
        assert l1 == pytest.approx(nn.functional.l1_loss(outputs, y[start : start + 20]).item() / 2, rel=1e-5)


def test_a_loss_takes_inputs_by_name_and_features_too(bench: Any) -> None:
    node = bench.node("A", model=nn.Linear(4, 4))
    bench.graph(node)
    found = resolved(bench, bench.loss(inputs={"target": "features", "input": "outputs"}))
    x = torch.from_numpy(bench.fs.get_split("train").get_features(fmt="numpy")).reshape(48, 4)
    assert losses_of(found)[0][0] == pytest.approx(nn.functional.mse_loss(node.module(x), x).item(), rel=1e-5)


def test_several_targets_are_compared_as_one_array(bench: Any) -> None:
    node = bench.node("A", bench.ref(targets=["y", "kind"]), nn.Linear(4, 2))
    bench.graph(node)
    view = bench.fs.get_split("train")
    x, y, kind = (
        torch.from_numpy(np.asarray(view.column(name)))
        for name in ("features.x.raw", "targets.y.raw", "targets.kind.raw")
    )
    by_hand = nn.functional.mse_loss(node.module(x), torch.stack([y, kind.float()], dim=1))
    assert losses_of(resolved(bench, bench.loss()))[0][0] == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_loss_on_an_estimator_is_computed(bench: Any) -> None:
    view = bench.fs.get_split("train")
    x, y = view.column("features.x.raw"), view.column("targets.y.raw")
    ridge = Ridge().fit(x, y)
    bench.graph(bench.node("A", model=ridge))
    by_hand = ((ridge.predict(x) - y) ** 2).mean()
    assert losses_of(resolved(bench, bench.loss()))[0][0] == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_precision_is_fed_in_it(bench: Any, dtype: torch.dtype) -> None:
    bench.graph(bench.node("A", model=nn.Linear(4, 1).to(dtype)))
    found = resolved(bench, bench.loss())
    (batch,) = found.feed.batches(found.feed.draw(0))
    assert batch[0].dtype is dtype
    assert np.isfinite(losses_of(found)).all()


# Which nodes.


def test_the_nodes_of_a_loss_are_those_upstream_of_it(bench: Any) -> None:
    trunk = bench.node("Trunk", model=nn.Linear(4, 2))
    left, right = bench.node("Left", trunk, nn.Linear(2, 1)), bench.node("Right", trunk, nn.Linear(2, 1))
    graph = bench.graph(left, right, trunk)
    nodes = graph.topological_nodes()
    assert {n.label for n in nodes_of_losses(graph, nodes, [bench.loss("Left")])} == {"Trunk", "Left"}
    right.label = "Other"
    assert nodes_of_losses(graph, nodes, []) == []


def test_gradients_flow_upstream_until_an_estimator_or_an_optimizer_of_its_own_stops_them(bench: Any) -> None:
    nodes = bench.chain(nn.Linear(4, 3), PCA(2), nn.Linear(2, 2), nn.Linear(2, 1))
    graph = bench.graph(*nodes)
    losses = [bench.loss("D")]
    assert [node.label for node in nodes_with_gradients(graph, nodes, losses)] == ["C", "D"]
    graph.optimizer = None
    assert [node.label for node in nodes_with_gradients(graph, nodes, losses)] == ["D"]


def test_a_loss_follows_its_node_when_it_is_renamed(bench: Any) -> None:
    node = bench.node("A")
    bench.graph(node)
    loss = bench.loss()
    node.label = "Renamed"
    found = resolved(bench, loss)
    assert found.loss_nodes == {"mse": "Renamed"}
    assert found.recorded == [(found.forward.slot_of["Renamed"], "Renamed")]


def test_leaving_an_unfitted_estimator_out_is_offered_where_nothing_needs_it(bench: Any) -> None:
    first = bench.node("P", model=PCA(2))
    bench.graph(first, bench.node("N", first, nn.Linear(2, 1)), bench.node("O"))
    with pytest.raises(StateError, match=r"run a FitPhase first, or leave it out: active_nodes=\['O'\]"):
        bench.exp.run_phase(bench.train([bench.loss("O"), bench.loss("N", label="n")]))
