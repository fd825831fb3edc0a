"""PyTorch's learning-rate schedulers: by name, bound to an optimizer, and their state as plain values.

It knows no phase and no epoch: callers say when a scheduler moves on.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch.optim import lr_scheduler

from modularml.base.errors import OptimizerError, unknown_name

_UNUSABLE = ("LRScheduler",)
_NEED_OTHERS = ("ChainedScheduler", "SequentialLR")


def schedule_name(cls: type) -> str:
    """Return the short name of a scheduler: ``CosineAnnealingLR`` -> ``cosine_annealing``."""
    name = cls.__name__.replace("ReduceLROn", "ReduceOn").removesuffix("LR").removesuffix("Scheduler")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


@cache
def schedule_classes() -> Mapping[str, type]:
    """Return torch's schedulers by their short names, but for those that are made of others."""
    skipped = (*_UNUSABLE, *_NEED_OTHERS)
    classes = (getattr(lr_scheduler, name) for name in lr_scheduler.__all__ if name not in skipped)
    return {schedule_name(cls): cls for cls in classes}


def find_schedule(name: str) -> type:
    """Return the class that `name` means; case, underscores, blanks, hyphens and "LR" do not count.

    Raises:
        OptimizerError: If there is none; the message has the nearest match.
    """

    def key(text: str) -> str:
        return re.sub(r"[\s_-]", "", text.lower()).replace("lr", "")

    known = {key(short): cls for short, cls in schedule_classes().items()}
    if key(name) in map(key, _NEED_OTHERS):
        raise OptimizerError(
            f"The schedule {name!r} is made of others; give a function (optimizer) -> scheduler instead."
        )
    if key(name) not in known:
        raise OptimizerError(unknown_name("schedule", name, schedule_classes()))
    return known[key(name)]


def needs_metric(scheduler: Any) -> bool:
    """Tell whether a scheduler, or a class of them, moves on by the value of a metric."""
    cls = scheduler if isinstance(scheduler, type) else type(scheduler)
    return issubclass(cls, lr_scheduler.ReduceLROnPlateau)


def build_schedule(
    make: Callable[..., Any], kwargs: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> Any:
    """Make a scheduler for an optimizer.

    Raises:
        OptimizerError: What torch says of the arguments.
    """
    name = getattr(make, "__name__", repr(make))
    if isinstance(make, type):
        allowed = [p for p in inspect.signature(make).parameters if p not in ("optimizer", "last_epoch")]
        for argument in kwargs:
            if argument not in allowed:
                where = f"the arguments of {name}"
                raise OptimizerError(unknown_name("argument", argument, allowed, where=where))
        missing = [p for p in _required(make) if p not in kwargs]
        if missing:
            told = ", ".join(f'"{p}": ...' for p in [*kwargs, *missing])
            raise OptimizerError(
                f"{name} needs {' and '.join(map(repr, missing))}: "
                f'Schedule("{schedule_name(make)}", schedule_kwargs={{{told}}}).'
            )
    try:
        made = make(optimizer, **kwargs)
    except (TypeError, ValueError, KeyError) as error:
        raise OptimizerError(f"{name} refuses {dict(kwargs)}: {error}") from error
    if not hasattr(made, "step") or not hasattr(made, "state_dict"):
        raise OptimizerError(f"{name} must make a scheduler of torch, it made a {type(made).__name__}.")
    # Else torch warns of a scheduler that moves on first: it counts calls of a wrapped ``step``,
    # and that takes longer than the update of a small network.
    optimizer._opt_called = True  # type: ignore[attr-defined]
    return made


def _required(cls: type) -> list[str]:
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    return [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]


def try_schedule(make: type, kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that a class of schedulers does not take.

    Raises:
        OptimizerError: Naming the argument and the nearest match, or what torch says.
    """
    build_schedule(make, kwargs, torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9))


def move_on(scheduler: Any, value: float | None = None) -> None:
    """Set the optimizer's rate to the next one.

    Args:
        scheduler: The scheduler.
        value: The metric, for one that moves on by it.
    """
    scheduler.step() if value is None else scheduler.step(value)


def schedule_state(scheduler: Any) -> dict[str, Any]:
    """Return what changes in a scheduler, as plain values; functions and settings are left out."""
    state: dict[str, Any] = _plain(scheduler.state_dict())
    return state


def set_schedule_state(scheduler: Any, state: Mapping[str, Any]) -> None:
    """Put back what `schedule_state` returned."""
    scheduler.load_state_dict(_merged(scheduler.state_dict(), state))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value)
    return value is None or isinstance(value, bool | int | float | str)


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.item()
    if isinstance(value, Mapping):
        values = {key: v.item() if isinstance(v, torch.Tensor) else v for key, v in value.items()}
        return {key: _plain(v) for key, v in values.items() if _is_plain(v)}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _merged(own: Any, saved: Any) -> Any:
    """Return a scheduler's own state with what was saved of it in place."""
    if isinstance(own, Mapping) and isinstance(saved, Mapping):
        return {**own, **{key: _merged(own.get(key), value) for key, value in saved.items()}}
    if isinstance(own, list) and isinstance(saved, list) and len(own) == len(saved):
        return [_merged(left, right) for left, right in zip(own, saved, strict=True)]
    return saved
