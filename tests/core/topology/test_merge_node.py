from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn
from torch.nn import functional as F

import modularml as mml
from modularml.base.errors import GraphError, InvalidTypeError, InvalidValueError
from modularml.core.execution.entering import EnteringData
from modularml.core.topology import building
from modularml.samplers import PairedSampler, SimilarityCondition, SimpleSampler

STRATEGIES = [0, -1, "first", "last", "mean"]


def two_sources(bench: Any, n: int = 60) -> tuple[Any, Any]:
    """Heads on two FeatureSets with targets of their own."""
    other = bench.data("Other", n=n, seed=1)
    return bench.node("L"), bench.node("R", bench.ref(other), nn.Linear(4, 1))


class Difference(mml.MergeNode):
    """A merge as users write one."""

    def apply_merge(self, values: Sequence[torch.Tensor], **_: Any) -> torch.Tensor:
        return values[0] - values[1]


# What is refused.


@pytest.mark.parametrize(
    ("options", "kind", "match"),
    [
        ({"concat_axis": 1.0}, InvalidTypeError, "concat_axis must be an int, got 1.0"),
        ({"pad_mode": "reflct"}, InvalidValueError, "pad_mode.*reflect"),
        ({"pad_value": "0"}, InvalidTypeError, "pad_value must be a number"),
        ({"concat_axis_targets": "frist"}, InvalidValueError, "concat_axis_targets.*'first'"),
        ({"concat_axis_tags": 1.5}, InvalidTypeError, "concat_axis_tags must be an axis.*got 1.5"),
        ({"concat_axis_targets": "Sensor"}, InvalidValueError, "concat_axis_targets"),
    ],
)
def test_bad_arguments_are_told_and_nothing_is_registered(
    bench: Any, options: Any, kind: type, match: str
) -> None:
    left, right = bench.node("L"), bench.node("R")
    with pytest.raises(kind, match=match):
        mml.ConcatNode("C", [left, right], **options)
    assert not bench.ctx.has_node("C")


def test_several_faults_are_told_together(bench: Any) -> None:
    left, right = bench.node("L"), bench.node("R")
    with pytest.raises(InvalidValueError, match=r"(?s)2 faults.*concat_axis_targets.*concat_axis_tags"):
        mml.ConcatNode("C", [left, right], concat_axis_targets="x", concat_axis_tags="y")


@pytest.mark.parametrize("upstreams", [[], ["L"], "L", None])
def test_a_merge_needs_two_upstreams(bench: Any, upstreams: Any) -> None:
    bench.node("L")
    with pytest.raises((InvalidValueError, InvalidTypeError), match="at least two|must be a list|must be a"):
        mml.SumNode("C", upstreams)


def test_a_strategy_names_an_upstream(bench: Any) -> None:
    left, right, third = (bench.node(label) for label in "LRT")
    with pytest.raises(InvalidValueError, match=r"one of the upstreams \['L', 'R'\], got 'T'"):
        mml.SumNode("C", [left, right], target_strategy=third)
    assert mml.SumNode("C", [left, right], target_strategy=right).target_strategy == right.reference()


def test_the_axes_along_which_data_are_joined_are_told(bench: Any) -> None:
    upstreams = [bench.node("L"), bench.node("R")]
    node = mml.ConcatNode("C", upstreams, concat_axis_targets=1, concat_axis_tags="last")
    assert node.target_axis == 1
    with pytest.raises(InvalidTypeError, match="joins along no axis: its tags_strategy is 'last'"):
        node.tags_axis  # noqa: B018


def test_inputs_that_do_not_fit_are_named_with_their_shapes_and_the_way_out(bench: Any) -> None:
    left, right = bench.node("L", model=nn.Linear(4, 2)), bench.node("R", model=nn.Linear(4, 3))
    concat = mml.ConcatNode("C", [left, right], 0)
    graph = mml.ModelGraph([left, right, concat])
    with pytest.raises(GraphError, match=r"'L' \(1, 2\), 'R' \(1, 3\).*axis 1.*along axis 0.*pad_inputs"):
        graph.build()
    for axis in (2, -3):
        with pytest.raises(GraphError, match=f"have no axis {axis}"):
            mml.ConcatNode("D", [left, right], axis, register=False).build([(1, 2), (1, 2)])
    with pytest.raises(GraphError, match="shapes differ; a ConcatNode"):
        mml.SumNode("S", [left, right], register=False).build([(1, 2), (1, 3)])


def test_what_a_function_raises_or_returns_is_told(bench: Any) -> None:
    left, right = bench.node("L"), bench.node("R")

    def broken(left: Any, right: Any) -> Any:
        raise ZeroDivisionError("my own words")

    with pytest.raises(GraphError, match="'L' .*'R' .*ZeroDivisionError: my own words"):
        mml.FunctionNode("F", [left, right], broken, register=False).build([(1,), (1,)])
    summed = mml.FunctionNode("F", [left, right], lambda a, b: (a + b).sum(), register=False)
    with pytest.raises(GraphError, match=r"first dimension is the samples.*shape \(\)"):
        summed.build([(1,), (1,)])
    with pytest.raises(InvalidTypeError, match="function must be callable, got 3"):
        mml.FunctionNode("F", [left, right], 3)  # type: ignore[arg-type]


