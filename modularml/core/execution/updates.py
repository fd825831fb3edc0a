"""How gradients become an update: added up over batches, clipped, scaled for half precision.

It knows no forward pass. What is not asked for is not there: a plain update is the
optimizer's step and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modularml.backends.torch import backward
from modularml.backends.torch_updates import complete_momentum
from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError, check_int, unknown_name
from modularml.core.training.optimizer import Optimizer

PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What a forward pass may compute in; weights, losses and updates stay in float32."""


@dataclass(frozen=True, kw_only=True)
class UpdateOptions:
    """What a phase does with gradients.

    Attributes:
        clip_norm: The most that the norm of all gradients of an optimizer may be; None: any.
        clip_value: The most that a gradient may be, up or down; None: any.
        accumulate: How many batches there are to an update.
        precision: ``"float32"``, ``"bf16"`` or ``"fp16"``.
    """

    clip_norm: float | None = None
    clip_value: float | None = None
    accumulate: int = 1
    precision: str = "float32"

    def check(self, faults: Faults) -> None:
        """Note every value that is not allowed."""
        for name in ("clip_norm", "clip_value"):
            faults.attempt(_check_positive, getattr(self, name), name)
        faults.attempt(check_int, self.accumulate, "accumulate")
        faults.attempt(_check_precision, self.precision)

    @property
    def half(self) -> torch.dtype | None:
        """The dtype of a forward pass in half precision, or None."""
        return PRECISIONS[self.precision]


def _check_precision(value: Any) -> None:
    if value not in PRECISIONS:
        named = str(value).removeprefix("torch.")
        meant = next((name for name, dtype in PRECISIONS.items() if str(dtype) == f"torch.{named}"), None)
        told = unknown_name("precision", value, PRECISIONS)
        raise InvalidValueError(f"Unknown precision {value!r}; {named} is {meant!r} here." if meant else told)


def _check_positive(value: Any, name: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{name} must be a positive number, got {value!r} ({type(value).__name__}).")
    if not value > 0:
        raise InvalidValueError(f"{name} must be a positive number, got {value}.")


class Window:
    """The batches that there are to an update, by their number of samples.

    Gradients of several batches add up to that of one batch which holds all their samples,
    also where the last update of an epoch has fewer of them.

    Args:
        size: How many batches there are to an update.

    Attributes:
        share: The share of the present batch in the samples of its update.
        is_full: Whether the update is due after the present batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.share, self.is_full = 1.0, True
        self._batches: list[tuple[float, bool]] = []

    def begin(self, n_samples: np.ndarray, n_done: int = 0) -> None:
        """Begin an epoch whose batches have so many samples, ``(n_batches,)``, behind those that are done."""
        starts = np.arange(0, len(n_samples), self.size)
        if self.size == 1 or not len(starts):
            return
        sizes = np.diff(np.append(starts, len(n_samples)))
        shares = n_samples / np.repeat(np.add.reduceat(n_samples, starts), sizes)
        is_last = np.zeros(len(n_samples), bool)
        is_last[starts + sizes - 1] = True
        self._batches = list(zip(shares.tolist(), is_last.tolist(), strict=True))[n_done:][::-1]

    def advance(self) -> None:
        """Go to the next batch."""
        if self._batches:
            self.share, self.is_full = self._batches.pop()

    def skip(self, n_batches: int) -> None:
        """Leave out batches that are done in another way."""
        if self._batches:
            del self._batches[-n_batches:]


Learn = Callable[[torch.Tensor], None]
"""Takes the loss of a batch, and updates the parameters when that is due."""


def update_of(optimizer: Optimizer) -> Callable[[], None]:
    """Return the function that updates parameters, and moves on a schedule of batches."""
    if optimizer.schedule is None or optimizer.schedule.every != "batch":
        return optimizer.step

    def update() -> None:
        optimizer.step()
        optimizer.move_on()

    return update


def learn_of(optimizer: Optimizer, options: UpdateOptions, window: Window, device: torch.device) -> Learn:
    """Return the function that learns from a loss: gradients, clipping, the update.

    Args:
        optimizer: Updates its parameters.
        options: What is done.
        window: The batches to an update.
        device: Where the loss is computed.
    """
    scaler = optimizer.scaler_on(device.type) if options.half is torch.float16 else None
    update, zero_grad, clip = update_of(optimizer), optimizer.zero_grad, _clip_of(optimizer, options)

    def finish() -> None:
        if scaler is None:
            clip()
            update()
        else:
            scaler.unscale_(optimizer.optimizer)
            clip()
            complete_momentum(optimizer.optimizer)
            scaler.step(optimizer.optimizer)
            scaler.update()
            if optimizer.schedule is not None and optimizer.schedule.every == "batch":
                optimizer.move_on()
        zero_grad()

    def learn(loss: torch.Tensor) -> None:
        backward(loss if scaler is None else scaler.scale(loss))
        if window.is_full:
            finish()

    def learn_plainly(loss: torch.Tensor) -> None:
        backward(loss)
        update()
        zero_grad()

    is_plain = scaler is None and options.accumulate == 1 and clip is _no_clip
    return learn_plainly if is_plain else learn


def _no_clip() -> None:
    pass


def _clip_of(optimizer: Optimizer, options: UpdateOptions) -> Callable[[], None]:
    norm, value, parameters = options.clip_norm, options.clip_value, optimizer.parameters
    if norm is None and value is None:
        return _no_clip

    def clip() -> None:
        if norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, norm)
        if value is not None:
            torch.nn.utils.clip_grad_value_(parameters, value)

    return clip
