"""A small regression that trains: 40 rows, three features, one target."""

from typing import Any

import numpy as np
import pytest
import torch

from modularml import AppliedLoss, Experiment, FeatureSet, Loss, ModelGraph, ModelNode, Optimizer, TrainPhase
from modularml.callbacks import Evaluation
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


class Regression:
    """An experiment, its loss, and a short way to a phase with callbacks."""

    def __init__(self, lr: float = 0.05) -> None:
        self.exp = Experiment("regression")
        x = np.random.default_rng(0).standard_normal((40, 3))
        data = FeatureSet.from_dict("data", {"x": x, "y": x.sum(axis=1)}, "x", "y")
        data.split_random({"train": 0.7, "test": 0.3}, seed=0)
        torch.manual_seed(0)
        self.node = ModelNode("net", SequentialMLP(output_shape=(1, 1), hidden_dim=8), data)
        self.graph = ModelGraph([self.node], Optimizer("sgd", opt_kwargs={"lr": lr})).build()
        self.loss = AppliedLoss(Loss("mse"), on=self.node)

    def train(self, *callbacks: Any, n_epochs: int = 4) -> TrainPhase:
        return TrainPhase.from_split(
            "train",
            split="train",
            sampler=SimpleSampler(batch_size=7, shuffle=True, seed=1),
            losses=[self.loss],
            n_epochs=n_epochs,
            callbacks=callbacks,
        )

    def evaluation(self, **arguments: Any) -> Evaluation:
        return Evaluation.from_split(split="test", losses=[self.loss], **arguments)


@pytest.fixture
def regression() -> Regression:
    return Regression()
