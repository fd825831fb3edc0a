"""Graphs in files: what comes back, what it meets where it goes, and checkpoints of graphs alone."""

import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import nn
from torch.nn.utils import parametrizations

from modularml import (
    ConcatNode,
    EvalPhase,
    Experiment,
    ExperimentContext,
    FeatureSet,
    FitPhase,
    ModelGraph,
    ModelNode,
    Optimizer,
    PhaseGroup,
    TrainPhase,
    inspect,
)
from modularml.base.errors import (
    FileFormatError,
    GraphError,
    InvalidTypeError,
    StateError,
    UnknownNameError,
)
from modularml.io import codec
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

QUIET = {"show_sampler_progress": False, "show_training_progress": False}
X = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)


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
    made.run(**QUIET)
    return made


def graph_of(exp: Experiment) -> ModelGraph:
    assert exp.model_graph is not None
    return exp.model_graph


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("present", [False, True])
def test_what_was_loaded_goes_with_its_context(exp: Experiment, tmp_path: Path, present: bool) -> None:
    path = graph_of(exp).save(tmp_path / "net")
    ctx = ExperimentContext().activate()
    if present:
        data()
    graph = ModelGraph.load(path)
    held = [weakref.ref(thing) for thing in (graph, *graph.nodes.values(), ctx.get_node("one").module)]
    ctx.clear()
    del graph
    assert all(ref() is None for ref in held)


def test_a_graph_comes_back_with_weights_moments_and_flags(exp: Experiment, tmp_path: Path) -> None:
    graph = graph_of(exp)
    graph.freeze(["one"])
    path = graph.save(tmp_path / "net")
    assert path == tmp_path / "net.mg.mml"
    ExperimentContext().activate()
    other = Experiment("exp")
    data()
    loaded = ModelGraph.load(path)
    assert loaded == graph and loaded is other.model_graph
    assert [node.label for node in loaded.frozen_nodes] == ["one"]
    np.testing.assert_array_equal(loaded.predict(X), graph.predict(X))
    for one in (graph, loaded):
        one.reset_state()
    np.testing.assert_array_equal(loaded.predict(X), graph.predict(X))  # both begin again alike


def test_training_goes_on_from_the_file_to_the_last_bit(exp: Experiment, tmp_path: Path) -> None:
    graph = graph_of(exp)
    path, stream = graph.save(tmp_path / "net"), exp.random_stream.get_state()
    states = []
    for _ in range(2):
        restored = ModelGraph.load(path, overwrite=True)
        exp.epochs_done.clear()
        exp.random_stream.set_state(stream)
        with exp.ctx.use_policy("overwrite"):
            exp.execution_plan.add_train_phase("more", split="train", losses="mse", batch_size=8, n_epochs=2)
        exp.execution_plan["more"].input_sources[0].sampler.set_state({"entropy": 1})
        exp.run_phase(exp.execution_plan["more"], **QUIET)
        states.append(restored.predict(X))
    np.testing.assert_array_equal(*states)


def test_a_parametrized_module_trains_on_from_its_file(tmp_path: Path) -> None:
    exp = Experiment("normed")
    normed = parametrizations.weight_norm(nn.Linear(3, 4)), parametrizations.spectral_norm(nn.Linear(4, 1))
    ModelGraph.chain(data(), {"net": nn.Sequential(*normed)}, optimizer="adam")
    sampler = SimpleSampler(batch_size=8, seed=1)
    exp.execution_plan.add_train_phase("train", split="train", losses="mse", sampler=sampler)
    exp.run(**QUIET)
    path = exp.save(tmp_path / "normed")
    expected = exp.run(**QUIET)["train"].batch_losses()
    ExperimentContext().activate()
    loaded = Experiment.load(path)
    assert loaded.run(**QUIET)["train"].batch_losses().tolist() == expected.tolist()


