"""Evaluation in the course of training: a phase that is run every few epochs.

It knows no panel and no history: what it measures is logged as metrics of the phase
that trains, and so it is drawn and recorded with its losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    UnknownNameError,
    check_int,
    unknown_name,
)
from modularml.base.events import BatchesEnded, WorkAdvanced
from modularml.base.goals import MIN
from modularml.core.execution.scope import ExecutionContext, PhaseScope
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.callback_results import EvaluationCallbackResult
from modularml.core.experiment.metrics import (
    EvalLossMetric,
    EvaluationMetric,
    Metrics,
    as_metrics,
    check_metrics,
)
from modularml.core.experiment.phase_results import EvalResults, PhaseResults
from modularml.core.experiment.phases.eval_phase import EvalPhase, ReadyEval


class Evaluation(Callback):
    """Runs an `EvalPhase` at the end of every n-th epoch, and logs its losses and metrics.

    The sum of the losses (but for those with ``trainable=False``) is logged as ``val_loss``;
    where there are several, each is logged as ``val_<label>`` too. Metrics are logged as
    ``val_<name>``; several evaluations in one phase have a `prefix` each in the place of ``val_``. So
    `EarlyStopping` can monitor them and panels draw them.

    Args:
        eval_phase: What to run; it needs a loss or a metric.
        every_n_epochs: How often.
        run_on_start: Evaluate before the first epoch, too: kept in ``results.callbacks()``.
        label: Its name.
        execution_order: Lower ones are called first, so that those that follow see the metrics.
        metrics: Names of scorers of scikit-learn, objects of torchmetrics, functions
            ``(outputs, targets) -> float``, or `EvaluationMetric` objects; a list of them, or
            name -> metric for names of your own.
        prefix: What the names of losses and metrics begin with.

    Raises:
        InvalidTypeError: If `eval_phase` is no `EvalPhase`, or a metric is of a wrong type.
        InvalidValueError: If there is nothing to log.
        UnknownNameError: If a metric is unknown, or one of a loss that the phase does not compute.
    """

    _elsewhere: ClassVar[Mapping[str, str]] = {
        "split losses batch_size": (
            "One of a split is made so: Evaluation.from_split(split='test', losses='mse')."
        ),
    }
    _fixed = ("prefix",)  # metrics are named by it when they are given

    def __init__(
        self,
        *,
        eval_phase: EvalPhase,
        every_n_epochs: int = 1,
        run_on_start: bool = False,
        label: str | None = None,
        execution_order: int = 0,
        metrics: Metrics = None,
        prefix: str = "val_",
    ) -> None:
        super().__init__(label, execution_order)
        if not isinstance(prefix, str) or not prefix.strip():
            raise InvalidTypeError(f"Evaluation: prefix must be text such as 'val_', got {prefix!r}.")
        self.prefix = prefix
        if not isinstance(eval_phase, EvalPhase):
            raise InvalidTypeError(f"Evaluation: eval_phase must be an EvalPhase, got {eval_phase!r}.")
        faults = Faults("Evaluation")
        self.metrics = as_metrics(metrics, faults, prefix=self.prefix)
        _check_losses(self.metrics, eval_phase, faults)
        faults.attempt(check_int, every_n_epochs, "every_n_epochs")
        faults.raise_if_any()
        self.every_n_epochs = int(every_n_epochs)
        if not (eval_phase.losses or eval_phase.metrics or self.metrics):
            raise InvalidValueError(
                f"Evaluation: {eval_phase!r} has no losses and no metrics, so there is nothing to log."
            )
        self.eval_phase = eval_phase
        self._ready: WeakKeyDictionary[ExecutionContext, ReadyEval] = WeakKeyDictionary()
        self.run_on_start = bool(run_on_start)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that it logs."""
        labels = [loss.label for loss in self.eval_phase.losses]
        return (
            *(f"{self.prefix}loss" for _ in labels[:1]),
            *(f"{self.prefix}{label}" for label in labels if len(labels) > 1),
            *(f"{self.prefix}{metric.name}" for metric in self.eval_phase.metrics),
            *(metric.name for metric in self.metrics),
        )

    @property
    def metric_goals(self) -> dict[str, str | None]:
        """Name of each metric that it logs -> which end is the better one, None where that is not known."""
        of_losses = dict.fromkeys(self.metric_names, MIN)
        of_phase = {f"{self.prefix}{metric.name}": metric.goal for metric in self.eval_phase.metrics}
        return of_losses | of_phase | {metric.name: metric.goal for metric in self.metrics}

    @classmethod
    def from_split(
        cls,
        *,
        split: str,
        every_n_epochs: int = 1,
        run_on_start: bool = False,
        metrics: Metrics = None,
        prefix: str = "val_",
        **arguments: Any,
    ) -> Self:
        """Evaluate on a split; `arguments` are those of `EvalPhase.from_split`, a label is not needed."""
        arguments.setdefault("label", split)
        phase = EvalPhase.from_split(split=split, **arguments)
        return cls(
            eval_phase=phase,
            every_n_epochs=every_n_epochs,
            run_on_start=run_on_start,
            metrics=metrics,
            prefix=prefix,
        )

    def attach_metric(self, metric: Any) -> None:
        """Log one metric more; it is what the constructor takes."""
        faults = Faults("Evaluation")
        metrics = as_metrics([*self.metrics, metric], faults, prefix=self.prefix)
        _check_losses(metrics, self.eval_phase, faults)
        faults.raise_if_any()
        self.metrics = metrics

    def on_phase_start(
        self, *, experiment: Any, phase: Any, results: PhaseResults
    ) -> EvaluationCallbackResult | None:
        """Refuse metrics that could not be computed after an epoch; evaluate, if asked to."""
        both = [*self.eval_phase.metrics, *self.metrics]
        check_metrics(both, self.eval_phase.input_sources, experiment.ctx, repr(self.eval_phase))
        if not self.run_on_start:
            return None
        return EvaluationCallbackResult(eval_results=self.evaluate(experiment))

    def on_epoch_end(
        self, *, experiment: Any, phase: Any, exec_ctx: ExecutionContext, results: PhaseResults
    ) -> EvaluationCallbackResult | None:
        """Evaluate, if this epoch is one to evaluate after."""
        epoch = exec_ctx.epoch_idx
        if (epoch + 1) % self.every_n_epochs:
            return None
        evaluated = self.evaluate(experiment, exec_ctx)
        losses = evaluated.aggregated_losses()
        if losses:
            minimized = [losses[loss.label] for loss in self.eval_phase.losses if loss.trainable]
            results.recording.log(f"{self.prefix}loss", sum(minimized), epoch)
        found = {name: value for name, value in losses.items() if len(losses) > 1}
        for name, value in (found | evaluated.recording.epoch_metrics(0)).items():
            results.recording.log(f"{self.prefix}{name}", value, epoch)
        for metric in self.metrics:
            value = metric.extract(eval_result=evaluated, exec_ctx=exec_ctx)
            results.recording.log(metric.name, value, epoch)
        return EvaluationCallbackResult(eval_results=evaluated)

    def evaluate(self, experiment: Any, exec_ctx: ExecutionContext | None = None) -> EvalResults:
        """Run the phase now, without a record of its own.

        Args:
            experiment: Where to run it.
            exec_ctx: The phase within which it runs; listeners are told how far it is. As the phase itself,
                it is resolved once for all epochs.
        """
        label = self.eval_phase.label
        scope = PhaseScope(
            run_id="",
            path=(label,),
            ctx=experiment.ctx,
            should_stop=lambda: False,
            exec_ctx=ExecutionContext(phase_label=label),
        )
        ready = None if exec_ctx is None else self._ready.get(exec_ctx)
        if ready is None:
            ready = self.eval_phase._ready(scope)
            if exec_ctx is not None:
                self._ready[exec_ctx] = ready
        execution = ready.execute(scope)
        for event in execution.events:
            if exec_ctx is None or not isinstance(event, BatchesEnded) or event.n_done == execution.n_batches:
                continue
            advanced = WorkAdvanced(
                run_id=exec_ctx.run_id,
                path=exec_ctx.path,
                what="Evaluating",
                label=label,
                fraction=event.n_done / execution.n_batches,
            )
            experiment.events.emit(advanced)
        evaluated: Any = execution.results
        return evaluated


def _check_losses(metrics: Sequence[EvaluationMetric], phase: EvalPhase, faults: Faults) -> None:
    """Note the metrics of losses that a phase does not compute."""
    labels = [loss.label for loss in phase.losses]
    for metric in metrics:
        if isinstance(metric, EvalLossMetric) and metric.loss not in labels:
            faults.add(UnknownNameError(unknown_name("loss", metric.loss, labels, where=repr(phase))))
