"""Files of every released format load for ever."""

import importlib.util
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modularml import (
    BaseModel,
    Experiment,
    ExperimentContext,
    ExperimentRun,
    FeatureSet,
    Loss,
    ModelGraph,
    Optimizer,
    Scaler,
    inspect,
)
from modularml.io.archive import FORMAT, read_manifest
from modularml.io.codec import load
from modularml.io.names import SUFFIXES
from modularml.samplers import Sampler, SimpleSampler
from modularml.splitters import RandomSplitter, Splitter

FORMATS = Path(__file__).parents[1] / "formats"
VALUES = {
    "plain": [None, True, 3, -0.5, "\u00e9 \u2028 <&>", {"$type": "SimpleSampler", "batch_size": 32}],
    "tagged": [(1, (2,)), math.inf, -math.inf, Path("a/b"), datetime(2026, 1, 2, 3, 4, 5, 6, UTC)],
    "escaped": {"$tuple": [1], "$": {"$array": None}},
    "arrays": {
        str(array.dtype): array
        for array in (
            *(
                np.arange(6).astype(dtype).reshape(2, 3)
                for dtype in ["?", "u1", "i2", "f2", "u4", "f4", "i8", "f8", "c8", "c16"]
            ),
            np.array([["a", "b\u00e9"]]),
            np.array([b"ab"]),
            np.array(["2026-01-02", "NaT"], "M8[D]"),
            np.array([5], "m8[ns]"),
            np.array(1.5, "f8"),
        )
    },
}


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_the_values_of_every_format_load(number):
    path = FORMATS / f"v{number}" / "values.md.mml"
    assert read_manifest(path).format == number
    loaded = load(path, "model")
    arrays, expected = loaded.pop("arrays"), VALUES["arrays"]
    assert loaded == {key: value for key, value in VALUES.items() if key != "arrays"}
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert (array.dtype, array.shape, array.tobytes()) == (
            expected[name].dtype,
            expected[name].shape,
            expected[name].tobytes(),
        )


# -- one file of each kind -------------------------------------------------------------------

_spec = importlib.util.spec_from_file_location("write", FORMATS / "write.py")
assert _spec is not None and _spec.loader is not None
write: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(write)

every_format = pytest.mark.parametrize("number", range(1, FORMAT + 1))


def kept(number: int, kind: str) -> Path:
    return FORMATS / f"v{number}" / f"kept{SUFFIXES[kind]}"


@every_format
def test_there_is_a_file_of_every_kind_in_every_format(number: int) -> None:
    for kind in SUFFIXES:
        facts = inspect(kept(number, kind))
        assert (facts.format, facts.kind) == (number, kind)


@every_format
def test_experiments(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # its runs are written to a folder of there
    ExperimentContext().activate()
    exp = Experiment.load(kept(number, "experiment"), checkpoint_dir=FORMATS / f"v{number}")
    assert (exp.label, exp.ctx.seed, list(exp.ctx.nodes)) == ("golden", 7, ["data", "net", "line"])
    assert [phase.label for phase in exp.execution_plan.flatten()] == ["train", "fit", "eval"]
    run = exp.last_run
    assert run is not None
    assert (run.status, [phase.status for phase in run.phases]) == ("completed", ["completed"] * 3)
    assert run.results["train"].n_epochs == 2
    assert run.results["eval"].stacked_tensors("net").shape == (2, 1, 1)
    assert exp.execution_plan["train"].checkpointing.best == "mse"
    exp.restore_checkpoint("kept")
    assert exp.checkpoint_meta("kept") == {"note": "golden"}
    outputs = exp.model_graph.predict(np.ones((1, 3), np.float32))
    again = exp.run(fresh=True, show_sampler_progress=False, show_training_progress=False)
    assert np.isfinite(again["train"].batch_losses()).all()
    exp.model_graph.restore_checkpoint(FORMATS / f"v{number}" / "of graph.ckpt.mml")
    for label, values in exp.model_graph.predict(np.ones((1, 3), np.float32)).items():
        np.testing.assert_array_equal(values, outputs[label])


@every_format
def test_graphs_predict_what_they_did(number: int) -> None:
    ExperimentContext().activate()
    graph = ModelGraph.load(kept(number, "model_graph"))
    assert graph.node_labels == ["net", "line"]
    Experiment.load(kept(number, "experiment"))
    found = ExperimentContext.get_active().model_graph
    assert found is not None and found == graph


@every_format
def test_single_objects(number: int) -> None:
    ExperimentContext().activate()
    made = write.data()
    ExperimentContext().activate()
    fs = FeatureSet.load(kept(number, "feature_set"))
    assert {name: len(view) for name, view in fs.splits.items()} == {"train": 6, "test": 2}
    for name in made.columns:
        np.testing.assert_array_equal(fs.table.column(name), made.table.column(name))
    weights = BaseModel.load(kept(number, "model")).get_weights()
    assert {name: array.tolist() for name, array in weights.items()} == write.WEIGHTS
    scaler = Scaler.load(kept(number, "scaler"))
    np.testing.assert_allclose(scaler.transform(write.X.astype(float)).mean(axis=0), 0, atol=1e-12)
    assert Splitter.load(kept(number, "splitter")) == RandomSplitter({"a": 0.5, "b": 0.5}, seed=1)
    assert Sampler.load(kept(number, "sampler")) == SimpleSampler(batch_size=3, shuffle=True, seed=2)
    assert Loss.load(kept(number, "loss")) == Loss("huber", loss_kwargs={"delta": 0.5})
    optimizer, weight = Optimizer.load(kept(number, "optimizer")), torch.nn.Parameter(torch.ones(3))
    optimizer.build({"w": weight})
    moments = optimizer.get_state()["state"]["w"]
    np.testing.assert_allclose(moments["exp_avg"], np.full(3, 0.1), rtol=1e-6)
    assert int(moments["step"]) == 1
    assert ExperimentRun.load(kept(number, "run")).status == "completed"
