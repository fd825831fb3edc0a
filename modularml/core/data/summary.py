"""What there is to know about columns and splits at a glance, as text and as HTML.

It knows no FeatureSet: it reads columns, and is told the splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modularml.base.rows import is_missing
from modularml.core.data.overlap import Overlap
from modularml.core.data.reader import ColumnReader
from modularml.display.card import Html, card, muted, table
from modularml.display.drawing import shortened
from modularml.display.figures import counted
from modularml.display.sparks import histogram
from modularml.display.text_table import Lines, text_table

_N_BINS = 24
_N_BINNED = 100_000
_HEADS = ("column", "shape", "dtype", ">missing", "values")
_SPLIT_HEADS = ("split", ">samples", ">share")
_SHARED_HEADS = ("shared by", ">rows", ">equal samples", "tag values")
_SCALED_HEADS = ("scaled", "by", "fitted to")
_N_SHOWN = 10
_ROUNDING = 1e-14
"""A mean of no more than this share of the values is what rounding left of zero."""
_MAX_TEXT = 60
_N_SPLITS_SHOWN = 4
_MOST_COLUMNS = 60
_N_NAMED = 3
_N_AT_ENDS = 10
"""How many columns are told at each end where there are more."""
_NOTHING_SHARED = "No two splits share rows, equal samples or tag values."


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """One line about a column.

    Attributes:
        name: Its full name.
        shape: The shape of a sample.
        dtype: Its dtype, or ``text``.
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
    """Return a line about each column; of many, one about each at both ends and one about all between.

    Args:
        data: The samples.
        parts: Split -> its samples, whose histograms are beside that of all.
    """
    names, n = list(data.columns), _N_AT_ENDS
    if len(names) <= _MOST_COLUMNS:
        return [_line(data, name, parts) for name in names]
    first, last = ([_line(data, name, parts) for name in part] for part in (names[:n], names[-n:]))
    return [*first, _line_of_several(data, names[n:-n]), *last]


def _line(data: ColumnReader, name: str, parts: Mapping[str, ColumnReader]) -> ColumnSummary:
    column = data.table.column(name)
    n_missing, n_infinite = count_gaps(data, name)
    text = _in_words(data, name)
    if n_infinite:
        text += f"; {n_infinite} infinite"
    return ColumnSummary(
        name=name,
        shape=str(column.shape[1:]),
        dtype="text" if column.dtype.kind == "U" else str(column.dtype),
        missing=f"{n_missing:,}",
        values=text,
        bins=_histograms(name, [data, *list(parts.values())[:_N_SPLITS_SHOWN]]),
    )


def _line_of_several(data: ColumnReader, names: Sequence[str]) -> ColumnSummary:
    """Return what is told of columns that have no lines: which of them want looking at."""
    gaps = {name: found for name in names if any(found := count_gaps(data, name))}
    shown = ", ".join(list(gaps)[:_N_NAMED]) + (", ..." if len(gaps) > _N_NAMED else "")
    return ColumnSummary(
        name=f"... {len(names):,} more",
        shape="",
        dtype="",
        missing=f"{sum(n_missing for n_missing, _ in gaps.values()):,}",
        values=f"missing or infinite in {counted(len(gaps), 'column')}: {shown}" if gaps else "",
        bins=(),
    )


def as_text(
    data: ColumnReader,
    splits: Mapping[str, ColumnReader],
    scalings: Sequence[tuple[str, str, str]],
    shared: Sequence[Overlap],
) -> Lines:
    """Return a summary as aligned text.

    Args:
        data: The samples.
        splits: Split -> its samples.
        scalings: What was scaled, by what, and what that was fitted to.
        shared: What pairs of splits share.
    """
    columns = [(c.name, c.shape, c.dtype, c.missing, c.values) for c in summarize(data, {})]
    tables = [f"{data!r}\n{text_table(_HEADS, columns)}"]
    if splits:
        tables.append(text_table(_SPLIT_HEADS, _split_rows(splits, data.n_samples)))
    if shared:
        tables.append(text_table(_SHARED_HEADS, _shared_rows(shared)))
    elif len(splits) > 1:
        tables.append(_NOTHING_SHARED)
    if scalings:
        tables.append(text_table(_SCALED_HEADS, _scaled_rows(scalings)))
    return Lines("\n\n".join(tables))


