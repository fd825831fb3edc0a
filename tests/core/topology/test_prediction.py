from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader

import modularml as mml
from modularml.base.errors import GraphError, InvalidTypeError, InvalidValueError, StateError


def branched(bench: Any, estimator: bool = False) -> mml.ModelGraph:
    """Two heads on one FeatureSet, merged, with a tail behind."""
    left = bench.node("L", bench.ref(), nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)))
    right = bench.node("R.x", bench.ref(), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)))
    merged = mml.ConcatNode("C", [left, right], -1)
    tail = bench.node("T", merged, Ridge() if estimator else nn.Linear(5, 1))
    return bench.graph(left, right, merged, tail)


@pytest.mark.parametrize("estimator", [False, True])
def test_new_data_come_in_many_forms_and_give_what_an_evaluation_gives(bench: Any, estimator: bool) -> None:
    graph = branched(bench, estimator)
    if estimator:
        bench.exp.run_phase(mml.FitPhase.from_split("fit", split="train"))
    _, results = bench.drain(bench.evaluate())
    expected, view = results.stacked_tensors("T"), bench.fs["test"]
    x = view.get_features(fmt="numpy")
    before, modes = x.copy(), [m.training for m in graph.nodes[next(iter(graph.nodes))].module.modules()]
    sample = view.to_sample_data()
    forms = [view, x, x[:, 0], torch.from_numpy(x), {"x": x[:, 0]}, {"features.x.raw": x[:, 0]}, sample]
    forms += [{"L": x, "R.x": view}, x[:, 0].tolist()]
    for data in forms:
        found = graph.predict(data)
        assert isinstance(found, np.ndarray)
        assert np.allclose(found, expected, atol=1e-6)
    assert np.array_equal(x, before)
    assert modes == [m.training for m in graph.nodes[next(iter(graph.nodes))].module.modules()]
    both = graph.predict(view, nodes=["L", "T"])
    assert list(both) == ["L", "T"]
    assert len(graph.predict(bench.fs)) == 60


@pytest.mark.parametrize(
    ("data", "kind", "match"),
    [
        (np.ones((3, 5)), GraphError, r"'L'.*samples of shape \(1, 4\).*got \(3, 5\)"),
        (np.ones((0, 4)), GraphError, r"no samples for ModelNode.*\(0, 4\)"),
        (3.0, GraphError, r"got \(\)"),
        (np.array([["a"] * 4]), InvalidTypeError, "must be numbers, got <U1"),
        (
            DataLoader(np.ones((3, 4))),
            InvalidTypeError,
            "numbers, got a DataLoader; an array",
        ),
        ({"y": np.ones((3, 4))}, InvalidValueError, "Unknown column 'features.x.raw'.*Available: 'y'"),
        ({"L": np.ones((3, 4))}, InvalidValueError, "Unknown input 'R.x'"),
        ({"L": np.ones((3, 4)), "R.x": np.ones((2, 4))}, InvalidValueError, "different numbers of samples"),
    ],
)
def test_data_that_do_not_fit_are_told(bench: Any, data: Any, kind: type, match: str) -> None:
    graph = branched(bench)
    with pytest.raises(kind, match=match):
        graph.predict(data)


def test_a_graph_must_be_built_and_estimators_fitted(bench: Any) -> None:
    graph = mml.ModelGraph([bench.node("A", model=Ridge())])
    with pytest.raises(StateError, match=r"\['A'\] are not built; call graph.build"):
        graph.predict(np.ones((3, 4)))
    with pytest.raises(StateError, match="not fitted"):
        graph.build().predict(np.ones((3, 4)))


def test_predictions_come_in_the_units_of_the_targets(bench: Any) -> None:
    fs = bench.data("Scaled", y=np.random.default_rng(0).random(60) * 100 + 50)
    fs.fit_transform(StandardScaler(), domain="targets", keys="y", fit_to_split="train")
    ref = fs.reference(features="x", targets="targets.y.transformed")
    graph = bench.graph(bench.node("A", ref))
    scaled = graph.predict(fs)
    y = fs.table.column("targets.y.raw")[fs["train"].rows]
    assert np.allclose(graph.predict(fs, unscale=True), scaled * y.std() + y.mean(), rtol=1e-4)
    bench.ctx.remove_model_graph()
    wide = bench.graph(bench.node("W", ref, nn.Linear(4, 2)))
    with pytest.raises(
        InvalidValueError, match=r"'W' of shape .* do not hold the targets \['targets.y.tr"
    ) as told:
        wide.predict(fs, unscale=True)
    assert "fs.unscale_data_for_cols(data=..., domain='targets', columns='targets.y." in str(told.value)
    with pytest.raises(
        GraphError, match=r"no samples for ModelNode\('W'\): its data have the shape \(0, 4\)"
    ):
        wide.predict(np.zeros((0, 4)))


def test_a_call_returns_what_every_node_puts_out(bench: Any) -> None:
    graph, view = branched(bench), bench.fs["test"]
    found = graph(view)
    assert list(found) == list(graph.nodes)
    tail = bench.ctx.get_node("T").node_id
    assert np.array_equal(found[tail].role_data.outputs, graph.predict(view))
    assert found[tail].batch_size == len(view)
    assert list(graph.forward(view, active_nodes=["L"])) == [bench.ctx.get_node("L").node_id]


