"""Checkpoints within a phase: when, under which names, the best and the last, in memory and in files."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modularml import (
    Callback,
    Checkpointing,
    CrossValidation,
    CVBinding,
    Experiment,
    ExperimentContext,
    inspect,
)
from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    StateError,
    UnknownNameError,
)
from modularml.callbacks import EarlyStopping
from modularml.core.experiment.checkpointing import PHASE, is_better
from modularml.core.experiment.display_options import QUIET
from modularml.io import codec


class Script(Callback):
    """Logs a metric with these values, and takes down the weights of each epoch."""

    metric_names = ("error",)

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.values = list(values)
        self.weights: list[Any] = []

    def on_epoch_end(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> None:
        results.recording.log("error", self.values[exec_ctx.epoch_idx], exec_ctx.epoch_idx)
        self.weights.append(experiment.model_graph.get_state()["nodes"]["net"]["model"]["weights"])


def weights_in(state: Any) -> Any:
    return state["graph"]["nodes"]["net"]["model"]["weights"]


def same(left: Any, right: Any) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def run(lab: Any, values: Any = (3, 1, 2), callbacks: Any = (), **arguments: Any) -> Any:
    """Run a phase of as many epochs as values, by the given checkpointing; return phase and script."""
    script = Script(values)
    given = Checkpointing(**arguments)
    phase = lab.train(n_epochs=len(script.values), callbacks=[script, *callbacks], checkpointing=given)
    lab.exp.run_phase(phase, **QUIET)
    return phase, script


@pytest.mark.parametrize(
    ("moment", "keys"),
    [
        ("phase_start", ["train_start"]),
        ("epoch_start", ["train_epoch0_start", "train_epoch1_start"]),
        ("batch_start", [f"train_epoch{e}_batch{b}_start" for e in (0, 1) for b in (0, 1, 2)]),
        ("batch_end", [f"train_epoch{e}_batch{b}" for e in (0, 1) for b in (0, 1, 2)]),
        ("epoch_end", ["train_epoch0", "train_epoch1"]),
        ("phase_end", ["train"]),
    ],
)
@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_each_moment(lab: Any, tmp_path: Path, moment: str, keys: list[str], mode: str) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    phase, _ = run(lab, (2, 1), mode=mode, save_on=moment)
    kept = phase.checkpointing
    assert kept.saved_keys == keys
    assert all(map(kept.has_key, keys)) and kept.has_key("last") and not kept.has_key("best")
    if mode == "disk":
        paths = {f"train/{key}": tmp_path / "train" / f"{key}.ckpt.mml" for key in keys}
        assert lab.exp.available_checkpoints == paths
        assert lab.exp.last_run.checkpoints == list(paths)
        assert kept.get_path("last") == kept.get_path(keys[-1]) == paths[f"train/{keys[-1]}"]
    else:
        assert list(tmp_path.iterdir()) == [] and not lab.exp.available_checkpoints
        with pytest.raises(StateError, match="is in memory"):
            kept.get_path(keys[0])
    kept.reset()
    assert kept.saved_keys == []


def test_without_a_word_a_phase_keeps_its_epochs_in_memory(lab: Any) -> None:
    phase, script = run(lab)
    assert phase.checkpointing.saved_keys == ["train_epoch0", "train_epoch1", "train_epoch2"]
    for key, weights in zip(phase.checkpointing.saved_keys, script.weights, strict=True):
        assert same(weights_in(phase.checkpointing.get_state(key)), weights)
    lab.graph.set_state(phase.checkpointing.get_state("train_epoch1")["graph"])
    assert same(lab.graph.get_state()["nodes"]["net"]["model"]["weights"], script.weights[1])


@pytest.mark.parametrize("mode", ["memory", "disk"])
@pytest.mark.parametrize(
    ("arguments", "keys", "best"),
    [
        ({"every_n": 2}, [1, 3, 5], None),
        ({"max_to_keep": 2}, [4, 5], None),
        ({"best": "error"}, [0, 1, 2, 3, 4, 5], 3),
        ({"best": "error", "best_mode": "max"}, [0, 1, 2, 3, 4, 5], 0),
        ({"best": "error", "max_to_keep": 1}, [3, 5], 3),
        ({"best": "error", "every_n": 6}, [3, 5], 3),
        ({"best": "error", "save_on": []}, [3], 3),
        ({"best": "mse", "save_on": []}, None, None),
    ],
)
def test_which_epochs_stay(
    lab: Any, tmp_path: Path, mode: str, arguments: dict[str, Any], keys: Any, best: int | None
) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    phase, script = run(lab, (5, 3, 4, 1, 2, 3), mode=mode, **arguments)
    kept = phase.checkpointing
    if keys is None:  # the training loss decides
        best = int(lab.exp.last_run.results.epoch_losses().argmin())
        keys = [best]
    assert kept.saved_keys == [f"train_epoch{i}" for i in keys]
    assert kept.best_key == (None if best is None else f"train_epoch{best}")
    if best is not None:
        assert same(weights_in(kept.get_state("best")), script.weights[best])
    if mode == "disk":
        files = sorted(path.name for path in (tmp_path / "train").iterdir())
        assert files == sorted(f"train_epoch{i}.ckpt.mml" for i in keys)
        assert list(lab.exp.available_checkpoints) == [f"train/train_epoch{i}" for i in keys]


def test_the_experiment_restores_the_best_and_the_last_by_name(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    _, script = run(lab, (3, 1, 2), mode="disk", best="error")
    for name, epoch in {
        "best": 1,
        "last": 2,
        "train/best": 1,
        "train/last": 2,
        "train/train_epoch0": 0,
    }.items():
        lab.exp.restore_checkpoint(name)
        assert same(lab.graph.get_state()["nodes"]["net"]["model"]["weights"], script.weights[epoch]), name
    assert lab.exp.checkpoint_meta("best") == {
        "moment": "epoch_end", "phase": "train", "epoch": 1, "error": 1.0,
    }  # fmt: skip
    assert inspect(lab.exp.available_checkpoints["train/train_epoch1"]).meta["error"] == 1.0
    with pytest.raises(UnknownNameError, match="'train/bst'"):
        lab.exp.restore_checkpoint("train/bst")


def test_a_file_moved_with_its_folder_is_found_by_a_loaded_experiment(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path / "here")
    phase, script = run(lab, (3, 1, 2), mode="disk", best="error")
    lab.exp.save_checkpoint("mine")
    lab.exp.execution_plan.add_phase(phase)
    file = lab.exp.save(tmp_path / "exp")
    (tmp_path / "here").rename(tmp_path / "there")
    ExperimentContext().activate()
    loaded = Experiment.load(file, checkpoint_dir=tmp_path / "there", symbols={"Script": Script})
    assert (
        loaded.available_checkpoints["train/train_epoch1"] == tmp_path / "there/train/train_epoch1.ckpt.mml"
    )
    assert loaded.available_checkpoints["mine"] == tmp_path / "there/mine.ckpt.mml"
    loaded.restore_checkpoint("best")
    assert same(loaded.model_graph.get_state()["nodes"]["net"]["model"]["weights"], script.weights[1])


def test_no_checkpoint_is_in_another(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    run(lab, range(12), callbacks=[EarlyStopping(monitor="mse", patience=20)], mode="disk", best="mse")
    sizes = [path.stat().st_size for path in lab.exp.available_checkpoints.values()]
    assert max(sizes[1:]) < 1.2 * min(sizes[1:])
    tree = codec.load(lab.exp.available_checkpoints["train/train_epoch11"], "checkpoint")
    assert "checkpoints" not in tree["state"]


@pytest.mark.parametrize(("moment", "n"), [("epoch_end", 3), ("batch_end", 9), ("epoch_start", 3)])
@pytest.mark.parametrize("background", [False, True])
def test_a_run_goes_on_from_any_of_them_to_the_last_bit(
    make_lab: Any, tmp_path: Path, moment: str, n: int, background: bool, digest_of: Callable[[Any], str]
) -> None:
    lab = make_lab()
    lab.exp.set_checkpoint_dir(tmp_path)
    policy = Checkpointing(mode="disk", save_on=moment, background=background)
    lab.exp.execution_plan.add_phase(lab.train(n_epochs=3, checkpointing=policy))
    lab.exp.run(**QUIET)
    expected = lab.weights(), lab.exp.last_run.results["train"].batch_losses().tolist()
    names = list(lab.exp.available_checkpoints)
    assert len(names) == n
    for name in names[:: 4 if moment == "batch_end" else 1]:
        lab.node.reset_weights()
        results = lab.exp.resume(name, **QUIET)
        assert (lab.weights(), results["train"].batch_losses().tolist()) == expected, name


# -- beside the run ------------------------------------------------------------------------


def test_files_written_beside_the_training_hold_the_state_of_their_moment(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    phase, script = run(lab, (3, 1, 2, 4), mode="disk", best="error", background=True, max_to_keep=2)
    assert phase.checkpointing.saved_keys == ["train_epoch1", "train_epoch2", "train_epoch3"]
    for key in phase.checkpointing.saved_keys:
        assert same(weights_in(phase.checkpointing.get_state(key)), script.weights[int(key[-1])])
    assert len(list((tmp_path / "train").iterdir())) == 3
    assert not [t for t in threading.enumerate() if t.name == "modularml-checkpoint"]


@pytest.mark.parametrize("level", ["phase", "experiment"])
def test_a_file_that_cannot_be_written_beside_fails_the_run(
    lab: Any, tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    lab.exp.save_checkpoint("before")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(codec, "write_archive", full)
    policy = Checkpointing(mode="disk", background=True)
    phase = lab.train(checkpointing=policy if level == "phase" else None)
    lab.exp.set_checkpointing(policy if level == "experiment" else None)
    with pytest.raises(OSError, match="No space left"):
        lab.exp.run_phase(phase, **QUIET)
    run = lab.exp.last_run
    assert (run.status, run.checkpoints) == ("failed", [])
    assert "No space left on device" in run.error
    assert list(lab.exp.available_checkpoints) == ["before"]
    assert phase.checkpointing is None or phase.checkpointing.saved_keys == []
    monkeypatch.undo()
    lab.exp.set_checkpointing(None)
    lab.exp.restore_checkpoint("before")
    lab.exp.run_phase(lab.train("again"), **QUIET)


KILLED = """
import sys, os, numpy as np
from modularml import Checkpointing, Experiment, FeatureSet, ModelGraph
from modularml.models.torch import SequentialMLP
exp = Experiment("exp")
x = np.zeros((64, 64), np.float32)
fs = FeatureSet.from_dict("data", {"x": x, "y": x[:, :1]}, "x", "y")
fs.split_random({"train": 0.5, "test": 0.5}, seed=1)
ModelGraph.chain(fs, {"a": SequentialMLP(hidden_dim=256, n_layers=4)}, "adam")
policy = Checkpointing(mode="disk", directory=sys.argv[1], name_template="{phase}", background=True)
options = dict(losses="mse", n_epochs=100000, checkpointing=policy)
exp.execution_plan.add_train_phase("train", split="train", **options)
print("ready", flush=True)
exp.run(show_sampler_progress=False, show_training_progress=False)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_while_it_writes_beside_the_old_file_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        path = tmp_path / "train.ckpt.mml"
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    assert codec.load(path, "checkpoint")["state"]["unfinished"]["progress"] is not None


