"""Stopping a run from Python: by a callback or another thread; who asked is recorded."""

import threading
from typing import Any

import numpy as np
import pytest

from modularml import Callback, ExperimentCallback


class StopAt(Callback):
    """Ends the run at the end of an epoch of a phase."""

    def __init__(self, epoch: int) -> None:
        super().__init__(label="watchdog")
        self.epoch = epoch

    def on_epoch_end(self, *, experiment: Any, exec_ctx: Any, **_: Any) -> None:
        if exec_ctx.epoch_idx == self.epoch:
            assert experiment.request_stop()


class StopAfter(ExperimentCallback):
    def on_phase_end(self, *, experiment: Any, phase: Any) -> None:
        experiment.request_stop()


@pytest.fixture
def planned(bench: Any) -> Any:
    bench.graph(bench.node("A"))
    bench.exp.execution_plan.add_phase(bench.train(n_epochs=4))
    bench.exp.execution_plan.add_phase(bench.evaluate([bench.loss()]))
    return bench


def test_a_callback_ends_the_run_and_not_only_its_phase(planned: Any) -> None:
    exp = planned.exp
    start = exp.get_state()
    whole = exp.run()
    exp.set_state(start)
    watchdog = StopAt(1)
    exp.execution_plan["train"].callbacks.append(watchdog)
    results = exp.run()
    assert results.labels == ["train"] and results["train"].n_epochs == 2
    assert exp.last_run.status == "stopped"
    assert exp.last_run.metadata["stopped_by"] == "the callback 'watchdog'"
    watchdog.epoch = -1
    resumed = exp.resume()
    assert np.array_equal(resumed["train"].batch_losses(), whole["train"].batch_losses())
    assert exp.last_run.status == "completed" and "stopped_by" not in exp.last_run.metadata


def test_a_callback_of_the_experiment_ends_it_between_phases(planned: Any) -> None:
    planned.exp.add_callback(StopAfter(label="enough"))
    assert planned.exp.run().labels == ["train"]
    assert planned.exp.last_run.metadata["stopped_by"] == "the callback 'enough'"


def test_another_thread_ends_it(planned: Any) -> None:
    exp = planned.exp
    begun, asked = threading.Event(), threading.Event()

    class Wait(Callback):
        def on_epoch_end(self, **_: Any) -> None:
            begun.set()
            assert asked.wait(10)

    def ask() -> None:
        begun.wait(10)
        exp.request_stop()
        asked.set()

    exp.execution_plan["train"].callbacks.append(Wait())
    thread = threading.Thread(target=ask, name="supervisor")
    thread.start()
    exp.run()
    thread.join()
    assert (exp.last_run.status, exp.last_run.results["train"].n_epochs) == ("stopped", 1)
    assert exp.last_run.metadata["stopped_by"] == "the thread 'supervisor'"


def test_without_a_run_there_is_nothing_to_stop(planned: Any) -> None:
    assert not planned.exp.request_stop()
    planned.exp.run()
    assert not planned.exp.request_stop()
    assert planned.exp.last_run.status == "completed"
