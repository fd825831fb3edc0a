from typing import Any

import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import nn

from modularml.backends.accelerator import Accelerator
from modularml.base.errors import StateError
from modularml.core.execution.forward import Forward
from modularml.core.execution.placement import CPU, connect, devices_of, on_one_device, placed
from modularml.core.topology.elementwise_nodes import SumNode
from modularml.core.training.loss import Loss

GPU = torch.device("cuda:0")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that torch sees two GPUs; nothing is moved to them here."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_a_node_says_where_it_computes_before_the_phase_does(bench: Any, two_gpus: None) -> None:
    a = bench.node("A", accelerator="cuda:1")
    b = bench.node("B", a, nn.Linear(1, 1))
    c = bench.node("C", b, LinearRegression())
    nodes = [a, b, c]
    bench.graph(*nodes)
    assert devices_of(nodes, None, "P") == {"A": torch.device("cuda:1"), "B": CPU, "C": CPU}
    assert devices_of(nodes, Accelerator("cuda"), "P") == {"A": torch.device("cuda:1"), "B": GPU, "C": CPU}


def test_a_merge_computes_where_what_feeds_it_does_whatever_that_is_called_by_now(
    bench: Any, two_gpus: None
) -> None:
    a, b = bench.node("A", accelerator="cuda:1"), bench.node("B", accelerator="cuda:1")
    merge = SumNode("M", [a, b])
    a.label = "Renamed"
    assert devices_of([a, b, merge], None, "P")["M"] == torch.device("cuda:1")
    b.label = "Renamed too"
    assert devices_of([a, b, merge], None, "P")["M"] == torch.device("cuda:1")


def test_the_phase_says_it_before_the_experiment_does(bench: Any, two_gpus: None) -> None:
    bench.graph(bench.node("A"))
    bench.exp.accelerator = Accelerator("cuda:1")
    for accelerator, device in [(None, "cuda:1"), ("cuda:0", "cuda:0"), ("cpu", "cpu"), ("auto", "cuda:0")]:
        phase = bench.train(accelerator=accelerator)
        nodes = phase.nodes(bench.ctx.model_graph)
        assert phase._devices(nodes, bench.scope()) == {"A": torch.device(device)}
        assert type(phase).from_config(phase.get_config()) == phase


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_device_that_is_not_there_is_told_when_it_is_needed(bench: Any, kind: str) -> None:
    bench.graph(bench.node("A"))
    phase = getattr(bench, kind)(accelerator="cuda:77")
    with pytest.raises(StateError, match=r"Phase '\w+': The device 'cuda:77' is not available here"):
        bench.exp.run_phase(phase)


def test_calls_fetch_what_is_elsewhere(bench: Any) -> None:
    """Told by the device that is asked for; there is only one here."""
    a = bench.node("A")
    b, c = bench.node("B", a, nn.Linear(1, 1)), bench.node("C", a, nn.Linear(1, 1))
    graph = bench.graph(a, b, c, optimizer=None)
    forward = Forward(graph, [a, b, c], 1)
    before = list(forward.calls)
    connect(forward, [a, b, c], {"A": CPU, "B": CPU, "C": CPU})
    assert forward.calls == before
    connect(forward, [a, b, c], {"A": CPU, "B": torch.device("meta"), "C": CPU})
    assert [one is other for one, other in zip(forward.calls, before, strict=True)] == [True, False, True]


def test_values_of_losses_on_several_devices_come_to_one() -> None:
    losses = [lambda slots: slots[0], lambda slots: slots[1]]
    assert on_one_device(losses, [CPU, CPU]) == losses
    meta = on_one_device(losses, [torch.device("meta"), CPU])
    assert [loss([torch.ones(()), torch.ones(())]).device.type for loss in meta] == ["meta", "meta"]


def test_what_is_at_home_is_not_moved(bench: Any) -> None:
    node = bench.node("A")
    bench.graph(node)
    parameter = node.module.weight
    with placed([node], {"A": CPU}, [(Loss("mse"), CPU)]):
        assert node.module.weight is parameter


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_training_on_a_gpu_is_training(bench: Any) -> None:
    outputs = []
    for accelerator in ("cpu", "cuda"):
        bench.ctx.clear()
        bench.fs = bench.data()
        torch.manual_seed(0)
        node = bench.node("A")
        graph = bench.graph(node, optimizer="adam", lr=0.01)
        results = bench.exp.run_phase(bench.train(n_epochs=3, accelerator=accelerator))
        state = graph.optimizer.optimizer.state[node.module.weight]
        assert {node.module.weight.device, state["exp_avg"].device} == {CPU}
        outputs.append(torch.from_numpy(results.stacked_tensors(node)))
    assert torch.allclose(*outputs, atol=1e-4)
