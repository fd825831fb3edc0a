"""What there is to know about columns and splits at a glance, as text and as HTML.

It knows no FeatureSet: it reads columns, and is told the splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from modularml.base.rows import is_missing
from modularml.core.data.overlap import Overlap
from modularml.core.data.reader import ColumnReader

_N_BINS = 24
_N_BINNED = 100_000
_HEADS = ("column", "shape", "dtype", "missing", "values")
_SHARED_HEADS = ("shared by", "rows", "equal samples", "tag values")
_N_SHOWN = 10
_N_SPLITS_SHOWN = 4
_NOTHING_SHARED = "No two splits share rows, equal samples or tag values."
_CELL = "text-align:left;padding:2px 12px 2px 0"


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """One line about a column.

    Attributes:
        name: Its full name.
        shape: The shape of a sample.
        dtype: Its dtype.
        missing: How many samples hold a value that is missing: NaN, NaT or empty text.
        values: What it holds, in words.
        bins: How many values lie in each of equal ranges, of all samples and of each split;
            empty for text and dates.
    """

    name: str
    shape: str
    dtype: str
    missing: str
    values: str
    bins: tuple[tuple[int, ...], ...]


def summarize(data: ColumnReader, parts: Mapping[str, ColumnReader]) -> list[ColumnSummary]:
    """Return a line about each column.

    Args:
        data: The samples.
        parts: Split -> its samples, whose histograms are beside that of all.
    """
    lines = []
    for name in data.columns:
        column = data.table.column(name)
        n_missing, n_infinite = data.count_gaps(name)
        text = _in_words(data, name)
        if n_infinite:
            text += f"; infinite in {n_infinite} samples"
        lines.append(
            ColumnSummary(
                name=name,
                shape=str(column.shape[1:]),
                dtype=str(column.dtype),
                missing=str(n_missing),
                values=text,
                bins=_histograms(name, [data, *list(parts.values())[:_N_SPLITS_SHOWN]]),
            )
        )
    return lines


def as_text(data: ColumnReader, splits: Mapping[str, ColumnReader], shared: Sequence[Overlap]) -> str:
    """Return a summary as aligned text.

    Args:
        data: The samples.
        splits: Split -> its samples.
        shared: What pairs of splits share.
    """
    rows = [_HEADS, *((c.name, c.shape, c.dtype, c.missing, c.values) for c in summarize(data, {}))]
    lines = [repr(data), *_aligned(rows)]
    if splits:
        lines += ["", *_aligned([("split", "samples", "share"), *_split_rows(splits, data.n_samples)])]
    if shared:
        lines += ["", *_aligned([_SHARED_HEADS, *_shared_rows(shared)])]
    elif len(splits) > 1:
        lines += ["", _NOTHING_SHARED]
    return "\n".join(lines)


def as_html(data: ColumnReader, splits: Mapping[str, ColumnReader], shared: Sequence[Overlap]) -> str:
    """Return a summary as HTML with a small histogram of each column; it needs no script.

    The arguments are those of `as_text`.
    """
    rows = [
        [*map(escape, (c.name, c.shape, c.dtype, c.missing, c.values)), *map(_svg, c.bins)]
        for c in summarize(data, splits)
    ]
    heads = [*_HEADS, "all" if splits else "", *map(escape, list(splits)[:_N_SPLITS_SHOWN])]
    parts = [f"<div><strong>{escape(repr(data))}</strong>", _html_table(heads, rows)]
    if splits:
        cells = [[escape(cell) for cell in row] for row in _split_rows(splits, data.n_samples)]
        parts.append(_html_table(("split", "samples", "share"), cells))
    if shared:
        cells = [[escape(cell) for cell in row] for row in _shared_rows(shared)]
        parts.append(_html_table(_SHARED_HEADS, cells))
    elif len(splits) > 1:
        parts.append(f"<p>{_NOTHING_SHARED}</p>")
    return "".join([*parts, "</div>"])


def _in_words(data: ColumnReader, name: str) -> str:
    kind = data.table.column(name).dtype.kind
    if not data.n_samples:
        return "none"
    if kind == "U":
        some = data.some_values(name, _N_BINNED)
        distinct = np.unique(some[some != ""])
        more = " or more" if len(some) < data.n_samples else ""
        shown = ", ".join(map(str, distinct[:3])) + (", ..." if len(distinct) > 3 else "")
        return f"{len(distinct)}{more} values: {shown}"
    if kind in "mM":
        present = (values[~is_missing(values)] for values in data.chunks(name))
        ends = [(values.min(), values.max()) for values in present if values.size]
        return f"{min(ends)[0]} to {max(high for _, high in ends)}" if ends else "none"
    finite = (v[np.isfinite(v)] if kind == "f" else v.reshape(-1) for v in data.chunks(name))
    found = [(v.min(), v.max(), v.sum(dtype=float), v.size) for v in finite if v.size]
    if not found:
        return "none is finite"
    lows, highs, sums, sizes = zip(*found, strict=True)
    mean = sum(sums) / sum(sizes)
    return f"{mean:.0%} true" if kind == "b" else f"{min(lows):.4g} to {max(highs):.4g}, mean {mean:.4g}"


def _histograms(name: str, parts: Sequence[ColumnReader]) -> tuple[tuple[int, ...], ...]:
    """Return a histogram of a column for each part, over the range that it has in the first."""
    kind = parts[0].table.column(name).dtype.kind
    samples = [part.some_values(name, _N_BINNED) for part in parts] if kind in "biuf" else []
    samples = [values[np.isfinite(values)].astype(float) for values in samples]
    if not samples or not samples[0].size:
        return ()
    low, span = samples[0].min() / 2, samples[0].max() / 2 - samples[0].min() / 2  # halves do not overflow
    # Whole numbers have a bar each, or bars that they share, but no gaps between.
    n_bins = _N_BINS if kind == "f" else int(min(_N_BINS, 2 * span + 1))
    if not span:
        return tuple((len(values),) for values in samples)
    # Counted on a scale from 0 to 1: bars can be too narrow to have ends of their own in the column's units.
    shares = ((values / 2 - low) / span for values in samples)
    return tuple(tuple(np.histogram(values, n_bins, (0, 1))[0].tolist()) for values in shares)


def _svg(bins: Sequence[int]) -> str:
    if not bins:
        return ""
    highest = max(*bins, 1)
    bars = "".join(
        f'<rect x="{3 * i}" y="{16 - 16 * n / highest:.1f}" width="2" height="{16 * n / highest:.1f}"/>'
        for i, n in enumerate(bins)
    )
    return (
        f'<svg width="{3 * len(bins)}" height="16" fill="var(--jp-brand-color1, #2962ff)" '
        f'role="img" aria-label="histogram" style="vertical-align:middle">{bars}</svg>'
    )


def _split_rows(splits: Mapping[str, ColumnReader], n_samples: int) -> list[tuple[str, str, str]]:
    return [(name, str(len(s)), f"{len(s) / n_samples:.1%}") for name, s in splits.items()]


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
