"""How far the fit of an estimator is, told by the callbacks that scikit-learn 1.9 gave some of them.

It knows no node and no event: it hands a share to whoever asked. Elsewhere nothing is told.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MIN_GAP_S = 0.05
"""What goes on faster is told of no more often."""

Tell = Callable[[float], None]


@contextmanager
def watched(estimator: Any, tell: Tell) -> Iterator[None]:
    """Tell how far the estimator is while it is fitted within the block.

    Callbacks that it has already stay.

    Args:
        estimator: Any estimator; one without callbacks is left alone.
        tell: Takes the share that is done, from 0 to 1.
    """
    if not hasattr(estimator, "set_callbacks"):
        yield
        return
    before = list(getattr(estimator, "_skl_callbacks", []))
    with warnings.catch_warnings():
        # Of estimators, solvers and steps that have no callbacks there is nothing to tell.
        warnings.filterwarnings("ignore", message="(?s).*callbacks (will be ignored|attached to)")
        estimator.set_callbacks(*before, FitProgress(tell))
        try:
            yield
        finally:
            estimator.set_callbacks(*before)


class FitProgress:
    """A callback of scikit-learn: the share of the tree of tasks that is done.

    Each task counts as much as its siblings; one that ends before all its subtasks is done for all.

    Args:
        tell: Takes the share.
    """

    max_propagation_depth = None
    """It goes to the estimators within an estimator, however deep."""

    def __init__(self, tell: Tell | None) -> None:
        self._tell = tell
        self._lock = threading.Lock()  # some estimators fit others side by side
        self._done: dict[tuple[int, ...], float] = {}
        self._told_s = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process nobody listens; what it works on counts when it is over.
        return type(self), (None,)

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin; nothing is done."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """End."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Begin a task; it counts when it is over."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Count a task."""
        path, share = _place(context)
        if self._tell is None or share is None:
            return
        with self._lock:
            done, now_s = self._count(path, share), time.monotonic()
            if now_s >= self._told_s + MIN_GAP_S:
                self._told_s = now_s
                self._tell(done)

    def _count(self, path: tuple[int, ...], share: float) -> float:
        """Add what a task brings beyond its subtasks to it and all above it; return what is done in all."""
        more = share - self._done.pop(path, 0.0)
        for depth in range(1, len(path)):
            above = path[:depth]
            self._done[above] = self._done.get(above, 0.0) + more
        return min(self._done.get(path[:1], share), 1.0)


def _place(context: Any) -> tuple[tuple[int, ...], float | None]:
    """The ids from the root down to a task, and its share of the whole; None if that cannot be known."""
    ids, share = [context.task_id], 1.0
    while context.parent is not None:
        context = context.parent
        ids.append(context.task_id)
        if not context.max_subtasks:
            return tuple(reversed(ids)), None
        share /= context.max_subtasks
    return tuple(reversed(ids)), share
