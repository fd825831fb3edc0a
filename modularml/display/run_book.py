"""Runs of one or several sources as JSON for a browser of runs, and that browser as one file.

It knows no widget: a channel asks for rows and details, a page holds all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from modularml.base.trees import values_of
from modularml.display.runs import (
    CurveView,
    Key,
    RunSource,
    RunView,
    changes,
    changes_in_words,
    predecessors,
    sampled,
)

MAX_POINTS = 600
"""Points of a curve: about as many as a chart has pixels."""
PAGE_POINTS = 1_500_000
"""Points of all curves on a page that is saved."""
PAGE_ROWS = 500
"""Rows of a table that go in one message."""

N_SHOWN = 3
"""How many runs a browser shows before any was picked."""

Json = dict[str, Any]


class RunBook:
    """The runs of some sources, numbered through.

    Args:
        sources: Where the runs come from.
    """

    def __init__(self, sources: Sequence[RunSource]) -> None:
        self.sources = list(sources)
        self._keys: dict[Key, int] = {}
        self._goals: list[str] = []
        self._configs: list[Json] = []
        self._config_of: dict[tuple[tuple[str, str], ...], int] = {}
        self._rows: dict[str, Json] = {}

    def rows(self) -> list[Json]:
        """Return what a table tells of each run, oldest first."""
        rows = []
        for source, runs in enumerate(view.views() for view in self.sources):
            for i, (run, before) in enumerate(zip(runs, predecessors(runs), strict=True)):
                row_id = _id(source, run)
                known = self._rows.get(row_id)
                if known is None or (known["duration"], known["stale"]) != (run.duration_s, list(run.stale)):
                    known = self._rows[row_id] = self._row(source, i, run, before)
                rows.append(known)
        return rows

    def details(self, ids: Iterable[str], max_points: int = MAX_POINTS) -> list[Json]:
        """Return curves, phases, changes and more of the runs with these ids."""
        wanted = set(ids)
        found = []
        for source, runs in enumerate(view.views() for view in self.sources):
            for run, before in zip(runs, predecessors(runs), strict=True):
                row_id = _id(source, run)
                if row_id in wanted:
                    found.append({"id": row_id, **self._detail(run, before, max_points)})
        return found

    def pages(self, rows: list[Json], details: list[Json], total: int | None = None) -> Json:
        """Return rows and details with what they refer to by number: sources, metrics, configurations."""
        keys = [[*key, goal] for key, goal in zip(self._keys, self._goals, strict=True)]
        numbers = {detail["config"] for detail in details if detail["config"] is not None}
        return {
            "sources": [source.name for source in self.sources],
            "keys": keys,
            "total": sum(len(source.views()) for source in self.sources) if total is None else total,
            "rows": rows,
            "details": details,
            "configs": {str(number): self._configs[number] for number in sorted(numbers)},
        }

    def page_of_rows(self, n_known: int) -> Json:
        """Return the newest rows but for the newest `n_known`, as many as go in one message.

        With the first of them come the details of the runs that a browser shows at once.
        """
        rows = sorted(self.rows(), key=lambda row: row["started"])
        end = len(rows) - n_known
        page = rows[max(end - PAGE_ROWS, 0) : max(end, 0)]
        newest = [] if n_known else self.details([row["id"] for row in page[-N_SHOWN:]])
        return self.pages(page, newest, total=len(rows))

    def page(self) -> str:
        """Return the browser of these runs as one HTML document."""
        rows = self.rows()
        n_curves = sum(len(row["final"]) for row in rows)
        details = self.details(
            [row["id"] for row in rows], max(min(MAX_POINTS, PAGE_POINTS // max(n_curves, 1)), 24)
        )
        data = self.pages(rows, details, total=len(rows))
        title = ", ".join(source.name for source in self.sources)
        return _PAGE.format(
            title=escape(title or "Runs"),
            css=_safe(_static("history.css")),
            data=_json(data),
            chart=_safe(_static("chart.js")),
            browser=_safe(_static("history.js")),
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page to a file.

        Raises:
            FileExistsError: If it is there and `overwrite` is False.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{str(path)!r} is there already. Use overwrite=True to replace it.")
        # Text that is no Unicode becomes what JSON, too, writes for it.
        path.write_text(self.page(), encoding="utf-8", errors="backslashreplace")
        return path

    def _row(self, source: int, i: int, run: RunView, before: RunView | None) -> Json:
        told = changes(run, before)
        return {
            "id": _id(source, run),
            "source": source,
            "n": i,
            "label": run.label,
            "status": run.status,
            "error": run.error,
            "started": round(run.started_at.timestamp() * 1000),
            "duration": run.duration_s,
            "seed": run.seed,
            "stale": list(run.stale),
            "changed": changes_in_words(told),
            "nChanged": None if told is None else len(told),
            "final": {str(self._key(key, None)): _number(value) for key, value in run.final.items()},
        }

    def _detail(self, run: RunView, before: RunView | None, max_points: int) -> Json:
        told = changes(run, before)
        return {
            "status": run.status,
            "phases": [vars(phase) for phase in run.phases],
            "curves": [self._curve(curve, max_points) for curve in run.curves if len(curve.x)],
            "changes": None if told is None else [[".".join(d.path), d.before, d.after] for d in told],
            "config": self._config(run),
            "metadata": run.facts,
            "checkpoints": list(run.checkpoints),
            "folds": len(run.children),
        }

    def _curve(self, curve: CurveView, max_points: int) -> Json:
        finite = np.flatnonzero(np.isfinite(curve.y))
        known = curve.y[finite]
        drawn = sampled(curve, max_points)
        best = int(known.argmax() if curve.goal == "max" else known.argmin()) if len(known) else 0
        bands = {"low": drawn.low, "high": drawn.high}
        return {
            "key": self._key(curve.key, curve.goal),
            "per": curve.per,
            "n": len(curve.x),
            "x": _column(drawn.x),
            "y": _column(drawn.y),
            **{name: _column(band) for name, band in bands.items() if band is not None},
            "least": _number(known.min()) if len(known) else None,
            "greatest": _number(known.max()) if len(known) else None,
            "last": _number(curve.y[-1]),
            "best": [_number(curve.x[finite][best]), _number(known[best])] if len(known) else None,
        }

    def _key(self, key: Key, goal: str | None) -> int:
        if key not in self._keys:
            empty = np.empty(0)
            self._keys[key] = len(self._keys)
            self._goals.append(
                goal or CurveView(phase=key[0], name=key[1], per="epoch", x=empty, y=empty).goal
            )
        return self._keys[key]

    def _config(self, run: RunView) -> int | None:
        """The number of a configuration; runs that share one share its number."""
        if run.config is None:
            return None
        told = {".".join(path): text for path, text in values_of(run.config).items()}
        key = tuple(told.items())
        if key not in self._config_of:
            self._config_of[key] = len(self._configs)
            self._configs.append(told)
        return self._config_of[key]


def _id(source: int, run: RunView) -> str:
    """What tells a run from others; one run can be in several sources, as in an experiment and its file."""
    return f"{source}/{run.id}"


def _number(value: float) -> float | str:
    """A number as JSON has it; the rest by name."""
    return float(f"{value:.6g}") if np.isfinite(value) else str(float(value))


def _column(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def _static(name: str) -> str:
    return (files("modularml") / "widgets" / "static" / name).read_text("utf-8")


def _safe(text: str) -> str:
    """A style or script as the content of its element, which it cannot end."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


def _json(value: Any) -> str:
    """JSON that no HTML parser finds a tag in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>{css}</style>
</head>
<body class="modularml-page">
<noscript>The runs are in this file as JSON; to browse them, allow scripts.</noscript>
<script type="application/json" id="modularml-runs">{data}</script>
<script type="module">{chart}</script>
<script type="module">{browser}</script>
</body>
</html>
"""
