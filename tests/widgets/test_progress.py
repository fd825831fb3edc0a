"""A panel a run: live while it runs, static afterwards, and nothing where nothing was asked for."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from modularml.base.events import EventBus, PlanEntry, RunEnded
from modularml.widgets.live_run import VIEW_MIME
from modularml.widgets.progress import ProgressPanel
from modularml.widgets.run_state import RunState

SANITIZE = r'(?s)<div class="modularml-run".*?<!-- end of modularml-run -->'


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What is displayed, in order; updates are marked by `update`."""
    shell = InteractiveShell.instance()
    publisher = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", publisher)
    yield publisher.outputs
    InteractiveShell.clear_instance()


@pytest.fixture
def bus(comms: list[Any]) -> EventBus:
    bus = EventBus()
    bus.subscribe(ProgressPanel())
    return bus


def play(bus: EventBus, events: Any) -> None:
    for event in events:
        bus.emit(event)


def test_a_run_is_shown_live_and_leaves_its_static_form(
    bus: EventBus, script: Any, outputs: list[dict[str, Any]]
) -> None:
    play(bus, script.whole())
    first, last = outputs
    assert set(first["data"]) == {VIEW_MIME, "text/plain", "text/html"}
    assert set(last["data"]) == {"text/plain", "text/html"}
    assert last["update"]
    assert last["transient"] == first["transient"]
    assert "done in 2.5 s" in last["data"]["text/html"]


def test_what_nbval_compares_is_the_same_at_the_start_and_at_the_end(
    bus: EventBus, script: Any, outputs: list[dict[str, Any]]
) -> None:
    """It ignores updates: the first output of a new run is held against the last of the saved one."""
    play(bus, script.whole())
    first, last = (
        {mime: re.sub(SANITIZE, "RUN", text) for mime, text in output["data"].items() if mime != VIEW_MIME}
        for output in outputs
    )
    assert first == last == {"text/plain": "Run 'my_experiment': train, eval", "text/html": "RUN"}


@pytest.mark.parametrize(
    ("kinds", "options", "is_shown"),
    [
        (["train", "eval"], {}, True),
        (["eval"], {}, False),
        (["eval"], {"show_eval_progress": True}, True),
        (["train"], {"show_training_progress": False}, False),
        (["fit"], {}, True),
        (["group", "eval"], {}, False),
        ([], {}, False),
    ],
)
def test_nothing_is_shown_where_nothing_was_asked_for(
    bus: EventBus,
    script: Any,
    outputs: list[dict[str, Any]],
    comms: list[Any],
    kinds: list[str],
    options: dict[str, bool],
    is_shown: bool,
) -> None:
    plan = tuple(PlanEntry(path=(kind,), kind=kind) for kind in kinds)
    play(bus, [script.start(plan=plan, **options), *script.evaluate(), script.end()])
    assert bool(outputs) is is_shown
    assert bool(comms) is is_shown


def test_a_panel_that_is_not_to_stay_leaves_an_empty_output(
    bus: EventBus, script: Any, outputs: list[dict[str, Any]]
) -> None:
    play(bus, script.whole(persist_progress=False))
    first, last = (output["data"] for output in outputs)
    assert last == {"text/plain": "", "text/html": ""}
    assert first == last | {VIEW_MIME: first[VIEW_MIME]}


@pytest.mark.parametrize(("keep", "is_kept"), [(None, True), (True, True), (False, False)])
def test_lines_of_epochs_stay_unless_told_otherwise(
    bus: EventBus, script: Any, outputs: list[dict[str, Any]], keep: bool | None, is_kept: bool
) -> None:
    play(bus, script.whole(persist_epoch_progress=keep))
    assert ("train: 3 epochs" in outputs[-1]["data"]["text/html"]) is is_kept


@pytest.mark.usefixtures("outputs")
def test_a_failure_and_the_ends_of_phases_are_told_at_once(
    bus: EventBus, script: Any, comms: list[Any]
) -> None:
    play(bus, [script.start(), *script.train()])
    channel = comms[-1]
    assert channel.custom[-1]["patch"]["phases"][0]["status"] == "completed"
    play(bus, [script.end("failed", "ValueError: no")])
    run = channel.custom[-1]["patch"]["run"]
    assert (run["status"], run["error"]) == ("failed", "ValueError: no")


