"""What there is to know about columns and splits at a glance, as text and as HTML.

It knows no FeatureSet: it reads columns, and is told the splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from modularml.core.data.overlap import Overlap
from modularml.core.data.reader import ColumnReader

_N_BINS = 24
_N_BINNED = 100_000
_HEADS = ("column", "shape", "dtype", "values")
_SHARED_HEADS = ("shared by", "rows", "equal samples", "tag values")
_N_SHOWN = 10
_NOTHING_SHARED = "No two splits share rows, equal samples or tag values."
_CELL = "text-align:left;padding:2px 12px 2px 0"


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """One line about a column.

    Attributes:
        name: Its full name.
        shape: The shape of a sample.
        dtype: Its dtype.
        values: What it holds, in words.
        bins: How many values lie in each of equal ranges; empty for text and dates.
    """

    name: str
    shape: str
    dtype: str
    values: str
    bins: tuple[int, ...]


def summarize(data: ColumnReader) -> list[ColumnSummary]:
    """Return a line about each column."""
    missing = data.non_finite()
    lines = []
    for name in data.columns:
        values = data.column(name)
        text = _in_words(values)
        if name in missing:
            text += f"; not finite in {missing[name]} samples"
        lines.append(
            ColumnSummary(
                name=name,
                shape=str(values.shape[1:]),
                dtype=str(values.dtype),
                values=text,
                bins=_histogram(values),
            )
        )
    return lines


def as_text(
    title: str,
    columns: Sequence[ColumnSummary],
    splits: Mapping[str, int],
    n_samples: int,
    shared: Sequence[Overlap],
) -> str:
    """Return a summary as aligned text.

    Args:
        title: Its first line.
        columns: A line about each column.
        splits: Split -> how many samples it has.
        n_samples: How many samples there are.
        shared: What pairs of splits share.
    """
    rows = [_HEADS, *((c.name, c.shape, c.dtype, c.values) for c in columns)]
    lines = [title, *_aligned(rows)]
    if splits:
        lines += ["", *_aligned([("split", "samples", "share"), *_split_rows(splits, n_samples)])]
    if shared:
        lines += ["", *_aligned([_SHARED_HEADS, *_shared_rows(shared)])]
    elif len(splits) > 1:
        lines += ["", _NOTHING_SHARED]
    return "\n".join(lines)


def as_html(
    title: str,
    columns: Sequence[ColumnSummary],
    splits: Mapping[str, int],
    n_samples: int,
    shared: Sequence[Overlap],
) -> str:
    """Return a summary as HTML with a small histogram of each column; it needs no script.

    The arguments are those of `as_text`.
    """
    rows = [
        [escape(c.name), escape(c.shape), escape(c.dtype), f"{_svg(c.bins)} {escape(c.values)}"]
        for c in columns
    ]
    parts = [f"<div><strong>{escape(title)}</strong>", _html_table(_HEADS, rows)]
    if splits:
        cells = [[escape(cell) for cell in row] for row in _split_rows(splits, n_samples)]
        parts.append(_html_table(("split", "samples", "share"), cells))
    if shared:
        cells = [[escape(cell) for cell in row] for row in _shared_rows(shared)]
        parts.append(_html_table(_SHARED_HEADS, cells))
    elif len(splits) > 1:
        parts.append(f"<p>{_NOTHING_SHARED}</p>")
    return "".join([*parts, "</div>"])


def _in_words(values: np.ndarray) -> str:
    if not values.size:
        return "none"
    if values.dtype.kind == "U":
        distinct = np.unique(values[:_N_BINNED])
        more = " or more" if len(values) > _N_BINNED else ""
        shown = ", ".join(map(str, distinct[:3])) + (", ..." if len(distinct) > 3 else "")
        return f"{len(distinct)}{more} values: {shown}"
    if values.dtype.kind in "mM":
        return f"{values.min()} to {values.max()}"
    if values.dtype.kind == "b":
        return f"{values.mean():.0%} true"
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values.reshape(-1)
    if not finite.size:
        return "none is finite"
    return f"{finite.min():.4g} to {finite.max():.4g}, mean {finite.mean():.4g}"


def _histogram(values: np.ndarray) -> tuple[int, ...]:
    if values.dtype.kind not in "biuf":
        return ()
    flat = values.reshape(-1)[:: max(1, values.size // _N_BINNED)].astype(float)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return ()
    # Whole numbers have a bar each, or bars that they share, but no gaps between.
    n_bins = _N_BINS if values.dtype.kind == "f" else int(min(_N_BINS, np.ptp(flat) + 1))
    return tuple(np.histogram(flat, n_bins)[0].tolist())


def _svg(bins: Sequence[int]) -> str:
    if not bins:
        return ""
    highest = max(bins)
    bars = "".join(
        f'<rect x="{3 * i}" y="{16 - 16 * n / highest:.1f}" width="2" height="{16 * n / highest:.1f}"/>'
        for i, n in enumerate(bins)
    )
    return (
        f'<svg width="{3 * len(bins)}" height="16" fill="var(--jp-brand-color1, #2962ff)" '
        f'role="img" aria-label="histogram" style="vertical-align:middle">{bars}</svg>'
    )


def _split_rows(splits: Mapping[str, int], n_samples: int) -> list[tuple[str, str, str]]:
    return [(name, str(n), f"{n / n_samples:.1%}") for name, n in splits.items()]


def _shared_rows(shared: Sequence[Overlap]) -> list[tuple[str, str, str, str]]:
    rows = [(f"{s.first}, {s.second}", str(s.n_rows), str(s.n_equal), s.tags_in_words) for s in shared]
    n_more = len(rows) - _N_SHOWN
    return rows if n_more <= 0 else [*rows[:_N_SHOWN], (f"and {n_more} more pairs", "", "", "")]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th style="{_CELL}">{head}</th>' for head in heads)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f'<table style="margin:4px 0"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
