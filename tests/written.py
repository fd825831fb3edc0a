"""Writes a file of each kind, of small experiments with hostile names: ``python written.py FOLDER``.

``first.exp.mml`` and ``second.exp.mml`` differ in their label, the learning rate and what came of it.
"""

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor

from modularml import (
    AppliedLoss,
    Callback,
    EvalPhase,
    Experiment,
    FeatureSet,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    PhaseGroup,
    Scaler,
    TrainPhase,
)
from modularml.base.errors import CallbackError
from modularml.core.experiment.display_options import QUIET
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler
from modularml.splitters import RandomSplitter

HOSTILE = "[red]net[/] <&>"


class Failing(Callback):
    def on_epoch_end(self, *_: object, **__: object) -> None:
        raise ValueError("[red]first[/]\n\x1b[2J\u202esecond \udc80")


def write_experiment(folder: Path, label: str, lr: float) -> None:
    experiment = Experiment(label)
    x = np.random.default_rng(0).standard_normal((24, 3))
    data = FeatureSet.from_dict("data", {"x": x, "y": x[:, :1]}, feature_keys="x", target_keys="y")
    data.split_random({"train": 0.75, "test": 0.25}, seed=1)
    torch.manual_seed(5)
    ModelNode("forest", RandomForestRegressor(n_estimators=2), data)
    net = ModelNode(HOSTILE, SequentialMLP(output_shape=(1, 2), hidden_dim=4), data)
    head = ModelNode("head", SequentialMLP(output_shape=(1, 1), hidden_dim=4), net)
    ModelGraph([net, head], Optimizer("sgd", opt_kwargs={"lr": lr})).build()
    loss = AppliedLoss(Loss("mse"), on=head, label=HOSTILE)
    sampler = SimpleSampler(batch_size=6, shuffle=True, seed=3)
    arguments = {"split": "train", "sampler": sampler, "losses": [loss]}
    train = TrainPhase.from_split("train", **arguments, n_epochs=3)
    experiment.execution_plan.add_item(PhaseGroup("fold", [train]))
    experiment.execution_plan.add_item(EvalPhase.from_split("eval", split="test", losses=[loss]))
    experiment.run(**QUIET)
    with suppress(CallbackError):
        experiment.run_phase(TrainPhase.from_split("bad", **arguments, callbacks=[Failing()]), **QUIET)
    experiment.save(folder / label)
    if label == "first":
        data.save(folder / "data")
        experiment.set_checkpoint_dir(folder)
        experiment.save_checkpoint("kept")
        SimpleSampler(batch_size=3).save(folder / "order")
        RandomSplitter({"a": 0.5, "b": 0.5}, seed=1).save(folder / "parts")
        Scaler("StandardScaler").fit(np.arange(6.0).reshape(3, 2)).save(folder / "scale")


write_experiment(Path(sys.argv[1]), "first", 0.01)
write_experiment(Path(sys.argv[1]), "second", 0.02)
