"""What every kind of node keeps to in a graph, whatever it computes; a new one must give an example here."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import modularml as mml
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.merge_node import MergeNode
from modularml.models import ScikitModelWrapper
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

N, WIDTH = 60, 6


def largest(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Merge by the larger value; with a name, so that files can hold it."""
    return torch.maximum(left, right)


def data() -> mml.FeatureSet:
    x = np.random.default_rng(0).standard_normal((N, 4)).astype(np.float32)
    columns = {"x": x, "y": x.sum(1), "kind": (x[:, 0] > 0).astype(np.int64)}
    fs = mml.FeatureSet.from_dict("Data", columns, ["x"], ["y", "kind"])
    fs.split_random({"train": 0.8, "test": 0.2}, seed=3)
    return fs


Make = Callable[[Any, Any], GraphNode]
"""From two nodes upstream to one more."""

STRATEGIES: list[Any] = [0, -1, "first", "last", "mean", mml.MergeStrategy.MEAN, "node", "reference"]
PADS = ("constant", "reflect", "replicate", "circular")


def concat(strategy: Any) -> Make:
    def make(left: Any, right: Any) -> GraphNode:
        kept = {"node": left, "reference": right.reference()}.get(strategy, strategy)
        return mml.ConcatNode("N", [left, right], -1, concat_axis_targets=kept, concat_axis_tags=kept)

    return make


def estimator(model: Any, **options: Any) -> Make:
    return lambda left, _: mml.ModelNode("N", ScikitModelWrapper(clone(model), **options), left)


EXAMPLES: dict[str, Make] = {
    "ModelNode-module": lambda left, _: mml.ModelNode("N", nn.Linear(WIDTH, 3), left),
    "ModelNode-mlp": lambda left, _: mml.ModelNode("N", SequentialMLP(output_shape=(1, 3)), left),
    "ModelNode-regressor": estimator(Ridge()),
    "ModelNode-pipeline": estimator(make_pipeline(StandardScaler(), Ridge())),
    "ModelNode-transformer": estimator(PCA(2)),
    "ModelNode-clusterer": estimator(KMeans(2, n_init=1, random_state=0), output_method="transform"),
    "ModelNode-classifier": estimator(LogisticRegression(), output_method="predict_proba"),
    "ModelNode-partial_fit": estimator(SGDRegressor(random_state=0)),
    "SumNode": lambda left, right: mml.SumNode("N", [left, right]),
    "MeanNode": lambda left, right: mml.MeanNode("N", [left, right]),
    "FunctionNode": lambda left, right: mml.FunctionNode("N", [left, right], largest),
    **{f"ConcatNode-{strategy}-{i}": concat(strategy) for i, strategy in enumerate(STRATEGIES)},
    **{
        f"ConcatNode-padded-{mode}": lambda left, right, mode=mode: mml.ConcatNode(
            "N", [left, right], 0, pad_inputs=True, pad_mode=mode
        )
        for mode in PADS
    },
}
every_node = pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES)


@pytest.fixture(autouse=True)
def another_context() -> Iterator[None]:
    yield
    mml.ExperimentContext().activate()