@pytest.mark.usefixtures("outputs")
def test_stop_reaches_the_run_that_it_names_while_it_runs(
    bus: EventBus, script: Any, comms: list[Any]
) -> None:
    stops: list[str] = []
    bus.emit(script.start(stop=lambda: stops.append("stop")))
    channel = comms[-1]
    channel.receive(type="stop", run="another")
    assert stops == []
    channel.receive(type="stop", run="r1")
    assert stops == ["stop"]
    assert channel.custom[-1] == {"type": "stopping"}
    bus.emit(script.end())
    channel.receive(type="stop", run="r1")
    assert stops == ["stop"]


@pytest.mark.usefixtures("outputs")
def test_only_the_last_run_keeps_its_channel(bus: EventBus, script: Any, comms: list[Any]) -> None:
    """A page that was loaded during a run asks for it when the kernel is free, after its end."""
    for run_id in ("r1", "r2", "r3"):
        script.run_id = run_id
        play(bus, script.whole())
    is_open = [c.sent[-1][0] != "comm_close" for c in comms]
    assert is_open == [False] * 4 + [True] * 2  # a widget and its layout each


def test_runs_side_by_side_keep_to_their_own_panels(
    bus: EventBus, script: Any, outputs: list[dict[str, Any]]
) -> None:
    bus.emit(script.start(label="outer"))
    script.run_id = "r2"
    play(bus, script.whole(label="inner"))
    script.run_id = "r1"
    play(bus, [script.end("stopped")])
    ends = {o["data"]["text/plain"]: o["data"]["text/html"] for o in outputs if o.get("update")}
    assert "stopped" in ends["Run 'outer': train, eval"]
    assert "done" in ends["Run 'inner': train, eval"]


def test_events_of_a_run_that_began_unseen_are_ignored(
    bus: EventBus, script: Any, outputs: list[Any]
) -> None:
    play(bus, [*script.train(), RunEnded(run_id="r1", status="completed", duration_s=1.0)])
    assert outputs == []


def test_to_import_the_library_loads_no_widget() -> None:
    code = "import sys, modularml, modularml.widgets; sys.exit('anywidget' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lines_that_are_logged_meanwhile_are_shown_and_stay_where_they_were(
    bus: EventBus, script: Any, outputs: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    events = script.whole()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        bus.emit(next(events))
        logging.getLogger("a.model").warning("loss is %s", "high")
        warnings.warn("mind the gap", UserWarning, stacklevel=1)
        play(bus, events)
    assert [str(warning.message) for warning in shown] == ["mind the gap"]
    logging.getLogger("a.model").warning("after the run")
    html = outputs[-1]["data"]["text/html"]
    assert "warning: loss is high\nwarning: UserWarning: mind the gap</pre>" in html
    assert [record.getMessage() for record in caplog.records] == ["loss is high", "after the run"]


@pytest.mark.usefixtures("outputs", "clock")
def test_however_seldom_it_is_told_a_page_knows_the_whole_at_any_time(
    bus: EventBus, script: Any, comms: list[Any]
) -> None:
    """On a clock that stands still nothing is told but what is urgent, and the end."""
    start, *events = script.whole(plan=(PlanEntry(path=("train",), kind="train", n_epochs=200),))
    events[:-1] = script.train(n_epochs=200)
    expected = RunState(start)
    bus.emit(start)
    channel = comms[-1]
    for i, event in enumerate(events):
        bus.emit(event)
        expected.apply(event)
        if i == len(events) // 2:
            channel.receive(type="resync")
            seq = {"seq": len(channel.custom) - 1}
            assert channel.custom.pop() == {"type": "snapshot", "patch": expected.snapshot() | seq}
    patches = [message["patch"] for message in channel.custom if message["type"] == "patch"]
    assert len(patches) == 3
    told = {(t["per"], t["name"]): t for patch in patches for t in patch["traces"]}
    whole = {(t["per"], t["name"]): t for t in expected.snapshot()["traces"]}
    assert told == whole
    assert patches[-2]["phases"] == expected.snapshot()["phases"]  # the phase ends before the run
    assert patches[-1]["run"] == expected.snapshot()["run"]
