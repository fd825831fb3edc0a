"""A run that is on the screen: its state, its widget, and the static form that takes its place.

It knows neither phases nor models: it is handed the events of one run.
"""

from __future__ import annotations

from typing import Any, ClassVar

import traitlets

from modularml.base.events import Event, RunEnded, RunStarted
from modularml.display.pacing import URGENT
from modularml.widgets.log_tail import LogTail
from modularml.widgets.run_state import RunState
from modularml.widgets.widget import STATIC_PATH, ChartLibrary, LiveWidget, MermaidLibrary

VIEW_MIME = "application/vnd.jupyter.widget-view+json"


class RunWidget(LiveWidget):
    """The live view of one run in the browser: all of it, or its plan and graph alone."""

    _esm = STATIC_PATH / "progress.js"
    _css = STATIC_PATH / "progress.css"
    view = traitlets.Enum(["run", "graph"], "run").tag(sync=True)

    def __repr__(self) -> str:
        return "RunWidget()"


class LiveRun:
    """A run and the widget that shows it.

    Args:
        started: The event that began it.
        view: ``"run"`` for all of it, ``"graph"`` for its plan and the graph of what runs.
    """

    def __init__(self, started: RunStarted, view: str = "run") -> None:
        self.state = RunState(started)
        self._stop = started.stop
        if view == "run":
            ChartLibrary.share()
        if self.state.has_graph:
            MermaidLibrary.share()
        self._widget = RunWidget(self.state, {"stop": self._handle_stop}, view=view)
        self._log = LogTail(self._add_line)
        self._log.open()

    @property
    def view(self) -> dict[str, Any]:
        """What a cell displays to show it."""
        return {VIEW_MIME: {"version_major": 2, "version_minor": 1, "model_id": self._widget.model_id}}

    def take(self, event: Event) -> None:
        """Take in an event and pass on what is due."""
        self._widget.update(lambda: self.state.apply(event), is_urgent=isinstance(event, URGENT))
        if isinstance(event, RunEnded):
            self._log.close()
            self._widget.flush()

    def close(self) -> None:
        """End the channel to the browser."""
        self._log.close()
        self._widget.close()

    def _add_line(self, level: str, text: str) -> None:
        self._widget.update(lambda: self.state.add_line(level, text))

    def _handle_stop(self, content: dict[str, Any]) -> None:
        if content.get("run") == self.state.run_id and self.state.status == "running":
            self._widget.send({"type": "stopping"})
            self._stop()


class LiveRuns:
    """The runs of an event bus that are on the screen: a listener."""

    _ended: ClassVar[list[LiveRun]] = []
    """The last run that ended: a page that was loaded while it ran only now can ask for it."""

    def __init__(self) -> None:
        self._live: dict[str, LiveRun] = {}

    def __call__(self, event: Event) -> None:
        """Show what happened."""
        if isinstance(event, RunStarted):
            run = self._open(event)
            if run is not None:
                self._live[event.run_id] = run
        elif event.run_id in self._live:
            self._live[event.run_id].take(event)
            if isinstance(event, RunEnded):
                self._end(self._live.pop(event.run_id))

    def _open(self, started: RunStarted) -> LiveRun | None:
        """Show a run that begins, or return None to pass it by."""
        raise NotImplementedError

    def _settle(self, run: LiveRun) -> None:
        """Put the static form in the place of the live one."""
        raise NotImplementedError

    def _end(self, run: LiveRun) -> None:
        self._settle(run)
        self._ended.append(run)
        while len(self._ended) > 1:
            self._ended.pop(0).close()
