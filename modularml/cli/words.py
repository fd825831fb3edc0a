"""Texts, numbers and tables as a terminal shows them.

It knows no file. What a file says is data: never markup, never an order to the terminal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from modularml.display.drawing import shortened

_LONGEST = 200
_BARS = "▁▂▃▄▅▆▇█"
_N_BARS = 16
# Control characters, those that turn the direction of writing, and halves of surrogate pairs.
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STATUS_STYLES = {"completed": "green", "running": "cyan", "failed": "red"}


def shown(text: str) -> str:
    """Return `text` on one line, with nothing in it that a terminal would obey."""
    return _UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def styled(text: str, style: str = "") -> Text:
    """Return what a file says as it may be drawn, cut in its middle if it is very long."""
    return Text(shortened(shown(text), _LONGEST), style=style, overflow="fold")


def table(*columns: str) -> Table:
    """Return a table with these columns; ``>`` before a name puts its values to the right."""
    made = Table(box=SIMPLE_HEAD, header_style="bold", border_style="dim", show_edge=False)
    for name in columns:
        justify: Any = "right" if name.startswith(">") else "left"
        made.add_column(styled(name.removeprefix(">")), justify=justify, overflow="fold")
    return made


def apart(table: Table) -> Padding:
    """Return a table with room around it."""
    return Padding(table, (1, 0, 0, 2), expand=False)


def status(status: str) -> Text:
    """Return how a run ended."""
    return styled(f"● {status}", _STATUS_STYLES.get(status, "yellow"))


def course(values: Sequence[float]) -> str:
    """Return the way that values took as a row of small bars; nothing for one value alone."""
    n = min(len(values), _N_BARS)
    taken = [values[round(i * (len(values) - 1) / (n - 1))] for i in range(n)] if n > 1 else []
    finite = [value for value in taken if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    if math.isinf(high - low):
        taken, low, high = [value / 2 for value in taken], low / 2, high / 2
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((value - low) / step)] if math.isfinite(value) else " " for value in taken)


def size(n_bytes: int) -> str:
    """Return a size in bytes, kB, MB or GB."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= one:
            return f"{n_bytes / one:.1f} {unit}"
    return f"{n_bytes} bytes"


def moment(time: datetime) -> str:
    """Return a date and a time."""
    return f"{time:%Y-%m-%d %H:%M:%S}"


def duration(duration_s: float) -> str:
    """Return a duration: ``12 ms``, ``3.4 s`` or ``1:02:03``."""
    if duration_s < 1:
        return f"{1000 * duration_s:.0f} ms"
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
