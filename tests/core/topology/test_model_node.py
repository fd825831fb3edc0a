from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from modularml.base.errors import (
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    LossError,
    ModularMLError,
    StateError,
)
from modularml.core.context import ExperimentContext
from modularml.core.data.batch import RoleData
from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment.experiment import Experiment
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.training.optimizer import Optimizer
from modularml.inspection.reading import inspect
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


def test_any_module_or_estimator_is_wrapped(bench: Any) -> None:
    mlp = SequentialMLP(output_shape=(1,))
    assert bench.node("A", model=mlp).model is mlp
    assert [bench.node(label, model=m).backend for label, m in (("B", nn.Linear(4, 1)), ("C", Ridge()))] == [
        "torch",
        "scikit",
    ]


@pytest.mark.parametrize("model", [None, "mlp", 3])
def test_what_is_no_model_is_refused_with_the_label(bench: Any, model: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match="ModelNode 'A'"):
        type(bench.node("X"))("A", model, bench.ref())
    assert not bench.ctx.has_node("A")


def test_several_faults_are_told_together(bench: Any) -> None:
    with pytest.raises(ModularMLError, match=r"(?s)3 faults.*list of them is empty.*An optimizer.*model"):
        type(bench.node("X"))("A", None, [], 3)


def test_shapes_are_known_after_the_build(bench: Any) -> None:
    node = bench.node("A", model=SequentialMLP(output_shape=(1, 2)))
    assert (node.is_built, node.input_shape, node.output_shape) == (False, None, (1, 2))
    node.build((1, 4))
    assert (node.is_built, node.input_shape, node.output_shape) == (True, (1, 4), (1, 2))
    assert node.module is node.model


def test_a_shape_that_the_model_does_not_take_is_told_with_the_label(bench: Any) -> None:
    with pytest.raises(GraphError, match=r"ModelNode\('A'\) cannot be built for inputs of shape \(1, 5\)"):
        bench.node("A").build((1, 5))


def test_an_estimator_has_no_module(bench: Any) -> None:
    with pytest.raises(StateError, match="holds no torch module but a ScikitModelWrapper"):
        _ = bench.node("A", model=Ridge()).module


def test_weights_return_to_those_of_the_build(bench: Any) -> None:
    node = bench.node("A", optimizer=Optimizer("sgd"))
    node.build((1, 4))
    before = node.model.get_weights()
    with torch.no_grad():
        node.module.get_parameter("weight").add_(1)
    node.reset_weights()
    assert all((before[name] == value).all() for name, value in node.model.get_weights().items())


# Several inputs.


