"""The channel: few messages, numbered, nothing lost, and the whole for who connects late."""

from __future__ import annotations

import time
from typing import Any

import pytest

from modularml.base.errors import InvalidTypeError
from modularml.widgets.widget import MAX_GAP_S, MAX_RATE, LiveWidget


class Count:
    """The simplest source: a number, and how much it grew."""

    def __init__(self) -> None:
        self.value = self.taken = 0

    def grow(self) -> None:
        self.value += 1

    def snapshot(self) -> dict[str, Any]:
        return {"value": self.value}

    def take_patch(self) -> dict[str, Any]:
        new, self.taken = self.value - self.taken, self.value
        return {"new": new}


class CountWidget(LiveWidget):
    """A widget of a count."""

    _esm = "export default {}"


def test_changes_between_two_messages_go_with_the_next(comms: list[Any]) -> None:
    count = Count()
    widget = CountWidget(count)
    for is_urgent in (True, False, False, True):
        widget.update(count.grow, is_urgent=is_urgent)
    patches = [m["patch"] for m in comms[-1].custom]
    assert patches == [{"new": 1, "seq": 1}, {"new": 3, "seq": 2}]


def test_no_more_than_twenty_messages_go_in_a_second_and_nothing_is_lost(comms: list[Any]) -> None:
    count = Count()
    widget = CountWidget(count)
    began = time.monotonic()
    for _ in range(500):
        widget.update(count.grow, is_urgent=True)
    n_sent, took_s = len(comms[-1].custom), time.monotonic() - began
    assert n_sent <= MAX_RATE * (1 + took_s)
    while len(comms[-1].custom) == n_sent:  # the rest comes by itself, though nothing else happens
        time.sleep(0.02)
    assert sum(m["patch"]["new"] for m in comms[-1].custom) == 500
    widget.close()


class DearCount(Count):
    """A count that takes its time to tell."""

    def take_patch(self) -> dict[str, Any]:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        return super().take_patch()


def test_what_is_dear_to_tell_is_told_seldom(comms: list[Any]) -> None:
    count = DearCount()
    widget = CountWidget(count)
    began = time.monotonic()
    while (took_s := time.monotonic() - began) < 0.7:
        widget.update(count.grow)
    assert 2 <= len(comms[-1].custom) <= 2 + took_s / MAX_GAP_S
    widget.flush()
    assert sum(m["patch"]["new"] for m in comms[-1].custom) == count.value


def test_a_page_that_connects_gets_the_whole_with_its_number(comms: list[Any]) -> None:
    count = Count()
    widget = CountWidget(count)
    for _ in range(3):
        widget.update(count.grow, is_urgent=True)
    assert widget.get_state()["snapshot"] == {"value": 3, "seq": 3}
    assert widget.get_state("snapshot") == {"snapshot": {"value": 3, "seq": 3}}
    comms[-1].receive(type="resync")
    assert comms[-1].custom[-1] == {"type": "snapshot", "patch": {"value": 3, "seq": 3}}


def test_the_browser_may_ask_for_what_is_named_and_for_nothing_else(comms: list[Any]) -> None:
    heard: list[Any] = []
    CountWidget(Count(), {"shout": heard.append})
    comms[-1].receive(type="shout", text="hey")
    comms[-1].receive(type="close")
    comms[-1].receive(text="no type")
    assert heard == [{"type": "shout", "text": "hey"}]


@pytest.mark.usefixtures("comms")
def test_an_unknown_keyword_is_refused_by_name() -> None:
    with pytest.raises(
        InvalidTypeError, match=r"Unknown keyword 'layuot' in CountWidget.*Did you mean 'layout'\?"
    ):
        CountWidget(Count(), layuot={})


@pytest.mark.usefixtures("comms")
def test_the_text_of_a_widget_is_stable() -> None:
    assert repr(CountWidget(Count())) == "CountWidget()"


def test_a_closed_widget_leaves_no_channel(comms: list[Any]) -> None:
    widget = CountWidget(Count())
    widget.close()
    assert {c.sent[-1][0] for c in comms} == {"comm_close"}
    widget.close()
