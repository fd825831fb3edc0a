"""Pictures the size of a word: a histogram, and the course of a curve.

They know no table around them. Where images are not shown, block characters stand in their place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modularml.display.card import Html
from modularml.display.curves import COLOURS
from modularml.display.drawing import image, number

HEIGHT = 16
_BARS = "▁▂▃▄▅▆▇█"
_N_BARS = 12
_N_POINTS = 36
_WIDTH = 72


def histogram(counts: Sequence[int]) -> Html:
    """Return an upright bar for each count."""
    highest = max(*counts, 1)
    bars = "".join(
        f"M{2 * i + 1} {HEIGHT}v-{number(HEIGHT * n / highest)}" for i, n in enumerate(counts) if n
    )
    return _picture(bars, 2 * len(counts), _blocks(np.array([0, *counts]))[1:], 2)


def course(values: np.ndarray) -> Html:
    """Return the way that the finite ones of some values took; nothing for one value alone."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return Html("")
    heights = _shares(finite[_spread(len(finite), _N_POINTS)])
    y = HEIGHT - 2 - heights * (HEIGHT - 4)
    x = np.linspace(1, _WIDTH - 1, len(heights))
    line = "L".join(f"{number(a)} {number(b)}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return _picture(f"M{line}", _WIDTH, _blocks(finite[_spread(len(finite), _N_BARS)]), 1.5)


def _spread(n: int, most: int) -> np.ndarray:
    """Return at most so many places from 0 to `n` - 1, equally far apart."""
    return np.linspace(0, n - 1, min(most, n)).round().astype(int)


def _blocks(heights: np.ndarray) -> str:
    return "".join(_BARS[int(step)] for step in (_shares(heights) * (len(_BARS) - 1)).round())


def _shares(values: np.ndarray) -> np.ndarray:
    """Return where values lie between the least, 0, and the greatest, 1."""
    halves = np.asarray(values) / 2  # whose differences do not overflow
    return (halves - halves.min()) / ((halves.max() - halves.min()) or 1.0)


def _picture(path: str, width: int, words: str, stroke_width: float) -> Html:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}">'
        f'<path d="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="{stroke_width:g}"/></svg>'
    )
    # A table gives no room to what may shrink.
    return Html(image(svg, alt=words, style=f"min-width:{width}px;"))
