"""A curve of bounded size, as a page is told of it.

It knows no run: it is given places and values, and hands out points as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TRACE_POINTS = 400
"""Points a curve keeps: about as many as the panel is wide."""
MAX_NEW = 1000

Json = dict[str, Any]


class Trace:
    """A curve of bounded size: each point is the mean of `stride` values.

    The stride doubles whenever there would be more points than `max_points`; from
    then on the curve is told anew, at half its resolution.

    Args:
        name: What it is the curve of.
        per: ``"step"`` for a value a batch, ``"epoch"`` for a value an epoch.
        max_points: How many points it may have.
    """

    def __init__(self, name: str, per: str, max_points: int = TRACE_POINTS) -> None:
        self.name = name
        self.per = per
        self.max_points = max_points
        self._stride = 1
        self._points = np.empty((0, 2))
        self._rest = np.empty((0, 2))
        self._n_taken = 0
        self._new: list[tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]] = []

    @property
    def values(self) -> np.ndarray:
        """The values of the points, shape ``(n_points,)``."""
        self._take_in()
        return self._points[:, 1]

    @property
    def stride(self) -> int:
        """How many values a point is the mean of."""
        self._take_in()
        return self._stride

    def extend(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> None:
        """Add values ``y`` of shape ``(n,)`` at the places ``x`` of the same shape."""
        self._new.append((x, y))  # a loop that waits for this does not wait for arrays to be joined
        if len(self._new) > MAX_NEW:
            self._take_in()

    def _take_in(self) -> None:
        if not self._new:
            return
        x, y = (np.concatenate(part) for part in zip(*self._new, strict=True))
        self._new.clear()
        values = np.concatenate([self._rest, np.column_stack([x, y])])
        self._points = np.concatenate([self._points, self._full_means(values, self._stride)])
        while len(self._points) > self.max_points:
            self._halve()

    def points(self, start: int = 0) -> Json:
        """The points from `start` on, as JSON (a value that is no number becomes None)."""
        self._take_in()
        rows = self._points[start:].tolist()
        x = [float(f"{row[0]:.6g}") for row in rows]
        y = [float(f"{row[1]:.6g}") if np.isfinite(row[1]) else None for row in rows]
        return {"name": self.name, "per": self.per, "start": start, "x": x, "y": y}

    def take(self) -> Json | None:
        """The points that were never taken, or None if there are none."""
        self._take_in()
        if self._n_taken == len(self._points):
            return None
        start, self._n_taken = self._n_taken, len(self._points)
        return self.points(start)

    def _full_means(self, values: np.ndarray, size: int) -> np.ndarray:
        n_full = len(values) // size
        self._rest = values[n_full * size :]
        return values[: n_full * size].reshape(n_full, size, 2).mean(axis=1)

    def _halve(self) -> None:
        rest = self._rest
        self._points = self._full_means(self._points, 2)
        self._rest = np.concatenate([np.repeat(self._rest, self._stride, axis=0), rest])
        self._stride *= 2
        self._n_taken = 0
