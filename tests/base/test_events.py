import dataclasses
import inspect

import pytest

from modularml.base import events
from modularml.base.errors import ModularMLWarning
from modularml.base.events import Event, EventBus, GroupEnded

KINDS = [cls for _, cls in inspect.getmembers(events, inspect.isclass) if issubclass(cls, Event)]


@pytest.mark.parametrize("cls", KINDS)
def test_events_are_frozen_facts(cls: type) -> None:
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]


def event() -> GroupEnded:
    return GroupEnded(run_id="r", path=("a",))


def test_listeners_are_called_in_order_until_they_unsubscribe() -> None:
    bus, heard = EventBus(), []
    first = bus.subscribe(lambda e: heard.append(1))
    bus.subscribe(lambda e: heard.append(2))
    bus.emit(event())
    first()
    first()
    bus.emit(event())
    assert heard == [1, 2, 2]


def test_a_listener_that_fails_is_reported_once_and_taken_off_and_the_others_hear_all() -> None:
    bus, heard = EventBus(), []

    def fails(e: Event) -> None:
        raise RuntimeError("no screen")

    bus.subscribe(fails)
    bus.subscribe(heard.append)
    with pytest.warns(
        ModularMLWarning, match=r"failed on GroupEnded and was removed: RuntimeError: no screen"
    ):
        bus.emit(event())
    bus.emit(event())
    assert len(heard) == 2


def test_a_listener_may_take_itself_off_before_it_fails() -> None:
    bus = EventBus()

    def fails(e: Event) -> None:
        unsubscribe()
        raise RuntimeError("closed")

    unsubscribe = bus.subscribe(fails)
    with pytest.warns(ModularMLWarning, match="closed"):
        bus.emit(event())
    bus.emit(event())


def test_a_listener_may_subscribe_others_who_hear_from_the_next_event_on() -> None:
    bus, heard = EventBus(), []
    unsubscribe = bus.subscribe(lambda e: (unsubscribe(), bus.subscribe(heard.append)))
    bus.emit(event())
    assert heard == []
    bus.emit(event())
    assert len(heard) == 1
