"""Evaluation in the course of training: a phase that is run every few epochs.

It knows no panel and no history: what it measures is logged as metrics of the phase
that trains, and so it is drawn and recorded with its losses.
"""

from __future__ import annotations

from typing import Any, Self

from modularml.base.errors import InvalidTypeError, InvalidValueError, check_int
from modularml.core.execution.scope import ExecutionContext, PhaseScope
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.results import EvalResults, PhaseResults


class Evaluation(Callback):
    """Runs an `EvalPhase` at the end of every n-th epoch, and logs its losses.

    The sum of the losses (but for those with ``trainable=False``) is logged as ``val_loss``;
    where there are several, each is logged as ``val_<label>`` too.

    Args:
        eval_phase: What to run; it needs at least one loss.
        every_n_epochs: How often.
        label: Its name.
        execution_order: Lower ones are called first, so that those that follow see the metrics.

    Raises:
        InvalidTypeError: If `eval_phase` is no `EvalPhase`.
        InvalidValueError: If it has no losses.
    """

    def __init__(
        self,
        *,
        eval_phase: EvalPhase,
        every_n_epochs: int = 1,
        label: str | None = None,
        execution_order: int = 0,
    ) -> None:
        super().__init__(label, execution_order)
        if not isinstance(eval_phase, EvalPhase):
            raise InvalidTypeError(f"Evaluation: eval_phase must be an EvalPhase, got {eval_phase!r}.")
        if not eval_phase.losses:
            raise InvalidValueError(f"Evaluation: {eval_phase!r} has no losses, so there is nothing to log.")
        self.eval_phase = eval_phase
        self.every_n_epochs = check_int(every_n_epochs, "Evaluation: every_n_epochs")

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that it logs."""
        labels = [loss.label for loss in self.eval_phase.losses]
        return ("val_loss", *(f"val_{label}" for label in labels if len(labels) > 1))

    @classmethod
    def from_split(cls, *, split: str, every_n_epochs: int = 1, **arguments: Any) -> Self:
        """Evaluate on a split; `arguments` are those of `EvalPhase.from_split`, a label is not needed."""
        arguments.setdefault("label", split)
        return cls(eval_phase=EvalPhase.from_split(split=split, **arguments), every_n_epochs=every_n_epochs)

    def on_epoch_end(
        self, *, experiment: Any, phase: Any, exec_ctx: ExecutionContext, results: PhaseResults
    ) -> None:
        """Evaluate, if this epoch is one to evaluate after."""
        epoch = exec_ctx.epoch_idx
        if (epoch + 1) % self.every_n_epochs:
            return
        losses = self.evaluate(experiment).aggregated_losses()
        minimized = [losses[loss.label] for loss in self.eval_phase.losses if loss.trainable]
        results.recording.log("val_loss", sum(minimized), epoch)
        for name, value in losses.items() if len(losses) > 1 else ():
            results.recording.log(f"val_{name}", value, epoch)

    def evaluate(self, experiment: Any) -> EvalResults:
        """Run the phase now, without a record of its own."""
        label = self.eval_phase.label
        execution = self.eval_phase.execute(
            PhaseScope(
                run_id="",
                path=(label,),
                ctx=experiment.ctx,
                should_stop=lambda: False,
                exec_ctx=ExecutionContext(phase_label=label),
            )
        )
        for _ in execution.events:
            pass
        evaluated: Any = execution.results
        return evaluated
