"""A live view of a graph, pinned to a cell: static between runs, and during each what runs.

It knows no node: it listens to the events of the experiment that the graph belongs to.
"""

from __future__ import annotations

from typing import Any, ClassVar

from IPython.display import display

from modularml.base.events import RunStarted
from modularml.widgets.live_run import LiveRun, LiveRuns


class GraphView(LiveRuns):
    """Shows a picture, and in its place, while a run goes on, the graph of what runs.

    Args:
        picture: What can be displayed without a kernel, e.g. a `Diagram`.
    """

    _ended: ClassVar[list[LiveRun]] = []

    def __init__(self, picture: Any) -> None:
        super().__init__()
        self._static = picture._repr_mimebundle_()
        self._handle = display(self._static, raw=True, display_id=True)

    def _open(self, started: RunStarted) -> LiveRun | None:
        if self._handle is None or all(entry.draw is None for entry in started.plan):
            return None
        run = LiveRun(started, view="graph")
        self._handle.update(self._static | run.view, raw=True)
        return run

    def _settle(self, run: LiveRun) -> None:
        self._handle.update(self._static, raw=True)
