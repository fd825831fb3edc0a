"""Graphs in files: what comes back, and checkpoints of graphs alone."""

import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import nn
from torch.nn.utils import parametrizations

from modularml import (
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
    InvalidValueError,
    StateError,
    UnknownNameError,
)
from modularml.core.experiment.display_options import QUIET
from modularml.io import codec
from modularml.models.torch import SequentialMLP, TorchModelWrapper
from modularml.samplers import SimpleSampler


class Net(nn.Module):
    """A module that is made where its shapes are known."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


X = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)


def graph_of(exp: Experiment) -> ModelGraph:
    assert exp.model_graph is not None
    return exp.model_graph


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("present", [False, True])
def test_what_was_loaded_goes_with_its_context(
    exp: Experiment, tmp_path: Path, present: bool, make_data: Callable[..., FeatureSet]
) -> None:
    path = graph_of(exp).save(tmp_path / "net")
    ctx = ExperimentContext().activate()
    if present:
        make_data()
    graph = ModelGraph.load(path)
    held = [weakref.ref(thing) for thing in (graph, *graph.nodes.values(), ctx.get_node("one").module)]
    ctx.clear()
    del graph
    assert all(ref() is None for ref in held)


def test_a_graph_comes_back_with_weights_moments_and_flags(
    exp: Experiment, tmp_path: Path, make_data: Callable[..., FeatureSet]
) -> None:
    graph = graph_of(exp)
    graph.freeze(["one"])
    path = graph.save(tmp_path / "net")
    assert path == tmp_path / "net.mg.mml"
    ExperimentContext().activate()
    other = Experiment("exp")
    make_data()
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


def replace(module: Any) -> None:
    module[0], module[2] = nn.Linear(3, 7), nn.Linear(7, 1)


def normalize(module: Any) -> None:
    parametrizations.weight_norm(module[0])


@pytest.mark.parametrize("change", [replace, normalize])
def test_a_module_that_was_changed_after_the_build_comes_back_as_it_is(
    change: Callable[[Any], None], tmp_path: Path, make_data: Callable[..., FeatureSet]
) -> None:
    exp, module = Experiment("changed"), nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    graph = ModelGraph.chain(make_data(), {"net": module}, optimizer="adam")
    change(module)
    exp.execution_plan.add_train_phase("train", split="train", losses="mse")
    exp.run(**QUIET)
    expected = graph.predict(X)
    paths = exp.save(tmp_path / "changed"), graph.save(tmp_path / "changed")
    ExperimentContext().activate()
    loaded = Experiment.load(paths[0]).model_graph
    assert loaded is not None
    np.testing.assert_array_equal(loaded.predict(X), expected)
    ExperimentContext().activate()
    np.testing.assert_array_equal(ModelGraph.load(paths[1]).predict(X), expected)


@pytest.mark.parametrize(
    "make", [lambda: SequentialMLP(hidden_dim=4, n_layers=1), lambda: TorchModelWrapper(model_class=Net)]
)
def test_layers_that_nothing_could_make_again_are_refused_before_a_file_is_written(
    make: Callable[[], Any], tmp_path: Path, make_data: Callable[..., FeatureSet]
) -> None:
    exp, model = Experiment("changed"), make()
    graph = ModelGraph.chain(make_data(), {"net": model}, optimizer="adam")
    parametrizations.weight_norm(next(one for one in model.module.modules() if isinstance(one, nn.Linear)))
    for save in (exp.save, graph.save, model.save):
        with pytest.raises(
            InvalidValueError, match="layers are not those that it was built with.*hand over a"
        ):
            save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_parametrized_module_trains_on_from_its_file(
    tmp_path: Path, make_data: Callable[..., FeatureSet]
) -> None:
    exp = Experiment("normed")
    normed = parametrizations.weight_norm(nn.Linear(3, 4)), parametrizations.spectral_norm(nn.Linear(4, 1))
    ModelGraph.chain(make_data(), {"net": nn.Sequential(*normed)}, optimizer="adam")
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
    exp: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_data: Callable[..., FeatureSet]
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
    make_data()
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


def test_estimators_and_classes_of_the_users_own(
    tmp_path: Path, make_data: Callable[..., FeatureSet]
) -> None:
    ExperimentContext().activate()
    exp = Experiment("exp")
    ref = make_data().reference(features="x", targets="y")
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


def test_a_function_that_is_not_defined_is_asked_for(
    tmp_path: Path, make_data: Callable[..., FeatureSet]
) -> None:
    ExperimentContext().activate()
    optimizer = Optimizer.from_factory(make_sgd)
    path = ModelGraph.chain(make_data(), {"a": Own()}, optimizer).save(tmp_path / "own")
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


def test_the_checkpoint_of_another_graph_changes_nothing(
    exp: Experiment, tmp_path: Path, make_data: Callable[..., FeatureSet]
) -> None:
    graph = graph_of(exp)
    state = graph.get_state()
    state["nodes"]["tail"]["model"]["weights"] = {"wrong": np.zeros(3)}
    tree = {"name": "a", "meta": {}, "state": {"graph": state}}
    wrong = codec.save(tmp_path / "wrong", "checkpoint", tree)
    ExperimentContext().activate()
    other = ModelGraph.chain(make_data(), {"a": Own()}, "sgd").save_checkpoint(tmp_path / "other")
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


# -- as YAML ---------------------------------------------------------------------------


def test_graphs_phases_and_groups_as_yaml(
    exp: Experiment, tmp_path: Path, make_data: Callable[..., FeatureSet]
) -> None:
    graph, plan = graph_of(exp), exp.execution_plan
    files = [thing.to_yaml(tmp_path / f"{i}.yaml") for i, thing in enumerate((graph, plan, plan["train"]))]
    with pytest.raises(FileExistsError):
        graph.to_yaml(files[0])
    ExperimentContext().activate()
    make_data()
    made = ModelGraph.from_yaml(files[0])
    assert (made.node_labels, made.upstreams(), made.is_built) == (graph.node_labels, graph.upstreams(), True)
    assert made.optimizer == graph.optimizer and made.predict(X).shape == (5, 1, 1)
    assert PhaseGroup.from_yaml(files[1]).get_config() == plan.get_config()
    assert TrainPhase.from_yaml(files[2]).get_config() == plan["train"].get_config()
    with pytest.raises(FileFormatError, match="holds a TrainPhase, not a EvalPhase"):
        EvalPhase.from_yaml(files[2])
    with pytest.raises(FileFormatError, match="is no whole model graph"):
        ModelGraph.from_yaml(files[1])


def test_an_experiment_as_yaml(exp: Experiment, tmp_path: Path, make_data: Callable[..., FeatureSet]) -> None:
    path = exp.to_yaml(tmp_path / "exp.yaml")
    with pytest.raises(StateError, match="belongs to the experiment 'exp'"):
        Experiment.from_yaml(path)
    ExperimentContext().activate()
    make_data()
    made = Experiment.from_yaml(path)
    assert made.get_config() == exp.get_config() and not made.history
    assert made.run(**QUIET)["train"].n_epochs == 1


@pytest.mark.parametrize("what", ["graph", "experiment"])
def test_nodes_that_share_a_module_share_it_after_loading(bench: Any, what: str, tmp_path: Path) -> None:
    shared = nn.Linear(4, 4)
    first = bench.node("A", model=shared)
    second = bench.node("B", first, shared)
    graph = bench.graph(first, second, bench.node("C", second, nn.Linear(4, 1)), optimizer="adam")
    bench.exp.run_phase(bench.train([bench.loss("C")]))
    expected = graph.predict(bench.fs)
    path = (graph if what == "graph" else bench.exp).save(tmp_path / "shared")
    with ExperimentContext().temporary():
        if what == "graph":
            loaded = ModelGraph.load(path)
            assert (loaded.predict({"x": bench.fs.column("x")}) == expected).all()
        else:
            loaded = Experiment.load(path).model_graph
        one, other = (loaded.ctx.get_node(label) for label in "AB")
        assert one.module.get_parameter("weight") is other.module.get_parameter("weight")
        assert loaded.summary().n_parameters == 4 * 4 + 4 + 4 + 1


def test_nodes_that_share_a_part_alone_are_not_parted_silently(bench: Any, tmp_path: Path) -> None:
    part = nn.Linear(4, 4)
    graph = bench.graph(bench.node("A", model=part), bench.node("B", model=nn.Sequential(part, nn.ReLU())))
    with pytest.raises(GraphError, match=r"'A' and 'B'.*share the parameter '0.weight', but not their"):
        graph.save(tmp_path / "parts")
