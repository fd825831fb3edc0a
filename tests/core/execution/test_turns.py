"""Samplers that take turns: what takes part in one, and that each has an update of its own."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml.base.errors import InvalidValueError
from modularml.base.events import EpochStarted, RunStarted
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.experiment import Experiment
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.core.topology.concat_node import ConcatNode
from modularml.samplers import SimpleSampler


def phase_of(batch_sizes: dict[str, int], losses: Any = None, **options: Any) -> TrainPhase:
    """A phase whose heads have a sampler each, of these batch sizes."""
    bindings = [
        InputBinding.for_training(node=label, split="train", sampler=SimpleSampler(batch_size=n))
        for label, n in batch_sizes.items()
    ]
    options = {"batch_schedule": "alternate_strict"} | options
    found = dict.fromkeys(batch_sizes, "mse") if losses is None else losses
    return TrainPhase("p", input_sources=bindings, losses=found, **options)


@pytest.fixture
def two(bench: Any) -> Any:
    """Two heads that share a trunk module, on FeatureSets of 60 and of 200 rows."""
    trunk = nn.Linear(4, 3)
    bench.trunk = trunk
    a = bench.node("A", model=nn.Sequential(trunk, nn.Linear(3, 1)))
    b = bench.node("B", bench.ref(bench.data("Long", n=200, seed=1)), nn.Sequential(trunk, nn.Linear(3, 1)))
    bench.graph(a, b, optimizer="adam", lr=0.01)
    return bench


@pytest.mark.parametrize(("schedule", "n_rounds"), [("alternate_strict", 3), ("alternate_cycle", 10)])
def test_a_round_is_a_turn_of_each(two: Any, schedule: str, n_rounds: int) -> None:
    _, results = two.drain(phase_of({"A": 16, "B": 16}, batch_schedule=schedule))
    assert results.losses().shape == (1, n_rounds, 2)
    assert np.isfinite(results.losses().values()).all()


def test_each_turn_updates_by_its_own_loss(two: Any) -> None:
    """As the loop that one writes by hand: a batch of the one, an update, a batch of the other, an update."""
    phase = phase_of({"A": 16, "B": 16}, n_epochs=2)
    graph, ctx = two.ctx.model_graph, two.ctx
    start = graph.get_state()
    _, results = two.drain(phase)
    ours = {label: ctx.get_node(label).model.get_weights() for label in "AB"}
    graph.set_state(start)

    nodes = [ctx.get_node(label) for label in "AB"]
    parameters = {id(p): p for node in nodes for p in node.module.parameters()}
    optimizer = torch.optim.Adam(parameters.values(), lr=0.01)
    expected: list[list[float]] = []
    for _epoch in range(2):
        for i in range(3):
            row = []
            for node, binding in zip(nodes, phase.input_sources, strict=True):
                view = binding.resolve_input_view(ctx)
                x, y = (
                    torch.tensor(np.ascontiguousarray(get("numpy")[i * 16 : (i + 1) * 16]))
                    for get in (view.get_features, view.get_targets)
                )
                outputs = node.module(x)
                loss = nn.functional.mse_loss(outputs.reshape(-1), y.reshape(-1))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                row.append(loss.item())
            expected.append(row)
    assert results.losses().values().reshape(-1, 2) == pytest.approx(np.array(expected), rel=1e-4)
    for node in nodes:
        for name, weights in node.model.get_weights().items():
            assert np.allclose(ours[node.label][name], weights, atol=1e-5)


def test_nodes_with_optimizers_of_their_own_take_turns(bench: Any) -> None:
    a, b = (bench.node(label, optimizer="sgd") for label in "AB")
    bench.graph(a, b, optimizer=None)
    before = {node.label: node.model.get_weights() for node in (a, b)}
    bench.drain(phase_of({"A": 16, "B": 8}))
    for node in (a, b):
        assert not np.array_equal(before[node.label]["weight"], node.model.get_weights()["weight"])


def test_heads_that_share_a_sampler_are_in_turn_together(bench: Any) -> None:
    a, b, c = (bench.node(label) for label in "ABC")
    merged = ConcatNode("merged", [a, b], -1)
    tail = bench.node("tail", merged, nn.Linear(2, 1))
    bench.graph(a, b, c, merged, tail)
    shared = SimpleSampler(batch_size=16)
    bindings = [
        InputBinding.for_training(node=node, split="train", sampler=sampler)
        for node, sampler in ((a, shared), (b, shared), (c, SimpleSampler(batch_size=16)))
    ]
    phase = TrainPhase(
        "p", input_sources=bindings, losses={"tail": "mse", "C": "mse"}, batch_schedule="alternate_strict"
    )
    _, results = bench.drain(phase)
    assert results.losses().shape == (1, 3, 2)


def test_a_loss_that_needs_what_is_never_in_turn_at_once_is_refused(bench: Any) -> None:
    a, b = bench.node("A"), bench.node("B")
    merged = ConcatNode("merged", [a, b], -1)
    bench.graph(a, b, merged, bench.node("tail", merged, nn.Linear(2, 1)))
    with pytest.raises(InvalidValueError, match=r"'mse' on 'tail' needs the data of \['A', 'B'\] at once"):
        phase_of({"A": 16, "B": 16}, losses={"tail": "mse"}).execute(bench.scope())


def test_batches_are_not_added_up_over_turns(two: Any) -> None:
    with pytest.raises(InvalidValueError, match="take turns"):
        phase_of({"A": 16, "B": 16}, accumulate=2)


def test_a_turn_in_which_nothing_is_trained_is_recorded(two: Any) -> None:
    two.ctx.get_node("B").freeze()
    before = two.ctx.get_node("B").model.get_weights()["1.weight"]
    _, results = two.drain(phase_of({"A": 16, "B": 16}))
    assert np.isfinite(results.losses().values()).all()
    assert np.array_equal(before, two.ctx.get_node("B").model.get_weights()["1.weight"])


def test_what_heads_of_other_batch_sizes_put_out_is_told_by_their_own_batches(two: Any) -> None:
    _, results = two.drain(phase_of({"A": 16, "B": 8}))
    assert [len(batch) for batch in results.tensors("A").values()] == [16, 16, 16]
    assert [len(batch) for batch in results.tensors("B").values()] == [8, 8, 8]


def test_a_run_that_was_stopped_goes_on_with_equal_results(two: Any) -> None:
    phase = phase_of({"A": 16, "B": 16}, n_epochs=3, batch_schedule="alternate_cycle")
    exp: Experiment = two.exp
    start = exp.get_state()
    whole, graph = exp.run_phase(phase).losses().values(), two.ctx.model_graph
    weights = graph.get_state()
    exp.set_state(start)
    stops: list[Any] = []

    def stop_in_the_second_epoch(event: Any) -> None:
        if isinstance(event, RunStarted):
            stops.append(event.stop)
        if isinstance(event, EpochStarted) and event.epoch == 1:
            stops[-1]()

    unsubscribe = exp.events.subscribe(stop_in_the_second_epoch)
    assert len(exp.run_phase(phase).losses()) == 22
    unsubscribe()
    resumed = exp.run_phase(phase, resume=True)
    assert np.array_equal(resumed.losses().values(), whole)
    for label in "AB":
        ours, theirs = (state["nodes"][label]["model"]["weights"] for state in (graph.get_state(), weights))
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
