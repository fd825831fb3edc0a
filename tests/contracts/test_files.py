"""What every kind of file of a single object keeps to; a new kind must give an example here."""

import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from modularml import ExperimentContext, FeatureSet, Loss, Optimizer, Scaler
from modularml.base.errors import FileFormatError, OptimizerError
from modularml.io import codec
from modularml.io.names import SUFFIXES
from modularml.models import BaseModel, ScikitModelWrapper
from modularml.models.torch import SequentialMLP
from modularml.samplers import Sampler, SimpleSampler
from modularml.splitters import RandomSplitter, Splitter

X = np.arange(12.0).reshape(4, 1, 3)


def model() -> SequentialMLP:
    made = SequentialMLP(output_shape=(1, 1), hidden_dim=4, dropout=0.5)
    made.build((1, 3))
    return made


def fitted() -> ScikitModelWrapper:
    made = ScikitModelWrapper(Ridge())
    made.build((1, 3))
    made.fit(X, np.arange(4.0))
    return made


def optimizer() -> Optimizer:
    made, weight = Optimizer("adam", opt_kwargs={"lr": 0.1}), torch.nn.Parameter(torch.ones(3))
    made.build({"w": weight})
    weight.grad = torch.ones(3)
    made.step()
    made.zero_grad()
    return made


def data() -> FeatureSet:
    ExperimentContext().activate()
    return FeatureSet.from_dict("data", {"x": np.arange(4.0), "y": np.arange(4.0)}, "x", "y")


EXAMPLES: dict[str, tuple[Any, list[Callable[[], Any]]]] = {
    "feature_set": (FeatureSet, [data]),
    "model": (BaseModel, [model, fitted]),
    "scaler": (Scaler, [lambda: Scaler("StandardScaler")]),
    "splitter": (Splitter, [lambda: RandomSplitter({"a": 0.5, "b": 0.5}, seed=1)]),
    "sampler": (Sampler, [lambda: SimpleSampler(batch_size=3, shuffle=True)]),
    "optimizer": (Optimizer, [optimizer, lambda: Optimizer("sgd", opt_kwargs={"lr": 0.1})]),
    "loss": (Loss, [lambda: Loss("huber", loss_kwargs={"delta": 0.5})]),
}
ELSEWHERE = {"experiment", "checkpoint", "run", "model_graph"}
"""Kinds that hold many objects; they have tests of their own."""

CASES = [
    pytest.param(kind, cls, make, id=f"{kind}-{i}")
    for kind, (cls, makes) in EXAMPLES.items()
    for i, make in enumerate(makes)
]
every_kind = pytest.mark.parametrize(("kind", "cls", "make"), CASES)


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) | ELSEWHERE == set(SUFFIXES)


@every_kind
def test_what_comes_back_writes_the_same_file(kind: str, cls: Any, make: Any, tmp_path: Path) -> None:
    made = make()
    path = Path(made.save(tmp_path / "one"))
    assert path.name == f"one{SUFFIXES[kind]}"
    again = cls.load(path)
    assert type(again) is type(made)
    if isinstance(made, ScikitModelWrapper):  # the bytes of an estimator are those of skops, not ours
        assert np.array_equal(made(X), again(X))
        return
    assert Path(again.save(tmp_path / "two")).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("no_collector")
@every_kind
def test_what_was_loaded_goes_with_its_last_reference(kind: str, cls: Any, make: Any, tmp_path: Path) -> None:
    path = make().save(tmp_path / "one")
    ctx = ExperimentContext().activate()
    loaded = cls.load(path)
    held = weakref.ref(loaded)
    ctx.clear()  # a FeatureSet and its context know each other
    del loaded
    assert held() is None


@every_kind
def test_a_file_is_replaced_only_where_that_is_asked_for(
    kind: str, cls: Any, make: Any, tmp_path: Path
) -> None:
    made = make()
    path = Path(made.save(tmp_path / "one"))
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        made.save(path)
    assert path.read_bytes() == before
    made.save(path, overwrite=True)
    assert list(tmp_path.iterdir()) == [path]


@every_kind
def test_another_kind_is_refused(kind: str, cls: Any, make: Any, tmp_path: Path) -> None:
    other = "loss" if kind == "sampler" else "sampler"
    path = codec.save(tmp_path / "other", other, {"config": {}, "state": None})
    with pytest.raises(FileFormatError, match=f"holds a '{other}', not a '{kind}'"):
        cls.load(path)


@pytest.mark.parametrize("kind", ["model", "scaler", "optimizer", "loss"])
def test_an_object_of_another_class_is_refused(kind: str, tmp_path: Path) -> None:
    cls = EXAMPLES[kind][0]
    config = {"$type": "SimpleSampler", "batch_size": 3}
    path = codec.save(tmp_path / "other", kind, {"config": config, "state": None})
    with pytest.raises(FileFormatError, match=f"holds a SimpleSampler, not a {cls.__name__}"):
        cls.load(path)
    path = codec.save(path, kind, {"state": None}, overwrite=True)
    with pytest.raises(FileFormatError, match=f"is no whole {kind}: KeyError: 'config'"):
        cls.load(path)


@pytest.mark.parametrize("kind", ["model", "optimizer", "loss"])
def test_a_new_process_reads_it(kind: str, tmp_path: Path) -> None:
    cls, makes = EXAMPLES[kind]
    path = Path(makes[0]().save(tmp_path / "one"))
    code = (
        f"import pathlib\nfrom {cls.__module__} import {cls.__name__} as cls\n"
        f"two = cls.load({str(path)!r}).save({str(tmp_path / 'two')!r})\n"
        f"assert pathlib.Path(two).read_bytes() == pathlib.Path({str(path)!r}).read_bytes()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_loaded_optimizer_takes_its_moments_when_it_is_built(tmp_path: Path) -> None:
    made = optimizer()
    path = made.save(tmp_path / "one")
    again = Optimizer.load(path)
    assert not again.is_built
    again.build({"w": torch.nn.Parameter(torch.zeros(3))})
    state, expected = again.get_state()["state"]["w"], made.get_state()["state"]["w"]
    assert all(np.array_equal(state[key], expected[key]) for key in expected)
    with pytest.raises(OptimizerError, match="belongs to other parameters"):
        Optimizer.load(path).build({"v": torch.nn.Parameter(torch.zeros(3))})


def test_a_loaded_model_gives_what_the_saved_one_gave(tmp_path: Path) -> None:
    made, x = model(), torch.rand(5, 1, 3)
    again = SequentialMLP.load(made.save(tmp_path / "one"))
    assert torch.equal(again.module.eval()(x), made.module.eval()(x))