# In a graph.


def test_a_merge_of_ones_own_is_a_node_like_any_other(bench: Any) -> None:
    left, right = bench.node("L"), bench.node("R")
    node = Difference("D", [left, right])
    bench.graph(left, right, node)
    _, results = bench.drain(bench.evaluate([bench.loss("D")]))
    parts = [results.stacked_tensors(label) if label == "D" else None for label in "D"]
    x = torch.from_numpy(bench.fs.get_split("test").get_features(fmt="numpy"))
    assert np.allclose(parts[0], (left.module(x) - right.module(x)).detach().numpy(), atol=1e-6)


def test_gradients_pass_through_to_every_branch(bench: Any) -> None:
    left, right = bench.node("L", model=nn.Linear(4, 2)), bench.node("R", model=nn.Linear(4, 3))
    concat = mml.ConcatNode("C", [left, right, bench.ref()], -1)
    tail = bench.node("T", concat, nn.Linear(9, 1))
    graph = bench.graph(left, right, concat, tail)
    before = {node.label: node.model.get_weights() for node in (left, right, tail)}
    bench.drain(bench.train([bench.loss("T")]))
    by_hand = nn.ModuleDict({"L": nn.Linear(4, 2), "R": nn.Linear(4, 3), "T": nn.Linear(9, 1)})
    for label, weights in before.items():
        by_hand[label].load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    for rows in bench.rows(bench.train([bench.loss("T")], "again")):
        x = torch.from_numpy(bench.fs.table.column("features.x.raw")[rows])
        y = torch.from_numpy(bench.fs.table.column("targets.y.raw")[rows])
        found = by_hand["T"](torch.cat([by_hand["L"](x), by_hand["R"](x), x], 1))
        F.mse_loss(found[:, 0], y).backward()
        optimizer.step()
        optimizer.zero_grad()
    for node in (left, right, tail):
        for name, value in node.model.get_weights().items():
            assert np.allclose(value, by_hand[node.label].state_dict()[name], atol=1e-5)
    assert building.target_shape(tail, graph.ctx) == (1,)


def test_without_a_graph_optimizer_each_branch_learns_from_its_own_loss(bench: Any) -> None:
    left, right = bench.node("L", optimizer="sgd"), bench.node("R", optimizer="sgd")
    concat = mml.ConcatNode("C", [left, right])
    tail = bench.node("T", concat, nn.Sequential(nn.Flatten(), nn.Linear(2, 1)), optimizer="sgd")
    bench.graph(left, right, concat, tail, optimizer=None)
    before = {node.label: node.model.get_weights() for node in (left, tail)}
    losses = [bench.loss(node.label, label=node.label) for node in (left, right, tail)]
    bench.drain(bench.train(losses))
    for node in (left, tail):
        for name, value in node.model.get_weights().items():
            assert not np.array_equal(before[node.label][name], value)


@pytest.mark.parametrize("how", STRATEGIES)
def test_targets_of_two_featuresets_are_joined_as_asked(bench: Any, how: Any) -> None:
    left, right = two_sources(bench)
    concat = mml.ConcatNode("C", [left, right], -1, concat_axis_targets=how)
    graph = bench.graph(left, right, concat)
    width = 2 if isinstance(how, int) else 1
    assert building.target_shape(concat, graph.ctx) == (width,)
    bindings = [mml.InputBinding.for_evaluation(node=node, split="test") for node in (left, right)]
    measured = mml.AppliedLoss(
        lambda outputs, targets: (targets * 1.0).reshape(len(targets), -1).mean(1), "C"
    )
    _, results = bench.drain(mml.EvalPhase("eval", input_sources=bindings, losses=[measured]))
    targets = results.stacked_tensors("C", "targets")
    sides = [
        bench.ctx.get_node(label)["test"].get_targets(fmt="numpy", targets="y")
        for label in ("Sensor", "Other")
    ]
    expected = {"first": sides[0], "last": sides[1], "mean": (sides[0] + sides[1]) / 2}.get(
        how, np.concatenate(sides, -1)
    )
    assert np.allclose(targets.reshape(expected.shape), expected)
    assert next(iter(results.aggregated_losses().values())) == pytest.approx(expected.mean(), abs=1e-5)
    rows = bench.ctx.get_node("Other" if how == "last" else "Sensor")["test"].rows
    assert np.array_equal(results.stacked_tensors("C", "rows"), rows)


def test_branches_of_one_trunk_bring_their_targets_once(bench: Any) -> None:
    left, right = bench.node("L"), bench.node("R")
    concat = mml.ConcatNode("C", [left, right])
    nested = mml.ConcatNode("N", [concat, bench.node("X")])
    graph = bench.graph(left, right, concat, nested, bench.ctx.get_node("X"))
    assert building.target_shape(nested, graph.ctx) == (1,)
    assert EnteringData(graph.ctx, [nested], {"L": ("default",)}, {}, {}).joined == {}