def test_the_file_holds_no_data(exp: Experiment, tmp_path: Path) -> None:
    tree = codec.load(graph_of(exp).save(tmp_path / "net"), "model_graph", mmap=True)
    assert tree["featuresets"] == {
        "data": {
            "features.x.raw": {"dtype": "float32", "shape": [3]},
            "targets.y.raw": {"dtype": "float32", "shape": []},
        }
    }
    facts = inspect(tmp_path / "net.mg.mml")
    assert (facts.label, facts.kind, [entry.n_samples for entry in facts.data]) == (
        "net",
        "model_graph",
        [None],
    )
    assert [node.label for node in facts.nodes] == ["one", "two", "joined", "tail"]
    assert facts.picture is not None and len(facts.picture.nodes) == 6


def test_without_its_data_it_predicts_from_arrays_and_says_what_it_reads(
    exp: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = graph_of(exp)
    expected = graph.predict(X)
    path = graph.save(tmp_path / "net")
    for _ in range(2):
        ExperimentContext().activate()
        capsys.readouterr()
        loaded = ModelGraph.load(path)
        assert capsys.readouterr().err.count("reads FeatureSet 'data' (features.x.raw (3,)") == 1
        np.testing.assert_array_equal(loaded.predict(X), expected)
        path = loaded.save(tmp_path / "again", overwrite=True)  # and so may go on to another place
    data()
    assert ModelGraph.load(path) is loaded


def test_in_a_new_process(exp: Experiment, tmp_path: Path) -> None:
    graph = graph_of(exp)
    path = graph.save(tmp_path / "net")
    np.save(tmp_path / "x.npy", X)
    code = (
        "import numpy as np, sys; from modularml import ModelGraph; folder = sys.argv[1]\n"
        "graph = ModelGraph.load(folder + '/net')\n"
        "np.save(folder + '/y.npy', graph.predict(np.load(folder + '/x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, path.parent], check=True, stderr=subprocess.DEVNULL)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), graph.predict(X))


# -- where it goes ---------------------------------------------------------------------


def test_the_same_graph_is_not_doubled(
    exp: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, nodes = graph_of(exp).save(tmp_path / "net"), dict(exp.ctx.nodes)
    capsys.readouterr()
    assert ModelGraph.load(path) is exp.model_graph
    assert ModelGraph.load(path, overwrite=True) is exp.model_graph
    assert dict(exp.ctx.nodes) == nodes
    assert capsys.readouterr().err.count("Loaded ModelGraph is identical to 'net'") == 2


def test_what_differs_goes_beside_it_under_ids_and_labels_of_its_own(
    exp: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = graph_of(exp)
    path, before = graph.save(tmp_path / "net"), graph.predict(X)
    exp.run(**QUIET)
    after = graph.predict(X)
    capsys.readouterr()
    loaded = ModelGraph.load(path)
    told = " ".join(capsys.readouterr().err.split())
    assert exp.model_graph is graph and loaded is not graph
    assert loaded.node_labels == ["one_2", "two_2", "joined_2", "tail_2"]
    assert len({node.node_id for node in exp.ctx.nodes.values()}) == len(exp.ctx.nodes) == 9
    assert loaded.ctx.get_node("joined_2").target_strategy.node_label == "two_2"
    np.testing.assert_array_equal(loaded.predict(X), before)
    np.testing.assert_array_equal(graph.predict(X), after)
    assert all(told.count(f"registered as '{label}' with a new id") == 1 for label in loaded.node_labels)
    assert told.count("stays the graph of the experiment") == 1
    assert loaded.is_built and loaded.get_state()["optimizer"] is not None
    exp.run(**QUIET)
    np.testing.assert_array_equal(loaded.predict(X), before)  # its weights are its own


def test_overwrite_puts_it_in_the_place_of_what_is_there(
    exp: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = graph_of(exp)
    path, before = graph.save(tmp_path / "net"), graph.predict(X)
    exp.run(**QUIET)
    capsys.readouterr()
    loaded = ModelGraph.load(path, overwrite=True)
    told = " ".join(capsys.readouterr().err.split())
    assert loaded is exp.model_graph and loaded is not graph
    assert list(exp.ctx.nodes) == ["data", "one", "two", "joined", "tail"]
    np.testing.assert_array_equal(loaded.predict(X), before)
    assert told.count("overlapping ID with existing") == 4
    assert told.count("'net' differs from 'net', which will be overwritten") == 1
    assert exp.run(**QUIET)["train"].n_epochs == 1


def test_data_of_another_shape_are_refused_and_nothing_is_changed(exp: Experiment, tmp_path: Path) -> None:
    path = graph_of(exp).save(tmp_path / "net")
    ctx = ExperimentContext().activate()
    FeatureSet.from_dict("data", {"x": np.zeros((4, 2)), "z": np.zeros(4)}, "x", "z")
    with pytest.raises(GraphError, match="2 faults") as caught:
        ModelGraph.load(path)
    assert "'features.x.raw' of FeatureSet 'data' has the shape (2,); it reads (3,)" in str(caught.value)
    assert "'targets.y.raw'" in str(caught.value)
    assert list(ctx.nodes) == ["data"] and ctx.model_graph is None


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_file_changes_nothing(exp: Experiment, tmp_path: Path, keep: float) -> None:
    path = graph_of(exp).save(tmp_path / "net")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    before, graph = dict(exp.ctx.nodes), exp.model_graph
    with pytest.raises(FileFormatError, match=r"net\.mg\.mml"):
        ModelGraph.load(path, overwrite=True)
    assert (dict(exp.ctx.nodes), exp.model_graph) == (before, graph)


@pytest.mark.parametrize("lost", ["graph", "nodes", "state", "featuresets", "initial_weights"])
def test_a_tree_that_lacks_a_part_is_told_as_such(exp: Experiment, tmp_path: Path, lost: str) -> None:
    tree = codec.load(graph_of(exp).save(tmp_path / "net"), "model_graph")
    del tree[lost]
    path = codec.save(tmp_path / "less", "model_graph", tree)
    before = dict(exp.ctx.nodes)
    with pytest.raises(FileFormatError, match="is no whole model graph: KeyError"):
        ModelGraph.load(path, overwrite=True)
    assert dict(exp.ctx.nodes) == before


class Own(torch.nn.Module):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.width = width
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def triple(x: Any) -> Any:
    return 3 * x


def test_estimators_and_classes_of_the_users_own(tmp_path: Path) -> None:
    ExperimentContext().activate()
    exp = Experiment("exp")
    ref = data().reference(features="x", targets="y")
    nodes = [ModelNode("own", Own(4), ref, "sgd"), ModelNode("line", LinearRegression(), ref)]
    graph = ModelGraph(nodes, label="mixed").build()
    exp.run_phase(FitPhase.from_split("fit", split="train", active_nodes=["line"]), **QUIET)
    path = graph.save(tmp_path / "mixed")
    ExperimentContext().activate()
    loaded = ModelGraph.load(path, symbols={"Own": Own})
    assert loaded == graph
    for label, outputs in graph.predict(X).items():
        np.testing.assert_array_equal(loaded.predict(X)[label], outputs)
    assert loaded.ctx.get_node("line").frozen_by == "fit"


def test_a_function_that_is_not_defined_is_asked_for(tmp_path: Path) -> None:
    ExperimentContext().activate()
    optimizer = Optimizer.from_factory(make_sgd)
    path = ModelGraph.chain(data(), {"a": Own()}, optimizer).save(tmp_path / "own")
    ctx = ExperimentContext().activate()
    with pytest.raises(UnknownNameError, match=r"make_sgd.*symbols="):
        ModelGraph.load(path)
    assert not ctx.nodes
    assert ModelGraph.load(path, symbols={"make_sgd": make_sgd}).optimizer is not None


def make_sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


# -- checkpoints -----------------------------------------------------------------------


def test_a_checkpoint_returns_to_weights_moments_and_flags(exp: Experiment, tmp_path: Path) -> None:
    graph = graph_of(exp)
    before = graph.predict(X)
    path = graph.save_checkpoint(tmp_path / "after 1", meta={"note": "β", "n": 1})
    assert path == tmp_path / "after 1.ckpt.mml"
    facts = inspect(path)
    assert (facts.label, facts.meta) == ("after 1", {"note": "β", "n": 1})
    with pytest.raises(FileExistsError):
        graph.save_checkpoint(path)
    for restore in (graph.restore_checkpoint, exp.restore_checkpoint):
        exp.run(**QUIET)
        graph.freeze()
        assert not np.array_equal(graph.predict(X), before)
        n_runs, epochs = len(exp.history), dict(exp.epochs_done)
        restore(path)
        np.testing.assert_array_equal(graph.predict(X), before)
        assert not graph.frozen_nodes
        assert (len(exp.history), exp.epochs_done) == (n_runs, epochs)  # these are not of the graph


def test_a_graph_takes_its_state_from_a_checkpoint_of_its_experiment(exp: Experiment, tmp_path: Path) -> None:
    graph = graph_of(exp)
    exp.set_checkpoint_dir(tmp_path)
    path, before = exp.save_checkpoint("c"), graph.predict(X)
    exp.run(**QUIET)
    graph.restore_checkpoint(path)
    np.testing.assert_array_equal(graph.predict(X), before)
    assert len(exp.history) == 2


def test_the_checkpoint_of_another_graph_changes_nothing(exp: Experiment, tmp_path: Path) -> None:
    graph = graph_of(exp)
    state = graph.get_state()
    state["nodes"]["tail"]["model"]["weights"] = {"wrong": np.zeros(3)}
    tree = {"name": "a", "meta": {}, "state": {"graph": state}}
    wrong = codec.save(tmp_path / "wrong", "checkpoint", tree)
    ExperimentContext().activate()
    other = ModelGraph.chain(data(), {"a": Own()}, "sgd").save_checkpoint(tmp_path / "other")
    before = graph.predict(X)
    for path, error in ((wrong, Exception), (other, GraphError)):
        for restore in (graph.restore_checkpoint, exp.restore_checkpoint):
            with pytest.raises(error):
                restore(path)
            np.testing.assert_array_equal(graph.predict(X), before)


def test_meta_that_no_file_can_hold_leaves_nothing_behind(exp: Experiment, tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match=r"\['meta'\]\['thing'\]"):
        graph_of(exp).save_checkpoint(tmp_path / "c", meta={"thing": object()})
    assert list(tmp_path.iterdir()) == []


def test_no_graph_is_put_in_the_place_of_one_that_runs(exp: Experiment, tmp_path: Path) -> None:
    path = graph_of(exp).save(tmp_path / "net")
    exp.run(**QUIET)
    with exp._runs.exclusively(exp), pytest.raises(StateError, match="'exp' is running"):
        ModelGraph.load(path, overwrite=True)


# -- as YAML ---------------------------------------------------------------------------


def test_graphs_phases_and_groups_as_yaml(exp: Experiment, tmp_path: Path) -> None:
    graph, plan = graph_of(exp), exp.execution_plan
    files = [thing.to_yaml(tmp_path / f"{i}.yaml") for i, thing in enumerate((graph, plan, plan["train"]))]
    with pytest.raises(FileExistsError):
        graph.to_yaml(files[0])
    ExperimentContext().activate()
    data()
    made = ModelGraph.from_yaml(files[0])
    assert (made.node_labels, made.upstreams(), made.is_built) == (graph.node_labels, graph.upstreams(), True)
    assert made.optimizer == graph.optimizer and made.predict(X).shape == (5, 1, 1)
    assert PhaseGroup.from_yaml(files[1]).get_config() == plan.get_config()
    assert TrainPhase.from_yaml(files[2]).get_config() == plan["train"].get_config()
    with pytest.raises(FileFormatError, match="holds a TrainPhase, not a EvalPhase"):
        EvalPhase.from_yaml(files[2])
    with pytest.raises(FileFormatError, match="is no whole model graph"):
        ModelGraph.from_yaml(files[1])


def test_an_experiment_as_yaml(exp: Experiment, tmp_path: Path) -> None:
    path = exp.to_yaml(tmp_path / "exp.yaml")
    with pytest.raises(StateError, match="belongs to the experiment 'exp'"):
        Experiment.from_yaml(path)
    ExperimentContext().activate()
    data()
    made = Experiment.from_yaml(path)
    assert made.get_config() == exp.get_config() and not made.history
    assert made.run(**QUIET)["train"].n_epochs == 1
