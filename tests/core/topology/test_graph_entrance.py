from pathlib import Path

import numpy as np
import pytest

from modularml import Experiment, ModelGraph
from modularml.base.errors import StateError
from modularml.core.experiment.display_options import QUIET

X = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)


def graph_of(exp: Experiment) -> ModelGraph:
    assert exp.model_graph is not None
    return exp.model_graph


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


def test_no_graph_is_put_in_the_place_of_one_that_runs(exp: Experiment, tmp_path: Path) -> None:
    path = graph_of(exp).save(tmp_path / "net")
    exp.run(**QUIET)
    with exp._runs.exclusively(exp), pytest.raises(StateError, match="'exp' is running"):
        ModelGraph.load(path, overwrite=True)
