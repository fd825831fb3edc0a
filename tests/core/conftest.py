"""A small experiment to test the engine with: data, networks, and short ways to join them."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.scope import ExecutionContext, PhaseScope
from modularml.core.experiment.experiment import Experiment
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.loss import Loss
from modularml.core.training.optimizer import Optimizer
from modularml.samplers import SimpleSampler


class Bench:
    """An experiment with one FeatureSet: 60 samples of 4 values, a target, class labels, tags."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.exp = Experiment("bench", registration_policy="raise")
        self.ctx = self.exp.ctx
        self.fs = self.data()

    def data(self, label: str = "Sensor", n: int = 60, seed: int = 0, **columns: Any) -> FeatureSet:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, 4)).astype(np.float32)
        data = {
            "x": x,
            "y": x @ np.array([1.0, -2.0, 0.5, 3.0], np.float32),
            "kind": (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0),
            "name": np.array([f"s{i % 3}" for i in range(n)]),
        } | columns
        fs = FeatureSet.from_dict(label, data, ["x"], ["y", "kind"], ["name"])
        fs.split_random({"train": 0.8, "test": 0.2}, seed=3)
        return fs

    def ref(self, fs: FeatureSet | None = None, targets: Any = "y") -> Any:
        return (self.fs if fs is None else fs).reference(features="x", targets=targets)

    def node(self, label: str = "A", upstream: Any = None, model: Any = None, **options: Any) -> ModelNode:
        """A linear node of 4 -> 1; give another model to have another shape."""
        return ModelNode(
            label, nn.Linear(4, 1) if model is None else model, upstream or self.ref(), **options
        )

    def chain(self, *models: Any) -> list[ModelNode]:
        """Nodes A, B, C ... one behind the other."""
        nodes: list[ModelNode] = []
        for label, model in zip("ABCDEF", models, strict=False):
            nodes.append(self.node(label, nodes[-1] if nodes else None, model))
        return nodes

    def branches(self) -> dict[str, ModelNode]:
        """A trunk with two branches, and a second head of its own; the trunk comes last."""
        trunk = self.node("Trunk", model=nn.Linear(4, 8))
        left = self.node("Left", trunk, nn.Linear(8, 1))
        right = self.node("Right", trunk, nn.Linear(8, 3))
        other = self.node("Other")
        return {node.label: node for node in (left, other, right, trunk)}

    def graph(self, *nodes: ModelNode, optimizer: Any = "sgd", lr: float = 0.1) -> ModelGraph:
        found = Optimizer(optimizer, opt_kwargs={"lr": lr}) if isinstance(optimizer, str) else optimizer
        return ModelGraph(list(nodes) or None, found).build()

    def loss(
        self, on: Any = "A", loss: Any = "mse", inputs: Any = ("outputs", "targets"), **kw: Any
    ) -> AppliedLoss:
        return AppliedLoss(Loss(loss) if isinstance(loss, str) else loss, on, inputs, **kw)

    def train(self, losses: Any = None, label: str = "train", **options: Any) -> TrainPhase:
        sampler = options.pop("sampler", None) or SimpleSampler(batch_size=16, shuffle=True, seed=5)
        found = [self.loss()] if losses is None else losses
        return TrainPhase.from_split(label, split="train", sampler=sampler, losses=found, **options)

    def evaluate(self, losses: Sequence[AppliedLoss] = (), label: str = "eval", **options: Any) -> EvalPhase:
        return EvalPhase.from_split(label, split=options.pop("split", "test"), losses=losses, **options)

    def scope(self, **options: Any) -> PhaseScope:
        defaults = {"should_stop": lambda: False, "exec_ctx": ExecutionContext(phase_label="p")}
        return PhaseScope(run_id="r", path=("p",), ctx=self.ctx, **(defaults | options))

    def drain(self, phase: Any, **options: Any) -> tuple[list[Any], Any]:
        """Run a phase without an experiment; return its events and results."""
        execution = phase.execute(self.scope(**options))
        return list(execution.events), execution.results

    def rows(self, phase: Any, epoch: int = 0) -> list[np.ndarray]:
        """The rows of each batch of an epoch, as the phase's first sampler draws them."""
        binding = phase.input_sources[0]
        view = binding.resolve_input_view(self.ctx)
        return [view.rows[batch["default"]] for batch in binding.sampler.batches(view, epoch)]

    def heard(self) -> list[Any]:
        """A list that fills with everything the experiment tells."""
        events: list[Any] = []
        self.exp.events.subscribe(events.append)
        return events


@pytest.fixture
def bench() -> Iterator[Bench]:
    yield Bench()
    ExperimentContext().activate()


@pytest.fixture
def shell() -> Iterator[None]:
    """Leave no IPython shell behind."""
    main = sys.modules["__main__"]  # a shell puts a module of its own there
    yield
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main
