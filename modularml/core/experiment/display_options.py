"""What a run shows meanwhile, as its methods take it by keyword.

It knows no run: it reads options and says what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modularml.base.errors import Faults, InvalidTypeError, unknown_name
from modularml.base.events import DisplayOptions

QUIET = {"show_sampler_progress": False, "show_training_progress": False, "show_eval_progress": False}
"""The display options of a run that shows nothing."""


def display_options(given: Mapping[str, Any], *others: str) -> DisplayOptions:
    """Return the options that are given; `others` are what else their method takes, for messages.

    Raises:
        InvalidTypeError: If an option is unknown or of a wrong type.
    """
    faults, defaults = Faults("Display options"), vars(DisplayOptions())
    for name, value in given.items():
        if name not in defaults:
            told = unknown_name("display option", name, [*defaults, *others])
            faults.add(InvalidTypeError(f"{told} What phases do is said to them, where they are made."))
            continue
        default = defaults[name]
        kind = str if isinstance(default, str) else bool
        if not isinstance(value, kind) and (value is not None or default is not None):
            faults.add(InvalidTypeError(f"{name} must be a {kind.__name__}, got {value!r}."))
    faults.raise_if_any()
    return DisplayOptions(**given)
