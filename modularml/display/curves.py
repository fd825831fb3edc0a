"""Curves of losses and metrics as one small static SVG.

It knows no run: it is given columns of numbers and draws them over their places, counted from 1.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np

from modularml.base.errors import InvalidValueError
from modularml.display.drawing import NEUTRAL, frame, number, shortened, text_width, xml_text
from modularml.display.figures import format_value

MAX_POINTS = 200
COLOURS = ("#2F81F7", "#E36209", "#1F9D55", "#BF4BC9", "#D1394B", "#8C7A1F")

_SIZE = 11.0
_INK = f'font-size="{_SIZE:g}" fill="{NEUTRAL}"'
_CLEAR, _FAINT = (1.8, ""), (1.0, ' opacity="0.4"')  # stroke widths, and more of the look
_ROW = 18.0
_LOWEST_PLOT = 110
_FEW = 8  # places that are counted one by one
_GAP = 8.0
_WIDE = 30  # times the least; on a linear axis the lower values would lie on its ground
_HUGE, _TINY = 1e300, 1e-290  # beyond them the arithmetic of an axis overflows


def on_the_right(names: Collection[str], losses: Collection[str]) -> list[str]:
    """Return which curves have an axis of their own: metrics, where there are losses too.

    A score between 0 and 1 says nothing on the axis of a loss of 1e-6, nor the loss on that of the score.

    Args:
        names: The names of all curves.
        losses: Those of the losses; their validation and what is called a loss belong to them.
    """
    others = [
        name
        for name in names
        if not (name in losses or name.removeprefix("val_") in losses or name.endswith("loss"))
    ]
    return others if len(others) < len(names) else []


def colours_of(names: Iterable[str], losses: Sequence[str], validation: str) -> dict[str, int]:
    """Return the number of the colour of each curve of a phase; live panels count as this does.

    The first loss has colour 0 and its validation 1, whatever else there is, then come the others in order.

    Args:
        names: The names of all curves.
        losses: Those of the losses.
        validation: That of the loss of validation, which need not be there.
    """
    others = [name for name in dict.fromkeys([*losses, *names]) if name != validation]
    return {validation: 1} | {name: i + (i > 0) for i, name in enumerate(others)}


def is_wide(series: Mapping[str, Any], right: Collection[str] = ()) -> bool:
    """Whether the values span so much that only a logarithmic axis shows their course.

    Args:
        series: Name -> values, shape ``(n,)``.
        right: The names of those that stand on an axis of their own.
    """
    columns = [_column(name, values) for name, values in series.items() if name not in right]
    values = np.concatenate([np.zeros(0), *columns])
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and values.max() > _WIDE * values.min())


def curve_svg(
    series: Mapping[str, Any],
    *,
    right: Collection[str] = (),
    behind: Mapping[str, Sequence[Any]] | None = None,
    last: Mapping[str, float] | None = None,
    colours: Mapping[str, int] | None = None,
    width: int = 420,
    height: int = 200,
    log: bool = False,
) -> str:
    """Return the curves as the text of a self-contained SVG element.

    Args:
        series: Name -> values, shape ``(n,)``; NaN and infinite values are gaps.
        right: The names of those that stand on an axis of their own, at the right.
        behind: Name of a curve -> others that stand faintly behind it, e.g. those of each fold.
        last: Name -> what the legend says of it, if not the last of its values.
        colours: Name -> number of its colour, if not its place among `series`; beyond the last of
            `COLOURS` it is drawn in dashes.
        width: Width of the picture, in pixels.
        height: Height of the picture, in pixels; more if the legend is long.
        log: Draw a logarithmic axis at the left; values that are not positive are gaps on it.

    Raises:
        InvalidValueError: If the values of a series are not one column of numbers.
    """

    def drawn(name: str, values: Any) -> np.ndarray:
        column = _column(name, values)
        return _log10(column) if log and name not in right else column

    columns = {name: drawn(name, values) for name, values in series.items()}
    faint = {name: [drawn(name, values) for values in (behind or {}).get(name, ())] for name in columns}
    told = {name: _column(name, values)[-1] for name, values in series.items() if len(values)}
    told.update(last or {})
    styles = {name: _style((colours or {}).get(name, i)) for i, name in enumerate(columns)}
    entries = [(f"{n} (right)" if n in right else n, told.get(n), styles[n]) for n in columns]
    legend, top = _legend(entries, width)
    height = max(height, round(top) + _LOWEST_PLOT)
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name, column in columns.items():
        sides[name in right].extend((column, *faint[name]))
    axes = (_Axis.of(sides[False], log=log), _Axis.of(sides[True]))
    title = f"Curves of {', '.join(columns)}" if columns else "No curves"
    if axes == (None, None):
        middle = f'x="{number(width / 2)}" y="{number((top + height) / 2)}" text-anchor="middle"'
        return frame(title, [*legend, f"<text {middle} {_INK}>no values</text>"], width, height)
    left_room, right_room = (_GAP if axis is None else axis.width for axis in axes)
    n = max(map(len, chain(*sides)))
    plot = _Plot(left_room, top, width - right_room, height - _ROW, n)
    marks = [plot.marks(axis, is_right=axis is axes[True]) for axis in axes if axis is not None]
    of_name = {name: (axis, styles[name]) for name in columns if (axis := axes[name in right])}
    folds = [plot.curve(column, *of_name[name], _FAINT) for name in of_name for column in faint[name]]
    curves = [plot.curve(columns[name], *of_name[name]) for name in of_name]
    return frame(title, [*chain(*marks), *plot.counts(), *folds, *curves, *legend], width, height)


def _column(name: str, values: Any) -> np.ndarray:
    column = np.asarray(values)
    if column.ndim != 1 or (column.size and column.dtype.kind not in "fiub"):
        raise InvalidValueError(
            f"The curve '{name}' must be numbers of shape (n,), got shape {column.shape} of {column.dtype}."
        )
    column = np.where(np.isfinite(column), column, np.nan).astype(np.float64)
    return np.clip(column, -_HUGE, _HUGE)


def _log10(column: np.ndarray) -> np.ndarray:
    return np.log10(column, where=column > _TINY, out=np.full(len(column), np.nan))


def _sampled(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices and values of at most `MAX_POINTS` points, every peak and dip among them."""
    n = len(column)
    if n <= MAX_POINTS:
        return np.arange(n), column
    n_buckets = MAX_POINTS // 2 - 1  # a least and a greatest value each, and both ends
    size = -(-(n - 2) // n_buckets)
    buckets = np.full((n_buckets, size), np.nan)
    buckets.flat[: n - 2] = column[1:-1]
    gaps = np.isnan(buckets)
    inner = np.stack([np.where(gaps, np.inf, buckets).argmin(1), np.where(gaps, -np.inf, buckets).argmax(1)])
    inner += 1 + size * np.arange(n_buckets)
    indices = np.unique(np.minimum([0, *inner.flat, n - 1], n - 1))
    return indices, column[indices]


def _legend(entries: Iterable[tuple[str, float | None, str]], width: float) -> tuple[list[str], float]:
    """Return the names with their values in rows, and where the last row ends."""
    parts, x, y = [], _GAP, 0.0
    for name, value, style in entries:
        label = shortened(name, 40) + ("" if value is None else f" {format_value(value)}")
        entry = 18 + text_width(label, _SIZE)
        if x > _GAP and x + entry > width - _GAP:
            x, y = _GAP, y + _ROW
        parts.append(
            f'<path d="M{number(x)} {number(y + 10)}h13" stroke-width="3" {style}/>'
            f'<text x="{number(x + 18)}" y="{number(y + 14)}" {_INK}>{xml_text(label)}</text>'
        )
        x += entry + 2 * _GAP
    return parts, y + _ROW + _GAP if parts else _GAP


def _style(i: int) -> str:
    dashes = ' stroke-dasharray="5 3"' if i // len(COLOURS) % 2 else ""
    return f'stroke="{COLOURS[i % len(COLOURS)]}"{dashes}'


def _limits(low: float, high: float) -> tuple[float, float]:
    """Return the ends of an axis for values from `low` to `high`, with some room on either side."""
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size or high - low < _TINY:
        room = size * 0.05 if size > _TINY else 1.0
    else:
        room = (high - low) * 0.05
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between `low` and `high`."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(nice for nice in (1, 2, 2.5, 5, 10, 20) if power * nice >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between 10 to the `low` and 10 to the `high`, as exponents."""
    decades = range(math.ceil(low), math.floor(high) + 1)
    if len(decades) >= 3:
        return [float(decade) for decade in decades[:: -(-len(decades) // 5)]]
    finer = [k + math.log10(m) for k in range(math.floor(low), math.ceil(high)) for m in (1, 2, 5)]
    finer = [exponent for exponent in finer if low <= exponent <= high]
    if len(finer) >= 2:
        return finer
    return [math.log10(value) for value in _ticks(10**low, 10**high)]


@dataclass(frozen=True)
class _Axis:
    """Where values stand between bottom and top: its ends, and its marks with their words."""

    low: float
    high: float
    ticks: list[tuple[float, str]]

    @classmethod
    def of(cls, columns: Sequence[np.ndarray], *, log: bool = False) -> Self | None:
        """Return the axis of columns, which are exponents if `log`; None where nothing is finite."""
        finite = [column[np.isfinite(column)] for column in columns]
        values = np.concatenate(finite) if finite else np.empty(0)
        if not values.size:
            return None
        low, high = _limits(float(values.min()), float(values.max()))
        if log:
            high = min(high, math.log10(sys.float_info.max))
        places = _log_ticks(low, high) if log else _ticks(low, high)
        return cls(low, high, [(place, f"{10**place if log else place:.10g}") for place in places])

    @property
    def width(self) -> float:
        """How much room its words take."""
        return max(text_width(label, _SIZE) for _, label in self.ticks) + _GAP


class _Plot:
    """The rectangle that the curves are drawn in, and how values become pixels in it."""

    def __init__(self, left: float, top: float, right: float, bottom: float, n: int) -> None:
        self.left, self.top, self.right, self.bottom, self.n = left, top, right, bottom, n

    def x(self, index: np.ndarray | float) -> Any:
        if self.n == 1:
            return index + (self.left + self.right) / 2
        return self.left + index * ((self.right - self.left) / (self.n - 1))

    def y(self, value: np.ndarray | float, axis: _Axis) -> Any:
        return self.bottom - (value - axis.low) / (axis.high - axis.low) * (self.bottom - self.top)

    def marks(self, axis: _Axis, *, is_right: bool) -> list[str]:
        """Return the words of an axis beside the plot, and for the left one its lines."""
        parts = []
        for value, label in axis.ticks:
            y = self.y(value, axis)
            if not is_right:
                across = f"M{number(self.left)} {number(y)}H{number(self.right)}"
                parts.append(f'<path d="{across}" stroke="{NEUTRAL}" opacity="0.3"/>')
            x, anchor = (self.right + 5, "start") if is_right else (self.left - 5, "end")
            at = f'x="{number(x)}" y="{number(y + 4)}" text-anchor="{anchor}"'
            parts.append(f"<text {at} {_INK}>{label}</text>")
        return parts

    def counts(self) -> list[str]:
        """Return the places below the plot, counted from 1."""
        parts = []
        places = range(1, self.n + 1) if self.n <= _FEW else [1, *_ticks(1, self.n)]
        for count in dict.fromkeys(map(round, places)):
            if count == 1 or self.n / 12 < count <= self.n:  # the first one has its place
                # The last one keeps within the picture, which ends `_GAP` behind the plot.
                x = min(self.x(count - 1), self.right + _GAP - text_width(str(count), _SIZE) / 2)
                at = f'x="{number(x)}" y="{number(self.bottom + 14)}"'
                parts.append(f'<text {at} text-anchor="middle" {_INK}>{count}</text>')
        return parts

    def curve(self, column: np.ndarray, axis: _Axis, style: str, line: tuple[float, str] = _CLEAR) -> str:
        """Return the path of a column; a point between two gaps is drawn as a dot."""
        indices, values = _sampled(column)
        path, pen = [], "M"
        for x, y in zip(self.x(indices).tolist(), self.y(values, axis).tolist(), strict=True):
            if not math.isnan(y):
                path.append(f"{pen}{number(x)} {number(y)}")
            pen = "M" if math.isnan(y) else "L"
        seen = np.concatenate([[False], ~np.isnan(values), [False]])
        alone = seen[1:-1] & ~seen[:-2] & ~seen[2:]
        lone = zip(self.x(indices[alone]).tolist(), self.y(values[alone], axis).tolist(), strict=True)
        dots = "".join(f"M{number(x)} {number(y)}h0" for x, y in lone)
        width, look = line[0], f"{style}{line[1]}"
        curve = f'fill="none" stroke-width="{width:g}" stroke-linejoin="round" {look}'
        drawn = f'<path d="{"".join(path)}" {curve}/>'
        if dots:
            drawn += f'<path d="{dots}" stroke-width="{3 * width:g}" stroke-linecap="round" {look}/>'
        return drawn
