"""Batch fitting: estimators that learn from a whole split at once.

It knows what is fitted; how is in `core.execution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import numpy as np

from modularml.backends.accelerator import Accelerator
from modularml.base.errors import Faults, StateError, check_choice, unknown_name
from modularml.base.events import Event, WorkAdvanced
from modularml.core.context import ExperimentContext
from modularml.core.data.reference import GraphNodeReference
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.checks import NAN
from modularml.core.execution.epochs import run_epochs
from modularml.core.execution.eval_loop import fit_step
from modularml.core.execution.forward import training_flags
from modularml.core.execution.placement import placed
from modularml.core.execution.resolution import resolve
from modularml.core.execution.scope import PhaseScope
from modularml.core.execution.streams import DEFAULT_ROLE, input_name
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.phase_results import FitResults
from modularml.core.experiment.phases.phase import (
    Execution,
    ExperimentPhase,
    active_graph,
    bindings_for_split,
)
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.topology.origin import columns_of
from modularml.core.training.applied_loss import WEIGHT_DOMAINS, check_input
from modularml.core.training.losses import Losses
from modularml.models import ScikitModelWrapper

Weights = str | Mapping[GraphNode | str, str]
"""A column of weights of samples, or one for each node, as a node, a label or an id."""


class FitPhase(ExperimentPhase):
    """Fits the active estimators on all rows of a split, each when its input is there.

    An estimator that was wrapped with ``training_mode="partial_fit"`` goes on from what it knows; all
    others are fitted anew.

    Torch nodes pass their data on and stay as they are.

    Args:
        label: Its name in plans, results and history.
        input_sources: One binding for each active head node.
        losses: What is computed on the outputs after fitting, if anything.
        active_nodes: The nodes that take part, as nodes, labels or ids; None is all.
        freeze_after_fit: Freeze the fitted nodes, until a fit phase fits them again.
        callbacks: Hooks around the fit.
        nan: What is done about features and targets that are NaN or infinite, before the fit:
            ``"raise"``, ``"warn"`` or ``"allow"``. NaN in features is a value to estimators
            that say so.
        sample_weight: A column whose values say how much each sample counts in the fit, e.g.
            ``"tags.importance"``; or one for each node that is to have weights, ``{"ridge": "tags.w"}``.
            They are handed to ``fit`` or ``partial_fit``, in a pipeline to those of its last step. Weights
            of classes are an argument of estimators, ``LogisticRegression(class_weight="balanced")``.
        accelerator: The device that nodes compute on which name none themselves; None is that
            of the experiment.

    Raises:
        InvalidValueError: If no active node can be fitted, bindings are missing, names are unknown, or an
            estimator that is to have weights of samples takes none; all faults are told together.
        InvalidTypeError: If an argument is of a wrong type.
        StateError: If the active experiment has no model graph.
    """

    kind = "fit"
    _elsewhere: ClassVar[Mapping[str, str]] = {
        **ExperimentPhase._elsewhere,
        "split": "One of a split is made so: FitPhase.from_split('other', split='train').",
        "class_weight": "An estimator has its own: LogisticRegression(class_weight='balanced').",
    }

    def __init__(
        self,
        label: str,
        *,
        input_sources: Sequence[InputBinding],
        losses: Losses | None = None,
        active_nodes: Sequence[GraphNode | str] | None = None,
        freeze_after_fit: bool = True,
        callbacks: Sequence[Callback] | None = None,
        accelerator: Accelerator | str | None = None,
        nan: str = "raise",
        sample_weight: Weights | None = None,
    ) -> None:
        self.freeze_after_fit = bool(freeze_after_fit)
        self.nan = nan
        self.sample_weight: Any = _by_reference(sample_weight)
        super().__init__(
            label,
            input_sources=input_sources,
            losses=losses,
            active_nodes=active_nodes,
            callbacks=callbacks,
            accelerator=accelerator,
        )

    @classmethod
    def from_split(
        cls,
        label: str,
        *,
        split: str,
        losses: Losses | None = None,
        active_nodes: Sequence[GraphNode | str] | None = None,
        freeze_after_fit: bool = True,
        callbacks: Sequence[Callback] | None = None,
        nan: str = "raise",
        sample_weight: Weights | None = None,
        **options: Any,
    ) -> Self:
        """Make a phase whose active heads all get one split.

        Args:
            label: Its name.
            split: The split to fit on.
            losses: What is computed on the outputs after fitting, if anything.
            active_nodes: The nodes that take part; None is all.
            freeze_after_fit: Freeze the fitted nodes.
            callbacks: Hooks around the fit.
            nan: What is done about NaN and infinite values.
            sample_weight: A column of weights of samples, or one for each node.
            **options: What else a phase takes.

        Raises:
            InvalidValueError: If a FeatureSet of the heads has no such split.
        """
        return cls(
            label,
            input_sources=bindings_for_split(f"FitPhase {label!r}", split, active_nodes),
            losses=losses,
            active_nodes=active_nodes,
            freeze_after_fit=freeze_after_fit,
            callbacks=callbacks,
            nan=nan,
            sample_weight=sample_weight,
            **options,
        )

    def settings(self) -> dict[str, Any]:
        """Return what else it was made of than its label, its data and callbacks, as plain values."""
        weights = self.sample_weight
        if isinstance(weights, Mapping):
            weights = {self._label_of(ref): column for ref, column in weights.items()}
        own = {"freeze_after_fit": self.freeze_after_fit, "nan": self.nan, "sample_weight": weights}
        return super().settings() | own

    def _meant(self, name: str, value: Any, faults: Faults) -> Any:
        return _by_reference(value) if name == "sample_weight" else super()._meant(name, value, faults)

    def _check_options(self, faults: Faults) -> None:
        faults.attempt(check_choice, self.nan, "nan", NAN)
        weights = self.sample_weight
        if weights is not None and not isinstance(weights, Mapping):
            check_input(weights, WEIGHT_DOMAINS, faults)
        for node, column in weights.items() if isinstance(weights, Mapping) else ():
            check_input(column, WEIGHT_DOMAINS, faults)
            if not isinstance(node, GraphNodeReference):
                nodes = _estimators(active_graph(self.ctx, self._where).topological_nodes())
                faults.add(unknown_name("node of sample_weight", node, [one.label for one in nodes]))

    def _check(self, graph: ModelGraph, nodes: Sequence[GraphNode], faults: Faults) -> None:
        super()._check(graph, nodes, faults)
        self._refuse_samplers(self.input_sources, faults)
        if not _estimators(nodes):
            faults.add("no active node holds an estimator to fit; torch models are trained by a TrainPhase.")
        self._check_weights(nodes, faults)

    def _check_weights(self, nodes: Sequence[GraphNode], faults: Faults) -> None:
        """Note the estimators that take no weights, and columns that do not reach them."""
        estimators = {node.label: node for node in _estimators(nodes)}
        takes = {label: _model(node).weight_argument is not None for label, node in estimators.items()}
        for label, column in self._weighed(list(estimators.values())).items():
            if label not in estimators:
                faults.add(unknown_name("node of sample_weight", label, estimators))
            elif not takes[label]:
                name = type(_model(estimators[label]).estimator).__name__
                those = {one: column for one in takes if takes[one]}
                hint = f" Name those that do: sample_weight={those}." if those else ""
                faults.add(f"{name} of {label!r} takes no sample_weight.{hint}")
            elif isinstance(column, str):
                node, where = estimators[label], f"sample_weight of {label!r}"
                columns = columns_of(node, self.ctx)
                faults.attempt(input_name, column, [DEFAULT_ROLE], columns, where, node.output_names)

    def _weighed(self, fitted: Sequence[GraphNode]) -> dict[str, str]:
        """The column of weights of each estimator that has one, by its label."""
        if isinstance(self.sample_weight, Mapping):
            refs = {ref: column for ref, column in self.sample_weight.items() if not isinstance(ref, str)}
            return {self._label_of(ref): column for ref, column in refs.items()}
        if self.sample_weight is None:
            return {}
        return {node.label: self.sample_weight for node in fitted if node.frozen_by != "user"}

    def execute(self, scope: PhaseScope) -> Execution:
        """Resolve the phase in `scope`; see `ExperimentPhase.execute`.

        Raises:
            StateError: If every estimator was frozen by `freeze()`.
        """
        graph = scope.graph
        nodes = self._ready_nodes(graph)
        # What an earlier fit froze may be fitted again; what a user froze may not.
        fitted = [node for node in _estimators(nodes) if node.frozen_by != "user"]
        if not fitted:
            labels = [node.label for node in _estimators(nodes)]
            raise StateError(f"{self._where}: there is nothing to fit; {labels} are frozen.")
        devices = self._devices(nodes, scope)
        resolved = resolve(
            graph,
            nodes,
            self.input_sources,
            self.losses,
            where=self._where,
            nan=self.nan,
            fitted=fitted,
            sample_weight=self._weighed(fitted),
            devices=devices,
        )
        recording = scope.recording(resolved.loss_nodes)
        rows = {source.head: source.view.rows for source in resolved.feed.sources}

        def targets(label: str) -> np.ndarray | None:
            return resolved.targets_of(label, rows)

        def watch(node: ModelNode) -> AbstractContextManager[None]:
            def tell(fraction: float | None) -> None:
                scope.tell(
                    WorkAdvanced(
                        run_id=scope.run_id,
                        path=scope.path,
                        what="Fitting",
                        label=node.label,
                        fraction=fraction,
                    )
                )

            watched: AbstractContextManager[None] = node.model.watched(tell)  # type: ignore[attr-defined]
            return watched

        step = fit_step(resolved, fitted, targets, watch)

        def events() -> Iterator[Event]:
            with placed(nodes, devices, self._on(graph, devices)), training_flags(nodes, trained=[]):
                yield from run_epochs(scope, resolved, step, recording, n_epochs=1)
            if self.freeze_after_fit and recording.losses:
                for node in fitted:
                    node.freeze(by="fit")

        return Execution(
            results=FitResults(self.label, recording, **resolved.provenance),
            events=events(),
            n_batches=1,
            devices=devices,
        )


def _by_reference(sample_weight: Any) -> Any:
    """Return columns of weights by references to their nodes, which find them after a renaming."""
    if not isinstance(sample_weight, Mapping):
        return sample_weight
    ctx = ExperimentContext.get_active()
    return {
        ctx.get_node(node).reference() if ctx.has_node(node) else node: column
        for node, column in sample_weight.items()
    }


def _model(node: ModelNode) -> ScikitModelWrapper:
    assert isinstance(node.model, ScikitModelWrapper)
    return node.model


def _estimators(nodes: Sequence[GraphNode]) -> list[ModelNode]:
    return [node for node in nodes if isinstance(node, ModelNode) and node.backend == "scikit"]
