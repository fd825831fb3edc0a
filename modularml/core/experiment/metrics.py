"""Metrics of an evaluation: one number of its outputs and targets, or of its losses.

They know no training and no panel: they are handed the results of an evaluation.
"""

from __future__ import annotations

import copy
import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modularml.base.config import Configurable, argument_names
from modularml.base.errors import (
    DuplicateLabelError,
    Faults,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    UnknownNameError,
    check_choice,
    check_label,
    unknown_name,
)
from modularml.base.goals import MAX, MIN, goal_of_name
from modularml.core.context import ExperimentContext
from modularml.core.data.columns import TARGETS, Column
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.recording import Recording
from modularml.core.execution.streams import inputs_like, label_and_role, parts_among


class EvaluationMetric(Configurable, ABC):
    """One number of an evaluation; subclass it and define `extract`.

    Args:
        name: The name that the number is logged by.

    Raises:
        TypeError: If `extract` is not defined.
    """

    def __init__(self, name: str) -> None:
        self.name = check_label(name, "metric")

    @property
    def goal(self) -> str | None:
        """Which end is the better one, ``"max"`` or ``"min"``; None where the name does not tell."""
        return goal_of_name(self.name)

    @abstractmethod
    def extract(self, *, eval_result: Any, exec_ctx: Any = None) -> float:
        """Return the number.

        Args:
            eval_result: The `EvalResults`.
            exec_ctx: Where the training is meanwhile, if there is one.
        """


class EvalLossMetric(EvaluationMetric):
    """A loss of an evaluation, over all samples.

    Args:
        loss: The loss or its label.
        reducer: ``"mean"`` over samples or ``"sum"`` over batches.
        name: The name that it is logged by.
    """

    def __init__(self, *, loss: Any, reducer: str = "mean", name: str = "val_loss") -> None:
        super().__init__(name)
        self.loss = str(getattr(loss, "label", loss))
        self.reducer = check_choice(reducer, "reducer", ("mean", "sum"))

    @property
    def goal(self) -> str:
        """``"min"``."""
        return MIN

    def extract(self, *, eval_result: Any, exec_ctx: Any = None) -> float:
        """Return the loss."""
        losses = eval_result.aggregated_losses(reducer=self.reducer)
        if self.loss not in losses:
            raise UnknownNameError(unknown_name("loss", self.loss, losses, where=repr(eval_result)))
        return float(losses[self.loss])


