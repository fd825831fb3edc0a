"""A forward pass over a split: outputs and losses, without gradients or updates.

It knows what is evaluated; how is in `core.execution`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from modularml.backends.accelerator import Accelerator
from modularml.base.config import to_config
from modularml.base.errors import Faults, check_int
from modularml.base.events import Event
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.epochs import run_epochs
from modularml.core.execution.eval_loop import eval_step
from modularml.core.execution.forward import training_flags
from modularml.core.execution.placement import placed
from modularml.core.execution.resolution import Resolved, resolve
from modularml.core.execution.scope import PhaseScope
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.metrics import (
    EvaluationMetric,
    Metrics,
    as_metrics,
    check_metrics,
    log_metrics,
)
from modularml.core.experiment.phase_results import EvalResults
from modularml.core.experiment.phases.phase import Execution, ExperimentPhase, bindings_for_split
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.training.loss import Loss
from modularml.core.training.losses import Losses
from modularml.samplers import Sampler


class EvalPhase(ExperimentPhase):
    """Evaluates the active nodes on a split; every node counts as frozen meanwhile.

    Values that are NaN or infinite are evaluated as they are, for nothing is learnt from them: a
    loss that they make NaN or infinite is warned of.

    Args:
        label: Its name in plans, results and history.
        input_sources: One binding for each active head node. Its sampler, if any, draws samples
            in several roles, as `PairedSampler` does: always those of its first epoch.
        losses: What is computed on the outputs, if anything.
        active_nodes: The nodes that take part, as nodes, labels or ids; None is all.
        batch_size: Rows a batch; None evaluates all at once.
        callbacks: Hooks at batches.
        accelerator: The device that nodes compute on which name none themselves; None is that
            of the experiment.
        metrics: Numbers of outputs and targets beside the losses: names of scorers of scikit-learn,
            objects of torchmetrics, functions ``(outputs, targets) -> float``, or name -> such.

    Raises:
        InvalidValueError: If bindings are missing or names are unknown; all faults are told together.
        InvalidTypeError: If an argument is of a wrong type.
        StateError: If the active experiment has no model graph.
    """

    kind = "eval"
    freezes_graph = True

    _own = ("metrics",)
    metrics: list[EvaluationMetric]

    def __init__(
        self,
        label: str,
        *,
        input_sources: Sequence[InputBinding],
        losses: Losses | None = None,
        active_nodes: Sequence[GraphNode | str] | None = None,
        batch_size: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        accelerator: Accelerator | str | None = None,
        metrics: Metrics = None,
    ) -> None:
        self.batch_size = batch_size
        vars(self)["metrics"] = metrics
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
        batch_size: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        sampler: Sampler | None = None,
        **options: Any,
    ) -> Self:
        """Make a phase whose active heads all get one split.

        Args:
            label: Its name.
            split: The split to evaluate.
            losses: What is computed on the outputs, if anything.
            active_nodes: The nodes that take part; None is all.
            batch_size: Rows a batch; None evaluates all at once.
            callbacks: Hooks at batches.
            sampler: Draws pairs, triplets or the like; None takes all rows in their order.
            **options: What else a phase takes, such as `metrics`.

        Raises:
            InvalidValueError: If a FeatureSet of the heads has no such split.
        """
        return cls(
            label,
            input_sources=bindings_for_split(f"EvalPhase {label!r}", split, active_nodes, sampler),
            losses=losses,
            active_nodes=active_nodes,
            batch_size=batch_size,
            callbacks=callbacks,
            **options,
        )

    def settings(self) -> dict[str, Any]:
        """Return what else it was made of than its label, its data and callbacks, as plain values."""
        batch_size = None if self.batch_size is None else int(self.batch_size)
        own = {"batch_size": batch_size, "metrics": [to_config(metric) for metric in self.metrics]}
        return super().settings() | own

    def _meant(self, name: str, value: Any, faults: Faults) -> Any:
        return as_metrics(value, faults) if name == "metrics" else super()._meant(name, value, faults)

    def _check_options(self, faults: Faults) -> None:
        if self.batch_size is not None:
            faults.attempt(check_int, self.batch_size, "batch_size")
            if any(len(binding.roles) > 1 for binding in self.input_sources):
                faults.add("the sampler says how large the batches are; leave batch_size out.")

    def _check(self, graph: ModelGraph, nodes: Sequence[GraphNode], faults: Faults) -> None:
        super()._check(graph, nodes, faults)
        self._refuse_samplers([b for b in self.input_sources if len(b.roles) == 1], faults)

    def execute(self, scope: PhaseScope) -> Execution:
        """Resolve the phase in `scope`; see `ExperimentPhase.execute`."""
        ready = scope.shared.again("evaluation", self._question, self._ready, scope)
        return ready.execute(scope)

    @property
    def _question(self) -> Hashable:
        """What it evaluates where, and by what losses and metrics; see `ExperimentPhase._question`."""
        if type(self) is not EvalPhase or any(b.sampler is not None for b in self.input_sources):
            return None  # a class of the user's own may ask for more, and samplers draw by the phase's label
        data = [(binding.node_ref, binding.upstream_ref, binding.split) for binding in self.input_sources]
        measures = [*map(id, self.losses), None, *map(id, self.metrics)]
        nodes = None if self._active is None else tuple(self._active)
        return (*data, nodes, self.batch_size, self.accelerator, *measures)

    def _ready(self, scope: PhaseScope) -> ReadyEval:
        """Resolve the phase in `scope`, for one execution or several."""
        nodes = self._ready_nodes(scope.graph)
        devices = self._devices(nodes, scope)
        resolved = resolve(
            scope.graph,
            nodes,
            self.input_sources,
            self.losses,
            where=self._where,
            batch_size=self.batch_size,
            devices=devices,
        )
        check_metrics(self.metrics, self.input_sources, scope.ctx, self._where)
        losses = self._on(scope.graph, devices)
        return ReadyEval(nodes, devices, resolved, losses, self.metrics, resolved.feed.n_batches(0))


@dataclass(frozen=True)
class ReadyEval:
    """An evaluation that may be executed again and again, as long as data and graph are as they were.

    Attributes:
        nodes: The nodes that run.
        devices: Label of each node -> where it computes.
        resolved: What runs.
        losses: Each loss and the device of its node.
        metrics: What is computed beside the losses.
        n_batches: How many batches it takes.
    """

    nodes: Sequence[GraphNode]
    devices: Mapping[str, torch.device]
    resolved: Resolved
    losses: Sequence[tuple[Loss, torch.device]]
    metrics: Sequence[EvaluationMetric]
    n_batches: int

    def execute(self, scope: PhaseScope) -> Execution:
        """Return one execution; nothing runs until its events are drawn."""
        resolved = self.resolved
        recording = scope.recording(resolved.loss_nodes)
        results = EvalResults(scope.exec_ctx.phase_label, recording, **resolved.provenance)
        step = eval_step(resolved)

        def measure(epoch: int) -> None:
            log_metrics(self.metrics, results, epoch, recording)

        def events() -> Iterator[Event]:
            with placed(self.nodes, self.devices, self.losses), training_flags(self.nodes, trained=[]):
                yield from run_epochs(scope, resolved, step, recording, n_epochs=1, before_end=measure)

        return Execution(
            results=results,
            events=events(),
            n_batches=self.n_batches,
            devices=self.devices,
        )
