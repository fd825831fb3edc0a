from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from torch import nn

from modularml.core.data.featureset import FeatureSet
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.optimizer import Optimizer
from modularml.models.torch import SequentialMLP

EXPECTED = Path(__file__).parents[2] / "display" / "expected"


def test_the_picture_of_the_walkthrough_is_what_the_walkthrough_shows(bench: Any) -> None:
    rng = np.random.default_rng(42)
    data = {"voltage": list(rng.standard_normal((500, 10))), "soh": list(rng.standard_normal((500, 1)))}
    fs = FeatureSet.from_dict("SensorData", data, feature_keys="voltage", target_keys="soh")
    fs.split_random(ratios={"train": 0.8, "test": 0.2}, seed=13)
    ref = fs.reference(features="voltage", targets="soh")
    node = ModelNode("MLP", SequentialMLP(output_shape=(1, 1), n_layers=2, hidden_dim=32), ref)
    graph = ModelGraph([node], Optimizer("adam", opt_kwargs={"lr": 1e-3}, backend="torch"), "SimpleGraph")
    assert graph.build().diagram().mermaid + "\n" == (EXPECTED / "model_graph.mmd").read_text()


def test_every_node_source_and_output_is_drawn_once_and_every_reference_is_an_arrow(bench: Any) -> None:
    trunk = bench.node("Trunk", model=nn.Linear(4, 8))
    left, right = bench.node("Left", trunk, nn.Linear(8, 1)), bench.node("Right", trunk, Ridge())
    other = bench.node("Other", bench.ref(bench.data("Second")))
    graph = bench.graph(right, left, trunk, other)
    spec = graph.diagram().spec
    names = [box.name for box in spec.nodes if box.name]
    assert sorted(names) == ["Left", "Other", "Right", "Second", "Sensor", "Trunk"]
    name_of = {box.id: box.name or "out" for box in spec.nodes}
    arrows = sorted((name_of[edge.source], name_of[edge.target]) for edge in spec.edges)
    assert arrows == sorted(
        [("Sensor", "Trunk"), ("Trunk", "Left"), ("Trunk", "Right"), ("Second", "Other")]
        + [(tail, "out") for tail in ("Left", "Right", "Other")]
    )
    assert {edge.label for edge in spec.edges} == {"(1, 4)", "(1, 8)", "(1, 1)", "(1,)"}
    assert len({box.id for box in spec.nodes}) == len(spec.nodes)


def test_an_unbuilt_graph_is_drawn_without_shapes_and_a_frozen_node_as_frozen(bench: Any) -> None:
    node = bench.node("A")
    node.freeze()
    spec = ModelGraph([node]).diagram().spec
    assert {edge.label for edge in spec.edges} == {None}
    assert spec.nodes[0].kind == "ModelNodeFrozen"


def test_a_picture_tells_what_it_is_asked_for(bench: Any, capsys: Any) -> None:
    graph = bench.graph(bench.node("A"))
    graph.freeze()
    plain = graph.diagram().mermaid
    assert "splits: train, test" in plain and "ModelNodeFrozen" in plain
    assert not any(f"{domain}: " in plain for domain in ("features", "targets", "tags"))
    told = graph.diagram(show_features=True, show_targets=True, show_tags=True).mermaid
    assert "n=60<br>features: x<br>targets: y, kind<br>tags: name<br>splits: train, test" in told
    bare = graph.diagram(show_frozen=False, show_splits=False).mermaid
    assert "splits" not in bare and "ModelNodeFrozen" not in bare
    graph.visualize(show_features=True)
    assert "features: x" in capsys.readouterr().out
