r"""Runs as HTML that needs neither kernel nor script: a table, curves and what there is to unfold.

It knows no channel and no file. Everything lies between `<div class="modularml-card
modularml-history` and `END`, so that one regular expression takes it out of a notebook that is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from modularml.display.card import Html, card, fields, muted, remark, table, unfolding
from modularml.display.curves import curve_svg, is_wide
from modularml.display.drawing import image
from modularml.display.figures import counted, format_s, format_value
from modularml.display.runs import CurveView, Key, RunSource, RunView, changes, changes_in_words, predecessors
from modularml.display.sparks import course

END = "<!-- end of modularml-history -->"
MAX_ROWS, MAX_DETAILS, MAX_CURVES, MAX_KEYS = 20, 8, 6, 3
MARKS = {"completed": "✓", "stopped": "■", "interrupted": "■", "failed": "✕", "running": "…"}


def runs_html(sources: Sequence[RunSource], token: str = "") -> Html:
    """Draw the newest runs of some sources.

    Args:
        sources: Where they come from.
        token: A CSS class by which a live browser finds its place.
    """
    lists = [list(source.views()) for source in sources]
    before = [predecessor for runs in lists for predecessor in predecessors(runs)]
    runs = [
        (source.name, i, run)
        for source, views in zip(sources, lists, strict=True)
        for i, run in enumerate(views)
    ]
    rows = list(zip(runs, before, strict=True))[::-1]
    keys = main_keys([run for (_, _, run), _ in rows])
    names = [source.name for source in sources]
    told = [_row(at, previous, keys, with_source=len(sources) > 1) for at, previous in rows[:MAX_ROWS]]
    heads = [
        ">#",
        "run",
        "status",
        "started",
        ">took",
        ">seed",
        "changed",
        *(f">{_short(key)}" for key in keys),
        "",
    ]
    if len(sources) > 1:
        heads.insert(1, "of")
    n_more = len(rows) - MAX_ROWS
    note = counted(len(rows), "run") + (f", the newest {MAX_ROWS} shown" if n_more > 0 else "")
    parts = [table(heads, told)] if rows else [muted("Nothing was run yet.")]
    of = {name: f"{name} " if len(sources) > 1 else "" for name in names}
    named = [(f"{of[name]}#{i} {run.label}", run) for (name, i, run), _ in rows]
    parts += [_overlay(named, keys[:1])]
    parts += [
        unfolding(name, run_details(run, previous))
        for (name, run), (_, previous) in list(zip(named, rows, strict=True))[:MAX_DETAILS]
    ]
    drawn = card("History", ", ".join(names), *parts, note=note, classes=f"modularml-history wide {token}")
    return Html(f"{drawn}{END}")


def run_details(run: RunView, before: RunView | None = None) -> Html:
    """Draw one run: its error, its phases, least, last and best value of each curve, and what changed."""
    parts = [Html(f'<p class="failed">{escape(run.error)}</p>')] if run.error else []
    parts += map(remark, run.stale)
    if run.phases:
        rows = [
            (phase.path, phase.kind, _status(phase.status), format_s(phase.duration_s))
            for phase in run.phases
        ]
        parts.append(table(["phase", "kind", "status", ">took"], rows))
    curves = [(curve, curve.y[np.isfinite(curve.y)]) for curve in run.curves]
    values = [
        (
            " ".join(curve.key),
            format_value(y.min()),
            format_value(y[-1]),
            _best(curve.goal, y),
            course(curve.y),
        )
        for curve, y in curves
        if len(y)
    ]
    if values:
        parts.append(table(["loss or metric", ">least", ">last", ">best", "course"], values))
    told = changes(run, before)
    if told:
        parts.append(
            table(
                ["changed", "before", "now"],
                [(".".join(d.path), d.before or "–", d.after or "–") for d in told],
                max_rows=20,
            )
        )
    parts.append(fields(run.facts | ({"checkpoints": ", ".join(run.checkpoints)} if run.checkpoints else {})))
    return Html("".join(parts))


def main_keys(newest_first: Sequence[RunView]) -> list[Key]:
    """Return which losses and metrics a table has room for: those of the newest runs, in their order."""
    keys: dict[Key, None] = {}
    for run in newest_first[:MAX_ROWS]:
        keys |= dict.fromkeys(run.final)
    return list(keys)[:MAX_KEYS]


def _row(
    at: tuple[str, int, RunView], before: RunView | None, keys: Sequence[Key], *, with_source: bool
) -> list[object]:
    source, i, run = at
    values = [format_value(run.final[key]) if key in run.final else "" for key in keys]
    curves = {curve.key: curve for curve in run.curves if curve.key in keys[:1]}
    return [
        i,
        *([source] if with_source else []),
        run.label,
        _status(run.status, is_stale=bool(run.stale)),
        f"{run.started_at:%Y-%m-%d %H:%M}",
        format_s(run.duration_s),
        run.seed,
        changes_in_words(changes(run, before)),
        *values,
        *(course(curve.y) for curve in curves.values()),
        *([""] if not curves else []),
    ]


def _overlay(newest_first: Sequence[tuple[str, RunView]], keys: Sequence[Key]) -> Html:
    """Draw the first curve of the newest runs that have it, over each other."""
    drawn: dict[str, np.ndarray] = {}
    for name, run in newest_first[:MAX_ROWS]:
        for curve in run.curves:
            if curve.key in keys and len(curve.y) > 1 and len(drawn) < MAX_CURVES:
                drawn[name] = _at_every_place(curve)
    if not drawn:
        return Html("")
    # It shrinks to fit, but no further than its texts can be read; from there on it scrolls.
    picture = image(curve_svg(drawn, width=620, height=220, log=is_wide(drawn)), style="min-width:430px;")
    return Html(f'<p class="k">{escape(_short(keys[0]))}</p><div class="scroll">{picture}</div>')


def _at_every_place(curve: CurveView) -> np.ndarray:
    """Return the values at 1, 2, 3, …, as a picture counts them, on straight lines from point to point."""
    return np.interp(np.arange(1, curve.x[-1] + 1), curve.x, curve.y, left=np.nan)


def _status(status: str, *, is_stale: bool = False) -> Html:
    behind = ' · <span class="stopped">stale</span>' if is_stale else ""
    return Html(f'<span class="{escape(status)}">{MARKS.get(status, "")} {escape(status)}</span>{behind}')


def _best(goal: str, y: np.ndarray) -> str:
    return format_value(y.max() if goal == "max" else y.min())


def _short(key: Key) -> str:
    return f"{key[0].rpartition('/')[2]} {key[1]}"
