"""Drawings a second by what one costs, on a clock that the test moves."""

import pytest

from modularml.display.pacing import MAX_GAP_S, MAX_RATE, MIN_GAP_S, SHARE, Budget

EVENT_S = 0.005


def drawings(clock, *, cost_s, total_s=20.0, n_busy=1.0, is_urgent=False):
    """Draw whenever it is due in a loop that asks two hundred times a second; return when it did."""
    budget, drawn_s, end_s = Budget(), [], clock.monotonic() + total_s
    while clock.monotonic() < end_s:
        clock.pass_s(EVENT_S, n_busy=n_busy)
        if budget.is_due(is_urgent=is_urgent):
            with budget.drawing():
                drawn_s.append(clock.monotonic())
                clock.draw_s(cost_s)
    return drawn_s


@pytest.mark.parametrize("gap_s", [0.0, 0.5 * MIN_GAP_S, 0.9 * MIN_GAP_S])
def test_what_is_cheap_is_drawn_as_often_as_anyone_can_see(clock, gap_s):
    per_s = len(drawings(clock, cost_s=gap_s * SHARE)) / 20
    assert 0.9 / MIN_GAP_S <= per_s <= 1 / MIN_GAP_S


@pytest.mark.parametrize("gap_s", [1.1 * MIN_GAP_S, 0.7 * MAX_GAP_S, 0.95 * MAX_GAP_S])
def test_what_costs_more_is_drawn_less_often_and_takes_its_share(clock, gap_s):
    drawn_s = drawings(clock, cost_s=gap_s * SHARE)
    assert 0.9 * SHARE <= len(drawn_s) * gap_s * SHARE / clock.monotonic() <= SHARE


@pytest.mark.parametrize("cost_s", [0.01, 0.1])
@pytest.mark.parametrize("n_busy", [0.1, 1.0, 8.0])
def test_what_is_dear_is_drawn_often_enough_to_look_alive(clock, cost_s, n_busy):
    drawn_s = drawings(clock, cost_s=cost_s, n_busy=n_busy)
    assert len(drawn_s) >= 0.9 * 20 / (MAX_GAP_S + cost_s)


def test_time_that_others_had_is_not_spent(clock):
    """Where the process has half the machine, the same drawing is due half as often."""
    cost_s = 0.45 * MAX_GAP_S * SHARE
    alone = len(drawings(clock, cost_s=cost_s))
    assert len(drawings(clock, cost_s=cost_s, n_busy=0.5)) <= 0.6 * alone


def test_a_process_of_many_threads_draws_no_more_than_one_of_one(clock):
    cost_s = 0.7 * MAX_GAP_S * SHARE
    alone = len(drawings(clock, cost_s=cost_s))
    assert len(drawings(clock, cost_s=cost_s, n_busy=8.0)) <= 1.05 * alone


@pytest.mark.parametrize("cost_s", [0.0, 0.1])
def test_never_more_than_twenty_in_a_second_however_urgent(clock, cost_s):
    drawn_s = drawings(clock, cost_s=cost_s, is_urgent=True)
    assert all(later - earlier > 0.999 for earlier, later in zip(drawn_s, drawn_s[MAX_RATE:], strict=False))


def test_what_is_urgent_is_due_at_once_until_much_was_drawn(clock):
    budget = Budget()
    for _ in range(MAX_RATE):
        assert budget.urgent_in_s == 0
        assert budget.is_due(is_urgent=True)
        with budget.drawing():
            clock.draw_s(0.01)
    assert not budget.is_due(is_urgent=True)
    assert budget.urgent_in_s == pytest.approx(1 - MAX_RATE * 0.01)
    clock.pass_s(budget.urgent_in_s)
    assert budget.is_due(is_urgent=True)
