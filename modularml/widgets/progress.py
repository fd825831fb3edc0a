"""The progress panel: one a run in the notebook, live while it runs, static afterwards.

It knows neither phases nor models: it listens to the events of a run.
"""

from __future__ import annotations

from typing import Any, ClassVar

from IPython.display import display

from modularml.base.events import RunStarted
from modularml.widgets.live_run import LiveRun, LiveRuns
from modularml.widgets.run_html import run_html
from modularml.widgets.run_state import RunState


class ProgressPanel(LiveRuns):
    """Shows each run of an event bus in the cell that started it.

    The notebook is saved with a static picture of the run: no widget, no kernel.

    Example:
        >>> bus = EventBus()
        >>> unsubscribe = bus.subscribe(ProgressPanel())
    """

    _ended: ClassVar[list[LiveRun]] = []

    def __init__(self) -> None:
        super().__init__()
        self._handles: dict[str, Any] = {}

    def _open(self, started: RunStarted) -> LiveRun | None:
        if not _has_something_to_show(started):
            return None
        run = LiveRun(started)
        handle = display(_static(run.state) | run.view, raw=True, display_id=True)
        self._handles[started.run_id] = handle
        return run

    def _settle(self, run: LiveRun) -> None:
        handle = self._handles.pop(run.state.run_id)
        if handle is not None:
            handle.update(_static(run.state), raw=True)


def _static(state: RunState) -> dict[str, str]:
    """The form that needs no kernel; its keys and its plain text stay as they are."""
    if state.options.persist_progress is False:
        return {"text/plain": "", "text/html": ""}
    html = run_html(state, with_epochs=state.options.persist_epoch_progress is not False)
    return {"text/plain": state.text, "text/html": html}


def _has_something_to_show(started: RunStarted) -> bool:
    state = RunState(started)
    return any(state.shows(entry.kind) for entry in started.plan if entry.kind != "group")
