"""Schedules of learning rates: torch's, by name, ready before there is an optimizer.

They know no phase: `modularml.core.training.optimizer` holds one, the loop says when it moves on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from modularml.backends.backend import Backend, load
from modularml.base.config import Configurable
from modularml.base.errors import Faults, InvalidTypeError, OptimizerError, check_choice

EVERY = ("epoch", "batch")


class Schedule(Configurable):
    """How the learning rate of an optimizer changes: one of torch's schedulers.

    Names are those of torch's classes; case, underscores and "LR" do not count:
    ``"cosine_annealing"``, ``"OneCycleLR"``, ``"reduce_on_plateau"``.

    Args:
        schedule: A name, a class, or a function ``(optimizer) -> scheduler``.
        schedule_kwargs: Arguments for a name or a class, e.g. ``{"T_max": 50}``.
        every: When it moves on: after each ``"epoch"`` or after each ``"batch"``.
        monitor: The metric that ``"reduce_on_plateau"`` looks at after each epoch.

    Raises:
        OptimizerError: If the name or an argument is unknown, with the nearest match, or a
            value is not allowed.
        InvalidTypeError: If `schedule` can be none of these.
    """

    _fixed = ("schedule", "schedule_kwargs")

    def __init__(
        self,
        schedule: str | type | Callable[..., Any],
        *,
        schedule_kwargs: Mapping[str, Any] | None = None,
        every: str = "epoch",
        monitor: str = "val_loss",
    ) -> None:
        faults = Faults("Schedule")
        faults.attempt(check_choice, every, "every", EVERY)
        if not isinstance(monitor, str):
            faults.add(InvalidTypeError(f"monitor must be the name of a metric, got {monitor!r}"))
        if not isinstance(schedule, str) and not callable(schedule):
            faults.add(InvalidTypeError(f"schedule must be a name, a class or a function, got {schedule!r}"))
        elif schedule_kwargs and not isinstance(schedule, str | type):
            faults.add(OptimizerError("schedule_kwargs go with a name or a class, not with a function"))
        faults.raise_if_any()
        self.schedule = schedule
        self.schedule_kwargs = dict(schedule_kwargs) if schedule_kwargs else None
        self.every = every
        self.monitor = monitor
        self._make = _library().find_schedule(schedule) if isinstance(schedule, str) else schedule
        if isinstance(self._make, type):
            self._check()

    def _check(self) -> None:
        """Make one for an optimizer of no use, so that mistakes show here."""
        library = _library()
        library.try_schedule(self._make, self.schedule_kwargs or {})
        if self.needs_metric and self.every == "batch":
            raise OptimizerError(f"Schedule: {self.name!r} looks at a metric of epochs; leave every out.")

    @property
    def name(self) -> str:
        """The short name of the scheduler."""
        if isinstance(self._make, type):
            return str(_library().schedule_name(self._make))
        return str(getattr(self._make, "__name__", type(self._make).__name__))

    @property
    def needs_metric(self) -> bool:
        """Whether it moves on by the value of `monitor`."""
        return isinstance(self._make, type) and bool(_library().needs_metric(self._make))

    def build(self, optimizer: Any) -> Any:
        """Return the torch scheduler for a torch optimizer; its first rate is set."""
        return _library().build_schedule(self._make, self.schedule_kwargs or {}, optimizer)


def as_schedule(value: Any) -> Schedule:
    """Return the schedule that is meant by it, its name, its class, or a function of an optimizer.

    Args:
        value: A `Schedule`, a name, a class, a class with arguments
            (``functools.partial(CosineAnnealingLR, T_max=50)``), or a function.

    Raises:
        OptimizerError: If the name or an argument is unknown, with the nearest match.
        InvalidTypeError: If it is nothing of these.
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, functools.partial) and isinstance(value.func, type) and not value.args:
        return Schedule(value.func, schedule_kwargs=value.keywords)
    return Schedule(value)


def _library() -> Any:
    return load(Backend.TORCH).schedules
