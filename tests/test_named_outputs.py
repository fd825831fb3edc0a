"""Modules that return several outputs by name, from the build to files, in one language everywhere."""

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml import (
    AppliedLoss,
    ConcatNode,
    EvalPhase,
    Experiment,
    FeatureSet,
    ModelGraph,
    ModelNode,
    Optimizer,
    OutputMetric,
    TrainPhase,
)
from modularml.core.context import ExperimentContext
from modularml.samplers import PairedSampler, SimilarityCondition

Pair = namedtuple("Pair", ["kind", "size"])


class Net(nn.Module):
    """A trunk of 3 values with two heads: logits of three kinds, and a size."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.kinds, self.sizes = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.trunk(x)
        return {"kind": self.kinds(found), "size": self.sizes(found), "hidden": found}


class AsTuple(Net):
    def forward(self, x: torch.Tensor) -> Any:
        found = super().forward(x)
        return found["kind"], found["size"]


class AsNamedTuple(Net):
    def forward(self, x: torch.Tensor) -> Any:
        found = super().forward(x)
        return Pair(found["kind"], found["size"])


@pytest.fixture
def exp() -> Experiment:
    return Experiment("several", registration_policy="overwrite", seed=3)


@pytest.fixture
def fs(exp: Experiment) -> FeatureSet:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4)).astype(np.float32)
    data = {
        "x": x,
        "kind": (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0),
        "size": 100 + 10 * x.sum(1, keepdims=True),
        "both": x[:, :2],
    }
    fs = FeatureSet.from_dict("Data", data, "x", ["kind", "size", "both"])
    fs.split_random({"train": 0.8, "test": 0.2}, seed=3)
    fs.fit_transform("StandardScaler", domain="targets", keys="size", fit_to_split="train")
    return fs


def graph_of(fs: FeatureSet, targets: list[str] | None = None) -> tuple[ModelGraph, ModelNode]:
    ref = fs.reference(features="x", targets=targets or ["kind.raw", "size.transformed"])
    net = ModelNode("net", Net(), ref)
    return ModelGraph([net], Optimizer("adam", opt_kwargs={"lr": 0.03})).build(), net


LOSSES = {"net": {"kind": "cross_entropy", "size": "mse"}}


def test_outputs_have_the_names_that_the_module_gives_them(fs: FeatureSet) -> None:
    shapes = {}
    for model in (Net(), AsTuple(), AsNamedTuple()):
        node = ModelNode("net", model, fs.reference(features="x", targets="kind"))
        node.build((4,))
        shapes[type(model)] = node.output_shape
    assert shapes == {
        Net: {"kind": (3,), "size": (1,), "hidden": (3,)},
        AsTuple: {"0": (3,), "1": (1,)},
        AsNamedTuple: {"kind": (3,), "size": (1,)},
    }


def test_a_loss_learns_from_the_output_that_it_names(exp: Experiment, fs: FeatureSet) -> None:
    graph_of(fs)
    accuracy = OutputMetric("accuracy", node="net", inputs=("outputs.kind", "targets.kind"))
    phase = TrainPhase.from_split(
        "train", split="train", losses=LOSSES, n_epochs=40, metrics={"right": accuracy}
    )
    results = exp.run_phase(phase)
    assert results.loss_labels == ["cross_entropy/kind", "mse/size"]
    for label in results.loss_labels:
        assert results.epoch_losses(label)[-1] < results.epoch_losses(label)[0] / 2
    assert results.metrics()["right"][-1] > 0.8


def test_results_name_outputs_and_targets_as_losses_do(exp: Experiment, fs: FeatureSet) -> None:
    graph, net = graph_of(fs)
    results = exp.run_phase(EvalPhase.from_split("test", split="test", losses=LOSSES))
    test = fs.get_split("test")
    outputs = {name: results.stacked_tensors(net, f"outputs.{name}") for name in net.output_names}
    predicted = graph.predict(test)
    assert all(np.array_equal(outputs[name], predicted[name]) for name in outputs)
    size = test.get_targets("numpy", targets="size", rep="raw").reshape(-1, 1)
    assert np.allclose(results.stacked_tensors(net, "targets.size", unscale=True).reshape(-1, 1), size)
    unscaled = results.stacked_tensors(net, "outputs.size", unscale=True)
    assert np.allclose(unscaled, graph.predict(test, nodes=[net.reference("size")], unscale=True))
    assert np.abs(unscaled.mean() - 100) < 50
    assert list(results.batches(net).first().outputs) == list(net.output_names)
    with pytest.raises(ValueError, match=r"are several.*name one, e.g. 'outputs.kind'"):
        results.stacked_tensors(net)
    with pytest.raises(KeyError, match="Did you mean 'size'"):
        results.stacked_tensors(net, "outputs.sise")
    with pytest.raises(KeyError, match="Unknown target 'sise'"):
        results.stacked_tensors(net, "targets.sise")


def test_a_prediction_asks_for_one_or_for_several(fs: FeatureSet) -> None:
    graph, net = graph_of(fs)
    whole = graph.predict(fs)
    assert np.array_equal(graph.predict(fs, nodes=net.reference("size")), whole["size"])
    assert graph.predict(fs, nodes="net").keys() == whole.keys()
    several = graph.predict(fs, nodes=[net.reference("size"), net.reference("hidden")])
    assert np.array_equal(several["net"]["hidden"], whole["hidden"]) and len(several["net"]) == 2
    found = graph(fs)[net.node_id]
    assert found.batch_size == 60 and list(found.role_data.outputs) == list(net.output_names)


def test_targets_of_unlike_shapes_are_recorded_apart(exp: Experiment, fs: FeatureSet) -> None:
    graph_of(fs, ["kind.raw", "size.transformed", "both.raw"])
    results = exp.run_phase(EvalPhase.from_split("test", split="test", losses=LOSSES))
    test = fs.get_split("test")
    both = test.get_targets("numpy", targets="both")
    assert np.array_equal(results.stacked_tensors("net", "targets.both").reshape(both.shape), both)
    size = test.get_targets("numpy", targets="size", rep="raw")
    assert np.allclose(results.stacked_tensors("net", "targets.size", unscale=True).ravel(), size.ravel())
    assert results.stacked_batches("net").targets.keys() == {"kind", "size", "both"}
    with pytest.raises(ValueError, match="are several"):
        results.stacked_tensors("net", "targets")


def test_nodes_behind_read_the_output_that_they_name(exp: Experiment, fs: FeatureSet) -> None:
    _, net = graph_of(fs)
    merged = ConcatNode("merged", [net.reference("hidden"), net.reference("kind")], -1)
    tail = ModelNode("tail", nn.Linear(6, 2), merged)
    graph = ModelGraph([net, merged, tail], "adam").build()
    assert graph.summary().nodes[1].fed_by == ("net.hidden", "net.kind")
    assert '"hidden (1, 3)"' in graph.diagram().mermaid
    found = graph.predict(fs, nodes=[net, merged])
    assert np.array_equal(found["merged"], np.concatenate([found["net"]["hidden"], found["net"]["kind"]], -1))
    module = graph.to_torch_module()
    x = torch.tensor(fs.get_features("numpy"))
    assert np.allclose(module(x).detach().numpy(), graph.predict(fs))
    losses = [AppliedLoss("mse", "tail", ["outputs", "targets"])]
    results = exp.run_phase(TrainPhase.from_split("train", split="train", losses=losses))
    assert results.stacked_tensors("tail").shape[1:] == graph.predict(fs).shape[1:]


def test_changes_keep_the_outputs_that_are_read(fs: FeatureSet) -> None:
    _, net = graph_of(fs)
    merged = ConcatNode("merged", [net.reference("hidden"), net.reference("kind")], -1)
    graph = ModelGraph([net, merged], "adam").build()
    between = ModelNode("between", nn.ReLU(), net.reference("kind"))
    graph.insert_node_between(between, upstream=net.reference("kind"), downstream=merged).build()
    assert [ref.to_string() for ref in merged.upstream_refs] == ["net.hidden", "between"]
    graph.remove_node(between)
    assert [ref.to_string() for ref in merged.upstream_refs] == ["net.hidden", "net.kind"]


def test_what_names_no_output_is_told_at_its_line(fs: FeatureSet) -> None:
    graph, net = graph_of(fs)
    with pytest.raises(ValueError, match="mean 'hidden'"):
        net.reference("hiden")
    tail = ModelNode("tail", nn.Linear(3, 1), net)
    with pytest.raises(ValueError, match=r"ModelNode\('tail'\).*name one: reference\('kind'\)"):
        graph.add_node(tail).build()
    graph.remove_node(tail)
    for inputs, match in (
        (["outputs", "targets"], r"names no output.* inputs=\['outputs.kind', 'targets.kind'\]"),
        (["outputs.knd", "targets"], "'kind'"),
    ):
        with pytest.raises(ValueError, match=match):
            EvalPhase.from_split("e", split="test", losses=[AppliedLoss("mse", net, inputs)])


def test_the_outputs_of_the_only_tail_may_name_its_losses(exp: Experiment, fs: FeatureSet) -> None:
    graph_of(fs)
    short, long = (EvalPhase.from_split("e", split="test", losses=one) for one in (LOSSES["net"], LOSSES))
    assert [loss.get_config() for loss in short.losses] == [loss.get_config() for loss in long.losses]


def test_a_loss_and_a_metric_of_several_targets_say_what_to_write(exp: Experiment, fs: FeatureSet) -> None:
    _, net = graph_of(fs)
    loss = AppliedLoss("cross_entropy", net, ["outputs.kind", "targets"])
    with pytest.raises(ValueError, match=r"targets are .'kind', 'size'.*=\['outputs.kind', 'targets.kind'\]"):
        exp.run_phase(EvalPhase.from_split("e", split="test", losses=[loss]))
    with pytest.raises(
        ValueError, match=r"OutputMetric\('accuracy', inputs=\['outputs.kind', 'targets.kind'\]"
    ):
        exp.run_phase(EvalPhase.from_split("e", split="test", metrics=["accuracy"]))


def test_a_single_output_needs_no_name(exp: Experiment, fs: FeatureSet) -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            return {"size": self.layer(x), "penalty": self.layer.weight.sum()}

    node = ModelNode("one", Single(), fs.reference(features="x", targets="size.raw"))
    graph = ModelGraph([node], "adam").build()
    results = exp.run_phase(EvalPhase.from_split("test", split="test", losses="mse"))
    assert isinstance(graph.predict(fs), np.ndarray)
    assert np.array_equal(results.stacked_tensors("one"), results.stacked_tensors("one", "outputs.size"))


def test_each_role_has_every_output(exp: Experiment, fs: FeatureSet) -> None:
    graph_of(fs)
    near = PairedSampler({"kind": SimilarityCondition(mode="similar")}, batch_size=16, seed=1)
    losses = [AppliedLoss("mse", "net", ["outputs.hidden.anchor", "outputs.hidden.pair"])]
    results = exp.run_phase(EvalPhase.from_split("test", split="test", sampler=near, losses=losses))
    anchor, pair = (results.stacked_tensors("net", "outputs.hidden", role=r) for r in ("anchor", "pair"))
    assert anchor.shape == pair.shape
    expected = ((anchor - pair) ** 2).mean()
    assert results.aggregated_losses()["mse"] == pytest.approx(expected, rel=1e-5)


def test_nodes_with_optimizers_of_their_own_stay_apart(exp: Experiment, fs: FeatureSet) -> None:
    ref = fs.reference(features="x", targets=["kind.raw", "size.transformed"])
    net = ModelNode("net", Net(), ref, "adam")
    tail = ModelNode("tail", nn.Linear(3, 1), net.reference("hidden"), "adam")
    ModelGraph([net, tail]).build()
    losses = [
        AppliedLoss("mse", net, ["outputs.size", "targets.size"], label="net"),
        AppliedLoss("mse", tail, ["outputs", "targets.size"], label="tail"),
    ]
    before = net.model.get_weights()
    exp.run_phase(TrainPhase.from_split("train", split="train", losses=losses))
    after = net.model.get_weights()
    assert not np.array_equal(before["sizes.weight"], after["sizes.weight"])
    assert np.array_equal(before["kinds.weight"], after["kinds.weight"])


def test_files_hold_them(exp: Experiment, fs: FeatureSet, tmp_path: Path) -> None:
    _, net = graph_of(fs)
    ModelGraph([net, ModelNode("tail", nn.Linear(3, 1), net.reference("hidden"))], "adam").build()
    plan = exp.execution_plan
    losses = [AppliedLoss("mse", "tail", ["outputs", "targets.size"])]
    plan.add_train_phase("train", split="train", losses=losses)
    plan.add_eval_phase("test", split="test", losses=LOSSES)
    results = exp.run()
    path = exp.save(tmp_path / "several")
    with ExperimentContext().temporary():
        again = Experiment.load(path, symbols={"Net": Net}, overwrite=True)
        graph = again.model_graph
        assert graph is not None and graph.is_built
        assert [ref.to_string() for node in graph.topological_nodes() for ref in node.node_refs] == [
            "net.hidden"
        ]
        loaded = again.last_run.results["test"].stacked_tensors("net", "outputs.size")
        assert np.array_equal(loaded, results["test"].stacked_tensors("net", "outputs.size"))
        assert again.run()["test"].aggregated_losses().keys() == {"cross_entropy/kind", "mse/size"}
