"""Runs of several sources as rows: what was set otherwise in them, and what came of it.

It knows no experiment and no file: it is handed sources of runs.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import Any

from modularml.base.trees import values_of
from modularml.display.figures import format_s, format_value
from modularml.display.runs import RunSource, RunView
from modularml.display.text_table import text_table

_MOST_COLUMNS = 6
"""How many settings, and how many values, a text has room for."""

_WIDEST = 120
"""Characters of a line, as far as some columns can be left out for that."""

_NONE = "–"
_DIGEST = "sha256 "
_FACTS = ("experiment", "run", "label", "status", "duration_s")


def run_rows(sources: Sequence[RunSource]) -> list[dict[str, Any]]:
    """Return a row a run, oldest first within each source.

    Returns:
        ``experiment``, ``run`` (its place in the history), ``label``, ``status``, ``duration_s``, then the
        settings that are not the same in all runs, by the shortest name that tells them apart, then
        the last value of each loss and metric.
    """
    return [facts | settings | values for facts, settings, values in _parts_of_rows(sources)]


def _parts_of_rows(
    sources: Sequence[RunSource],
) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, float]]]:
    """Return of each run what it is, the settings that differ and the last values."""
    placed = [(source.name, i, run) for source in sources for i, run in enumerate(source.views())]
    runs = [run for *_, run in placed]
    facts = [
        dict(zip(_FACTS, (name, i, run.label, run.status, run.duration_s), strict=True))
        for name, i, run in placed
    ]
    return list(zip(facts, settings_that_differ(runs), _values(runs), strict=True))


def comparison_table(sources: Sequence[RunSource]) -> str:
    """Return the rows as text, without the columns that there is no room for."""
    rows = _parts_of_rows(sources)
    if not rows:
        return "no runs"
    settings, values = list(rows[0][1]), list(rows[0][2])
    set_, reached = settings[:_MOST_COLUMNS], values[:_MOST_COLUMNS]
    text = _columns(rows, set_, reached)
    while text.index("\n") > _WIDEST and len(set_) + len(reached) > 2:
        (set_ if len(set_) >= len(reached) else reached).pop()
        text = _columns(rows, set_, reached)
    n_left_out = len(settings) + len(values) - len(set_) - len(reached)
    return text + (f"\n{n_left_out} more columns: to_pandas()" if n_left_out else "")


def _columns(
    rows: Sequence[tuple[dict[str, Any], dict[str, Any], dict[str, float]]],
    set_: Sequence[str],
    reached: Sequence[str],
) -> str:
    heads = ["experiment", ">run", "status", ">took", *(f">{name}" for name in (*set_, *reached))]
    told = [
        [facts["experiment"], str(facts["run"]), facts["status"], format_s(facts["duration_s"])]
        + [_NONE if chosen[name] is None else str(chosen[name]) for name in set_]
        + [_NONE if math.isnan(last[name]) else format_value(last[name]) for name in reached]
        for facts, chosen, last in rows
    ]
    return text_table(heads, told)


def settings_that_differ(runs: Sequence[RunView]) -> list[dict[str, Any]]:
    """Return for each run the settings that are not the same in all of them, None where it has none."""
    told = [_settings(run) for run in runs]
    paths = dict.fromkeys(path for one in told for path in one)
    differ = [path for path in paths if len({one.get(path) for one in told}) > 1]
    names = {path: _name(path, differ) for path in differ}
    return [{names[path]: _value(one.get(path)) for path in differ} for one in told]


def _settings(run: RunView) -> dict[tuple[str, ...], str]:
    """Return the settings of a run by their paths, without the phase that each belongs to."""
    found: dict[tuple[str, ...], str] = {("seed",): run.seed}
    for path, text in values_of(dict(run.config or {})).items():
        if not text.startswith(_DIGEST):
            found.setdefault(path[1:] or path, text)
    return found


def _name(path: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    tails = [path[-n:] for n in range(1, len(path) + 1)]
    alone = (tail for tail in tails if sum(other[-len(tail) :] == tail for other in others) == 1)
    return ".".join(next((tail for tail in alone if tail[0] not in _FACTS), path))


def _value(text: str | None) -> Any:
    try:
        return None if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _values(runs: Sequence[RunView]) -> list[dict[str, float]]:
    keys = list(dict.fromkeys(key for run in runs for key in run.final))
    one_phase = len({phase for phase, _ in keys}) == 1
    names = {key: key[1] if one_phase else "/".join(key) for key in keys}
    return [{names[key]: _reached(run.final, key) for key in keys} for run in runs]


def _reached(final: Mapping[tuple[str, str], float], key: tuple[str, str]) -> float:
    return float(final.get(key, float("nan")))
