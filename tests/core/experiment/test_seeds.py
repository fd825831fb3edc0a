"""One seed of an experiment: what follows from it, and from nothing else."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml import (
    Evaluation,
    Experiment,
    ExperimentContext,
    FeatureSet,
    InputBinding,
    ModelGraph,
    ModelNode,
    TorchModelWrapper,
    TrainPhase,
)
from modularml.base.errors import InvalidValueError
from modularml.base.rows import derived_seed
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


class Net(nn.Module):
    """A network that is made when the graph is built."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = nn.Linear(3, 1), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.drop(x))


def experiment(seed: int | None, labels: tuple[str, ...] = ("A", "B")) -> Experiment:
    exp = Experiment("seeded", registration_policy="overwrite", ctx=ExperimentContext(), seed=seed)
    exp.ctx.activate()
    x = np.random.default_rng(0).standard_normal((24, 3)).astype(np.float32)
    data = FeatureSet.from_dict("data", {"x": x, "y": x.sum(axis=1)}, "x", "y")
    data.split_random({"train": 0.5, "test": 0.5}, seed=0)
    models = {"A": SequentialMLP(dropout=0.5), "B": TorchModelWrapper(model_class=Net), "C": SequentialMLP()}
    nodes = [ModelNode(label, models[label], data, "sgd") for label in labels]
    ModelGraph(nodes).build()
    return exp


def trained(exp: Experiment, label: str, node: str, **options: Any) -> list[float]:
    """Run a phase; return the loss of every batch."""
    with exp.ctx.temporary():
        return exp.run_phase(phase(label, node, **options)).batch_losses().tolist()


def phase(label: str, node: str, **options: Any) -> TrainPhase:
    sampler = SimpleSampler(batch_size=4, shuffle=True)
    bindings = [InputBinding.for_training(node=node, sampler=sampler, split="train")]
    options = {"losses": {node: "mse"}, "active_nodes": [node], "n_epochs": 2} | options
    return TrainPhase(label, input_sources=bindings, **options)


def weights(exp: Experiment, label: str) -> list[float]:
    module = exp.ctx.get_node(label, ModelNode).module
    return torch.cat([p.detach().flatten() for p in module.parameters()]).tolist()


@pytest.fixture(autouse=True)
def stirred() -> None:
    """Let nothing follow from the global generators."""
    torch.manual_seed(int.from_bytes(np.random.bytes(4), "big"))


def test_parts_have_seeds_of_their_own() -> None:
    seeds = [derived_seed(*of) for of in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a1")]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**53 for seed in seeds)
    assert derived_seed(0, "a") == seeds[0]


@pytest.mark.parametrize("labels", [("A", "B"), ("B", "A"), ("C", "B", "A")])
def test_weights_follow_from_the_seed_and_the_label_alone(labels: tuple[str, ...]) -> None:
    exp, other = experiment(7), experiment(7, labels)
    for label in ("A", "B"):
        assert weights(exp, label) == weights(other, label)
        assert weights(exp, label) != weights(experiment(8), label)
    before = weights(exp, "A")
    exp.model_graph.build(force=True)
    assert weights(exp, "A") == before


def test_without_a_seed_weights_follow_from_torchs() -> None:
    torch.manual_seed(3)
    first = weights(experiment(None), "A")
    torch.manual_seed(3)
    assert weights(experiment(None), "A") == first
    assert weights(experiment(None), "A") != first


def test_what_a_phase_does_is_independent_of_the_others() -> None:
    alone, after = experiment(7), experiment(7)
    losses = trained(alone, "b", "B")
    trained(after, "a", "A")
    torch.rand(3)
    assert trained(after, "b", "B") == losses
    assert weights(after, "B") == weights(alone, "B")


def test_epochs_count_on_so_that_four_are_two_and_two() -> None:
    whole, parts = experiment(7), experiment(7)
    losses = trained(whole, "b", "B", n_epochs=4)
    assert [*trained(parts, "b", "B"), *trained(parts, "b", "B")] == losses
    assert weights(whole, "B") == weights(parts, "B")


def test_watching_changes_nothing() -> None:
    plain, watched = experiment(7, ("B",)), experiment(7, ("B",))
    losses = trained(plain, "b", "B")
    callbacks = [Evaluation.from_split(split="test", losses="mse")]
    found = phase("b", "B", callbacks=callbacks)
    watched.preview_phase(found)
    assert watched.run_phase(found).batch_losses().tolist() == losses


def test_a_sampler_with_a_seed_keeps_it_and_others_get_one() -> None:
    exp = experiment(7)
    own, none = SimpleSampler(shuffle=True, seed=3), SimpleSampler(shuffle=True)
    kept = own.get_state()
    for sampler in (own, none):
        bindings = [InputBinding.for_training(node="B", sampler=sampler, split="train")]
        exp.run_phase(TrainPhase("b", input_sources=bindings, losses={"B": "mse"}, active_nodes=["B"]))
    assert own.get_state() == kept
    assert none.get_state() == {"entropy": derived_seed(7, "sampler", "b", "B")}


def test_the_seed_is_in_the_record_and_in_files(tmp_path: Any) -> None:
    exp = experiment(7)
    exp.run_phase(phase("b", "B"))
    assert exp.last_run.metadata["seed"] == 7
    path = exp.save(tmp_path / "e")
    assert Experiment.load(path, overwrite=True, symbols={"Net": Net}).ctx.seed == 7


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises((InvalidValueError, TypeError), match="seed must be an int"):
        Experiment("e", seed=seed)
