"""Runs as a table of plain text, for `print` and terminals.

It knows no experiment and no file: it is handed a `RunView` for each run.
"""

from __future__ import annotations

from collections.abc import Sequence

from modularml.display.figures import format_s, format_value
from modularml.display.runs import RunView
from modularml.display.text_table import text_table

_MOST_VALUES = 6


def run_table(runs: Sequence[RunView]) -> str:
    """Return a line a run, oldest first: how it ended, how long it took, the last values that it had."""
    if not runs:
        return "no runs"
    rows = [
        [
            str(i),
            run.label,
            f"{run.status}, stale" if run.stale else run.status,
            format_s(run.duration_s),
            _last_values(run),
        ]
        for i, run in enumerate(runs)
    ]
    return text_table([">", "run", "status", ">took", "last values"], rows)


def _last_values(run: RunView) -> str:
    one_phase = len({phase for phase, _ in run.final}) == 1
    told = [
        f"{name if one_phase else f'{phase}/{name}'} {format_value(value)}"
        for (phase, name), value in run.final.items()
    ]
    return ", ".join([*told[:_MOST_VALUES], *("…" for _ in told[_MOST_VALUES : _MOST_VALUES + 1])])
