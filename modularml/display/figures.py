"""Figures as people read them: durations, values and shapes.

It knows nothing of what they measure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def format_s(seconds: float) -> str:
    """Seconds in their own unit: ``8 ms``, ``1.2 s``, ``2:05``, ``1:02:03``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def format_value(value: float) -> str:
    """A loss or metric in four significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    if size < 1e-4 or size >= 1e6:
        return f"{value:.3e}"
    return f"{value:.0f}" if size >= 1000 else f"{value:#.4g}"


def counted(n: int, noun: str) -> str:
    """How many there are of something: ``1 sample``, ``1,200 samples``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def format_shape(shape: Any, name: str | None = None) -> str | None:
    """A shape, after the name of what has it; a dict of them as ``logits (3,), size (1,)``; None is None."""
    if isinstance(shape, Mapping):
        return ", ".join(f"{one} {of}" for one, of in shape.items())
    told = None if shape is None else str(tuple(shape))
    return told if name is None else " ".join(filter(None, (name, told)))
