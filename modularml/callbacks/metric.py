"""A metric of one's own: a number an epoch, logged and drawn beside the losses.

It knows no phase: it is handed what a hook is handed.
"""

from __future__ import annotations

from typing import Any

from modularml.base.errors import InvalidTypeError, check_label
from modularml.core.execution.scope import ExecutionContext
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.callback_results import MetricResult
from modularml.core.experiment.phase_results import PhaseResults


class MetricCallback(Callback):
    """Logs a number at the end of each epoch; subclass it and define `compute`.

    Args:
        name: The name that it is logged by.
        label: Its name among callbacks; default: the name of its class.
        execution_order: Lower ones are called first.

    Raises:
        InvalidTypeError: If the name is no text, or neither `compute` nor a hook is defined.
        InvalidValueError: If the name is empty.
    """

    def __init__(self, name: str, *, label: str | None = None, execution_order: int = 0) -> None:
        super().__init__(label, execution_order)
        self.name = check_label(name, "metric")
        if all(getattr(type(self), own) is getattr(MetricCallback, own) for own in ("compute", *self.hooks)):
            raise InvalidTypeError(
                f"{type(self).__name__} {name!r} computes nothing; subclass it and define compute()."
            )

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metric that it logs."""
        return (self.name,)

    def compute(
        self, *, experiment: Any, phase: Any, exec_ctx: ExecutionContext, results: PhaseResults
    ) -> float | None:
        """Return the number, or None where there is none for this epoch.

        A subclass that logs in a hook of its own may leave it out.
        """

    def on_epoch_end(
        self, *, experiment: Any, phase: Any, exec_ctx: ExecutionContext, results: PhaseResults
    ) -> MetricResult | None:
        """Log what `compute` returns."""
        value = self.compute(experiment=experiment, phase=phase, exec_ctx=exec_ctx, results=results)
        return None if value is None else MetricResult(metric_name=self.name, metric_value=float(value))