class OutputMetric(EvaluationMetric):
    """A metric of the outputs of a node and the targets that belong to them.

    Args:
        metric: The name of a scorer of scikit-learn (``"accuracy"``, ``"r2"``, ...; greater is
            better), a class or object of torchmetrics, or a function ``(outputs, targets) -> float`` of
            two arrays, ``(n_samples, ...)`` without axes of length 1. One whose first argument is
            ``y_true``, as those of scikit-learn have it, is called with the targets first.
        name: The name that it is logged by; None is its own.
        node: The label of the node; None where one has targets.
        inputs: What it is called with, as in an `AppliedLoss`: ``("outputs.size", "targets.size")`` for
            one of several outputs, or of several targets.

    Raises:
        UnknownNameError: If there is no scorer of that name.
        InvalidTypeError: If the metric is something else.
    """

    def __init__(
        self,
        metric: Any,
        name: str | None = None,
        node: Any = None,
        inputs: Sequence[str] = ("outputs", "targets"),
    ) -> None:
        if isinstance(metric, str) and metric not in _scorers().names():
            raise UnknownNameError(_unknown_metric(metric))
        if hasattr(metric, "_score_func"):  # what make_scorer() returns
            raise InvalidTypeError(
                f"{metric!r} is a scorer, which asks an estimator; a metric is its name, or a function of "
                "values: def f2(y_true, y_pred): return fbeta_score(y_true, y_pred, beta=2)."
            )
        if not isinstance(metric, str) and not callable(metric):
            raise InvalidTypeError(
                "A metric is the name of a scorer, a class or object of torchmetrics, or a function "
                f"(outputs, targets) -> float, got {metric!r} ({type(metric).__name__})."
            )
        own = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
        super().__init__(own if name is None else name)
        self.metric = metric
        self.node = None if node is None else str(getattr(node, "label", node))
        self.inputs = [inputs] if isinstance(inputs, str) else list(inputs)
        domains = [str(one).partition(".")[0] for one in self.inputs]
        if domains != ["outputs", "targets"]:
            raise InvalidValueError(
                f"The inputs of the metric {self.name!r} must be outputs and targets, e.g. ('outputs.size', "
                f"'targets.size'), got {inputs!r}."
            )

    @property
    def goal(self) -> str | None:
        """Which end is the better one, ``"max"`` or ``"min"``; None where neither metric nor name tells."""
        if isinstance(self.metric, str):
            return MAX  # as is every scorer of scikit-learn
        rises = getattr(self.metric, "higher_is_better", None)  # of torchmetrics
        if isinstance(rises, bool):
            return MAX if rises else MIN
        own = getattr(self.metric, "__name__", type(self.metric).__name__)
        return goal_of_name(own) or goal_of_name(self.name)

    def extract(self, *, eval_result: Any, exec_ctx: Any = None) -> float:
        """Return the metric of all samples.

        Raises:
            StateError: If outputs had to go for want of room, so that it would be that of a part.
        """
        if eval_result.n_dropped_batches:
            raise StateError(
                f"The metric {self.name!r} needs all outputs of {eval_result!r}, and those of "
                f"{eval_result.n_dropped_batches} batches had to go to stay within the memory budget. "
                "Evaluate fewer samples at once, or use a loss."
            )
        node = self._node_of(eval_result)
        self._check_inputs(node, eval_result)
        outputs, targets = (eval_result.stacked_tensors(node, one) for one in self.inputs)
        if isinstance(self.metric, str):
            return float(_scorers().score(self.metric, outputs, targets))
        metric = self.metric() if isinstance(self.metric, type) else self.metric
        if _scorers().is_torchmetric(metric):
            return float(_scorers().computed(metric, outputs, targets))
        outputs, targets = _without_ones(outputs), _without_ones(targets)
        try:
            takes_targets_first = argument_names(metric)[:1] == ("y_true",)
            value = metric(targets, outputs) if takes_targets_first else metric(outputs, targets)
        except Exception as error:
            raise InvalidValueError(
                f"The metric {self.name!r} was given outputs {outputs.shape} and targets {targets.shape} and "
                f"raised {type(error).__name__}: {error}"
            ) from error
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            got = f"{type(value).__name__} of shape {np.shape(value)}"
            raise InvalidTypeError(f"The metric {self.name!r} must give one number, got {got}.") from error

    def _check_inputs(self, node: str, results: Any) -> None:
        record = next(iter(results.recording.tensors), None)
        if record is None:
            return
        of_targets = results.units[head].keys if (head := results.heads[node]) in results.units else ()
        outputs = parts_among(record.outputs, node)
        targets = parts_among(record.targets, head) or list(of_targets)
        for domain, parts in (("outputs", outputs), ("targets", parts_among(record.targets, head))):
            if domain in self.inputs and len(parts) > 1:
                meant = inputs_like(outputs[0], targets) if outputs else ["outputs", f"targets.{targets[0]}"]
                raise InvalidValueError(
                    f"The metric {self.name!r} compares one output with one target, and {node!r} has the "
                    f"{domain} {parts}; name them: OutputMetric({self.metric!r}, inputs={meant})."
                )

    def _node_of(self, results: Any) -> str:
        if self.node is not None:
            return self.node
        labels = list(
            dict.fromkeys(
                label
                for record in list(results.recording.tensors)[:1]
                for label, _ in map(label_and_role, record.outputs)
                if any(label_and_role(stream)[0] == results.heads[label] for stream in record.targets)
            )
        )
        if len(labels) != 1:
            raise StateError(
                f"The metric {self.name!r} needs one node with outputs and targets, and {results!r} has "
                f"{labels}; name one: OutputMetric({self.metric!r}, node=...)."
            )
        return labels[0]


