"""Attributes that nothing reads are refused where they are set, and what may be set takes effect."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from torch import nn

from modularml import (
    Callback,
    Experiment,
    FeatureSet,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    Schedule,
    TrainPhase,
)
from modularml.base.errors import InvalidAttributeError, InvalidValueError, OptimizerError
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


@pytest.fixture
def made() -> dict[str, Any]:
    exp = Experiment("made", registration_policy="raise")
    fs = FeatureSet.from_dict("fs", {"x": np.ones((8, 3), np.float32), "y": np.ones(8)}, "x", "y")
    fs.split_random({"train": 0.5, "test": 0.5})
    node = ModelNode("node", nn.Linear(3, 1), fs)
    graph = ModelGraph([node], Optimizer("sgd", opt_kwargs={"lr": 0.1})).build()
    phase = TrainPhase.from_split("train", split="train", losses="mse")
    sampler = phase.input_sources[0].sampler
    return {"exp": exp, "fs": fs, "node": node, "graph": graph, "phase": phase, "sampler": sampler}


@pytest.mark.parametrize(
    ("what", "name", "match"),
    [
        ("node", "optimiser", "mean 'optimizer'"),
        ("graph", "optimiser", "mean 'optimizer'"),
        ("phase", "n_epoch", "mean 'n_epochs'"),
        ("phase", "batchschedule", "mean 'batch_schedule'"),
        ("sampler", "batchsize", "mean 'batch_size'"),
        ("exp", "acelerator", "mean 'accelerator'"),
        ("fs", "lable", "mean 'label'"),
        ("exp", "zzz", "no 'zzz' to set. It has: .*label"),
        ("phase", "active_nodes", "cannot be set"),
    ],
)
def test_what_nothing_reads_is_refused(made: dict[str, Any], what: str, name: str, match: str) -> None:
    with pytest.raises(InvalidAttributeError, match=match):
        setattr(made[what], name, 3)
    assert name not in vars(made[what])


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Optimizer("adam"), "opt_kwargs"),
        (Loss("mse"), "loss"),
        (Schedule("cosine_annealing", schedule_kwargs={"T_max": 3}), "schedule_kwargs"),
    ],
)
def test_what_was_made_use_of_already_is_refused(thing: Any, name: str) -> None:
    with pytest.raises(InvalidAttributeError, match=f"'{name}' of .* make a new {type(thing).__name__}"):
        setattr(thing, name, {"lr": 1.0})


def test_an_optimizer_has_no_rate_to_set() -> None:
    with pytest.raises(InvalidAttributeError, match="has no 'lr' to set. It has: schedule"):
        Optimizer("adam").lr = 0.1  # type: ignore[attr-defined]


def test_what_may_be_set_takes_effect_in_the_next_phase(made: dict[str, Any]) -> None:
    exp, graph, phase = made["exp"], made["graph"], made["phase"]
    exp.run_phase(phase)
    phase.n_epochs = 3
    graph.optimizer.schedule = Schedule("step", schedule_kwargs={"step_size": 1})
    rates = exp.run_phase(phase).metrics()["lr"]
    assert rates == pytest.approx([0.1, 0.01, 0.001])
    graph.optimizer = "adam"
    exp.run_phase(phase)
    assert graph.optimizer.name == "adam" and graph.optimizer.is_built


def test_what_may_be_set_is_checked_at_the_line(made: dict[str, Any]) -> None:
    with pytest.raises(OptimizerError, match="mean 'adam'"):
        made["graph"].optimizer = "adma"
    with pytest.raises(OptimizerError, match="'cosine"):
        made["graph"].optimizer.schedule = "cosine_anealing"
    with pytest.raises(InvalidValueError, match="n_epochs"):
        made["phase"].n_epochs = 0


def test_classes_of_ones_own_and_torch_modules_take_any() -> None:
    class Counting(Callback):
        def on_epoch_end(self, **_: Any) -> None:
            self.n = getattr(self, "n", 0) + 1

    counting, network = Counting(), SequentialMLP()
    counting.on_epoch_end()
    counting.other = network.other = 3  # type: ignore[attr-defined]
    assert (counting.n, counting.other, network.other) == (1, 3, 3)


def test_copies_and_pickles_are_made_as_before() -> None:
    sampler = SimpleSampler(batch_size=3)
    assert copy.deepcopy(sampler) == pickle.loads(pickle.dumps(sampler)) == sampler
    sampler.batch_size = 4
    assert sampler.batch_size == 4
