"""The live view of a run: a widget in a notebook, progress lines in a terminal.

It knows neither view from within: both are listeners on the event bus.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable

from modularml.base.errors import ModularMLWarning
from modularml.base.events import DisplayOptions, EventBus
from modularml.display.environment import in_notebook
from modularml.display.progress import ConsoleProgress

NOTEBOOK_VIEW = "modularml.widgets.progress:ProgressPanel"


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


def _open_notebook_view(bus: EventBus) -> Callable[[], None]:
    # The one step up to the widgets, by name and at run time: they load anywidget and
    # the bundles of the front end, which nothing but a notebook needs.
    module, _, name = NOTEBOOK_VIEW.partition(":")
    try:
        view = getattr(importlib.import_module(module), name)()
    except Exception as error:  # noqa: BLE001 - a run must not die of its audience
        warnings.warn(
            f"The progress panel cannot be shown: {type(error).__name__}: {error}",
            ModularMLWarning,
            stacklevel=3,
        )
        return lambda: None
    return bus.subscribe(view)
