"""Notices that a function of the user's lets every sample meet every other where shapes were mixed up.

It knows no loss and no phase: it is handed a function, tensors and words for a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from modularml.base.errors import warn


def watched(function: Callable[..., Any], inputs: Sequence[Any], n: int, what: str) -> Any:
    """Call a function, and warn where it broadcasts the samples of one tensor along another axis of one.

    So do ``(n,)`` and ``(n, 1)``, which come to ``(n, n)``; the mean of that is another number than meant,
    and nothing says so.

    Args:
        function: What is called.
        inputs: What it is called with.
        n: How many samples these have.
        what: What it is, for the message, e.g. ``"Loss 'focal'"``.
    """
    watch = _Watch(n)
    with watch:
        made = function(*inputs)
    if watch.found is not None:
        low, high, out = watch.found
        alike = (-1, *[1] * (len(high) - len(low)), *low[1:])
        warn(
            f"{what} broadcasts {low} and {high} to {out}, where every sample meets all the others. Give the "
            f"samples of the first the same axis, x.reshape{alike}; where pairs are meant, write x[None]."
        )
    return made


class _Watch(TorchFunctionMode):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.found: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if self.found is None and isinstance(made, torch.Tensor):
            shapes = [tuple(one.shape) for one in args if isinstance(one, torch.Tensor)]
            found = ((low, high, tuple(made.shape)) for low, high in permutations(shapes, 2))
            self.found = next((one for one in found if self._meet(*one)), None)
        return made

    def _meet(self, low: tuple[int, ...], high: tuple[int, ...], out: tuple[int, ...]) -> bool:
        """Tell whether the samples of `low` lie along an axis of `high` that is not that of its samples."""
        k = len(high) - len(low)
        return (
            0 < k < len(high) == len(out) and low[0] == high[0] == out[0] == out[k] == self.n and high[k] == 1
        )
