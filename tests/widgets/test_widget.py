"""The channel: few messages, numbered, nothing lost, and the whole for who connects late."""

from __future__ import annotations

import time
from typing import Any

import pytest

from modularml.base.errors import InvalidTypeError
from modularml.widgets.widget import LiveWidget


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


def test_what_is_urgent_comes_by_itself_where_much_was_told_before(comms: list[Any]) -> None:
    count = Count()
    widget = CountWidget(count)
    for _ in range(500):
        widget.update(count.grow, is_urgent=True)
    while sum(m["patch"]["new"] for m in comms[-1].custom) < 500:
        time.sleep(0.02)
    widget.close()


def test_changes_are_made_when_somebody_looks_and_each_once(comms: list[Any], clock: Any) -> None:
    count = Count()
    widget = CountWidget(count)
    widget.update(count.grow)
    for _ in range(3):
        widget.update(count.grow)
    assert count.value == 1
    assert widget.get_state("snapshot") == {"snapshot": {"value": 4, "seq": 1}}
    clock.pass_s(1.0)
    widget.update(count.grow)
    widget.flush()
    assert [m["patch"]["new"] for m in comms[-1].custom] == [1, 4]
    widget.update(count.grow)
    widget.flush()
    assert comms[-1].custom[-1] == {"type": "patch", "patch": {"new": 1, "seq": 3}}


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