def test_one_module_computes_the_same_and_shares_the_weights(bench: Any) -> None:
    graph = branched(bench)
    module = graph.to_torch_module().eval()
    assert module.input_names == ["L", "R.x"]
    x = torch.from_numpy(bench.fs["test"].get_features(fmt="numpy"))
    assert np.allclose(module(x, x.clone()).detach().numpy(), graph.predict(bench.fs["test"]), atol=1e-6)
    with torch.no_grad():
        next(module.parameters()).add_(1)
    assert np.allclose(module(x, x.clone()).detach().numpy(), graph.predict(bench.fs["test"]), atol=1e-6)
    assert sum(p.numel() for p in module.parameters()) == graph.summary().n_parameters
    with pytest.raises(InvalidValueError, match=r"takes the inputs \['L', 'R.x'\].*got 1"):
        module(x)
    named = graph.to_torch_module(nodes=["L", "T"]).eval()
    assert list(named(x, x.clone())) == ["L", "T"]


def test_a_graph_with_estimators_is_no_module_and_says_which(bench: Any) -> None:
    graph = branched(bench, estimator=True)
    with pytest.raises(StateError, match=r"estimators of \['T'\]"):
        graph.to_torch_module()
    assert graph.to_torch_module(nodes=["C"]).tails == ["C"]


def scaled_graph(bench: Any) -> tuple[Any, mml.ModelGraph]:
    a = np.arange(60.0)
    fs = mml.FeatureSet.from_dict("Scaled", {"a": a * 100, "b": a**2, "y": a + 50}, ["a", "b"], "y")
    fs.split_random({"train": 0.8, "test": 0.2}, seed=3)
    for domain in ("features", "targets"):
        fs.fit_transform(StandardScaler(), domain=domain, fit_to_split="train")
    return fs, bench.graph(bench.node("A", fs.reference(rep="transformed"), nn.Linear(2, 1)))


def test_new_samples_are_scaled_as_those_that_the_graph_learnt_from(bench: Any) -> None:
    fs, graph = scaled_graph(bench)
    test = fs["test"]
    expected = graph.predict(test, unscale=True)
    raw = {key: test.column(f"{key}.raw") for key in ("a", "b")}
    twin = mml.FeatureSet.from_dict("New", raw, ["a", "b"])
    x = np.stack([raw["a"], raw["b"]], axis=1)
    forms = [
        raw,
        pd.DataFrame(raw)[["b", "a"]],
        pl.DataFrame(raw),
        twin,
        twin.take(range(len(x))),
        fs.scale(raw),
    ]
    forms += [x, torch.from_numpy(x), x.tolist(), {"A": x}, {"A": raw}]
    for data in forms:
        assert np.allclose(graph.predict(data, unscale=True), expected)
    scaled = {f"{key}.transformed": test.column(f"{key}.transformed") for key in ("a", "b")}
    assert np.allclose(graph.predict(scaled, unscale=True), expected)


def test_columns_that_are_needed_for_scaling_are_named(bench: Any) -> None:
    _, graph = scaled_graph(bench)
    with pytest.raises(
        InvalidValueError, match=r"Unknown column 'features.b.raw' in data for ModelNode.*'bb'"
    ):
        graph.predict(pd.DataFrame({"a": [1.0], "bb": [2.0]}))
    with pytest.raises(
        InvalidValueError, match=r"array of shape \(4, 3\), but the columns 'a' \(\), 'b' \(\) hold 2"
    ):
        graph.predict(np.ones((4, 3)))


def test_a_frame_without_the_names_is_told_to_be_an_array(bench: Any) -> None:
    graph = bench.graph(bench.node())
    frame = pd.DataFrame(np.ones((3, 4)))
    with pytest.raises(InvalidValueError, match=r"'features.x.raw'.*Available: '0', '1', .*df.to_numpy\(\)"):
        graph.predict(frame)
    assert len(graph.predict(frame.to_numpy())) == 3


def test_there_must_be_something_to_unscale(bench: Any) -> None:
    graph = bench.graph(bench.node())
    with pytest.raises(
        InvalidValueError, match=r"\['targets.y.raw'\] of 'A' are not scaled.*leave out unscale"
    ):
        graph.predict(bench.fs, unscale=True)


def test_without_its_scalers_a_graph_takes_what_is_named_as_scaled(bench: Any, tmp_path: Path) -> None:
    fs, graph = scaled_graph(bench)
    expected, path = graph.predict(fs["test"]), graph.save(tmp_path / "graph")
    scaled = {f"features.{key}.transformed": fs["test"].column(f"{key}.transformed") for key in ("a", "b")}
    mml.ExperimentContext().activate()
    alone = mml.ModelGraph.load(path)
    assert np.allclose(alone.predict(scaled), expected)
    for data in (np.ones((3, 2)), {"a": [1.0], "b": [2.0]}):
        with pytest.raises(
            StateError, match=r"FeatureSet 'Scaled', which has the scalers, is not here. Load it"
        ):
            alone.predict(data)
    with pytest.raises(
        StateError, match="'Scaled', which has the scalers of the targets of .A., is not here"
    ):
        alone.predict(scaled, unscale=True)
