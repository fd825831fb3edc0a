import re
import subprocess
import sys
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestRegressor

from modularml import (
    AppliedLoss,
    Callback,
    Checkpointing,
    EvalPhase,
    Experiment,
    ExperimentCallback,
    ExperimentContext,
    FeatureSet,
    Loss,
    ModelGraph,
    ModelNode,
    PhaseGroup,
)
from modularml.base.errors import FileFormatError, ModularMLError, StateError, UnknownNameError
from modularml.io import codec


class Net(torch.nn.Module):
    """A user's own module."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.width = width
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Dropout(0.3))
        self.out = torch.nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layers(x))


class Mean(RegressorMixin, BaseEstimator):
    """A user's own estimator."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Mean":
        self.mean_ = np.mean(y)
        self.n_features_in_ = x.shape[1]
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), self.mean_)


def quartic(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets) ** 4


class Epochs(Callback):
    """A user's own phase callback, with an argument."""

    def __init__(self, every: int, label: str | None = None) -> None:
        super().__init__(label)
        self.every = every
        self.n = 0

    def on_epoch_end(self, **_: Any) -> None:
        self.n += 1

    def get_state(self) -> dict[str, Any]:
        return {"n": self.n}

    def set_state(self, state: dict[str, Any]) -> None:
        self.n = state["n"]


class Runs(ExperimentCallback):
    """A user's own experiment callback."""


SYMBOLS = {"Net": Net, "quartic": quartic, "Epochs": Epochs, "Runs": Runs, "Mean": Mean}


def load_alone(path: Path, **arguments: Any) -> Experiment:
    """Load into a context that has nothing."""
    ExperimentContext().activate()
    return Experiment.load(path, **arguments)


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], kind: str = "experiment") -> Path:
    """Write a whole file of another content."""
    tree = codec.load(path, kind)
    change(tree)
    return codec.save(path.parent / "rewritten", kind, tree)


# -- round trips -------------------------------------------------------------------------