class Pair(nn.Module):
    """Takes two inputs, of 4 and of 3 values."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.left, self.right = nn.Linear(4, 2), nn.Linear(3, 2)

    def forward(self, sensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.left(sensor).sum(1, keepdim=True) - self.scale * self.right(other)[:, :1]
        return out


def two_inputs(bench: Any, form: str) -> Any:
    branch = bench.node("Branch", bench.ref(), nn.Linear(4, 3))
    ups = [bench.ref(), branch] if form == "list" else {"other": branch, "sensor": bench.ref()}
    node = bench.node("P", ups, Pair())
    return bench.graph(branch, node)


@pytest.mark.parametrize("form", ["list", "dict"])
def test_a_module_may_take_several_inputs(bench: Any, form: str, tmp_path: Any) -> None:
    graph = two_inputs(bench, form)
    node, branch = bench.ctx.get_node("P"), bench.ctx.get_node("Branch")
    assert set(node.input_shapes) == {(1, 4), (1, 3)}
    assert node.output_shape == (1,)
    before = {label: n["model"]["weights"] for label, n in graph.get_state()["nodes"].items()}
    _, results = bench.drain(bench.evaluate([bench.loss("P")]))
    x = torch.from_numpy(bench.fs["test"].get_features(fmt="numpy"))[:, 0]
    by_hand = node.model.model(sensor=x, other=branch.module(x))
    assert torch.allclose(torch.from_numpy(results.stacked_tensors("P")), by_hand, atol=1e-6)
    assert torch.allclose(torch.from_numpy(graph.predict(bench.fs["test"])), by_hand, atol=1e-6)
    module = graph.to_torch_module().eval()
    assert torch.allclose(module(*[x] * len(module.input_names)), by_hand, atol=1e-6)
    bench.exp.run_phase(bench.train([bench.loss("P")]))
    after = {label: n["model"]["weights"] for label, n in graph.get_state()["nodes"].items()}
    assert all(
        (before[label][k] != v).any() for label in before for k, v in after[label].items() if "bias" in k
    )
    expected = graph.predict(bench.fs)
    path = bench.exp.save(tmp_path / "saved")
    facts = {facts.label: facts for facts in inspect(path).nodes}
    assert set(facts["P"].upstreams) == {"Branch", "Sensor"}
    assert facts["P"].input_shapes == node.input_shapes
    with ExperimentContext().temporary():
        loaded = Experiment.load(path, symbols={"Pair": Pair})
        assert (loaded.model_graph.predict(loaded.ctx.get_node("Sensor")) == expected).all()


def test_an_estimator_takes_one_input_and_says_how_several_reach_it(bench: Any) -> None:
    with pytest.raises(InvalidTypeError, match="takes one input.*ConcatNode"):
        bench.node("A", [bench.ref(), bench.ref()], Ridge())


def test_what_a_module_of_several_inputs_raises_is_told_with_all_shapes(bench: Any) -> None:
    branch = bench.node("Branch", bench.ref(), nn.Linear(4, 2))
    node = bench.node("P", [bench.ref(), branch], Pair())
    with pytest.raises(GraphError, match=r"'P'.*batches of \(2, 4\), \(2, 2\): mat1 and mat2"):
        bench.graph(branch, node)
    with pytest.raises(GraphError, match=r"takes exactly 2 upstreams, not \['Sensor'\]"):
        node.set_upstream_ref(bench.ref())


def test_a_node_can_be_called(bench: Any) -> None:
    node, ridge = bench.node("A"), bench.node("R", model=Ridge())
    with pytest.raises(StateError, match="'A'.* is not built"):
        node(torch.ones(2, 1, 4))
    bench.graph(node, ridge)
    x = bench.fs["test"].get_features(fmt="numpy")
    expected = node.module(torch.from_numpy(x))
    assert torch.equal(node(x), expected)
    assert torch.equal(node(torch.from_numpy(x).double()), expected)
    sample = bench.fs["test"].to_sample_data()
    assert torch.equal(node.forward_single(sample).outputs, expected)
    assert node(sample).targets is sample.targets
    roles = node(RoleData({"anchor": sample, "pair": sample}))
    assert torch.equal(roles.pair.outputs, expected)
    batch = SimpleSampler(batch_size=12, source=bench.fs["test"]).get_batches()[0].materialize_batch()
    came = node(batch)
    assert torch.equal(came.role_data.outputs, expected)
    assert came.shapes["default"].features == (1, 1)
    with pytest.raises(StateError, match="not fitted"):
        ridge(x)


def test_columns_that_come_raw_and_transformed_are_named_where_shapes_do_not_fit(bench: Any) -> None:
    bench.fs.fit_transform("StandardScaler", domain="features")
    with pytest.warns(UserWarning, match="both the raw and the transformed"):
        ref = bench.fs.reference(targets="y")
    hint = r"columns of 'x' come raw and transformed; fs.reference\(rep=\"transformed\"\)"
    with pytest.raises(GraphError, match=hint):
        bench.graph(bench.node("A", ref, nn.Sequential(nn.Flatten(), nn.Linear(4, 1))))
    bench.ctx.remove_model_graph()
    bench.graph(bench.node("B", ref))
    with pytest.raises(LossError, match=hint):
        bench.drain(bench.train([bench.loss("B")]))


class Reader(nn.Module):
    """Reads token ids, a mask of those that do not count, and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.age, self.out = nn.Embedding(9, 4), nn.Linear(1, 4), nn.Linear(4, 1)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        if mask.dtype is not torch.bool:  # torch's attention adds a mask of floats instead
            raise TypeError("mask must be a bool")
        words = self.words(tokens).masked_fill(mask.unsqueeze(2), 0.0).sum(1)
        out: torch.Tensor = self.out(words + self.age(age))
        return out


