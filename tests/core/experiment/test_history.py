from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from modularml import ExperimentRun, PhaseGroup
from modularml.base.errors import UnknownNameError
from modularml.core.experiment.history import STATUSES, History, PhaseExecution, now
from modularml.display.figures import format_value


def test_every_run_is_recorded_with_times_and_phases(lab: Any) -> None:
    lab.exp.execution_plan.add_phase(lab.train()).add_group(PhaseGroup("g", [lab.evaluate()]))
    before = now()
    results = lab.exp.run()
    lab.exp.run_phase(lab.evaluate("alone"))
    first, second = lab.exp.history
    assert (first.label, second.label) == ("lab", "alone")
    assert first.results is results
    assert {first.status, second.status} == {"completed"}
    assert before <= first.started_at <= first.ended_at <= second.started_at
    assert first.started_at.tzinfo is not None
    assert first.duration == first.ended_at - first.started_at
    assert first.duration_seconds == first.duration.total_seconds()
    assert list(first.phase_durations) == ["lab/train", "lab/g/eval"]
    assert 0 < sum(first.phase_durations.values()) <= first.duration_seconds
    assert [p.kind for p in first.phases] == ["train", "eval"]
    assert first.metadata.keys() == {"python", "modularml-jupyter", "torch", "scikit-learn", "numpy"}
    assert first.id != second.id
    assert lab.exp.last_run is second


def test_a_run_is_on_record_while_it_goes_on(lab: Any) -> None:
    from modularml import Callback

    seen: list[Any] = []

    class Look(Callback):
        def on_epoch_end(self, *, experiment: Any, **_: Any) -> None:
            run = experiment.last_run
            seen.append((run.status, run.ended_at, run.phases[0].status, run.duration > timedelta(0)))

    lab.exp.run_phase(lab.train(n_epochs=1, callbacks=[Look()]))
    assert seen == [("running", None, "running", True)]


def test_the_history_is_a_copy_of_the_list(lab: Any) -> None:
    assert lab.exp.last_run is None
    lab.exp.run_phase(lab.evaluate())
    lab.exp.history.clear()
    assert len(lab.exp.history) == 1
    assert lab.exp.history[0] is lab.exp.history[0]


def test_a_label_is_the_newest_run_of_it(lab: Any) -> None:
    lab.exp.execution_plan.add_phase(lab.train()).add_group(PhaseGroup("g", [lab.evaluate()]))
    lab.exp.run()
    for _ in range(2):
        lab.exp.run_phase(lab.evaluate("alone"))
    history = lab.exp.history
    assert history["alone"] is history[2] and history["lab"] is history[0]
    assert history[1:] == [history[1], history[2]]
    with pytest.raises(UnknownNameError, match="Unknown run 'aloe' in the history. .* mean 'alone'"):
        history["aloe"]
    with pytest.raises(UnknownNameError, match=r"of 'lab' ran it: history\['lab'\].results\['g'\]\['eval'\]"):
        history["eval"]


def test_reprs_are_short_and_stable(lab: Any) -> None:
    assert repr(lab.exp.history) == "History(0 runs)"
    lab.exp.run_phase(lab.evaluate())
    assert repr(lab.exp.history) == "History(1 runs)\n  [0] eval: completed"
    assert repr(lab.exp.last_run) == "ExperimentRun(label='eval', status='completed')"


def test_printed_it_is_a_table_with_the_last_values_of_each_run(lab: Any) -> None:
    assert str(lab.exp.history) == "no runs"
    lab.exp.run_phase(lab.evaluate())
    lab.exp.execution_plan.add_phase(lab.train(label="long name")).add_phase(lab.evaluate())
    lab.exp.run()
    head, *rows = str(lab.exp.history).split("\n")
    assert head.split() == ["run", "status", "took", "last", "values"]
    assert [row.split()[:3] for row in rows] == [
        ["0", "eval", "completed"],
        ["1", lab.exp.label, "completed"],
    ]
    first, second = lab.exp.history
    assert f"mse {format_value(first.results.final()['mse'])}" in rows[0]
    assert f"long name/mse {format_value(second.results['long name'].final()['mse'])}, eval/mse" in rows[1]


def test_state_round_trip(lab: Any, digest_of: Callable[[Any], str]) -> None:
    lab.exp.execution_plan.add_phase(lab.train()).add_group(PhaseGroup("g", [lab.evaluate()]))
    lab.exp.run()
    run = lab.exp.last_run
    again = ExperimentRun.from_state(run.get_state())
    assert again is not run
    assert digest_of(again.get_state()) == digest_of(run.get_state())
    assert (again.id, again.duration, again.phase_durations) == (run.id, run.duration, run.phase_durations)
    assert repr(again.results.flatten()) == repr(run.results.flatten())


@pytest.mark.parametrize("status", STATUSES)
def test_what_was_going_on_when_the_state_was_taken_was_interrupted_then(status: str) -> None:
    phase = PhaseExecution(path=("a",), kind="train", started_at=now(), status=status)
    run = ExperimentRun(label="a", started_at=now(), status=status, phases=[phase])
    before = now()
    again = ExperimentRun.from_state(run.get_state())
    expected = "interrupted" if status == "running" else status
    assert (again.status, again.phases[0].status) == (expected, expected)
    assert isinstance(again.ended_at, datetime)
    assert before <= again.ended_at <= now()
    assert run.ended_at is None


def test_tensors_may_be_left_out_of_the_state(lab: Any) -> None:
    lab.exp.run_phase(lab.evaluate())
    slim = ExperimentRun.from_state(lab.exp.last_run.get_state(tensors=False))
    assert slim.results.aggregated_losses() == lab.exp.last_run.results.aggregated_losses()
    assert slim.results.n_dropped_batches == 1


def test_an_empty_history_is_a_list() -> None:
    assert History() == []