def test_everything_is_as_it_was(
    lab: Any, tmp_path: Path, digest_of: Callable[[Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    lab.data.fit_transform("StandardScaler", domain="features", fit_to_split="train")
    lab.exp.add_callback(ExperimentCallback("mine"))
    lab.exp.set_checkpointing(Checkpointing(save_on="experiment_end", every_n=3, directory=tmp_path))
    inner = PhaseGroup("inner", [lab.evaluate()])
    lab.exp.execution_plan.add_phase(lab.train()).add_group(PhaseGroup("outer", [inner]))
    lab.exp.run()
    lab.node.freeze()
    path = lab.exp.save(tmp_path / "file")
    assert path == tmp_path / "file.exp.mml"

    capsys.readouterr()
    loaded = load_alone(path)
    assert capsys.readouterr().err == ""
    assert loaded is not lab.exp
    assert ExperimentContext.get_active() is loaded.ctx
    assert loaded.ctx.experiment is loaded
    assert loaded.get_config() == lab.exp.get_config()
    assert digest_of(loaded.get_state()) == digest_of(lab.exp.get_state())
    assert repr(loaded) == repr(lab.exp)
    data = loaded.ctx.get_node("data")
    assert data == lab.data
    assert data is not lab.data
    assert data.available_splits == ["train", "test"]
    assert loaded.model_graph == lab.graph
    assert loaded.model_graph.frozen_nodes == [loaded.ctx.get_node("net")]
    was, now = lab.exp.last_run, loaded.last_run
    assert (now.id, now.status, now.duration, now.phase_durations) == (
        was.id, was.status, was.duration, was.phase_durations
    )  # fmt: skip
    for label in ("train", "eval"):
        one, two = was.results.flatten()[label], now.results.flatten()[label]
        np.testing.assert_array_equal(one.batch_losses(), two.batch_losses())
        np.testing.assert_array_equal(one.stacked_tensors("net"), two.stacked_tensors("net"))


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("present", [False, True])
def test_what_was_loaded_goes_with_its_context(lab: Any, tmp_path: Path, present: bool) -> None:
    """What a context has knows it in turn; nothing else is a cycle, even where a set was there already."""
    lab.exp.execution_plan.add_phase(lab.train()).add_phase(lab.evaluate())
    lab.exp.run()
    path, data = lab.exp.save(tmp_path / "file"), lab.data.save(tmp_path / "data")
    ctx = ExperimentContext().activate()
    if present:
        FeatureSet.load(data)
    loaded = Experiment.load(path)
    run, node = loaded.last_run, ctx.get_node("net")
    results = [found.recording for found in run.results.flatten().values()]
    things = [loaded, ctx.get_node("data"), loaded.model_graph, node, node.module, run, *results]
    held = [weakref.ref(thing) for thing in things]
    ctx.clear()
    del loaded, run, node, results, things
    assert all(ref() is None for ref in held)


def test_a_loaded_experiment_runs_on_as_the_saved_one(lab: Any, tmp_path: Path) -> None:
    lab.exp.execution_plan.add_phase(lab.train()).add_phase(lab.evaluate())
    lab.exp.run()
    path = lab.exp.save(tmp_path / "file")
    expected = lab.exp.run()
    loaded = load_alone(path)
    results = loaded.run()
    for label in ("train", "eval"):
        assert results[label].batch_losses().tolist() == expected[label].batch_losses().tolist()
    assert len(loaded.history) == 2


def test_saving_changes_nothing(lab: Any, tmp_path: Path) -> None:
    lab.exp.run_phase(lab.train())
    before = lab.everything()
    lab.exp.save(tmp_path / "file")
    assert lab.everything() == before
    assert [p.name for p in tmp_path.iterdir()] == ["file.exp.mml"]


def test_loading_leaves_the_global_generators_alone(
    make_lab: Any, tmp_path: Path, generators: Callable[[], str]
) -> None:
    lab = make_lab(model=Net())
    path = lab.exp.save(tmp_path / "file")
    before = generators()
    load_alone(path, symbols=SYMBOLS)
    assert generators() == before


def test_estimators_are_loaded_fitted(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab(model=RandomForestRegressor(n_estimators=5, random_state=0))
    lab.exp.execution_plan.add_phase(lab.fit()).add_phase(lab.evaluate())
    before = lab.exp.run()["eval"].stacked_tensors("net")
    loaded = load_alone(lab.exp.save(tmp_path / "file"))
    node = loaded.ctx.get_node("net")
    assert node.frozen_by == "fit"
    after = loaded.run_phase(loaded.execution_plan["eval"]).stacked_tensors("net")
    np.testing.assert_array_equal(after, before)


def test_nodes_that_are_not_in_the_graph_keep_their_weights(lab: Any, tmp_path: Path) -> None:
    spare = ModelNode("spare", torch.nn.Linear(3, 1), lab.data.reference(features="x", targets="y"))
    spare.build((1, 3))
    spare.freeze()
    loaded = load_alone(lab.exp.save(tmp_path / "file")).ctx.get_node("spare")
    assert (loaded.is_frozen, loaded.input_shape) == (True, (1, 3))
    for name, weights in spare.model.get_weights().items():
        np.testing.assert_array_equal(loaded.model.get_weights()[name], weights)


def test_an_experiment_without_graph_or_plan(tmp_path: Path) -> None:
    exp = Experiment("bare")
    FeatureSet.from_dict("d", {"x": [1.0, 2.0]}, "x")
    loaded = load_alone(exp.save(tmp_path / "bare"))
    assert (loaded.label, loaded.model_graph, len(loaded.execution_plan)) == ("bare", None, 0)
    assert loaded.ctx.get_node("d") == exp.ctx.get_node("d")
    empty = load_alone(Experiment("empty").save(tmp_path / "empty"))
    assert (empty.label, dict(empty.ctx.nodes), empty.history) == ("empty", {}, [])


def test_an_experiment_without_graph_replaces_one_with_a_graph(lab: Any, tmp_path: Path) -> None:
    path = Experiment("bare").save(tmp_path / "bare")
    lab.exp.ctx.activate()
    assert Experiment.load(path, overwrite=True).model_graph is None


def test_a_run_that_goes_on_while_it_is_saved_was_interrupted(lab: Any, tmp_path: Path) -> None:
    class Save(ExperimentCallback):
        def on_phase_start(self, *, experiment: Any, **_: Any) -> None:
            experiment.save(tmp_path / "mid", overwrite=True)

    lab.exp.add_callback(Save())
    lab.exp.run_phase(lab.evaluate())
    loaded = load_alone(tmp_path / "mid", symbols={Save.__qualname__: Save})
    run = loaded.last_run
    assert (run.status, run.phases[0].status, run.results) == ("interrupted", "interrupted", None)
    assert run.ended_at is not None


# -- things of the user's own ------------------------------------------------------------


@pytest.fixture
def own(make_lab: Any) -> Any:
    """An experiment full of the user's own classes and functions."""
    lab = make_lab(model=Net(width=4), callbacks=[Runs()])
    lab.loss = AppliedLoss(Loss(quartic), on=lab.node)
    lab.exp.execution_plan.add_phase(lab.train(callbacks=[Epochs(3)])).add_phase(lab.evaluate())
    lab.exp.run()
    return lab


def test_own_classes_and_functions_are_bound_by_symbols(
    own: Any, tmp_path: Path, digest_of: Callable[[Any], str]
) -> None:
    path = own.exp.save(tmp_path / "own")
    loaded = load_alone(path, symbols=SYMBOLS)
    assert digest_of(loaded.get_state()) == digest_of(own.exp.get_state())
    assert [type(c) for c in loaded.exp_callbacks] == [Runs]
    callback = loaded.execution_plan["train"].callbacks[0]
    assert (type(callback), callback.every, callback.n) == (Epochs, 3, 2)
    assert loaded.execution_plan["train"].losses[0].loss.loss is quartic
    assert loaded.run()["eval"].final() == own.exp.run()["eval"].final()


def test_own_functions_that_are_not_passed_are_asked_for(own: Any, tmp_path: Path) -> None:
    path = own.exp.save(tmp_path / "own")
    ctx = ExperimentContext().activate()
    with pytest.raises(UnknownNameError, match=r"quartic.*symbols=\{.*'quartic': quartic"):
        Experiment.load(path)
    assert dict(ctx.nodes) == {}


def test_own_estimators(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab(model=Mean())
    lab.exp.run_phase(lab.fit())
    loaded = load_alone(lab.exp.save(tmp_path / "own"), symbols=SYMBOLS)
    estimator = loaded.ctx.get_node("net").model.estimator
    assert type(estimator) is Mean
    assert estimator.mean_ == lab.node.model.estimator.mean_


def test_what_no_file_can_hold_is_refused_and_leaves_no_litter(make_lab: Any, tmp_path: Path) -> None:
    class Hoarder(ExperimentCallback):
        def get_state(self) -> dict[str, Any]:
            return {"thing": object()}

    lab = make_lab(callbacks=[Hoarder()])
    lab.exp.set_checkpoint_dir(tmp_path)
    for save in (lab.exp.save, lambda path: lab.exp.save_checkpoint(path.name)):
        with pytest.raises(ModularMLError, match=r"\['callbacks'\]\[0\]\['state'\]\['thing'\]"):
            save(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    assert lab.exp.available_checkpoints == {}


# -- loading beside the live objects -----------------------------------------------------


def test_the_notices_of_a_load_in_the_same_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(42)
    exp = Experiment("my_experiment", registration_policy="overwrite")
    data = FeatureSet.from_dict(
        "SensorData",
        {"voltage": list(rng.standard_normal((500, 10))), "soh": list(rng.standard_normal((500, 1)))},
        feature_keys="voltage",
        target_keys="soh",
    )
    node = ModelNode("MLP", torch.nn.Linear(10, 1), data.reference(features="voltage", targets="soh"))
    graph = ModelGraph(nodes=[node], label="SimpleGraph").build()
    exp.set_checkpoint_dir(tmp_path)
    exp.save_checkpoint("after_training")
    path = exp.save(tmp_path / "my_experiment")
    capsys.readouterr()
    loaded = Experiment.load(path, overwrite=True)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(
        """\
─────────────────────────────── INFO - Node ID Collision ───────────────────────────────
 Loaded FeatureSet is identical to 'SensorData' in the existing ExperimentContext.
 Returning 'FeatureSet(label='SensorData', n_samples=500)'.
────────────────────────────────────────────────────────────────────────────────────────
─────────────────────────────── INFO - Node ID Collision ───────────────────────────────
 The loaded ModelNode has an overlapping ID with existing ModelNode 'MLP'. 'MLP' will
 be overwritten in the active ExperimentContext.
────────────────────────────────────────────────────────────────────────────────────────
───────────────────────────── INFO - ModelGraph Collision ──────────────────────────────
 Loaded ModelGraph is identical to 'SimpleGraph' in the existing ExperimentContext.
 Returning 'SimpleGraph'.
────────────────────────────────────────────────────────────────────────────────────────
 The serialized experiment contains 1 checkpoint(s), but no `checkpoint_dir` w"""
    )
    assert loaded.model_graph is graph
    assert loaded.ctx.get_node("SensorData") is data
    assert loaded.ctx.get_node("MLP") is not node
    assert loaded.available_checkpoints == {}
    assert loaded.ctx.registration_policy == "overwrite"


def test_what_differs_replaces_what_is_there_and_is_told(
    make_lab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = make_lab("saved")
    saved.exp.run_phase(saved.train())
    path = saved.exp.save(tmp_path / "file")
    lab = make_lab("live")
    capsys.readouterr()
    loaded = Experiment.load(path, overwrite=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "loaded FeatureSet has an overlapping label with existing FeatureSet 'data'" in told
    assert "loaded ModelNode has an overlapping label with existing ModelNode 'net'" in told
    assert "loaded ModelGraph 'graph' differs from 'graph', which will be overwritten" in told
    assert loaded.ctx is lab.exp.ctx
    assert loaded.ctx.experiment is loaded
    assert loaded.model_graph == saved.graph
    assert loaded.run_phase(EvalPhase.from_split("again", split="test")).n_batches == 1


def test_a_context_that_is_taken_needs_overwrite(lab: Any, tmp_path: Path) -> None:
    path = lab.exp.save(tmp_path / "file")
    before = lab.everything()
    with pytest.raises(StateError, match="belongs to the experiment 'lab'.*overwrite=True"):
        Experiment.load(path)
    assert lab.everything() == before
    assert lab.exp.ctx.experiment is lab.exp


def test_a_file_that_is_there_needs_overwrite(lab: Any, tmp_path: Path) -> None:
    path = lab.exp.save(tmp_path / "file")
    data = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"file\.exp\.mml"):
        lab.exp.save(tmp_path / "file")
    assert path.read_bytes() == data
    lab.exp.run_phase(lab.train())
    assert lab.exp.save(path, overwrite=True) == path
    assert len(load_alone(path).history) == 1


def test_a_running_experiment_is_not_loaded_over(lab: Any, tmp_path: Path) -> None:
    path = lab.exp.save(tmp_path / "file")

    class Load(Callback):
        def on_phase_start(self, **_: Any) -> None:
            lab.exp.ctx.activate()
            with pytest.raises(StateError, match="'lab' is running"):
                Experiment.load(path, overwrite=True)

    lab.exp.run_phase(lab.evaluate(callbacks=[Load()]))
    assert lab.exp.ctx.experiment is lab.exp


# -- files that are not what they should be ----------------------------------------------


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.999])
def test_a_truncated_file_changes_nothing(lab: Any, tmp_path: Path, keep: float) -> None:
    path = lab.exp.save(tmp_path / "file")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    before, nodes = lab.everything(), dict(lab.exp.ctx.nodes)
    with pytest.raises(FileFormatError, match=r"file\.exp\.mml"):
        Experiment.load(path, overwrite=True)
    assert lab.everything() == before
    assert dict(lab.exp.ctx.nodes) == nodes
    assert lab.exp.ctx.experiment is lab.exp


def test_a_file_of_another_kind_is_refused(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    checkpoint, file = lab.exp.save_checkpoint("c"), lab.exp.save(tmp_path / "e")
    before = lab.everything()
    with pytest.raises(FileFormatError, match="checkpoint"):
        Experiment.load(checkpoint.rename(tmp_path / "renamed.exp.mml"), overwrite=True)
    with pytest.raises(FileFormatError, match="experiment"):
        lab.exp.restore_checkpoint(file)
    assert lab.everything() == before


def _drop(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        for key in keys[:-1]:
            tree = tree[key]
        del tree[keys[-1]]

    return change


def _misshape(tree: dict[str, Any]) -> None:
    weights = tree["state"]["graph"]["nodes"]["net"]["model"]["weights"]
    name = list(weights)[-1]
    weights[name] = np.zeros((7, 7), np.float32)


def _unknown_type(tree: dict[str, Any]) -> None:
    tree["config"]["plan"]["$type"] = "os.system"


@pytest.mark.parametrize(
    "change",
    [
        *map(_drop, ("config", "state", "nodes", "graph", "featuresets", "spare_nodes")),
        _drop("state", "random"),
        _drop("state", "random", "numpy"),
        _drop("state", "history"),
        _drop("config", "plan"),
        _misshape,
        _unknown_type,
        lambda tree: tree["state"].update(history=3),
        lambda tree: tree["nodes"][0].update(model=None),
    ],
)
def test_a_whole_file_of_wrong_content_changes_nothing(
    lab: Any, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = rewritten(lab.exp.save(tmp_path / "file"), change)
    before, nodes = lab.everything(), dict(lab.exp.ctx.nodes)
    with pytest.raises(ModularMLError):
        Experiment.load(path, overwrite=True)
    assert lab.everything() == before
    assert dict(lab.exp.ctx.nodes) == nodes
    assert lab.exp.ctx.experiment is lab.exp


@pytest.mark.parametrize(
    "change", [_drop("state"), _drop("state", "random"), _misshape, lambda tree: tree.update(state=[1])]
)
def test_a_whole_checkpoint_of_wrong_content_changes_nothing(
    lab: Any, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    path = rewritten(lab.exp.save_checkpoint("c"), change, "checkpoint")
    lab.exp.run_phase(lab.train())
    before = lab.everything()
    with pytest.raises(ModularMLError):
        lab.exp.restore_checkpoint(path)
    assert lab.everything() == before


# -- checkpoints of a loaded experiment --------------------------------------------------


def test_checkpoints_are_found_in_their_folder(
    lab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], digest_of: Callable[[Any], str]
) -> None:
    lab.exp.set_checkpoint_dir(tmp_path / "old")
    for name in ("a/b", "lr0.1", "lost"):
        lab.exp.save_checkpoint(name)
    weights = lab.weights()
    lab.exp.run_phase(lab.train())
    path = lab.exp.save(tmp_path / "file")
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "lost.ckpt.mml").unlink()
    loaded = load_alone(path, checkpoint_dir=tmp_path / "new")
    assert list(loaded.available_checkpoints) == ["a/b", "lr0.1"]
    assert "['lost'] are not in" in " ".join(capsys.readouterr().err.split())
    loaded.restore_checkpoint("a/b")
    assert loaded.model_graph is not None
    assert digest_of(loaded.model_graph.get_state()) == weights
    assert loaded.history == []


# -- fresh processes ---------------------------------------------------------------------

PROGRAM = """
import sys
import numpy as np, torch
from modularml import *
from modularml.samplers import SimpleSampler

class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.width = width
        self.a, self.drop = torch.nn.Linear(3, width), torch.nn.Dropout(0.5)
        self.b = torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.b(self.drop(self.a(x)))

def cubic(outputs, targets):
    return (outputs - targets).abs() ** 3

class Epochs(Callback):
    def __init__(self, label=None):
        super().__init__(label)
        self.n = 0
    def on_epoch_end(self, **_):
        self.n += 1
    def get_state(self):
        return {"n": self.n}
    def set_state(self, state):
        self.n = state["n"]

def make(n_epochs):
    torch.manual_seed(0)
    exp = Experiment("exp", registration_policy="raise")
    rng = np.random.default_rng(0)
    data = FeatureSet.from_dict("d", {"x": rng.random((20, 3)), "y": rng.random(20)}, "x", "y")
    data.split_random(ratios={"train": 0.8, "test": 0.2}, seed=0)
    node = ModelNode("n", Net(), data.reference(features="x", targets="y"))
    ModelGraph(nodes=[node], optimizer=Optimizer("adam", opt_kwargs={"lr": 0.01})).build()
    sampler = SimpleSampler(batch_size=3, shuffle=True, seed=1)
    losses = [AppliedLoss(Loss(cubic), on=node)]
    exp.execution_plan.add_phase(TrainPhase.from_split(
        "train", split="train", sampler=sampler, losses=losses, n_epochs=n_epochs, callbacks=[Epochs()]))
    exp.execution_plan.add_phase(EvalPhase.from_split("eval", split="test", losses=losses))
    return exp

def tell(exp):
    weights = exp.model_graph.get_state()["nodes"]["n"]["model"]["weights"]
    losses = [run.results["train"].batch_losses() for run in exp.history]
    print(b"".join(w.tobytes() for w in weights.values()).hex())
    print(np.concatenate(losses).tobytes().hex())
    print(exp.last_run.results["eval"].final(), exp.epochs_done, exp.execution_plan["train"].callbacks[0].n)

quiet = {"show_training_progress": False, "show_sampler_progress": False}
what, path = sys.argv[1:]
if what == "first":
    exp = make(10)
    exp.run(**quiet)
    tell(exp)
    exp = make(5)
    exp.run(**quiet)
    exp.save(path)
    exp.set_checkpoint_dir(path + "-dir")
    exp.save_checkpoint("c").rename(path + ".ckpt.mml")
else:
    exp = Experiment.load(path)
    exp.run(**quiet)
    tell(exp)
    exp = make(5)
    exp.restore_checkpoint(path + ".ckpt.mml")
    exp.run(**quiet)
    tell(exp)
"""


def test_training_goes_on_bit_for_bit_in_a_new_process(tmp_path: Path) -> None:
    """Ten epochs are five, saved, and five more elsewhere, with shuffling, dropout and a script's classes."""
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)

    def run(what: str) -> list[str]:
        command = [sys.executable, str(script), what, str(tmp_path / "file")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    whole, again = run("first"), run("second")
    assert len(whole) == 3
    assert re.search(r"'train': 10\} 10$", whole[2])
    assert again == whole + whole


def test_a_file_holds_no_other_file_and_no_pickle(own: Any, tmp_path: Path) -> None:
    own.exp.set_checkpoint_dir(tmp_path)
    own.exp.save_checkpoint("c")
    with zipfile.ZipFile(own.exp.save(tmp_path / "file")) as archive:
        names = archive.namelist()
    assert not [name for name in names if re.search(r"\.(mml|pkl|pt|joblib|zip)$", name)]


def test_a_file_holds_the_policy_that_was_chosen_and_no_default(tmp_path: Path) -> None:
    for policy in (None, "overwrite"):
        path = Experiment("policy", registration_policy=policy).save(tmp_path / str(policy))
        with ExperimentContext().temporary() as ctx:
            Experiment.load(path)
        assert ctx.chosen_policy == policy


def test_checkpoints_of_a_loaded_experiment_are_found_in_the_folder_that_holds_them(
    make_lab: Any, tmp_path: Path
) -> None:
    lab = make_lab()
    lab.exp.set_checkpoint_dir(tmp_path / "kept")
    lab.exp.save_checkpoint("lr0.1/best")
    path = lab.exp.save(tmp_path / "exp")
    with ExperimentContext().temporary():
        loaded = Experiment.load(path)
        assert loaded.available_checkpoints == {}
        loaded.set_checkpoint_dir(tmp_path / "kept")
        assert list(loaded.available_checkpoints) == ["lr0.1/best"]
        loaded.restore_checkpoint("lr0.1/best")
