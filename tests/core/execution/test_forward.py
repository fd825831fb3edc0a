from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from modularml.base.errors import InvalidTypeError, StateError
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.forward import Forward, array_of, built, dtype_of, tensor_of, training_flags
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.topology.model_graph import ModelGraph
from modularml.samplers import SimpleSampler

X = torch.randn(6, 1, 4, generator=torch.Generator().manual_seed(0))


def run(forward: Forward, *columns: Any) -> dict[str, Any]:
    slots = [*columns, *[None] * (forward.n_slots - len(columns))]
    forward.run(slots)
    return {label: slots[slot] for label, slot in forward.slot_of.items()}


def test_a_chain_computes_what_the_modules_compute(bench: Any) -> None:
    a, b, c = bench.chain(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    graph = bench.graph(c, a, b)
    found = run(Forward(graph, graph.topological_nodes(), 1), X)
    assert torch.equal(found["C"], c.module(b.module(a.module(X))))
    assert len(Forward(graph, [a], 3).calls) == 1


def test_branches_read_one_slot_and_each_head_its_own(bench: Any) -> None:
    trunk = bench.node("Trunk", model=nn.Linear(4, 3))
    left, right = bench.node("Left", trunk, nn.Linear(3, 1)), bench.node("Right", trunk, nn.Linear(3, 2))
    other = bench.node("Other")
    graph = bench.graph(trunk, left, right, other)
    found = run(Forward(graph, [trunk, other, left, right], 2), X, X + 1)
    assert torch.equal(found["Left"], left.module(found["Trunk"]))
    assert torch.equal(found["Right"], right.module(found["Trunk"]))
    assert torch.equal(found["Other"], other.module(X + 1))


def test_values_are_converted_where_torch_and_sklearn_meet(bench: Any) -> None:
    rng = np.random.default_rng(0)
    pca = PCA(3).fit(rng.random((20, 4)))
    network = nn.Linear(3, 2)
    ridge = Ridge().fit(rng.random((20, 2)), rng.random(20))
    graph = bench.graph(*bench.chain(pca, network, ridge))
    found = run(Forward(graph, graph.topological_nodes(), 1), X)
    by_hand = torch.from_numpy(pca.transform(X[:, 0].numpy())).float()
    assert torch.allclose(found["B"], network(by_hand))
    assert np.allclose(found["C"][:, 0], ridge.predict(network(by_hand).detach().numpy()), atol=1e-6)
    assert isinstance(found["C"], torch.Tensor)


def test_text_stays_text(bench: Any) -> None:
    names = np.array(["no", "yes"] * 10)
    classifier = LogisticRegression().fit(np.random.default_rng(0).random((20, 4)), names)
    graph = bench.graph(bench.node("A", model=classifier))
    found = run(Forward(graph, graph.topological_nodes(), 1), X)["A"]
    assert isinstance(found, np.ndarray)
    assert set(found.flat) <= {"no", "yes"}


def test_all_nodes_that_are_not_built_are_named(bench: Any) -> None:
    nodes = bench.chain(nn.Linear(4, 2), nn.Linear(2, 2), nn.Linear(2, 1))
    nodes[1].build((2,))
    with pytest.raises(StateError, match=r"nodes \['A', 'C'\] are not built; call graph.build\(\) first"):
        Forward(ModelGraph(), nodes, 1)
    bench.ctx.model_graph.build()
    assert built(nodes) == nodes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_node_computes_in_the_dtype_of_its_parameters(bench: Any, dtype: torch.dtype) -> None:
    first, second = bench.chain(nn.Linear(4, 2).to(dtype), nn.Flatten())
    bench.graph(optimizer=None)
    assert first.dtype is dtype
    assert second.dtype is None
    assert dtype_of(first) is dtype
    assert dtype_of(second) is torch.get_default_dtype()


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.uint8])
def test_arrays_and_tensors_turn_into_each_other(dtype: Any) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    assert np.array_equal(array_of(tensor_of(array)), array)
    assert np.array_equal(array_of(tensor_of(array.T)), array.T)
    assert not array_of(torch.ones(2, requires_grad=True)).flags.owndata


def test_a_type_that_numpy_lacks_reaches_an_estimator_too() -> None:
    assert np.array_equal(array_of(torch.tensor([0.5, 2.0], dtype=torch.bfloat16)), [0.5, 2.0])


