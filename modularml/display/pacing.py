"""When to draw: often enough to look alive, seldom enough to cost a run next to nothing.

It knows neither what is drawn nor where: whoever draws asks first, and is timed.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator

from modularml.base.events import CompileStarted, PhaseEnded, PhaseStarted

MAX_RATE = 20
"""Drawings a second, at most, whatever happens."""
MIN_GAP_S, MAX_GAP_S = 0.1, 0.5
"""What is not urgent keeps at least the one distance; nobody who watches waits longer than the other."""
SHARE = 0.004
"""What drawing may take of a run's time: some four cheap drawings a second. The threads that send what is
drawn, whoever receives it on the same machine, and caches that all of it leaves cold take several times as
much: twice the share costs short epochs in a notebook five hundredths of their time."""
URGENT = PhaseStarted | CompileStarted | PhaseEnded
"""What follows these may be long and let nobody draw."""


class Budget:
    """Says when the next drawing is due, by what the last one cost.

    Drawings keep a distance of which one takes no more than `SHARE`, within `MIN_GAP_S` and `MAX_GAP_S`.
    It counts the time that the process worked, so that drawing costs a run no more where others need
    the machine.
    """

    def __init__(self) -> None:
        self._drawn_s = deque([-math.inf] * MAX_RATE, maxlen=MAX_RATE)
        self._worked_s = 0.0  # the time that the process worked until the last drawing
        self._cost_s = 0.0

    def is_due(self, *, is_urgent: bool = False) -> bool:
        """Whether to draw now; what is urgent waits only if much was drawn lately."""
        now_s = time.monotonic()
        gap_s = now_s - self._drawn_s[-1]
        if now_s < self._drawn_s[0] + 1.0 or (gap_s < MIN_GAP_S and not is_urgent):
            return False
        if is_urgent or gap_s >= MAX_GAP_S:
            return True
        # Several threads have more time than passes, but only one of them waits for the drawing.
        return self._cost_s <= SHARE * min(gap_s, time.process_time() - self._worked_s)

    @property
    def urgent_in_s(self) -> float:
        """Seconds until something urgent may be drawn."""
        return max(self._drawn_s[0] + 1.0 - time.monotonic(), 0.0)

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw in a ``with`` block."""
        began_s = time.thread_time()
        self._drawn_s.append(time.monotonic())
        yield
        self._worked_s, self._cost_s = time.process_time(), time.thread_time() - began_s