def test_a_tail_behind_a_merge_takes_the_shape_of_the_targets_that_it_keeps(bench: Any) -> None:
    left = bench.node("L", bench.ref(targets=["y", "kind"]))
    right = bench.node("R", bench.ref(bench.data("Other")))
    concat = mml.ConcatNode("C", [left, right], concat_axis_targets="last")
    tail = bench.node("T", concat, mml.models.torch.SequentialMLP())
    bench.graph(left, right, concat, tail)
    assert tail.output_shape == (1, 1)


def test_estimators_and_networks_are_merged(bench: Any) -> None:
    ridge, net = bench.node("E", model=Ridge()), bench.node("L")
    merged = mml.ConcatNode("C", [ridge, bench.ref(), net], -1)
    assert ridge.output_shape is None
    bench.graph(ridge, net, merged)
    assert merged.output_shape == (1, 6)
    bench.ctx.remove_node(label="C")
    flat = bench.node("F", bench.ref(), nn.Flatten())
    merged = mml.ConcatNode("C", [ridge, flat], -1)
    tail = bench.node("T", merged, nn.Linear(5, 1))
    bench.ctx.remove_model_graph()
    bench.graph(ridge, flat, merged, tail)
    bench.exp.run_phase(mml.FitPhase.from_split("fit", split="train"))
    bench.exp.run_phase(bench.train([bench.loss("T")]))
    assert merged.output_shape == (5,)


def test_text_is_not_merged(bench: Any) -> None:
    names = np.array(["no", "yes"] * 30)
    fs = bench.data("Named", name=names)
    ref = fs.reference(features="x", targets="y")
    trained = LogisticRegression().fit(fs.table.column("features.x.raw"), names)
    left, right = bench.node("L", ref, trained), bench.node("R", ref, Ridge())
    merged = mml.ConcatNode("C", [left, right])
    bench.graph(left, right, merged, optimizer=None)
    bench.exp.run_phase(mml.FitPhase.from_split("fit", split="train", active_nodes=["R"]))
    with pytest.raises(GraphError, match="cannot merge the text that comes from 'L'"):
        bench.drain(bench.evaluate())


def test_samples_that_meet_must_be_as_many(bench: Any) -> None:
    left, right = two_sources(bench, n=70)
    concat = mml.ConcatNode("C", [left, right], concat_axis_targets="first")
    bench.graph(left, right, concat)

    def phase(**options: Any) -> mml.TrainPhase:
        bindings = [
            mml.InputBinding.for_training(
                node=node, split="train", sampler=SimpleSampler(batch_size=32, **options)
            )
            for node in (left, right)
        ]
        loss = mml.AppliedLoss(lambda outputs, targets: outputs.mean(), "C")
        return mml.TrainPhase("p", input_sources=bindings, losses=[loss])

    with pytest.raises(InvalidValueError, match=r"batch 1 has \{'L': 16, 'R': 24\}.*drop_last=True"):
        bench.drain(phase())
    bench.drain(phase(drop_last=True))


def test_a_merge_may_be_fed_by_featuresets_alone(bench: Any) -> None:
    other = bench.data("Other", seed=1)
    merged = mml.ConcatNode("C", [bench.ref(), bench.ref(other)], 0, concat_axis_targets="first")
    tail = bench.node("T", merged, nn.Sequential(nn.Flatten(), nn.Linear(8, 1)))
    bench.graph(merged, tail)
    sampler = SimpleSampler(batch_size=16, shuffle=True, seed=1)
    bindings = [
        mml.InputBinding.for_training(node=merged, upstream=fs, split="train", sampler=sampler)
        for fs in (bench.fs, other)
    ]
    _, results = bench.drain(mml.TrainPhase("p", input_sources=bindings, losses="mse"))
    assert len(results.stacked_tensors("T")) == 48
    with pytest.raises(InvalidValueError, match="needs an InputBinding for 'Other'"):
        mml.TrainPhase("q", input_sources=bindings[:1], losses="mse")


def test_a_merge_runs_once_for_each_role_of_its_samples(bench: Any) -> None:
    left, right = bench.node("L", model=nn.Linear(4, 2)), bench.node("R", model=nn.Linear(4, 2))
    merged = mml.SumNode("S", [left, right])
    bench.graph(left, right, merged)
    sampler = PairedSampler({"y": SimilarityCondition("similar", tolerance=1.0)}, batch_size=8, seed=1)
    loss = mml.AppliedLoss("mse", "S", ["outputs.anchor", "outputs.pair"])
    phase = mml.TrainPhase.from_split("p", split="train", sampler=sampler, losses=[loss])
    _, results = bench.drain(phase)
    assert (
        results.stacked_tensors("S", role="pair").shape == results.stacked_tensors("S", role="anchor").shape
    )
    single = mml.InputBinding.for_training(node=left, sampler=sampler, split="train")
    other = mml.InputBinding.for_training(node=right, sampler=SimpleSampler(batch_size=8), split="train")
    mixed = mml.TrainPhase("q", input_sources=[single, other], losses=[loss])
    with pytest.raises(
        GraphError, match=r"'S'.*different roles.*'L': \['anchor', 'pair'\].*'R': \['default'\]"
    ):
        bench.drain(mixed)