# Flags.


def flags(nodes: Any) -> list[Any]:
    return [
        *(part.training for node in nodes for part in node.module.modules()),
        *(p.requires_grad for node in nodes for p in node.module.parameters()),
    ]


def test_flags_are_set_within_and_are_as_before_after_success_and_failure(bench: Any) -> None:
    modules = [nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4)) for _ in range(2)]
    nodes = bench.chain(*modules)
    bench.graph()
    first, second = nodes
    modules[0][1].eval()
    modules[1][0].bias.requires_grad_(False)
    modules[1].eval()
    before = flags(nodes)
    for fails in (False, True):
        try:
            with training_flags(nodes, [second]):
                assert not any(part.training for part in first.module.modules())
                assert all(part.training for part in second.module.modules())
                assert not any(p.requires_grad for p in first.module.parameters())
                assert [p.requires_grad for p in second.module.parameters()] == [True, False, True, True]
                if fails:
                    raise KeyError
        except KeyError:
            pass
        assert flags(nodes) == before


# Modules of many kinds.


@pytest.mark.parametrize("layer", [nn.ReLU(inplace=True), nn.Dropout(0.5, inplace=True)], ids=str)
def test_a_layer_that_works_in_place_changes_neither_data_nor_the_branch_beside_it(
    bench: Any, layer: nn.Module
) -> None:
    before = bench.fs.table.column("features.x.raw").copy()
    trunk = bench.node("Trunk", bench.ref(), nn.Identity())
    first = bench.node("First", trunk, nn.Sequential(layer, nn.Linear(4, 1)))
    second = bench.node("Second", trunk, nn.Linear(4, 1))
    head = bench.node("Head", bench.ref(), nn.Sequential(layer, nn.Linear(4, 1)))
    graph = bench.graph(trunk, first, second, head)
    bench.exp.run_phase(bench.train({"First": "mse", "Second": "mse", "Head": "mse"}, sampler=in_order()))
    bench.exp.run_phase(bench.evaluate({"First": "mse", "Second": "mse", "Head": "mse"}, split="train"))
    assert np.array_equal(bench.fs.table.column("features.x.raw"), before)
    found = run(Forward(graph, [trunk, first, second], 1), X.clone())
    assert torch.equal(found["Second"], second.module(X))


def in_order() -> Any:
    return SimpleSampler(batch_size=16)


def test_integers_reach_an_embedding_as_they_are(bench: Any) -> None:
    words = np.random.default_rng(0).integers(0, 9, (60, 3))
    ref = FeatureSet.from_dict("W", {"word": words, "y": words.sum(1) * 1.0}, ["word"], ["y"]).reference()
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 1))
    node = bench.node("A", ref, model)
    graph = bench.graph(node)
    assert node.output_shape == (1,)
    batch = torch.from_numpy(words[:6])[:, None]
    assert torch.equal(run(Forward(graph, [node], 1), batch)["A"], model(batch[:, 0]))
    bindings = [InputBinding.for_evaluation(node="A")]
    bench.drain(EvalPhase("eval", input_sources=bindings, losses="mse"))


def test_numbers_with_a_fraction_are_no_words(bench: Any) -> None:
    node = bench.node("A", bench.ref(), nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(16, 1)))
    bench.graph(node)
    with pytest.raises(InvalidTypeError, match=r"'A'.*takes integers.*features.x.raw.*float32"):
        bench.drain(bench.evaluate())


def test_a_sequence_goes_on_without_the_state_of_the_network(bench: Any) -> None:
    series = np.random.default_rng(0).random((20, 5, 3), dtype=np.float32)
    ref = FeatureSet.from_dict("Series", {"s": series, "y": series.sum((1, 2))}, ["s"], ["y"]).reference()
    lstm = bench.node("A", ref, nn.LSTM(3, 4, batch_first=True))
    tail = bench.node("B", lstm, nn.Sequential(nn.Flatten(), nn.Linear(20, 1)))
    graph = bench.graph(lstm, tail)
    assert lstm.output_shape == (5, 4)
    found = run(Forward(graph, [lstm, tail], 1), torch.from_numpy(series)[:, None])
    by_hand = lstm.model.model(torch.from_numpy(series))[0]
    assert torch.allclose(found["A"], by_hand)
