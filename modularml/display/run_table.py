"""Runs as a table of plain text, for `print` and terminals.

It knows no experiment and no file: it is handed a `RunView` for each run.
"""

from __future__ import annotations

from collections.abc import Sequence

from modularml.display.figures import format_s, format_value
from modularml.display.runs import RunView
from modularml.display.text_table import text_table

_MOST_VALUES = 6
_LONGEST = 90
"""Characters of the last values of a run; a line that a terminal breaks is no row of a table."""


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
    phases = {phase: phase.rpartition("/")[2] for phase, _ in run.final}
    if len(set(phases.values())) < len(phases):
        phases = {phase: phase for phase in phases}
    told = [
        f"{name if len(phases) == 1 else f'{phases[phase]}/{name}'} {format_value(value)}"
        for (phase, name), value in run.final.items()
    ]
    kept = told[:1]
    for one in told[1:_MOST_VALUES]:
        if len(", ".join([*kept, one])) > _LONGEST:
            break
        kept.append(one)
    return ", ".join([*kept, "…"] if len(kept) < len(told) else kept)
