"""The live view of a run: a widget in a notebook, progress lines in a terminal.

It knows neither view from within: both are listeners on the event bus.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from modularml.base.errors import warn
from modularml.base.events import DisplayOptions, EventBus
from modularml.display.diagram import Diagram
from modularml.display.environment import in_notebook
from modularml.display.progress import ConsoleProgress
from modularml.display.run_book import RunBook
from modularml.display.run_list import runs_html

NOTEBOOK_VIEW = "modularml.widgets.progress:ProgressPanel"
PINNED_VIEW = "modularml.widgets.graph:GraphView"
NOTEBOOK_BROWSER = "modularml.widgets.history:open_browser"


def open_live_view(bus: EventBus, options: DisplayOptions) -> Callable[[], None]:
    """Show the next run on `bus` where its user looks at it.

    Args:
        bus: Where the run will emit its events.
        options: What the run is to show; with nothing to show no view is opened.

    Returns:
        A function that closes the view. It is to be called when the run is over,
        however it ended.
    """
    if not (options.show_training_progress or options.show_sampler_progress or options.show_eval_progress):
        return lambda: None
    if in_notebook():
        return _open_notebook_view(bus)
    console = ConsoleProgress()
    unsubscribe = bus.subscribe(console)

    def close() -> None:
        unsubscribe()
        console.close()

    return close


def pin_live_view(bus: EventBus, diagram: Diagram) -> None:
    """Show a diagram in the present cell that shows every run on `bus` while it goes on.

    Outside a notebook the diagram is shown as it is.

    Args:
        bus: Where runs emit their events.
        diagram: What is shown when nothing runs.
    """
    if in_notebook():
        bus.subscribe(_widget_view(PINNED_VIEW)(diagram))
    else:
        diagram.show()


def _widget_view(name: str) -> Any:
    # The one step up to the widgets, by name and at run time: they load anywidget and
    # the bundles of the front end, which nothing but a notebook needs.
    module, _, name = name.partition(":")
    return getattr(importlib.import_module(module), name)


def show_runs(book: RunBook, text: str) -> dict[str, str]:
    """Return what a cell shows of some runs; in a notebook a live browser takes its place.

    What is saved is the static form: the browser puts itself over it, and names itself nowhere.

    Args:
        book: The runs.
        text: The plain form.
    """
    token = ""
    if in_notebook():
        try:
            token = _widget_view(NOTEBOOK_BROWSER)(book)
        except Exception as error:  # noqa: BLE001 - the static form is there all the same
            warn(f"The browser of runs cannot be shown: {type(error).__name__}: {error}")
    return {"text/plain": text, "text/html": runs_html(book.sources, token)}


def _open_notebook_view(bus: EventBus) -> Callable[[], None]:
    try:
        view = _widget_view(NOTEBOOK_VIEW)()
    except Exception as error:  # noqa: BLE001 - a run must not die of its audience
        warn(f"The progress panel cannot be shown: {type(error).__name__}: {error}")
        return lambda: None
    return bus.subscribe(view)
