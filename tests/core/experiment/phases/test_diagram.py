from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from torch import nn

from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.experiment import Experiment
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.fit_phase import FitPhase
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.loss import Loss
from modularml.core.training.optimizer import Optimizer
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

EXPECTED = Path(__file__).parents[3] / "display" / "expected"


@pytest.fixture
def walkthrough() -> AppliedLoss:
    """The experiment of the walkthrough, as far as the pictures show it."""
    Experiment("my_experiment", registration_policy="overwrite")
    rng = np.random.default_rng(42)
    data = {"voltage": list(rng.standard_normal((500, 10))), "soh": list(rng.standard_normal((500, 1)))}
    fs = FeatureSet.from_dict("SensorData", data, feature_keys="voltage", target_keys="soh")
    fs.split_random(ratios={"train": 0.8, "test": 0.2}, seed=13)
    ref = fs.reference(features="voltage", targets="soh")
    node = ModelNode("MLP", SequentialMLP(output_shape=(1, 1), n_layers=2, hidden_dim=32), ref)
    ModelGraph([node], Optimizer("adam", opt_kwargs={"lr": 1e-3}, backend="torch"), "SimpleGraph").build()
    return AppliedLoss(Loss("mse", backend="torch"), node, ["outputs", "targets"])


def expected(name: str) -> str:
    return (EXPECTED / f"{name}.mmd").read_text()


def test_training_is_drawn_as_in_the_walkthrough(walkthrough: AppliedLoss) -> None:
    sampler = SimpleSampler(batch_size=32, shuffle=True, seed=42)
    binding = InputBinding.for_training(node="MLP", sampler=sampler, upstream=None, split="train")
    by_hand = TrainPhase("train", input_sources=[binding], losses=[walkthrough], n_epochs=3)
    by_split = TrainPhase.from_split("t", split="train", sampler=sampler, losses=[walkthrough], n_epochs=3)
    for phase in (by_hand, by_split):
        assert phase.diagram().mermaid + "\n" == expected("train_phase")


def test_evaluation_is_drawn_as_in_the_walkthrough(walkthrough: AppliedLoss) -> None:
    phase = EvalPhase.from_split("eval", split="test", losses=[walkthrough])
    assert phase.diagram().mermaid + "\n" == expected("eval_phase")
    assert phase.diagram().mermaid == phase.diagram().mermaid


def test_samplers_and_losses_are_added_to_the_picture_of_the_graph(bench: Any) -> None:
    trunk = bench.node("Trunk", model=nn.Linear(4, 3))
    tail, other = bench.node("Tail", trunk, nn.Linear(3, 1)), bench.node("Other")
    graph = bench.graph(trunk, tail, other)
    spec = bench.train([bench.loss("Tail", label="a"), bench.loss("Other", label="b")]).diagram().spec
    plain = graph.diagram().spec
    assert [box.id for box in spec.nodes[: len(plain.nodes)]] == [box.id for box in plain.nodes]
    assert [box.kind for box in spec.nodes[len(plain.nodes) :]] == ["FeatureSampler"] * 2 + [
        "AppliedLoss"
    ] * 2
    name_of = {box.id: box.name or box.kind for box in spec.nodes}
    arrows = [(name_of[edge.source], name_of[edge.target]) for edge in spec.edges]
    assert ("Sensor", "Trunk") not in arrows
    assert arrows.count(("Sensor", "FeatureSampler")) == 2
    assert {target for source, target in arrows if source == "FeatureSampler"} == {"Trunk", "Other"}
    assert [edge.dotted for edge in spec.edges if name_of[edge.source] in "ab"] == [True, True]
    assert len({edge.id for edge in spec.edges}) == len(spec.edges)


def test_a_phase_over_all_rows_names_no_split_and_active_nodes_alone_are_drawn(bench: Any) -> None:
    bench.graph(bench.node("A", model=Ridge()), bench.node("B"))
    binding = InputBinding.for_evaluation(node="A")
    spec = FitPhase("fit", input_sources=[binding], active_nodes=["A"]).diagram().spec
    assert {box.name for box in spec.nodes if box.name} == {"A", "Sensor"}
    assert [edge.label for edge in spec.edges] == ["(1, 4)", "(1,)"]
    assert [box.kind for box in spec.nodes if box.name == "A"] == ["ModelNode"]
