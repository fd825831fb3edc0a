"""Keras 3 on torch: its models are modules; a process of its own, as Keras reads its backend once."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

SCRIPT = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
import torch
import modularml as mml
from modularml.samplers import SimpleSampler

x = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
inputs = keras.Input((4,))
functional = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(8, activation="relu")(inputs)))
sequential = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
for model in (functional, sequential):
    exp = mml.Experiment("e", registration_policy="overwrite")
    fs = mml.FeatureSet.from_dict("Data", {"x": x, "y": x.sum(1)}, ["x"], ["y"])
    fs.split_random({"train": 0.8, "test": 0.2}, seed=1)
    node = mml.ModelNode("K", model, fs.reference(features="x", targets="y"))
    mml.ModelGraph(optimizer=mml.Optimizer("adam", opt_kwargs={"lr": 0.05})).build()
    sampler = SimpleSampler(batch_size=16, shuffle=True, seed=1)
    train = mml.TrainPhase.from_split("train", split="train", sampler=sampler, losses="mse", n_epochs=8)
    losses = exp.run_phase(train).epoch_losses()
    assert losses[-1] < losses[0] / 2, losses
    exp.preview_phase(train)
    found = exp.run_phase(mml.EvalPhase.from_split("eval", split="test")).stacked_tensors("K")
    by_hand = node._called_module(torch.from_numpy(x[fs["test"].rows][:, None])).detach().numpy()
    assert np.allclose(found.ravel(), by_hand.ravel(), atol=1e-6)
    try:
        exp.save("nowhere")
    except ValueError as error:
        assert "cannot be described" in str(error), error
    else:
        raise AssertionError("a model that no file can give back was saved")
"""


@pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed")
def test_its_models_train_and_evaluate_as_modules() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=300)
