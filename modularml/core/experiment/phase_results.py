"""What one run of a phase gives back: losses, metrics and recorded tensors, by epoch and batch.

It knows no loop, no group and no file: it reads the recordings that the loops fill.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from modularml.base.errors import InvalidValueError, UnknownNameError, check_choice, unknown_name
from modularml.base.events import DisplayOptions
from modularml.base.keywords import checked_keywords
from modularml.base.optional import optional
from modularml.core.execution.recording import Recording
from modularml.core.experiment.callback_results import (
    KINDS,
    ArtifactResult,
    CallbackResult,
    EvaluationCallbackResult,
    MetricResult,
)
from modularml.core.experiment.recorded import RecordedTensors
from modularml.core.experiment.series import AxisSeries
from modularml.display.card import Html, card, fields
from modularml.display.curves import colours_of, curve_svg, is_wide, on_the_right
from modularml.display.drawing import image
from modularml.display.figures import format_value

kinds_of_phases: dict[str, type[PhaseResults]] = {}
"""Kind of a phase, as files name it -> the class of its results."""


@checked_keywords
class PhaseResults(RecordedTensors):
    """The results of one run of a phase.

    They fill while the phase runs, so a phase that was stopped leaves partial ones.
    Its arguments are those of `RecordedTensors`.
    """

    kind: ClassVar[str]
    _elsewhere: ClassVar[Mapping[str, str]] = {
        "loss train_loss": "There is one a batch, and a mean an epoch: results.epoch_losses('mse').",
        "execution_contexts": "Outputs, targets and ids are here by batch: results.batches('mlp').",
        "history": "All that was logged, as a table: results.to_pandas().",
        "y_true y_test": "The targets of a node are here: results.stacked_tensors('mlp', 'targets').",
        "predictions predict outputs y_pred": "Those of a node are here: results.stacked_tensors('mlp').",
        "val_loss val_losses": "An Evaluation logs it: results.metrics()['val_loss'].",
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in vars(cls):
            kinds_of_phases[cls.kind] = cls

    @property
    def epoch_indices(self) -> list[int]:
        """The epochs that were begun, from 0."""
        return list(range(len(self.recording.losses)))

    @property
    def batch_indices(self) -> list[int]:
        """The batches of the longest epoch, from 0."""
        return list(range(max((len(epoch) for epoch in self.recording.losses), default=0)))

    # -- losses ----------------------------------------------------------------------

    @property
    def loss_labels(self) -> list[str]:
        """The labels of the losses, in order."""
        return list(self.recording.loss_nodes)

    def batch_losses(self, label: str | None = None) -> np.ndarray:
        """Return a loss of every batch, in order, shape ``(n_batches_total,)``.

        Args:
            label: The loss; None where there is only one.

        Raises:
            UnknownNameError: If there is no such loss.
            InvalidValueError: If there are several and none is named.
        """
        labels = self.loss_labels
        if label is None and len(labels) != 1:
            raise InvalidValueError(f"{self!r} has the losses {labels}; name one of them.")
        if label is not None and label not in labels:
            raise UnknownNameError(unknown_name("loss", label, labels, where=repr(self)))
        column = 0 if label is None else labels.index(label)
        epochs = [epoch[:, column] for epoch in self.recording.losses]
        return np.concatenate(epochs) if epochs else np.empty(0, np.float32)

    def epoch_losses(self, label: str | None = None) -> np.ndarray:
        """Return the mean of a loss over the samples of each epoch that has any, shape ``(n_epochs,)``.

        Raises as `batch_losses`.
        """
        values, ends = self.batch_losses(label), np.cumsum([len(epoch) for epoch in self.recording.losses])
        parts = np.split(values, ends[:-1]) if len(ends) else []
        pairs = zip(parts, self.recording.n_samples, strict=True)
        return np.array([np.average(part, weights=n) for part, n in pairs if len(part)], dtype=float)

    def losses(self, node: Any = None) -> AxisSeries[float]:
        """Return the losses of each batch, by ``(epoch, batch, label)``; means are over samples.

        Args:
            node: Only the losses applied on this node or label; None is all.

        Raises:
            UnknownNameError: If the phase ran no such node.
        """
        on, applied = getattr(node, "label", node), self.recording.loss_nodes
        if on is not None and on not in self.heads:
            raise UnknownNameError(unknown_name("node", on, self.heads, where=repr(self)))
        wanted = [i for i, of_node in enumerate(applied.values()) if on in (None, of_node)]
        n_batches = [len(epoch) for epoch in self.recording.losses]
        batches = np.concatenate([np.arange(n) for n in n_batches] or [np.empty(0, np.int64)])
        values = np.concatenate(self.recording.losses or [np.empty((0, len(applied)), np.float32)])
        weights = np.concatenate(self.recording.n_samples or [np.empty(0, np.int32)])
        labels = np.array(list(applied), object)[wanted]
        coordinates = {
            "epoch": np.repeat(np.arange(len(n_batches)), n_batches).repeat(len(wanted)),
            "batch": batches.repeat(len(wanted)),
            "label": np.tile(labels, len(batches)),
        }
        where = f"losses of {self!r}"
        return AxisSeries(
            coordinates, values[:, wanted].ravel(), weights=weights.repeat(len(wanted)), where=where
        )

    def metrics(self) -> AxisSeries[float]:
        """Return every metric that was logged, by ``(name, epoch, batch)``.

        ``[name]`` is an array of all its values; `final` has the last one of each as a number.
        """
        entries = [(name, *entry) for name, of in self.recording.metrics.items() for entry in of]
        coordinates = {axis: [e[i] for e in entries] for i, axis in enumerate(("name", "epoch", "batch"))}
        values, where = np.array([e[-1] for e in entries]), f"metrics of {self!r}"
        apart = "".join(f" Losses are apart: results.epoch_losses({one!r})." for one in self.loss_labels[:1])
        return AxisSeries(coordinates, values, where=where, apart=apart)

    def metric_names(self) -> list[str]:
        """Return the names of the metrics that were logged."""
        return list(self.recording.metrics)

    def final(self) -> dict[str, float]:
        """Return the last value of everything there is a value of: epoch means of losses, and metrics."""
        epochs = {label: self.epoch_losses(label) for label in self.loss_labels}
        last = {label: float(means[-1]) for label, means in epochs.items() if len(means)}
        return last | {name: of[-1][-1] for name, of in self.recording.metrics.items()}

    # -- callbacks -------------------------------------------------------------------

    def record(self, result: CallbackResult) -> None:
        """Keep what a hook returned; a metric is logged, too. The runner does this.

        Of evaluations the newest keeps its outputs: one an epoch would be without bound.
        """
        if isinstance(result, MetricResult):
            epoch = max(len(self.recording.losses) - 1, 0) if result.epoch is None else result.epoch
            self.recording.log(result.metric_name, result.metric_value, epoch, result.batch)
        if isinstance(result, EvaluationCallbackResult):
            for earlier in self._evaluations():
                if earlier.callback_label == result.callback_label:
                    earlier.eval_results.recording.make_room_within(0)
                    earlier.eval_results.units.clear()
        self.callback_results.append(result)

    def _evaluations(self) -> list[EvaluationCallbackResult]:
        return [found for found in self.callback_results if isinstance(found, EvaluationCallbackResult)]

    def recordings(self) -> list[Recording]:
        """Return everything that holds outputs: the record of the phase, and of evaluations in it."""
        return [self.recording, *(found.eval_results.recording for found in self._evaluations())]

    def callbacks(self, *, kind: str | None = None) -> AxisSeries[CallbackResult]:
        """Return what hooks returned, by ``(kind, label, epoch, batch, edge)``.

        Args:
            kind: ``"evaluation"``, ``"metric"``, ``"artifact"``, ``"early_stopping"`` or ``"payload"``.

        Raises:
            InvalidValueError: If the kind is unknown.
        """
        if kind is not None:
            check_choice(kind, "kind", KINDS)
        found = [result for result in self.callback_results if kind in (None, result.kind)]
        coordinates = {
            "kind": [result.kind for result in found],
            "label": [result.callback_label for result in found],
            "epoch": [result.epoch for result in found],
            "batch": [result.batch for result in found],
            "edge": [result.edge for result in found],
        }
        return AxisSeries(coordinates, found, where=f"callbacks of {self!r}")

    def artifacts(self) -> AxisSeries[Any]:
        """Return every artifact, by ``(name, epoch, batch)``."""
        found = [result for result in self.callback_results if isinstance(result, ArtifactResult)]
        coordinates = {
            "name": [result.artifact_name for result in found],
            "epoch": [result.epoch for result in found],
            "batch": [result.batch for result in found],
        }
        return AxisSeries(coordinates, [found.artifact for found in found], where=f"artifacts of {self!r}")

    def artifact_names(self) -> list[str]:
        """Return the names of the artifacts, each once."""
        return self.artifacts().axis_values("name")

    # -- looking ---------------------------------------------------------------------

    def curves(self) -> dict[str, np.ndarray]:
        """Return a value an epoch of each loss and metric, ``(n_epochs,)``; NaN where there is none."""
        n_epochs = len(self.recording.losses)
        curves = {label: self.epoch_losses(label) for label in self.loss_labels}
        for name, entries in self.recording.metrics.items():
            curves[name] = np.full(max(n_epochs, 1 + max(epoch for epoch, _, _ in entries)), np.nan)
            for epoch, _, value in entries:
                curves[name][epoch] = value
        return curves

    def to_pandas(self) -> Any:
        """Return a data frame with a row an epoch and a column for each loss and metric.

        Raises:
            ImportError: If pandas is not installed.
        """
        pandas = optional("pandas", "data", f"to_pandas() of {self!r}")
        frame = pandas.DataFrame({name: pandas.Series(curve) for name, curve in self.curves().items()})
        return frame.rename_axis("epoch")

    def plot(self, ax: Any = None, *, log: bool = False) -> Any:
        """Draw the curves of losses and metrics with matplotlib, over epochs counted from 1 as panels do.

        Args:
            ax: The axes to draw on; None makes new ones.
            log: Draw a logarithmic axis of values.

        Returns:
            The axes.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        pyplot = optional("matplotlib.pyplot", "plot", f"plot() of {self!r}")
        if ax is None:
            ax = pyplot.figure().add_subplot()
            ax.locator_params(axis="x", integer=True)
        for name, curve in self.curves().items():
            ax.plot(np.arange(1, len(curve) + 1), curve, label=name, marker="." if len(curve) == 1 else "")
        ax.set(xlabel="epoch", title=self.label, yscale="log" if log else "linear")
        if ax.lines:
            ax.legend()
        return ax

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        final = [f"{name} {format_value(value)}" for name, value in self.final().items()]
        text = "\n  ".join([repr(self), *final])
        curves = self.curves()
        right = on_the_right(curves, self.loss_labels)
        is_drawn = any(len(one) > 1 and np.isfinite(one).any() for one in curves.values())
        colours = colours_of(curves, self.loss_labels, DisplayOptions.val_loss_metric)
        looks: dict[str, Any] = {"right": right, "colours": colours, "log": is_wide(curves, right)}
        picture = curve_svg(curves, **looks) if is_drawn else ""
        values = fields({name: format_value(value) for name, value in self.final().items()})
        parts = [Html(image(picture))] if picture else []
        shown = {"text/plain": text, "text/html": card(type(self).__name__, self.label, *parts, values)}
        return shown | ({"image/svg+xml": picture} if picture else {})

    # -- files -----------------------------------------------------------------------

    def get_state(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return the results as a tree of plain values and arrays.

        Args:
            tensors: Include recorded outputs and targets, and the units of targets.
        """
        units = {head: units.get_state() for head, units in self.units.items()} if tensors else {}
        own = {"kind": self.kind, "label": self.label, "heads": self.heads, "units": units}
        return own | {
            "sources": self.source_labels,
            "merged": self.merged,
            "callbacks": [result.get_state() for result in self._kept_results()],
            "recording": self.recording.get_state(tensors=tensors),
        }

    def _kept_results(self) -> list[CallbackResult]:
        """What files keep: of evaluations the newest, for the numbers of all are among the metrics."""
        newest = {found.callback_label: found for found in self._evaluations()}
        return [
            found
            for found in self.callback_results
            if not isinstance(found, EvaluationCallbackResult) or newest[found.callback_label] is found
        ]


@checked_keywords
class TrainResults(PhaseResults):
    """The results of a `TrainPhase`."""

    kind = "train"

    @property
    def n_epochs(self) -> int:
        """How many epochs were begun."""
        return len(self.recording.losses)

    def __repr__(self) -> str:
        return f"TrainResults(label={self.label!r}, epochs={self.n_epochs})"

    def of_epoch(self, epoch: int) -> EvalResults:
        """Return an epoch as results of its own; its outputs are those before each update.

        Raises:
            UnknownNameError: If there was no such epoch.
        """
        if epoch not in self.epoch_indices:
            raise UnknownNameError(
                unknown_name("epoch", epoch, map(str, self.epoch_indices), where=repr(self))
            )
        whole = self.recording
        part = Recording(whole.loss_nodes, losses=[whole.losses[epoch]], n_samples=[whole.n_samples[epoch]])
        for record in [record for record in list(whole.tensors) if record.epoch == epoch]:
            part.add_tensors(replace(record, epoch=0))
            part.n_dropped = record.first_batch
        results = EvalResults(self.label, part, self.heads, self.units, None, self.source_labels, self.merged)
        results._sources = self._sources
        return results


@checked_keywords
class SinglePassResults(PhaseResults):
    """The results of a phase that goes through its data once."""

    @property
    def n_batches(self) -> int:
        """How many batches there were."""
        return sum(len(epoch) for epoch in self.recording.losses)

    def aggregated_losses(self, node: Any = None, *, reducer: str = "mean") -> dict[str, float]:
        """Return each loss over all samples, by its label; it is the same for every batch size.

        But for a loss whose own mean is not over samples, as that of ``nn.CrossEntropyLoss(weight=...)`` or
        of one that ignores a label: it is the mean of those of the batches, by their samples.

        Args:
            node: Only the losses applied on this node or label; None is all.
            reducer: ``"mean"`` over samples (NaN if no batch ended) or ``"sum"`` over batches.

        Raises:
            UnknownNameError: If the phase ran no such node.
        """
        check_choice(reducer, "reducer", ("mean", "sum"))
        on = getattr(node, "label", node)
        if on is not None and on not in self.heads:
            raise UnknownNameError(unknown_name("node", on, self.heads, where=repr(self)))
        wanted = [label for label, applied in self.recording.loss_nodes.items() if on in (None, applied)]
        if not self.n_batches:
            return dict.fromkeys(wanted, 0.0 if reducer == "sum" else math.nan)
        if reducer == "sum":
            return {label: float(self.batch_losses(label).sum()) for label in wanted}
        n_samples = np.concatenate(self.recording.n_samples)
        return {label: float(np.average(self.batch_losses(label), weights=n_samples)) for label in wanted}


class EvalResults(SinglePassResults):
    """The results of an `EvalPhase`."""

    kind = "eval"

    def __repr__(self) -> str:
        return f"EvalResults(label={self.label!r}, batches={self.n_batches})"


class FitResults(SinglePassResults):
    """The results of a `FitPhase`."""

    kind = "fit"

    def __repr__(self) -> str:
        return f"FitResults(label={self.label!r})"