def test_integers_and_bools_among_several_inputs_stay_what_they_are(bench: Any, tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    n, age = 60, rng.integers(1, 90, 60)
    data = {"tokens": rng.integers(0, 9, (n, 5)), "mask": rng.random((n, 5)) > 0.5, "age": age, "y": age / 9}
    fs = FeatureSet.from_dict("Text", data, ["tokens", "mask", "age"], "y")
    fs.split_random({"train": 0.8, "test": 0.2}, seed=0)
    ups = {key: fs.reference(features=key, targets="y") for key in ("tokens", "mask", "age")}
    node = bench.node("R", ups, Reader())
    graph = bench.graph(node, lr=1e-5)
    assert node.model.input_kinds == ["int", "bool", "float"]
    tensors = [torch.from_numpy(data["tokens"]), torch.from_numpy(data["mask"]), torch.tensor(age).float()]
    by_hand = node.model.model(*tensors[:2], tensors[2][:, None]).detach()
    for given in (fs, {**data, "mask": data["mask"].astype(int)}):
        assert torch.allclose(torch.from_numpy(graph.predict(given)), by_hand)
    assert torch.allclose(node([data[key] for key in ups]), by_hand)
    before = graph.get_state()["nodes"]["R"]["model"]["weights"]
    bench.exp.run_phase(bench.train([bench.loss("R")]))
    after = graph.get_state()["nodes"]["R"]["model"]["weights"]
    assert all((before[name] != value).any() for name, value in after.items())
    expected = graph.predict(fs)
    path = graph.save(tmp_path / "saved")
    with ExperimentContext().temporary():  # without the data, nothing but the file can tell
        loaded = ModelGraph.load(path, symbols={"Reader": Reader})
        assert (loaded.predict(data) == expected).all()


class Packed(nn.Module):
    """Reads sequences up to their lengths, ``(n,)``."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.out = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out: torch.Tensor = self.out(self.cells(packed)[1][-1])
        return out


class Masked(Packed):
    """Takes the mean over steps; of lengths ``(n, 1)`` it would be one over samples, too."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(x.shape[1])[None, :] < lengths[:, None]
        mean = (self.cells(x)[0] * mask[..., None]).sum(1) / lengths[:, None]
        out: torch.Tensor = self.out(mean)
        return out


@pytest.mark.parametrize("kind", [Packed, Masked])
def test_one_number_a_sample_reaches_a_module_as_it_takes_it(
    bench: Any, kind: type[Packed], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x, lengths = rng.random((60, 5, 2)).astype(np.float32), rng.integers(1, 6, 60)
    data = {"x": x, "lengths": lengths, "y": rng.random(60).astype(np.float32)}
    fs = FeatureSet.from_dict("Steps", data, ["x", "lengths"], "y")
    fs.split_random({"train": 0.8, "test": 0.2}, seed=0)
    ups = {key: fs.reference(features=key, targets="y") for key in ("x", "lengths")}
    node = bench.node("R", ups, kind())
    graph = bench.graph(node)
    by_hand = node.model.model(torch.from_numpy(x), torch.from_numpy(lengths)).detach()
    assert torch.allclose(torch.from_numpy(graph.predict(fs)), by_hand)
    bench.exp.run_phase(bench.train([bench.loss("R")]))
    expected = graph.predict(fs)
    path = graph.save(tmp_path / "saved")
    with ExperimentContext().temporary():
        loaded = ModelGraph.load(path, symbols={kind.__name__: kind})
        assert (loaded.predict(data) == expected).all()


class Penalized(nn.Module):
    """Wants samples without the axis of their single key, and keeps a term of a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.outer = nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)
        self.term = torch.zeros(())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = self.norm(self.inner(x))
        self.term = code.square().mean()
        out: torch.Tensor = self.outer(code)
        return out


def test_the_module_is_that_of_the_user_where_its_input_is_reshaped(bench: Any) -> None:
    names: list[str] = []

    def named(named_parameters: Any) -> torch.optim.Optimizer:
        names.extend(name for name, _ in named_parameters)
        return torch.optim.SGD([parameter for _, parameter in named_parameters], lr=0.01)

    net = Penalized()
    node = bench.node(model=net)
    bench.graph(node, optimizer=Optimizer(factory=named))
    assert node.module is net
    assert names == [f"A.{name}" for name, _ in net.named_parameters()]
    losses = [bench.loss(), bench.loss(loss=lambda module: module.term, inputs="module", label="term")]
    _, results = bench.drain(bench.train(losses))
    assert results.batch_losses("term")[-1] == pytest.approx(net.term.item())
    net.eval()
    x = torch.from_numpy(bench.fs["test"].get_features(fmt="numpy"))
    assert torch.equal(node(x), net(x[:, 0]))
