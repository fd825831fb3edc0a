"""Which end of a loss or a metric is the better one, and who says so: the user, the metric or its name.

It knows no loop: it reads what a phase says of its losses, metrics and callbacks.
"""

from __future__ import annotations

from typing import Any

from modularml.base.errors import InvalidValueError, unknown_name
from modularml.base.goals import MIN, goal_of_name


def goal_in(phase: Any, name: str, *, given: str | None, where: str, option: str) -> str:
    """Return ``"min"`` or ``"max"`` for a loss or a metric that a phase logs.

    Args:
        phase: The phase.
        name: What is looked at.
        given: What the user said, which counts; None leaves it to the metric.
        where: Who asks, for the message.
        option: The argument by which the user says it.

    Raises:
        InvalidValueError: If nobody knows.
    """
    goal = given or _known(phase, name) or goal_of_name(name)
    if goal is None:
        raise InvalidValueError(
            f"{where}: whether {name!r} is the better the lower or the higher cannot be known from its name; "
            f'say {option}="min" or {option}="max".'
        )
    return goal


def check_logged(name: str, phase: Any, results: Any) -> None:
    """Raise InvalidValueError if nothing logs a metric, and no callback of the phase will.

    Args:
        name: The metric, or the label of a loss.
        phase: The phase.
        results: Its results, after an epoch at least.
    """
    announced = {metric for one in phase.callbacks for metric in getattr(one, "metric_names", ())}
    known = sorted({*results.recording.monitored, *announced})
    if name not in known:
        told = unknown_name("metric", name, known, where=repr(results))
        raise InvalidValueError(f"{told} Evaluation(eval_phase=...) logs 'val_loss'.")


def _known(phase: Any, name: str) -> str | None:
    goals: dict[str, str | None] = {
        loss.label: MIN for loss in getattr(phase, "losses", ()) if loss.trainable
    }
    goals |= {metric.name: metric.goal for metric in getattr(phase, "metrics", ())}
    for callback in phase.callbacks:
        goals |= getattr(callback, "metric_goals", {})
    return goals.get(name)
