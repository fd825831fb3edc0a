"""A pinned graph is a picture between runs, and live during each."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from modularml.base.events import EventBus, PlanEntry
from modularml.display.diagram import Diagram
from modularml.display.spec import GraphSpec, NodeSpec
from modularml.widgets.graph import GraphView
from modularml.widgets.live_run import VIEW_MIME

NODE = NodeSpec(id="n0", kind="ModelNode", title="ModelNode", name="MLP")
GRAPH = Diagram(GraphSpec(title="graph", nodes=(NODE,), edges=()))


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Any:
    publisher = CapturingDisplayPublisher()
    monkeypatch.setattr(InteractiveShell.instance(), "display_pub", publisher)
    yield publisher.outputs
    InteractiveShell.clear_instance()


@pytest.mark.usefixtures("comms")
def test_each_run_takes_the_place_of_the_picture_and_gives_it_back(
    script: Any, outputs: list[dict[str, Any]]
) -> None:
    bus = EventBus()
    bus.subscribe(GraphView(GRAPH))
    for run_id in ("r1", "r2"):
        script.run_id = run_id
        for event in script.whole():
            bus.emit(event)
    assert [VIEW_MIME in output["data"] for output in outputs] == [False, True, False, True, False]
    assert [bool(output.get("update")) for output in outputs] == [False, True, True, True, True]
    for output in outputs:
        assert {k: v for k, v in output["data"].items() if k != VIEW_MIME} == GRAPH._repr_mimebundle_()
    assert len({output["transient"]["display_id"] for output in outputs}) == 1


def test_a_run_without_pictures_leaves_it_as_it_is(script: Any, outputs: list[Any], comms: list[Any]) -> None:
    bus = EventBus()
    bus.subscribe(GraphView(GRAPH))
    for event in script.whole(plan=(PlanEntry(path=("train",), kind="train"),)):
        bus.emit(event)
    assert len(outputs) == 1
    assert comms == []