class World:
    """Two torch nodes, the node that is looked at, and where it is no estimator a tail behind it."""

    def __init__(self, make: Make) -> None:
        torch.manual_seed(0)
        self.exp, fs = mml.Experiment("e", registration_policy="raise"), data()
        targets = "kind" if make is EXAMPLES["ModelNode-classifier"] else "y"
        ref = fs.reference(features="x", targets=targets)
        right_width = 5 if make in [EXAMPLES[f"ConcatNode-padded-{mode}"] for mode in PADS] else WIDTH
        left = mml.ModelNode("L", nn.Linear(4, WIDTH), ref)
        right = mml.ModelNode("R", nn.Linear(4, right_width), ref)
        self.node = make(left, right)
        self.learns_by_fitting = self.node.backend == "scikit"
        tail = "L" if self.learns_by_fitting else "T"
        if not self.learns_by_fitting:
            model = nn.Sequential(nn.Flatten(), nn.LazyLinear(1))
            mml.ModelNode("T", model, self.node)
        else:
            mml.ModelNode("T", nn.Linear(WIDTH, 1), left)
            tail = "T"
        nodes = [left, right, self.node, "T"] if isinstance(self.node, MergeNode) else [left, self.node, "T"]
        self.graph = mml.ModelGraph(nodes, "adam").build()
        active = None if not self.learns_by_fitting else ["L", "T"]
        self.train = mml.TrainPhase.from_split(
            "train",
            split="train",
            sampler=SimpleSampler(batch_size=16, shuffle=True, seed=1),
            losses={tail: "mse"},
            active_nodes=active,
        )

    def learn(self) -> None:
        self.exp.run_phase(self.train)
        if self.learns_by_fitting:
            self.exp.run_phase(mml.FitPhase.from_split("fit", split="train"))

    def outputs(self) -> np.ndarray:
        results = self.exp.run_phase(
            mml.EvalPhase.from_split("eval", split="test", losses=[mml.AppliedLoss("mse", "T")])
        )
        found = results.stacked_tensors("N" if self.learns_by_fitting else "T")
        assert len(found) == 12
        return np.asarray(found)


def kinds(cls: type) -> set[str]:
    """The names of our classes of nodes that can be made."""
    below = {name for sub in cls.__subclasses__() for name in kinds(sub)}
    made = cls.__module__.startswith("modularml.") and not getattr(cls, "__abstractmethods__", None)
    return below | ({cls.__name__} if made and cls is not GraphNode else set())


def test_every_kind_of_node_has_an_example() -> None:
    assert all(hasattr(mml, name) for name in mml.__all__)  # they are loaded when they are asked for
    assert {name.partition("-")[0] for name in EXAMPLES} == kinds(GraphNode)


@every_node
def test_it_learns_evaluates_and_comes_back_from_checkpoints_and_files(make: Make, tmp_path: Path) -> None:
    world = World(make)
    assert world.graph.is_built
    world.learn()
    before = world.outputs()
    world.exp.set_checkpoint_dir(tmp_path / "checkpoints")
    world.exp.save_checkpoint("here")
    path = world.exp.save(tmp_path / "saved")
    world.graph.unfreeze()
    world.learn()
    assert not np.array_equal(world.outputs(), before)
    world.exp.restore_checkpoint("here")
    assert np.array_equal(world.outputs(), before)
    with mml.ExperimentContext().temporary():
        loaded = mml.Experiment.load(path, symbols={"largest": largest})
        phase = mml.EvalPhase.from_split("again", split="test")
        results = loaded.run_phase(phase)
        assert np.array_equal(results.stacked_tensors("N" if world.learns_by_fitting else "T"), before)
        assert loaded.model_graph.upstreams() == world.graph.upstreams()


@every_node
def test_a_preview_leaves_no_trace(make: Make) -> None:
    world = World(make)
    world.learn()
    before = world.outputs()
    world.exp.preview_phase(world.train)
    assert np.array_equal(world.outputs(), before)


@every_node
def test_it_is_drawn_and_told_by_a_file_alike(make: Make, tmp_path: Path) -> None:
    world = World(make)
    if world.learns_by_fitting:
        world.learn()
    spec = world.graph.diagram().spec
    told = mml.inspect(world.exp.save(tmp_path / "saved"))
    drawn = {box.name: box.kind for box in spec.nodes}
    assert drawn["N"] == {"ModelNode": "ModelNode"}.get(world.node.kind, "MergeNode") or world.node.is_frozen
    facts = next(node for node in told.nodes if node.label == "N")
    assert facts.upstreams == tuple(ref.node_label for ref in world.node.upstream_refs)
    assert facts.input_shapes == world.node.input_shapes
    assert told.picture is not None
    assert [(e.source, e.target) for e in told.picture.edges] == [(e.source, e.target) for e in spec.edges]
