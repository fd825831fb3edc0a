r"""The static form of a run: HTML that needs neither a kernel nor JavaScript.

It knows no event and no channel: it draws a `RunState` as it is now.

Everything lies between `<div class="modularml-run"` and `END`, so one regular
expression can take it out of a notebook that is compared:
``<div class="modularml-run"[\s\S]*?<!-- end of modularml-run -->``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import chain, islice
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from modularml.display.curves import colours_of, curve_svg, is_wide, on_the_right
from modularml.display.drawing import image
from modularml.display.figures import counted, format_s, format_value
from modularml.widgets.phase_state import PhaseState
from modularml.widgets.run_state import RunState

END = "<!-- end of modularml-run -->"
CURVE_SIZE = {"width": 440, "height": 200}
MAX_CURVES = 8
MAX_PICTURES = 6
MAX_EPOCH_ROWS = (100, 1000)  # of one phase, of all
MAX_EPOCH_TABLES = 3  # more of them unfold from one line

WORDS = {
    "waiting": "not run",
    "running": "running",
    "completed": "done",
    "stopped": "stopped",
    "interrupted": "interrupted",
    "failed": "failed",
}
MARKS = {"completed": "✓", "stopped": "■", "interrupted": "■", "failed": "✕", "running": "…", "waiting": "–"}

STYLE = """<style>
.modularml-run{max-width:1200px;box-sizing:border-box;padding:10px 14px;
border:1px solid var(--jp-border-color2,var(--vscode-panel-border,#8884));border-radius:8px;
color:var(--jp-ui-font-color1,var(--vscode-foreground,inherit));
font:var(--jp-ui-font-size1,13px)/1.5 var(--jp-ui-font-family,var(--vscode-font-family,system-ui,sans-serif));
font-variant-numeric:tabular-nums}
.modularml-run p{margin:0 0 8px;overflow-wrap:anywhere}
.modularml-run .l{display:inline-block;width:max-content;max-width:26em;white-space:normal;
overflow-wrap:anywhere;vertical-align:top}
.modularml-run .v{display:inline-block;max-width:34em;white-space:normal}
.modularml-run .v>span:not(.muted){white-space:nowrap}
.modularml-run .columns{display:flex;flex-wrap:wrap;gap:8px 24px;align-items:flex-start}
.modularml-run .columns>div{max-width:100%;overflow-x:auto}
.modularml-run figure{flex:1 1 320px;min-width:0;max-width:520px;margin:0}
.modularml-run figcaption{font-size:11px;text-align:right}
.modularml-run img{display:block}.modularml-run figure img{width:100%}
.modularml-run .graph{margin:0 0 12px}
.modularml-run .scroll{overflow-x:auto}
@media print{.modularml-run .scroll{overflow:visible}.modularml-run .scroll>img{min-width:0!important}}
.modularml-run pre{max-height:180px;overflow:auto;margin:4px 0 0;font-size:11px;white-space:pre-wrap}
.modularml-run .muted,.modularml-run th,.modularml-run summary{font-weight:400;
color:var(--jp-ui-font-color2,var(--vscode-descriptionForeground,#767676))}
.modularml-run table{border-collapse:collapse;margin:0;font-size:inherit}
.modularml-run tr{border:0;background:none!important}
.modularml-run tbody tr{border-top:1px solid var(--jp-border-color2,#8884)}
.modularml-run th,.modularml-run td{padding:4px 16px 4px 0;border:0;white-space:nowrap;
text-align:left!important}
.modularml-run thead th{padding-top:0;font-size:11px}
.modularml-run .n{text-align:right!important}
.modularml-run .completed{color:#1b873f}.modularml-run .failed{color:#d50000}
.modularml-run .stopped,.modularml-run .interrupted{color:#b45309}
:is([data-jp-theme-light=false],.vscode-dark) .modularml-run .completed{color:#5fc983}
:is([data-jp-theme-light=false],.vscode-dark) .modularml-run .failed{color:#ff8a80}
:is([data-jp-theme-light=false],.vscode-dark) .modularml-run :is(.stopped,.interrupted){color:#f5b04c}
.modularml-run details{margin-top:8px}.modularml-run details>details{margin-left:16px}
.modularml-run summary{cursor:pointer;overflow-wrap:anywhere}
.modularml-run details table{margin-top:4px}
</style>"""


def run_html(run: RunState, *, with_epochs: bool) -> str:
    """Draw a run: its phases as a table, its losses as curves, its epochs to unfold.

    Args:
        run: What to draw.
        with_epochs: Whether to keep a line for each epoch.
    """
    columns = f'<div class="columns"><div>{_phase_table(run)}</div>{_curves(run)}</div>'
    parts = [STYLE, _heading(run), _picture(run), columns]
    if with_epochs:
        parts.append(_epoch_tables(run))
    parts.append(_messages(run))
    return f'<div class="modularml-run">{"".join(parts)}</div>{END}'


def _heading(run: RunState) -> str:
    took = "" if run.duration_s is None else f" in {format_s(run.duration_s)}"
    error = f'<p class="failed">{escape(run.error)}</p>' if run.error else ""
    preview = " (preview)" if run.preview else ""
    return (
        f"<p>{_status(run.status)} <strong>{escape(run.title)}</strong>"
        f' <span class="muted">{WORDS.get(run.status, "")}{took}{preview}</span></p>{error}'
    )


def _picture(run: RunState) -> str:
    """The graph of the phase that failed, else of the first that trained, and to unfold those of others."""
    drawn = [p for p in run.phases if p.picture is not None]
    if not drawn:
        return ""
    main = min(drawn, key=lambda p: (p.status != "failed", p.kind != "train"))
    others = {p.picture: "/".join(p.path) for p in reversed(drawn) if p.picture != main.picture}
    more = "".join(
        f"<details><summary>Graph of {escape(label)}</summary>{_graph(run, index, label)}</details>"
        for index, label in sorted(others.items())[: MAX_PICTURES - 1]
    )
    return f'<div class="graph">{_graph(run, main.picture, "/".join(main.path))}{more}</div>'


def _graph(run: RunState, index: int | None, label: str) -> str:
    assert index is not None
    picture = run.pictures[index].svg
    width = re.search(r'width="(\d+)"', picture)
    # It shrinks to fit, but no further than its texts can be read; from there on it scrolls.
    least = f"min-width:{0.65 * int(width[1]):.0f}px;" if width else ""
    return f'<div class="scroll">{image(picture, alt=f"Graph of {label}", style=least)}</div>'


def _messages(run: RunState) -> str:
    """The last lines that were logged, and warnings, to unfold."""
    if not run.log:
        return ""
    lines = "\n".join(f"{level.lower()}: {text}" for level, text in run.log)
    return f"<details><summary>Messages: {len(run.log)}</summary><pre>{escape(lines)}</pre></details>"


def _phase_table(run: RunState) -> str:
    rows = []
    top = min((len(p.path) for p in run.phases), default=0)
    for phase in run.phases:
        indent = f' style="padding-left:{16 * (len(phase.path) - top)}px"'
        name = f'<span class="l">{escape(phase.path[-1])}</span>'
        if phase.kind == "group":
            rows.append(f'<tr><th{indent} colspan="4">{name}</th></tr>')
            continue
        took = "" if phase.duration_s is None else format_s(phase.duration_s)
        rows.append(
            f"<tr><td{indent}>{_status(phase.status)} {name}</td>"
            f'<td class="n">{_epochs_done(phase)}</td><td class="n">{took}</td>'
            f"<td>{_figures(phase)}</td></tr>"
        )
    head = '<th>phase</th><th class="n">epochs</th><th class="n">time</th><th>last values</th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _epochs_done(phase: PhaseState) -> str:
    if phase.kind != "train":
        return ""
    return f"{phase.n_whole_epochs:,} of {phase.n_epochs:,}"


def _curves(run: RunState) -> str:
    """All curves of the one phase that has any, or the first of each; of folds the mean, with each behind."""
    families: dict[tuple[str, ...], list[PhaseState]] = {}
    for phase in run.phases:
        if phase.traces:
            families.setdefault(phase.family, []).append(phase)
    per = "epoch" if any(len(p.epochs) > 1 for p in chain.from_iterable(families.values())) else "batch"
    ends = {family[-1] for family in families}
    called = {f: f[-1] if len(ends) == len(families) else "/".join(f) for f in families}
    shown = {
        (name if len(families) == 1 else f"{called[family]}: {name}"): curve
        for family, phases in families.items()
        for name, curve in islice(_folded(phases, per).items(), None if len(families) == 1 else 1)
    }
    n_more = len(shown) - MAX_CURVES
    shown = dict(islice(shown.items(), MAX_CURVES))
    means = {name: curve.mean for name, curve in shown.items()}
    if not any(len(values) > 1 and np.isfinite(values).any() for values in means.values()):
        return ""
    folds = {name: curve.folds for name, curve in shown.items() if len(curve.folds) > 1}
    right, colours = [], {}
    if len(families) == 1:
        first = next(chain.from_iterable(families.values()))
        right = on_the_right(means, {*first.losses, first.validation})
        colours = colours_of(first.metrics, first.losses, first.validation)
    log = is_wide(means, right)
    notes = [f"per {per}"] + ["logarithmic"] * log + [f"and {n_more} more"] * (n_more > 0)
    if folds:
        notes.insert(0, f"mean of {max(map(len, folds.values()))} folds")
    last = {name: curve.last for name, curve in shown.items() if curve.last is not None}
    looks: dict[str, Any] = {"right": right, "colours": colours, "log": log, **CURVE_SIZE}
    picture = image(curve_svg(means, behind=folds, last=last, **looks))
    return f'<figure>{picture}<figcaption class="muted">{", ".join(notes)}</figcaption></figure>'


class _Curve(NamedTuple):
    """A curve of a phase, or of the same phase in several folds; its last value is that of the table."""

    mean: np.ndarray
    folds: list[np.ndarray]
    last: float | None


def _folded(phases: Sequence[PhaseState], per: str) -> dict[str, _Curve]:
    """The curves of one phase in each of its folds."""
    of_each = [_series(phase, per) for phase in phases]
    found = {}
    for name in dict.fromkeys(chain.from_iterable(of_each)):
        folds = [series[name] for series in of_each if name in series]
        table = np.full((len(folds), max(map(len, folds))), np.nan)
        for row, values in zip(table, folds, strict=True):
            row[: len(values)] = values
        known = np.isfinite(table)
        with np.errstate(invalid="ignore"):
            mean = np.where(known, table, 0).sum(0) / known.sum(0)
        last = [phase.metrics[name] for phase in phases if name in phase.metrics]
        found[name] = _Curve(folds[0] if len(folds) == 1 else mean, folds, fmean(last) if last else None)
    return found


def _series(phase: PhaseState, per: str) -> dict[str, np.ndarray]:
    """The curves of a phase, a value an epoch or a batch."""
    if per == "batch":
        return {t.name: np.repeat(t.values, t.stride) for t in phase.traces.values() if t.per == "step"}
    names = [t.name for t in phase.traces.values() if t.per == "epoch"]
    # A run that goes on has no epochs of its earlier part.
    gap = [np.nan] * phase.epochs[0][0] if phase.epochs else []
    return {name: np.array(gap + [m.get(name, np.nan) for _, m in phase.epochs], float) for name in names}


def _epoch_tables(run: RunState) -> str:
    """The epochs of each phase to unfold; of many phases all together, too."""
    phases = [p for p in run.phases if len(p.epochs) > 1]
    of_one, of_all = MAX_EPOCH_ROWS
    n_rows = max(min(of_one, of_all // max(len(phases), 1)), 2)
    tables = "".join(_epoch_table(p, n_rows) for p in phases)
    if len(phases) <= MAX_EPOCH_TABLES:
        return tables
    return f"<details><summary>Epochs of {len(phases)} phases</summary>{tables}</details>"


def _epoch_table(phase: PhaseState, n_rows: int) -> str:
    every = -(-len(phase.epochs) // n_rows)
    kept = phase.epochs[::every]
    if kept[-1] is not phase.epochs[-1]:
        kept.append(phase.epochs[-1])
    names = list(dict.fromkeys(name for _, metrics in kept for name in metrics))
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in ("epoch", *names))
    places = [f"{i + 1}" for i, _ in kept]
    if phase.is_cut:
        places[-1] += f" ({phase.n_done} of {phase.n_batches} batches)"
    rows = "".join(
        f'<tr><td class="n">{place}</td>{_cells(names, metrics)}</tr>'
        for place, (_, metrics) in zip(places, kept, strict=True)
    )
    before, n = phase.epochs[0][0], phase.n_whole_epochs
    told = f"epochs {before + 1:,} to {n:,}" if before else counted(n, "epoch")
    shown = "" if every == 1 else f", one in {every} shown"
    what = f"{escape('/'.join(phase.path))}: {told}{shown}"
    return (
        f"<details><summary>{what}</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details>"
    )


def _cells(names: Iterable[str], metrics: Mapping[str, float]) -> str:
    texts = (format_value(metrics[name]) if name in metrics else "" for name in names)
    return "".join(f'<td class="n">{text}</td>' for text in texts)


def _figures(phase: PhaseState) -> str:
    told = [
        f'<span><span class="muted">{escape(name)}</span> {format_value(value)}</span>'
        for name, value in phase.metrics.items()
    ]
    if phase.note:
        told.append(f'<span class="muted">{escape(phase.note)}</span>')
    return f'<span class="v">{"&ensp; ".join(told)}</span>' if told else ""


def _status(status: str) -> str:
    return f'<span class="{escape(status)}" title="{WORDS.get(status, "")}">{MARKS.get(status, "")}</span>'
