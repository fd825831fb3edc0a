from typing import Any

import pytest
import torch
from torch import nn

from modularml.base.errors import GraphError
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.training.optimizer import Optimizer


def test_one_optimizer_of_several_nodes_is_told(bench: Any) -> None:
    shared = Optimizer("sgd")
    a, b = bench.node("A", optimizer=shared), bench.node("B", optimizer=shared)
    with pytest.raises(GraphError, match=r"ModelNode\('A'\) and ModelNode\('B'\) have one Optimizer object"):
        ModelGraph([a, b], register=False).build()
    with pytest.raises(GraphError, match=r"ModelGraph.* and ModelNode\('A'\) have one Optimizer object"):
        ModelGraph([a], shared, register=False).build()
    b.optimizer = "sgd"
    ModelGraph([a, b]).build()


def test_a_layer_that_was_replaced_after_the_build_is_trained(bench: Any) -> None:
    node = bench.node("A", model=nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)))
    graph = bench.graph(node)
    bench.exp.run_phase(bench.train())
    node.module[1] = nn.Linear(3, 1)
    before = node.module[1].weight.detach().clone()
    bench.exp.run_phase(bench.train())
    assert not torch.equal(node.module[1].weight, before)
    assert set(graph.optimizer.parameters) == set(node.module.parameters())
