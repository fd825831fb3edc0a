"""Curves of losses and metrics as one small static SVG.

It knows no run: it is given columns of numbers and draws them over their places, counted from 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from modularml.base.errors import InvalidValueError
from modularml.display.drawing import NEUTRAL, frame, number, shortened, text_width, xml_text

MAX_POINTS = 200
COLOURS = ("#2F81F7", "#E36209", "#1F9D55", "#BF4BC9", "#D1394B", "#8C7A1F")

_SIZE = 11.0
_INK = f'font-size="{_SIZE:g}" fill="{NEUTRAL}"'
_CLEAR, _FAINT = (1.8, ""), (1.0, ' opacity="0.4"')  # stroke widths, and more of the look
_ROW = 18.0
_LOWEST_PLOT = 60
_GAP = 8.0
_HUGE, _TINY = 1e300, 1e-290  # beyond them the arithmetic of an axis overflows


def curve_svg(
    series: Mapping[str, Any],
    *,
    behind: Mapping[str, Sequence[Any]] | None = None,
    last: Mapping[str, float] | None = None,
    width: int = 420,
    height: int = 200,
    log: bool = False,
) -> str:
    """Return the curves as the text of a self-contained SVG element.

    Args:
        series: Name -> values, shape ``(n,)``; NaN and infinite values are gaps.
        behind: Name of a curve -> others that stand faintly behind it, e.g. those of each fold.
        last: Name -> what the legend says of it, if not the last of its values.
        width: Width of the picture, in pixels.
        height: Height of the picture, in pixels; more if the legend is long.
        log: Draw a logarithmic axis; values that are not positive are gaps.

    Raises:
        InvalidValueError: If the values of a series are not one column of numbers.
    """
    given = {name: _column(name, values) for name, values in series.items()}
    columns = {name: _log10(column) if log else column for name, column in given.items()}
    faint = {name: [_column(name, values) for values in (behind or {}).get(name, ())] for name in given}
    faint = {name: [_log10(column) if log else column for column in those] for name, those in faint.items()}
    title = f"Curves of {', '.join(columns)}" if columns else "No curves"
    told = {name: column[-1] for name, column in given.items() if len(column)}
    told.update(last or {})
    legend, top = _legend({name: told.get(name) for name in given}, width)
    height = max(height, round(top) + _LOWEST_PLOT)
    every = [*columns.values(), *chain.from_iterable(faint.values())]
    finite = [column[np.isfinite(column)] for column in every]
    values = np.concatenate(finite) if finite else np.empty(0)
    if not values.size:
        middle = f'x="{number(width / 2)}" y="{number((top + height) / 2)}" text-anchor="middle"'
        return frame(title, [*legend, f"<text {middle} {_INK}>no values</text>"], width, height)
    low, high = _limits(float(values.min()), float(values.max()))
    n = max(map(len, every))
    if log:
        ticks = [(exponent, f"{10**exponent:.10g}") for exponent in _log_ticks(low, high)]
    else:
        ticks = [(value, f"{value:.10g}") for value in _ticks(low, high)]
    left = max(text_width(label, _SIZE) for _, label in ticks) + _GAP
    plot = _Plot(left, top, width - _GAP, height - _ROW, n, low, high)
    styles = {name: _style(i) for i, name in enumerate(columns)}
    folds = [plot.curve(column, styles[name], _FAINT) for name, those in faint.items() for column in those]
    curves = [plot.curve(column, styles[name]) for name, column in columns.items()]
    return frame(title, [*plot.axes(ticks), *folds, *curves, *legend], width, height)


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


def _legend(told: Mapping[str, float | None], width: float) -> tuple[list[str], float]:
    """Return the names with their values in rows, and where the last row ends."""
    parts, x, y = [], _GAP, 0.0
    for i, (name, value) in enumerate(told.items()):
        label = shortened(name, 40) + ("" if value is None else f" {value:.4g}")
        entry = 18 + text_width(label, _SIZE)
        if x > _GAP and x + entry > width - _GAP:
            x, y = _GAP, y + _ROW
        parts.append(
            f'<path d="M{number(x)} {number(y + 10)}h13" stroke-width="3" {_style(i)}/>'
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


class _Plot:
    """The rectangle that the curves are drawn in, and how values become pixels in it."""

    def __init__(
        self, left: float, top: float, right: float, bottom: float, n: int, low: float, high: float
    ) -> None:
        self.left, self.top, self.right, self.bottom = left, top, right, bottom
        self.n, self.low, self.high = n, low, high

    def x(self, index: np.ndarray | float) -> Any:
        if self.n == 1:
            return index + (self.left + self.right) / 2
        return self.left + index * ((self.right - self.left) / (self.n - 1))

    def y(self, value: np.ndarray | float) -> Any:
        return self.bottom - (value - self.low) / (self.high - self.low) * (self.bottom - self.top)

    def axes(self, ticks: list[tuple[float, str]]) -> list[str]:
        parts = []
        for value, label in ticks:
            y = number(self.y(value))
            parts.append(
                f'<path d="M{number(self.left)} {y}H{number(self.right)}" stroke="{NEUTRAL}" opacity="0.3"/>'
                f'<text x="{number(self.left - 5)}" y="{number(self.y(value) + 4)}" text-anchor="end" '
                f"{_INK}>{label}</text>"
            )
        for count in dict.fromkeys(round(i) for i in [1, *_ticks(1, max(self.n, 2))]):
            if count == 1 or self.n / 12 < count <= self.n:  # the first one has its place
                # The last one keeps within the picture, which ends `_GAP` behind the plot.
                x = min(self.x(count - 1), self.right + _GAP - text_width(str(count), _SIZE) / 2)
                at = f'x="{number(x)}" y="{number(self.bottom + 14)}"'
                parts.append(f'<text {at} text-anchor="middle" {_INK}>{count}</text>')
        return parts

    def curve(self, column: np.ndarray, style: str, line: tuple[float, str] = _CLEAR) -> str:
        """Return the path of a column; a point between two gaps is drawn as a dot."""
        indices, values = _sampled(column)
        path, pen = [], "M"
        for x, y in zip(self.x(indices).tolist(), self.y(values).tolist(), strict=True):
            if not math.isnan(y):
                path.append(f"{pen}{number(x)} {number(y)}")
            pen = "M" if math.isnan(y) else "L"
        seen = np.concatenate([[False], ~np.isnan(values), [False]])
        alone = seen[1:-1] & ~seen[:-2] & ~seen[2:]
        lone = zip(self.x(indices[alone]).tolist(), self.y(values[alone]).tolist(), strict=True)
        dots = "".join(f"M{number(x)} {number(y)}h0" for x, y in lone)
        width, look = line[0], f"{style}{line[1]}"
        curve = f'fill="none" stroke-width="{width:g}" stroke-linejoin="round" {look}'
        drawn = f'<path d="{"".join(path)}" {curve}/>'
        if dots:
            drawn += f'<path d="{dots}" stroke-width="{3 * width:g}" stroke-linecap="round" {look}/>'
        return drawn
