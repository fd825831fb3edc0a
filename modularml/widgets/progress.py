"""The progress panel: one a run in the notebook, live while it runs, static afterwards.

It knows neither phases nor models: it listens to the events of a run.
"""

from __future__ import annotations

from typing import Any, ClassVar

from IPython.display import display

from modularml.base.events import EpochEnded, Event, PhaseEnded, PhaseStarted, RunEnded, RunStarted
from modularml.widgets.run_html import run_html
from modularml.widgets.run_state import RunState
from modularml.widgets.widget import MIN_GAP_S, STATIC_PATH, ChartLibrary, LiveWidget

VIEW_MIME = "application/vnd.jupyter.widget-view+json"
EPOCH_GAP_S = 0.02
"""Ends of epochs may come a little faster than batches, those of phases at any time."""


class ProgressWidget(LiveWidget):
    """The live panel of one run in the browser."""

    _esm = STATIC_PATH / "progress.js"
    _css = STATIC_PATH / "progress.css"


class ProgressPanel:
    """Shows each run of an event bus in the cell that started it.

    The notebook is saved with a static picture of the run: no widget, no kernel.

    Example:
        >>> bus = EventBus()
        >>> unsubscribe = bus.subscribe(ProgressPanel())
    """

    _ended: ClassVar[list[_LiveRun]] = []
    """The last run that ended: a page that was loaded while it ran only now can ask for it."""

    def __init__(self) -> None:
        self._live: dict[str, _LiveRun] = {}

    def __call__(self, event: Event) -> None:
        """Show what happened."""
        if isinstance(event, RunStarted):
            if _has_something_to_show(event):
                self._live[event.run_id] = _LiveRun(event)
        elif event.run_id in self._live:
            self._live[event.run_id].take(event)
            if isinstance(event, RunEnded):
                self._end(self._live.pop(event.run_id))

    def _end(self, run: _LiveRun) -> None:
        run.settle()
        self._ended.append(run)
        while len(self._ended) > 1:
            self._ended.pop(0).close()


class _LiveRun:
    """A run that is on the screen."""

    def __init__(self, started: RunStarted) -> None:
        self._state = RunState(started)
        self._stop = started.stop
        ChartLibrary.share()
        self._widget = ProgressWidget(self._state, {"stop": self._handle_stop})
        view = {"version_major": 2, "version_minor": 1, "model_id": self._widget.model_id}
        self._handle = display(self._static() | {VIEW_MIME: view}, raw=True, display_id=True)

    def take(self, event: Event) -> None:
        """Take in an event and pass on what is due."""
        if isinstance(event, PhaseStarted | PhaseEnded | RunEnded):
            min_gap_s = 0.0
        else:
            min_gap_s = EPOCH_GAP_S if isinstance(event, EpochEnded) else MIN_GAP_S
        self._widget.update(lambda: self._state.apply(event), min_gap_s=min_gap_s)

    def settle(self) -> None:
        """Put the static form in the place of the live one."""
        if self._handle is not None:
            self._handle.update(self._static(), raw=True)

    def close(self) -> None:
        """End the channel to the browser."""
        self._widget.close()

    def _static(self) -> dict[str, str]:
        """The form that needs no kernel; its keys and its plain text stay as they are."""
        options = self._state.options
        if options.persist_progress is False:
            return {"text/plain": "", "text/html": ""}
        html = run_html(self._state, with_epochs=options.persist_epoch_progress is not False)
        return {"text/plain": self._state.text, "text/html": html}

    def _handle_stop(self, content: dict[str, Any]) -> None:
        if content.get("run") == self._state.run_id and self._state.status == "running":
            self._widget.send({"type": "stopping"})
            self._stop()


def _has_something_to_show(started: RunStarted) -> bool:
    state = RunState(started)
    return any(state.shows(entry.kind) for entry in started.plan if entry.kind != "group")
