from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from modularml.base.errors import StateError
from modularml.core.execution.forward import Forward, array_of, built, dtype_of, tensor_of, training_flags
from modularml.core.topology.model_graph import ModelGraph

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