# -- who else asks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [{"mode": "memory"}, {"mode": "disk"}, {"mode": "disk", "background": True}]
)
def test_early_stopping_takes_the_best_weights_from_where_they_are(
    lab: Any, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    stopping = EarlyStopping(monitor="error", patience=2)
    held = []

    class Watch(Callback):
        def on_epoch_end(self, **_: Any) -> None:
            held.append(stopping.get_state()["best_state"] is not None)

    _, script = run(lab, (3, 1, 2, 2, 2), [stopping, Watch(execution_order=5)], best="error", **arguments)
    assert same(lab.graph.get_state()["nodes"]["net"]["model"]["weights"], script.weights[1])
    assert stopping.stopped_epoch == 3
    assert any(held) == (arguments["mode"] == "memory")


def test_previews_folds_and_disabled_experiments_write_none(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    stopping = EarlyStopping(monitor="mse")
    policy = Checkpointing(mode="disk", best="mse")
    phase = lab.train(callbacks=[stopping], checkpointing=policy)
    lab.exp.preview_phase(phase, **QUIET)
    with lab.exp.disable_checkpointing():
        lab.exp.run_phase(phase, **QUIET)
    for n_jobs in (1, 2):
        with lab.exp.ctx.temporary():
            folds = CrossValidation(
                bindings=CVBinding("data", ["train"]), n_folds=2, phase=phase, n_jobs=n_jobs
            )
        lab.exp.run_group(folds, **QUIET)
    assert policy.saved_keys == [] and list(tmp_path.iterdir()) == []


def test_two_phases_do_not_share_what_they_keep(lab: Any) -> None:
    policy = Checkpointing()
    one, two = lab.train("one", checkpointing=policy), lab.train("two", checkpointing=policy)
    assert one.checkpointing is policy and two.checkpointing is not policy
    assert two.checkpointing == policy
    lab.exp.run_phase(one, **QUIET)
    assert (len(policy.saved_keys), two.checkpointing.saved_keys) == (2, [])
    assert lab.train("one", checkpointing=policy).checkpointing is policy  # as when its cell runs again


def test_what_a_phase_keeps_changes_no_result(lab: Any) -> None:
    plain, keeping = lab.train(), lab.train(checkpointing=Checkpointing())
    lab.exp.run_phase(plain, **QUIET)
    lab.exp.run_phase(keeping, **QUIET)
    assert all("checkpointing" not in str(run.fingerprint) for run in lab.exp.history)


def test_it_comes_back_with_the_experiment(lab: Any, tmp_path: Path) -> None:
    policy = Checkpointing(
        mode="disk", save_on=["epoch_end", "phase_end"], every_n=2, best="mse", background=True
    )
    lab.exp.set_checkpoint_dir(tmp_path / "c")
    lab.exp.execution_plan.add_phase(lab.train(checkpointing=policy))
    lab.exp.run(**QUIET)
    file = lab.exp.save(tmp_path / "exp")
    ExperimentContext().activate()
    loaded = Experiment.load(file, checkpoint_dir=tmp_path / "c").execution_plan["train"].checkpointing
    assert loaded == policy
    assert (loaded.saved_keys, loaded.best_key) == (policy.saved_keys, policy.best_key)


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_on": "group_end"}, "save_on 'group_end' in a phase"),
        ({"name_template": "{label}"}, "placeholder 'label'"),
        ({"save_on": ["epoch_edn"]}, "Did you mean 'epoch_end'"),
        ({"mode": "memory", "directory": "x"}, "directory goes with files"),
        ({"mode": "memory", "background": True}, "background goes with files"),
        ({"background": 1}, "background must be True or False"),
        ({"best": ""}, "metric named by best"),
        ({"best": "mse", "best_mode": "least"}, "best_mode 'least'"),
        ({"mode": "ram"}, "mode 'ram'"),
    ],
)
def test_what_makes_no_sense_within_a_phase(lab: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModularMLError, match=message):
        lab.train(checkpointing=Checkpointing(**arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_on": "epoch_end"}, "save_on 'epoch_end' in an experiment"),
        ({"name_template": "{phase}"}, "placeholder 'phase'"),
        ({"mode": "memory"}, "mode 'memory' is for phases"),
        ({"best": "mse"}, "best is for phases"),
    ],
)
def test_what_makes_no_sense_in_an_experiment(lab: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        lab.exp.set_checkpointing(Checkpointing(**arguments))


def test_a_phase_takes_a_checkpointing_and_files_need_a_folder(lab: Any) -> None:
    with pytest.raises(InvalidTypeError, match="must be a Checkpointing, got 'disk'"):
        lab.train(checkpointing="disk")
    with pytest.raises(StateError, match="has no folder for its checkpoints"):
        lab.exp.run_phase(lab.train(checkpointing=Checkpointing(mode="disk")), **QUIET)
    assert not lab.exp.history


def test_a_name_that_is_taken_needs_overwrite(lab: Any, tmp_path: Path) -> None:
    for mode in ("memory", "disk"):
        policy = Checkpointing(mode=mode, overwrite=False, name_template="{phase}")
        lab.exp.set_checkpoint_dir(tmp_path)
        with pytest.raises(InvalidValueError, match="overwrite=True"):
            lab.exp.run_phase(lab.train(checkpointing=policy), **QUIET)
        assert policy.saved_keys == ["train"]


def test_an_unknown_key_is_told_with_the_nearest(lab: Any) -> None:
    phase, _ = run(lab)
    with pytest.raises(UnknownNameError, match="'train_epoch'.*Did you mean 'train_epoch"):
        phase.checkpointing.get_state("train_epoch")


def test_better() -> None:
    nan = float("nan")
    assert is_better(1, 2, "min") and is_better(2, 1, "max") and is_better(1, nan, "min")
    assert not (is_better(nan, 1, "min") or is_better(1, 1, "max") or is_better(1, 1.5, "min", 0.5))
    assert Checkpointing().moments(PHASE) == ["epoch_end"]


def test_a_best_that_nothing_logs_is_an_error_after_the_first_epoch(lab: Any) -> None:
    phase = lab.train(checkpointing=Checkpointing(best="val_acc"))
    with pytest.raises(InvalidValueError, match="Unknown metric 'val_acc' in TrainResults.*Available: 'mse'"):
        lab.exp.run_phase(phase)