def _without_ones(values: np.ndarray) -> np.ndarray:
    """Return values ``(n, ...)`` so that ``argmax(1)`` is over classes and numbers are ``(n,)``."""
    return values.reshape(len(values), *(n for n in values.shape[1:] if n != 1))


_MEANT = {
    "mse": "neg_mean_squared_error",
    "rmse": "neg_root_mean_squared_error",
    "mae": "neg_mean_absolute_error",
    "mape": "neg_mean_absolute_percentage_error",
    "auc": "roc_auc",
    "acc": "accuracy",
}


def _unknown_metric(name: str) -> str:
    told = unknown_name("metric", name, _scorers().names())
    meant = _MEANT.get(name.lower())
    if meant is None:
        return told
    return f"Unknown metric {name!r}; as a scorer of scikit-learn it is {meant!r}; losses go to losses=."


Metrics = Mapping[str, Any] | Sequence[Any] | str | Any


def log_metrics(metrics: Sequence[EvaluationMetric], results: Any, epoch: int, recording: Recording) -> None:
    """Log the metrics of an epoch.

    Args:
        metrics: The metrics.
        results: The `EvalResults` of the epoch.
        epoch: Its index.
        recording: Where they are logged.
    """
    if results.recording.tensors:  # none where a stop came before the first batch
        for metric in metrics:
            recording.log(metric.name, metric.extract(eval_result=results), epoch)


def check_metrics(
    metrics: Sequence[EvaluationMetric],
    bindings: Sequence[InputBinding],
    ctx: ExperimentContext,
    where: str,
) -> None:
    """Refuse scorers that cannot be computed of the targets that come, before anything is.

    Where there are several targets, which ones a metric gets shows when it is computed.

    Args:
        metrics: The metrics.
        bindings: What enters the heads.
        ctx: Where FeatureSets are found.
        where: Whose they are, for messages.

    Raises:
        InvalidValueError: If there are such; all are told.
    """
    named = [m.metric for m in metrics if isinstance(m, OutputMetric) and isinstance(m.metric, str)]
    if not named:
        return
    views = [binding.resolve_input_view(ctx) for binding in bindings]
    found = {
        (view.source.label, name): view
        for view in views
        for name in view.columns
        if Column.parse(name).domain == TARGETS
    }
    if len(found) == 1:
        (((_, name), view),) = found.items()
        faults = Faults(where)
        for metric in named:
            faults.attempt(_scorers().check, metric, view.column(name))
        faults.raise_if_any()


def as_metrics(given: Any, faults: Faults, *, prefix: str = "") -> list[EvaluationMetric]:
    """Return metrics as a list.

    Args:
        given: A metric, several of them, or name -> metric; each is what `OutputMetric` takes or
            an `EvaluationMetric`.
        faults: Where the faults go.
        prefix: What comes before the names of metrics that were given none.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        made = [faults.attempt(_named_metric, metric, name) for name, metric in given.items()]
        found: list[EvaluationMetric] = [metric for metric in made if metric is not None]
    else:
        several = given if isinstance(given, list | tuple) else [given]
        read = [faults.attempt(_as_metric, metric, prefix) for metric in several]
        found = [metric for metric in read if metric is not None]
    names = [metric.name for metric in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.add(DuplicateLabelError(f"two metrics have the name {name!r}; give them as {{name: metric}}."))
    return found


def _named_metric(metric: Any, name: str) -> EvaluationMetric:
    if not isinstance(metric, EvaluationMetric):
        return OutputMetric(metric, name)
    named = copy.copy(metric)
    named.name = check_label(name, "metric")
    return named


def _as_metric(metric: Any, prefix: str) -> EvaluationMetric:
    if isinstance(metric, EvaluationMetric):
        return metric
    made = OutputMetric(metric)
    return OutputMetric(metric, f"{prefix}{made.name}")


def _scorers() -> Any:
    """Return `modularml.backends.scorers`, by name: scikit-learn is loaded where it is used."""
    return importlib.import_module("modularml.backends.scorers")
