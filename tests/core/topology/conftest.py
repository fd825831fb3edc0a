"""A small graph that was trained a little, and the data that feed it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from modularml import ConcatNode, Experiment, ExperimentContext, FeatureSet, ModelGraph, ModelNode
from modularml.models.torch import SequentialMLP


def data(label: str = "data", **columns: Any) -> FeatureSet:
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    given = {"x": x, "y": x[:, :1]} | columns
    fs = FeatureSet.from_dict(label, given, "x", [key for key in given if key != "x"])
    fs.split_random({"train": 0.8, "test": 0.2}, seed=1)
    return fs


@pytest.fixture
def exp() -> Experiment:
    """Two networks, joined, a third behind them; trained a little."""
    ExperimentContext().activate()
    torch.manual_seed(0)
    made = Experiment("exp", registration_policy="raise")
    ref = data().reference(features="x", targets="y")
    one, two = (
        ModelNode(label, SequentialMLP(output_shape=(1, 4), hidden_dim=4), ref) for label in ("one", "two")
    )
    joined = ConcatNode("joined", [one, two], concat_axis_targets=two)
    tail = ModelNode("tail", SequentialMLP(dropout=0.2), joined)
    ModelGraph([one, two, joined, tail], "adam", "net").build()
    made.execution_plan.add_train_phase("train", split="train", losses="mse", n_epochs=1)
    made.run(show_sampler_progress=False, show_training_progress=False)
    return made


@pytest.fixture
def make_data() -> Callable[..., FeatureSet]:
    return data
