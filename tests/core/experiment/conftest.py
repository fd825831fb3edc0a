"""Small real experiments: a dropout network, and an estimator, on 24 rows."""

import hashlib
import random
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from modularml import (
    AppliedLoss,
    CrossValidation,
    CVBinding,
    EvalPhase,
    Experiment,
    ExperimentCallback,
    ExperimentContext,
    FeatureSet,
    FitPhase,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    TrainPhase,
)
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


class Lab:
    """An experiment with data, one node and a graph, and short ways to make its phases."""

    def __init__(self, label: str = "lab", model: Any = None, **arguments: Any) -> None:
        self.exp = Experiment(label, **arguments)
        rng = np.random.default_rng(0)
        self.data = FeatureSet.from_dict(
            label="data",
            data={"x": rng.standard_normal((24, 3)), "y": rng.standard_normal((24, 1))},
            feature_keys="x",
            target_keys="y",
        )
        self.data.split_random(ratios={"train": 0.75, "test": 0.25}, seed=1)
        if model is None:
            torch.manual_seed(5)
            model = SequentialMLP(output_shape=(1, 1), hidden_dim=4, dropout=0.4)
        self.node = ModelNode("net", model, self.data.reference(features="x", targets="y"))
        optimizer = Optimizer("adam", opt_kwargs={"lr": 0.01}) if self.node.backend == "torch" else None
        self.graph = ModelGraph(nodes=[self.node], optimizer=optimizer, label="graph").build()
        self.loss = AppliedLoss(Loss("mse"), on=self.node, inputs=["outputs", "targets"])

    def train(self, label: str = "train", n_epochs: int = 2, **arguments: Any) -> TrainPhase:
        sampler = SimpleSampler(batch_size=6, shuffle=True, seed=3)
        given = {"split": "train", "sampler": sampler, "losses": [self.loss], "n_epochs": n_epochs}
        with self.exp.ctx.temporary():
            return TrainPhase.from_split(label, **{**given, **arguments})

    def evaluate(self, label: str = "eval", **arguments: Any) -> EvalPhase:
        with self.exp.ctx.temporary():
            return EvalPhase.from_split(label, **{"split": "test", "losses": [self.loss], **arguments})

    def fit(self, label: str = "fit", **arguments: Any) -> FitPhase:
        with self.exp.ctx.temporary():
            return FitPhase.from_split(label, **{"split": "train", "losses": [self.loss], **arguments})

    def weights(self) -> str:
        return digest(self.graph.get_state())

    def everything(self) -> str:
        """A digest of all that a preview must leave as it is, outside and inside of the experiment."""
        exp = self.exp
        parts = [exp.get_state(), exp.history, exp.available_checkpoints, self.node.is_frozen]
        if self.node.backend == "torch":
            module = self.node.module
            parts += [[m.training for m in module.modules()], [p.requires_grad for p in module.parameters()]]
        return digest([*parts, global_generators()])


class Study:
    """120 samples in groups of 4 and two classes, scaled; a network with dropout, trained and evaluated."""

    def __init__(self, label: str = "study", model: Any = None, missing: int = 0) -> None:
        self.exp = Experiment(label)
        rng, n = np.random.default_rng(0), 120
        x = rng.standard_normal((n, 3)).astype(np.float32)
        x[:missing] = np.nan
        data = {"x": x, "y": x.sum(axis=1), "group": np.arange(n) // 4, "class": x[:, 0] > 0}
        self.data = FeatureSet.from_dict("data", data, "x", "y", ["group", "class"])
        self.data.split_random({"train": 0.6, "val": 0.2, "test": 0.2}, seed=1)
        self.data.fit_transform("StandardScaler", domain="features", fit_to_split="train")
        model = model or SequentialMLP(hidden_dim=4, dropout=0.2)
        self.node = ModelNode("net", model, self.data.reference(features="x", rep="transformed"))
        optimizer = Optimizer("adam", opt_kwargs={"lr": 0.01}) if self.node.backend == "torch" else None
        self.graph = ModelGraph([self.node], optimizer).build()
        self.loss = AppliedLoss(Loss("mse"), on="net", inputs=["outputs", "targets"])
        sampler = SimpleSampler(batch_size=16, shuffle=True, seed=3)
        plan = self.exp.execution_plan
        if self.node.backend == "torch":
            train = {"split": "train", "sampler": sampler, "losses": [self.loss], "n_epochs": 2}
            plan.add_phase(TrainPhase.from_split("train", **train))
        plan.add_phase(EvalPhase.from_split("eval", split="val", losses=[self.loss]))

    def binding(self, **arguments: Any) -> CVBinding:
        return CVBinding(self.data, ["train", "val"], **arguments)

    def cv(self, binding: CVBinding | None = None, **arguments: Any) -> CrossValidation:
        return CrossValidation(bindings=[binding or self.binding()], experiment=self.exp, **arguments)


class Watch(ExperimentCallback):
    """Notes the rows, the scaler's mean and the weights that each fold begins with."""

    def __init__(self, data: FeatureSet, node: ModelNode) -> None:
        super().__init__(label="watch")
        self.data, self.node = data, node
        self.seen: list[tuple[dict[str, Any], Any, Any]] = []

    def get_config(self) -> dict[str, Any]:
        return {"data": None, "node": None}

    def on_phase_start(self, *, experiment: Any, phase: Any) -> None:
        if phase.label == "train":
            rows = {name: self.data[name].rows for name in self.data.available_splits}
            scaled = self.data["train"].get_features(features="x", rep="transformed", fmt="numpy")
            self.seen.append((rows, scaled.mean(axis=0), self.node.model.get_weights()))


def digest(tree: Any) -> str:
    """Return a hash of a tree of plain values, arrays and estimators."""
    hashed = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                hashed.update(repr(key).encode())
                add(item)
        elif isinstance(value, list | tuple):
            hashed.update(b"[")
            for item in value:
                add(item)
        elif isinstance(value, np.ndarray):
            hashed.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        elif isinstance(value, datetime):
            hashed.update(value.isoformat().encode())
        elif hasattr(value, "get_params"):
            add(dict(vars(value)))
        else:
            hashed.update(repr(value).encode())

    add(tree)
    return hashed.hexdigest()


def global_generators() -> list[Any]:
    return [torch.get_rng_state().numpy(), np.random.get_state(legacy=False), random.getstate()]


@pytest.fixture(autouse=True)
def fresh_context() -> Iterator[None]:
    """Let no test see the nodes of another."""
    ExperimentContext().activate()
    torch.manual_seed(11)
    yield
    ExperimentContext().activate()


@pytest.fixture(scope="session")
def make_lab() -> Callable[..., Lab]:
    return Lab


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def fit_lab() -> Lab:
    return Lab(model=LinearRegression())


@pytest.fixture
def digest_of() -> Callable[[Any], str]:
    return digest


@pytest.fixture
def generators() -> Callable[[], str]:
    return lambda: digest(global_generators())


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Study]:
    return Study


@pytest.fixture
def study() -> Study:
    return Study()


@pytest.fixture
def watched() -> Callable[..., Any]:
    """Run a cross-validation of a study; return its results and what `Watch` has seen."""

    def run(study: Study, **arguments: Any) -> Any:
        watch = Watch(study.data, study.node)
        study.exp.add_callback(watch)
        return study.cv(**arguments).run(), watch.seen

    return run
