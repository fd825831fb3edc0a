import weakref
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml.base.errors import ModularMLWarning
from modularml.base.events import BatchesEnded, EpochEnded, EpochStarted
from modularml.core.execution import epochs
from modularml.core.execution.epochs import BatchEnded, BatchStarted, EpochLeft, Paused
from modularml.samplers import SimpleSampler


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.fixture
def phase(bench: Any) -> Any:
    bench.graph(bench.node("A"))
    losses = [bench.loss(), bench.loss(loss="l1")]
    return bench.train(losses, n_epochs=3, sampler=SimpleSampler(batch_size=1, shuffle=True, seed=1))


@pytest.mark.parametrize("step_s", [0.0001, 0.01, 0.03, 1.0])
def test_a_listener_hears_every_loss_once_and_at_most_twenty_times_a_second(
    bench: Any, phase: Any, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """By a clock that goes on by `step_s` whenever it is looked at."""
    ticks = iter(np.arange(10_000) * step_s)
    monkeypatch.setattr(epochs, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    events, results = bench.drain(phase)
    ended = [event for event in events if isinstance(event, BatchesEnded)]
    told = np.concatenate([event.losses for event in ended])
    assert np.array_equal(told, np.concatenate(results.recording.losses))
    assert told.shape == (3 * 48, 2)
    elapsed_s = next(ticks)
    assert len(ended) <= elapsed_s * 20 + 3
    for epoch in range(3):
        own = [event for event in ended if event.epoch == epoch]
        n_new = [len(event.losses) for event in own]
        assert [event.n_done for event in own] == np.cumsum(n_new).tolist()
        assert own[-1].n_done == 48


def test_epochs_come_in_order_and_end_with_the_means_of_their_losses(bench: Any, phase: Any) -> None:
    events, results = bench.drain(phase)
    marks = [(type(e), e.epoch) for e in events if isinstance(e, EpochStarted | EpochEnded)]
    assert marks == [(cls, epoch) for epoch in range(3) for cls in (EpochStarted, EpochEnded)]
    ends = [event for event in events if isinstance(event, EpochEnded)]
    for epoch, event in enumerate(ends):
        means = results.recording.losses[epoch].mean(axis=0)
        assert event.metrics == pytest.approx({"mse": means[0], "l1": means[1]})
    for event, after in pairwise(events):
        assert not isinstance(after, EpochEnded) or isinstance(event, BatchesEnded)
    assert {event.run_id for event in events} == {"r"}
    assert {event.path for event in events if not isinstance(event, EpochLeft)} == {("p",)}
    assert [event.epoch for event in events if isinstance(event, EpochLeft)] == [0, 1, 2]


def test_batches_are_told_one_by_one_only_to_those_who_watch(bench: Any, phase: Any) -> None:
    quiet, _ = bench.drain(phase)
    assert not {"BatchStarted", "BatchEnded"} & set(kinds(quiet))
    scope = bench.scope(watch_batches=True)
    seen = []
    for event in phase.execute(scope).events:
        if isinstance(event, BatchStarted):
            assert scope.exec_ctx.batch_idx == len(seen) % 48
        if isinstance(event, BatchEnded):
            outputs, losses = scope.exec_ctx.outputs, scope.exec_ctx.losses
            seen.append((scope.exec_ctx.epoch_idx, outputs["A"].shape, tuple(losses)))
    assert seen == [(epoch, (1, 1, 1), ("mse", "l1")) for epoch in range(3) for _ in range(48)]


@pytest.mark.parametrize("n_batches", [1, 5, 47, 48, 50])
def test_a_stop_ends_after_the_present_batch_with_everything_done_on_record(
    bench: Any, phase: Any, n_batches: int
) -> None:
    asked = iter(range(1000))
    # It is asked once before each epoch and once after each batch.
    n_asked = n_batches + 1 + (n_batches - 1) // 48
    scope = bench.scope(should_stop=lambda: next(asked) >= n_asked - 1)
    execution = phase.execute(scope)
    events = list(execution.events)
    assert len(execution.results.batch_losses("mse")) == n_batches
    assert [type(event) for event in events[-2:]] == [EpochEnded, EpochLeft]
    assert events[-2].metrics.keys() == {"mse", "l1"}
    rows = [found.rows["A"] for found in execution.results.recording.tensors]
    assert len(np.concatenate(rows)) == n_batches


def test_a_stop_before_the_first_epoch_runs_nothing(bench: Any, phase: Any) -> None:
    before = bench.ctx.model_graph.get_state()
    events, results = bench.drain(phase, should_stop=lambda: True)
    assert [(type(event), event.epoch, event.batch) for event in events] == [(Paused, 0, None)]
    assert results.n_epochs == 0
    assert np.array_equal(
        before["nodes"]["A"]["model"]["weights"]["weight"],
        bench.ctx.model_graph.get_state()["nodes"]["A"]["model"]["weights"]["weight"],
    )


def test_a_stop_as_an_epoch_begins_still_does_one_batch(bench: Any, phase: Any) -> None:
    stopped: list[bool] = []
    execution = phase.execute(bench.scope(should_stop=lambda: bool(stopped)))
    for event in execution.events:
        if isinstance(event, EpochStarted):
            stopped.append(True)
    assert len(execution.results.batch_losses("mse")) == 1


class Explosive(nn.Module):
    """Fails at its n-th call in training mode."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.layer, self.left = nn.Linear(4, 1), at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= self.training
        if self.left < 0:
            raise ArithmeticError("exploded")
        return self.layer(x)


def test_what_was_done_before_a_batch_raised_stays_on_record(bench: Any) -> None:
    bench.graph(bench.node("A", model=Explosive(4)))
    execution = bench.train(n_epochs=3).execute(bench.scope())
    with pytest.raises(ArithmeticError, match="exploded"):
        list(execution.events)
    assert [len(epoch) for epoch in execution.results.recording.losses] == [3, 1]
    assert [found.n_batches for found in execution.results.recording.tensors] == [3, 1]
    assert execution.results.recording.settle.__closure__ is None


def test_a_record_holds_on_to_nothing_that_an_epoch_worked_with(bench: Any, phase: Any) -> None:
    _, results = bench.drain(phase)
    assert results.recording.settle.__closure__ is None


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_large_losses_are_finite_although_their_sum_is_not(bench: Any) -> None:
    bench.graph(bench.node("A"), lr=0.0)
    _, results = bench.drain(bench.train(n_epochs=2))
    weight = 3e38 / results.batch_losses("mse").max()
    _, results = bench.drain(bench.train([bench.loss(weight=float(weight))], n_epochs=2))
    assert np.isfinite(results.batch_losses("mse")).all()
    assert not np.isfinite(results.batch_losses("mse").sum(dtype=np.float32))


def test_a_loss_that_is_no_number_any_more_is_told_once_with_its_place(bench: Any) -> None:
    bench.graph(bench.node("A"), lr=1e9)
    with pytest.warns(
        ModularMLWarning, match=r"loss 'mse' of phase 'p' is \S+ since epoch \d+, batch \d+"
    ) as told:
        _, results = bench.drain(bench.train(n_epochs=6))
    assert len(told) == 1
    bad = [
        (e, b)
        for e, found in enumerate(results.recording.losses)
        for b in np.flatnonzero(~np.isfinite(found))
    ]
    assert f"since epoch {bad[0][0] + 1}, batch {bad[0][1] + 1}." in str(told[0].message)
    assert len({epoch for epoch, _ in bad}) > 1


@pytest.mark.usefixtures("no_collector")
def test_what_was_recorded_goes_with_the_results_and_waits_for_no_collector(bench: Any, phase: Any) -> None:
    _, results = bench.drain(phase)
    recording = weakref.ref(results.recording)
    del results
    assert recording() is None
