"""Learning rates in the course of a phase: recorded at each epoch's end, then moved on.

It knows no step: schedules that move on after each batch do so with the update.
"""

from __future__ import annotations

from collections.abc import Mapping

from modularml.base.errors import InvalidValueError, unknown_name
from modularml.core.execution.recording import Recording
from modularml.core.training.optimizer import Optimizer


def rates_of(optimizers: Mapping[str, Optimizer]) -> dict[str, float]:
    """Return the present learning rates by the names of their metrics.

    Of several groups of parameters each has one, ``"lr/<group>"``: by the ``name`` that it was made with,
    where each has one of its own, else by its place.

    Args:
        optimizers: Name of the metric, ``"lr"`` or ``"lr/<node>"``, -> its optimizer.
    """
    found: dict[str, float] = {}
    for name, optimizer in optimizers.items():
        groups = optimizer.optimizer.param_groups
        named = [group.get("name") for group in groups]
        labels = range(len(groups)) if None in named or len({*named}) < len(named) else named
        for label, group in zip(labels, groups, strict=True):
            found[name if len(groups) == 1 else f"{name}/{label}"] = float(group["lr"])
    return found


class Rates:
    """The optimizers of a phase that have a schedule.

    Args:
        optimizers: Name of the metric that a rate is recorded as -> its optimizer.
        recording: Where rates are recorded, and the metrics of schedules found.
        announced: The metrics that callbacks log, maybe not at every epoch.
    """

    def __init__(
        self, optimizers: Mapping[str, Optimizer], recording: Recording, announced: set[str]
    ) -> None:
        self.optimizers = {name: one for name, one in optimizers.items() if one.schedule is not None}
        self.recording, self.announced = recording, announced

    def record(self, epoch: int) -> None:
        """Note the rates that the last batch was trained with."""
        for name, rate in rates_of(self.optimizers).items():
            self.recording.log(name, rate, epoch)

    def move_on(self, epoch: int) -> None:
        """Move the schedules of epochs on, when everything that is logged in this one is there.

        Raises:
            InvalidValueError: If nothing logs the metric of a schedule.
        """
        for optimizer in self.optimizers.values():
            schedule = optimizer.schedule
            assert schedule is not None
            if schedule.needs_metric:
                value = self._metric(schedule.monitor, epoch)
                if value is not None:
                    optimizer.move_on(value)
            elif schedule.every == "epoch":
                optimizer.move_on()

    def _metric(self, name: str, epoch: int) -> float | None:
        values = self.recording.values_of(epoch)
        known = sorted({*self.recording.monitored, *self.announced})
        if name not in known:
            raise InvalidValueError(
                f"A schedule moves on by a metric that nothing logs: {unknown_name('metric', name, known)} "
                "Evaluation(eval_phase=...) logs 'val_loss'; or give Schedule(monitor=...) another."
            )
        return values.get(name)
