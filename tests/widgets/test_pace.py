from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modularml.base.events import EpochEnded, PlanEntry
from modularml.widgets.run_state import RunState


def test_speed_and_time_left_are_those_of_the_epochs_so_far(script: Any) -> None:
    """Events lie 0.1 s apart; an epoch of four batches is seven of them."""
    plan = tuple(PlanEntry(path=(name,), kind="train", n_epochs=10) for name in "ab")
    state = RunState(script.start(plan=plan))
    events = script.train(path=("a",), n_epochs=10)
    for event in events:
        state.apply(event)
        if isinstance(event, EpochEnded) and event.epoch == 4:
            break
    run = state.take_patch()["run"]
    assert run["rate"] == pytest.approx(4 / 0.7, rel=0.06)
    assert run["left"] == pytest.approx(15 * 0.7, rel=0.05)
    assert run["rows"] == pytest.approx(32 * run["rate"])
    assert run["elapsed"] == pytest.approx(3.6)


@pytest.mark.parametrize(("n_epochs", "faster", "is_quick"), [(10, 1, False), (10, 2, True), (1, 2, False)])
def test_epochs_are_quick_that_are_over_before_they_are_drawn(
    script: Any, n_epochs: int, faster: int, is_quick: bool
) -> None:
    plan = (PlanEntry(path=("a",), kind="train", n_epochs=n_epochs),)
    state = RunState(script.start(plan=plan))
    for event in script.train(path=("a",), n_epochs=n_epochs):
        state.apply(replace(event, time_s=event.time_s / faster))
    assert state.snapshot()["run"]["quick"] is is_quick
