"""Writes a small file of every kind: ``python tests/formats/write.py FOLDER``.

What a release writes so is kept in ``tests/formats/v<number of the format>`` for ever.
``tests/io/test_formats.py`` loads each and holds it to what stands here.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import Ridge

from modularml import (
    Checkpointing,
    Experiment,
    ExperimentContext,
    FeatureSet,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    ResultsConfig,
    Scaler,
)
from modularml.callbacks import EarlyStopping
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler
from modularml.splitters import RandomSplitter

QUIET = {"show_sampler_progress": False, "show_training_progress": False}
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
WEIGHTS = {"layers.0.weight": [[0.5, -1.0, 2.0]], "layers.0.bias": [0.25]}


def data() -> FeatureSet:
    """8 samples of 3 values, targets, a tag with a gap; two splits."""
    tags = np.array(["a", "b", "", "a", "b", "a", "b", "a"])
    made = FeatureSet.from_dict("data", {"x": X, "y": X[:, :1], "tag": tags}, "x", "y", "tag")
    made.split_random({"train": 0.75, "test": 0.25}, seed=1)
    return made


def model() -> SequentialMLP:
    """A layer with the weights above."""
    made = SequentialMLP(output_shape=(1, 1), n_layers=1)
    made.build((1, 3))
    made.set_weights({name: np.array(values, np.float32) for name, values in WEIGHTS.items()})
    return made


def experiment(results: Path) -> Experiment:
    """A network and an estimator, trained for two epochs, evaluated; the run is written to `results`."""
    ExperimentContext().activate()
    made = Experiment("golden", seed=7, results_config=ResultsConfig(results))
    fs = data()
    net = ModelNode("net", model(), fs.reference(features="x", targets="y"))
    line = ModelNode("line", Ridge(), fs.reference(features="x", targets="y"))
    ModelGraph([net, line], "adam", "graph").build()
    plan = made.execution_plan
    train = {"split": "train", "losses": {"net": "mse"}, "batch_size": 3, "n_epochs": 2}
    stopping = EarlyStopping(monitor="mse")
    plan.add_train_phase(
        "train", **train, active_nodes=["net"], callbacks=[stopping], checkpointing=Checkpointing(best="mse")
    )
    plan.add_fit_phase("fit", split="train", active_nodes=["line"])
    plan.add_eval_phase("eval", split="test", losses={"net": "mse"})
    made.run(**QUIET)
    return made


def write(folder: Path) -> None:
    """Write one file of each kind; no path of the machine enters them."""
    os.chdir(folder)
    folder = Path()
    made = experiment(folder / "runs")
    run = next((folder / "runs").rglob("*.run.mml"))
    run.rename(folder / "kept.run.mml")
    for left in sorted((folder / "runs").rglob("*"), reverse=True):
        left.rmdir() if left.is_dir() else left.unlink()
    (folder / "runs").rmdir()
    made.set_checkpoint_dir(folder)
    made.save_checkpoint("kept", meta={"note": "golden"}).rename(folder / "kept.ckpt.mml")
    made.save(folder / "kept")
    assert made.model_graph is not None
    made.model_graph.save(folder / "kept")
    made.model_graph.save_checkpoint(folder / "of graph", meta={"n": 1})
    made.ctx.get_node("data").save(folder / "kept")
    model().save(folder / "kept")
    Scaler("StandardScaler").fit(X.astype(float)).save(folder / "kept")
    RandomSplitter({"a": 0.5, "b": 0.5}, seed=1).save(folder / "kept")
    SimpleSampler(batch_size=3, shuffle=True, seed=2).save(folder / "kept")
    optimizer, weight = Optimizer("adam", opt_kwargs={"lr": 0.1}), torch.nn.Parameter(torch.ones(3))
    optimizer.build({"w": weight})
    weight.grad = torch.ones(3)
    optimizer.step()
    optimizer.zero_grad()
    optimizer.save(folder / "kept")
    Loss("huber", loss_kwargs={"delta": 0.5}).save(folder / "kept")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