def as_html(
    data: ColumnReader,
    splits: Mapping[str, ColumnReader],
    scalings: Sequence[tuple[str, str, str]],
    shared: Sequence[Overlap],
    label: str | None,
) -> Html:
    """Return a summary as a card with a small histogram of each column.

    The other arguments are those of `as_text`.

    Args:
        data: The samples.
        splits: Split -> its samples.
        scalings: What was scaled, by what, and what that was fitted to.
        shared: What pairs of splits share.
        label: The name of the samples; None if they have none.
    """
    lines = summarize(data, splits)
    rows = [[c.name, c.shape, c.dtype, c.missing, c.values, *map(histogram, c.bins)] for c in lines]
    pictures = ["all" if splits else "", *list(splits)[:_N_SPLITS_SHOWN]]
    n_heads = len(_HEADS) + len(pictures)
    parts = [table([*_HEADS, *pictures], [[*row, *[""] * (n_heads - len(row))] for row in rows])]
    if splits:
        parts.append(table(_SPLIT_HEADS, _split_rows(splits, data.n_samples)))
    if shared:
        parts.append(table(_SHARED_HEADS, _shared_rows(shared)))
    elif len(splits) > 1:
        parts.append(muted(_NOTHING_SHARED))
    if scalings:
        parts.append(table(_SCALED_HEADS, _scaled_rows(scalings)))
    return card(type(data).__name__, label, *parts, note=counted(data.n_samples, "sample"), classes="wide")


def count_gaps(data: ColumnReader, name: str) -> tuple[int, int]:
    """Return how many samples of a column hold something missing, and how many an infinity."""
    counts = [_n_gaps(values) for values in data.chunks(name)]
    return sum(n for n, _ in counts), sum(n for _, n in counts)


def _n_gaps(values: np.ndarray) -> tuple[int, int]:
    is_float = values.dtype.kind == "f"
    # A sum is finite unless a value is not (or it overflows), and costs no array of bools.
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype.kind in "biu" or (is_float and np.isfinite(values.sum())):
            return 0, 0
    of_samples = values.reshape(len(values), -1)
    found = [is_missing(of_samples), *([np.isinf(of_samples)] if is_float else [])]
    counts = [int(np.count_nonzero(mask.any(axis=1))) for mask in found]
    return counts[0], counts[1] if is_float else 0


def _in_words(data: ColumnReader, name: str) -> str:
    kind = data.table.column(name).dtype.kind
    if not data.n_samples:
        return "none"
    if kind == "U":
        some = data._some_values(name, _N_BINNED)
        distinct = np.unique(some[some != ""])
        more = " or more" if len(some) < data.n_samples else ""
        shown = ", ".join(map(_text, distinct[:3])) + (", ..." if len(distinct) > 3 else "")
        noun = "value" if len(distinct) == 1 and not more else "values"
        return f"{len(distinct)}{more} {noun}: {shown}" if len(distinct) else "none"
    if kind in "mM":
        present = (values[~is_missing(values)] for values in data.chunks(name))
        ends = [(values.min(), values.max()) for values in present if values.size]
        return " to ".join(map(_moment, (min(ends)[0], max(high for _, high in ends)))) if ends else "none"
    finite = (v[np.isfinite(v)] if kind == "f" else v.reshape(-1) for v in data.chunks(name))
    found = [(v.min(), v.max(), v.sum(dtype=float), v.size) for v in finite if v.size]
    if not found:
        return "none is finite"
    lows, highs, sums, sizes = zip(*found, strict=True)
    mean = sum(sums) / sum(sizes)
    if abs(mean) <= _ROUNDING * max(abs(min(lows)), abs(max(highs))):
        mean = 0.0
    if kind == "b":
        return f"{mean:.0%} true"
    form = "" if kind in "iu" else ".4g"
    return f"{min(lows):{form}} to {max(highs):{form}}, mean {mean:.4g}"


def _text(value: str) -> str:
    """Return a text within a line: short, and without breaks."""
    return shortened("".join(c if c.isprintable() else " " for c in str(value)), 16)


def _moment(time: np.generic) -> str:
    """Return a date as short as it can be told, or a time span in days, hours, minutes and seconds."""
    if isinstance(time, np.datetime64):
        return str(np.datetime_as_string(time, unit="auto"))
    return str(time.astype("m8[us]").item())


def _histograms(name: str, parts: Sequence[ColumnReader]) -> tuple[tuple[int, ...], ...]:
    """Return a histogram of a column for each part, over the range that it has in the first."""
    kind = parts[0].table.column(name).dtype.kind
    samples = [part._some_values(name, _N_BINNED) for part in parts] if kind in "biuf" else []
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


def _split_rows(splits: Mapping[str, ColumnReader], n_samples: int) -> list[tuple[str, str, str]]:
    return [(name, f"{len(s):,}", f"{len(s) / n_samples:.1%}") for name, s in splits.items()]


def _scaled_rows(scalings: Sequence[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    return [tuple(shortened(text, _MAX_TEXT) for text in row) for row in scalings]


def _shared_rows(shared: Sequence[Overlap]) -> list[tuple[str, str, str, str]]:
    rows = [(f"{s.first}, {s.second}", f"{s.n_rows:,}", f"{s.n_equal:,}", s.tags_in_words) for s in shared]
    n_more = len(rows) - _N_SHOWN
    return rows if n_more <= 0 else [*rows[:_N_SHOWN], (f"and {n_more} more pairs", "", "", "")]
