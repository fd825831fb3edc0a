"""Mini-batch gradient training.

It knows what is trained, on what, for how long; how is in `core.execution`.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch

from modularml.backends.accelerator import Accelerator
from modularml.base.config import to_config
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    LossError,
    StateError,
    check_choice,
    check_int,
    told_of,
)
from modularml.base.events import Event
from modularml.base.rows import check_flag
from modularml.core.execution import turns
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.checks import NAN
from modularml.core.execution.compiled import CompiledSteps, warn, why_not
from modularml.core.execution.epochs import Step, run_epochs
from modularml.core.execution.feed import SCHEDULES
from modularml.core.execution.forward import training_flags
from modularml.core.execution.lessons import learns_by_batches
from modularml.core.execution.placement import placed
from modularml.core.execution.recording import KEEPS
from modularml.core.execution.resolution import Resolved, nodes_of_losses, nodes_with_gradients, resolve
from modularml.core.execution.schedules import Rates, rates_of
from modularml.core.execution.scope import ExecutionContext, PhaseScope
from modularml.core.execution.train_loop import Stage, own_optimizer, stages, train_step
from modularml.core.execution.updates import UpdateOptions, Window
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.checkpointing import PHASE, Checkpointing
from modularml.core.experiment.metrics import (
    EvaluationMetric,
    Metrics,
    as_metrics,
    check_metrics,
    log_metrics,
)
from modularml.core.experiment.phase_results import TrainResults
from modularml.core.experiment.phases.phase import Execution, ExperimentPhase, bindings_for_split
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.losses import Losses
from modularml.samplers import Sampler, SimpleSampler

_NODE_BY_NODE = (
    " The graph has no optimizer, so each node learns from its own losses alone; "
    "ModelGraph(optimizer=...) trains them together, at rates of their own by Optimizer(factory=...)."
)

BATCH_SIZE = 32
"""Rows a batch where nothing else is said."""


class ResultRecording:
    """Which epochs' outputs are recorded; losses and metrics always are."""

    ALL, LAST, NONE = KEEPS


class TrainPhase(ExperimentPhase):
    """Trains the torch nodes that its losses reach, by mini-batches, for some epochs.

    Estimators that were wrapped with ``training_mode="partial_fit"`` and are not frozen learn from each
    batch, too, and then answer for it; losses on their outputs are recorded. They need neither a loss nor
    an optimizer.

    Args:
        label: Its name in plans, results and history.
        input_sources: One binding with a sampler for each active head node.
        losses: At least one where torch nodes are trained; their sum is minimized, but for those that say
            ``trainable=False``. For the only tail a loss by itself or its name, ``losses="mse"``, or one
            for each label of a node, ``{"tail": "mse"}``, and of its outputs, ``{"tail": {"size": "mse"}}``.
        n_epochs: How many times it goes through the data.
        active_nodes: The nodes that take part, as nodes, labels or ids; None is all.
        callbacks: Hooks at epochs and batches.
        result_recording: Which outputs are kept, within the memory budget: ``"all"``, ``"last"``
            (those of the last epoch that ran, or of the one whose weights an `EarlyStopping` brings back)
            or ``"none"``.
        nan: What is done about features and targets that are NaN or infinite, before the first
            step: ``"raise"``, ``"warn"`` or ``"allow"``.
        batch_schedule: What an epoch is where several heads have samplers of their own: ``"zip_strict"`` ends
            with the one that has the fewest batches, ``"zip_cycle"`` with the one that has the most,
            while those of the others come again. With ``"alternate_strict"`` and ``"alternate_cycle"`` the
            samplers take turns: one after the other draws a batch, and only the nodes and losses that need
            no other data take part, with an update of their own. A batch, as callbacks and results count
            them, is a round then, in which each sampler had its turn.
        clip_norm: The most that the norm of all gradients of an optimizer may be; larger ones are
            scaled down. None: any.
        clip_value: The most that a gradient may be, up or down; larger ones are cut. None: any.
        accumulate: How many batches there are to an update; they count as one that holds all
            their samples. A stop within them leaves them out.
        precision: What forward passes compute in: ``"float32"``, or ``"bf16"`` or ``"fp16"`` where
            torch deems it safe. Weights, losses and updates stay in float32.
        accelerator: The device that nodes compute on which name none themselves; None is that
            of the experiment.
        checkpointing: Which states of epochs or batches are kept; see `Checkpointing`.
        metrics: Numbers of outputs and targets of each epoch beside the losses: names of scorers of
            scikit-learn, objects of torchmetrics, functions ``(outputs, targets) -> float``, or name ->
            such. Outputs are those before each update, as in the losses.
        compile: Compile the whole step, forward passes, gradients and update, by torch's compiler, and run
            up to 8 batches a call where no callback looks at each; a stop waits for them. Losses are the
            same to rounding. Each run begins with seconds of compiling, a minute where torch never
            saw the like, then small networks train several times as fast. What cannot be compiled,
            as estimators, half precision or a model that asks for values, is told in a warning, and
            the phase runs as it does without. It needs a C++ compiler. None is as the graph says.

    Raises:
        InvalidValueError: If there are no losses, a binding has no sampler, an active node is
            reached by no loss, or names are unknown; all faults are told together.
        InvalidTypeError: If an argument is of a wrong type.
        OptimizerNotSetError: If there is no optimizer for a node to be trained.
        StateError: If the active experiment has no model graph.
    """

    kind = "train"
    _elsewhere: ClassVar[Mapping[str, str]] = {
        **ExperimentPhase._elsewhere,
        "split": "One of a split is made so: TrainPhase.from_split('other', split='train', losses='mse').",
        "optimizer": "The graph has one, or each of its nodes: graph.optimizer = 'adam'.",
        "lr learning_rate": "The optimizer has it: Optimizer('adam', opt_kwargs={'lr': 0.001}).",
        "schedule scheduler lr_schedule lr_scheduler": (
            "The optimizer has it: Optimizer('adam', schedule='reduce_on_plateau')."
        ),
        "val_split validation_split val_data validation_data validation": (
            "A callback evaluates: callbacks=[Evaluation.from_split(split='test', losses='mse')]."
        ),
        "early_stopping patience": "A callback stops: callbacks=[EarlyStopping(patience=5)].",
        "batch_size shuffle": "The sampler says it: sampler=SimpleSampler(batch_size=32, shuffle=True).",
    }

    _own = ("metrics", "checkpointing")
    metrics: list[EvaluationMetric]
    checkpointing: Checkpointing | None

    def __init__(
        self,
        label: str,
        *,
        input_sources: Sequence[InputBinding],
        losses: Losses | None = None,
        n_epochs: int = 1,
        active_nodes: Sequence[GraphNode | str] | None = None,
        callbacks: Sequence[Callback] | None = None,
        accelerator: Accelerator | str | None = None,
        result_recording: str = ResultRecording.ALL,
        nan: str = "raise",
        batch_schedule: str = "zip_strict",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        precision: str = "float32",
        metrics: Metrics = None,
        compile: bool | None = None,
        checkpointing: Checkpointing | None = None,
    ) -> None:
        vars(self).update(metrics=metrics, checkpointing=checkpointing)
        self._n_epochs = n_epochs
        self._exec_ctx: weakref.ref[ExecutionContext] | None = None
        self.result_recording = result_recording
        self.nan, self.batch_schedule = nan, batch_schedule
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.accumulate, self.precision = accumulate, precision
        self.compile = compile
        super().__init__(
            label,
            input_sources=input_sources,
            losses=losses,
            active_nodes=active_nodes,
            callbacks=callbacks,
            accelerator=accelerator,
        )

    def set_checkpointing(self, checkpointing: Checkpointing | None) -> None:
        """Attach or replace what says which states are kept; None keeps none.

        One that another phase has is not shared: this phase gets one like it.

        Raises:
            InvalidTypeError: If it is something else.
            InvalidValueError: If it is made for an experiment.
        """
        self.checkpointing = self._bound(checkpointing)

    def _bound(self, checkpointing: Checkpointing | None) -> Checkpointing | None:
        if checkpointing is None:
            return None
        if not isinstance(checkpointing, Checkpointing):
            raise InvalidTypeError(
                f"{self._where}: checkpointing must be a Checkpointing, got {checkpointing!r}."
            )
        checkpointing.check_for(PHASE, self._where)
        return checkpointing.bound_to(self.ctx, self.label)

    @classmethod
    def from_split(
        cls,
        label: str,
        *,
        split: str,
        sampler: Sampler | None = None,
        batch_size: int | None = None,
        losses: Losses | None = None,
        n_epochs: int = 1,
        active_nodes: Sequence[GraphNode | str] | None = None,
        callbacks: Sequence[Callback] | None = None,
        result_recording: str = ResultRecording.ALL,
        nan: str = "raise",
        **options: Any,
    ) -> Self:
        """Make a phase whose active heads all draw from one split, each of its FeatureSet, with one sampler.

        Args:
            label: Its name.
            split: The split to train on.
            sampler: Draws the batches; all heads get the same rows in the same order. None shuffles
                the rows and draws `batch_size` of them at a time.
            batch_size: Rows a batch where there is no sampler; None is `BATCH_SIZE`.
            losses: At least one where torch nodes are trained; their sum is minimized.
            n_epochs: How many times it goes through the data.
            active_nodes: The nodes that take part; None is all.
            callbacks: Hooks at epochs and batches.
            result_recording: Which epochs' outputs are kept.
            nan: What is done about NaN and infinite values.
            **options: What else a phase takes.

        Raises:
            InvalidValueError: If a FeatureSet of the heads has no such split, or both a sampler and a
                batch size are given.
        """
        if sampler is None:
            sampler = SimpleSampler(batch_size=BATCH_SIZE if batch_size is None else batch_size, shuffle=True)
        elif batch_size is not None:
            where = f"TrainPhase {label!r}"
            raise InvalidValueError(
                f"{where}: batch_size={batch_size!r} goes without a sampler; {sampler!r} has its own."
            )
        bindings = bindings_for_split(f"TrainPhase {label!r}", split, active_nodes, sampler)
        return cls(
            label,
            input_sources=bindings,
            losses=losses,
            n_epochs=n_epochs,
            active_nodes=active_nodes,
            callbacks=callbacks,
            result_recording=result_recording,
            nan=nan,
            **options,
        )

    @property
    def n_epochs(self) -> int:
        """How many times it goes through the data."""
        return int(self._n_epochs)

    @n_epochs.setter
    def n_epochs(self, n_epochs: int) -> None:
        with told_of(self._where):
            self._n_epochs = check_int(n_epochs, "n_epochs")

    def request_stop(self) -> None:
        """End the run of this phase that goes on, as completed, after its present epoch.

        ``exp.request_stop()`` ends everything after the present batch, as stopped.

        Raises:
            StateError: If the phase does not run.
        """
        self._running().request_stop()

    def is_epoch_end(self) -> bool:
        """Tell whether the present batch is the last one of its epoch, in the run that goes on.

        Raises:
            StateError: If the phase does not run.
        """
        return self._running().is_epoch_end()

    def _running(self) -> ExecutionContext:
        exec_ctx = None if self._exec_ctx is None else self._exec_ctx()
        if exec_ctx is None:
            raise StateError(f"{self._where} does not run now.")
        return exec_ctx

    def settings(self) -> dict[str, Any]:
        """Return what else it was made of than its label, its data and callbacks, as plain values."""
        own: dict[str, Any] = {
            "n_epochs": self.n_epochs,
            "result_recording": self.result_recording,
            "nan": self.nan,
            "batch_schedule": self.batch_schedule,
            "compile": None if self.compile is None else bool(self.compile),
        }
        own["metrics"] = [to_config(metric) for metric in self.metrics]
        own["checkpointing"] = to_config(self.checkpointing)
        return super().settings() | own | vars(self._options)

    @property
    def _options(self) -> UpdateOptions:
        return UpdateOptions(
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            accumulate=self.accumulate,
            precision=self.precision,
        )

    def _meant(self, name: str, value: Any, faults: Faults) -> Any:
        if name == "metrics":
            return as_metrics(value, faults)
        if name == "checkpointing":
            return faults.attempt(self._bound, value)
        return super()._meant(name, value, faults)

    def _check_options(self, faults: Faults) -> None:
        faults.attempt(check_int, self._n_epochs, "n_epochs")
        faults.attempt(check_choice, self.result_recording, "result_recording", KEEPS)
        faults.attempt(check_choice, self.nan, "nan", NAN)
        schedules = (*SCHEDULES, *turns.SCHEDULES)
        faults.attempt(check_choice, self.batch_schedule, "batch_schedule", schedules)
        if self.batch_schedule in turns.SCHEDULES and self.accumulate != 1:
            faults.add("accumulate adds batches up, and samplers that take turns update one by one.")
        self._options.check(faults)
        if self.compile is not None:
            faults.attempt(check_flag, self.compile, "compile")
        if self.metrics and self.result_recording == ResultRecording.NONE:
            faults.add("metrics need outputs, and result_recording='none' keeps none.")

    def _check(self, graph: ModelGraph, nodes: Sequence[GraphNode], faults: Faults) -> None:
        super()._check(graph, nodes, faults)
        learning, trained = _learning(nodes), self._trained(graph, nodes)
        if not self._minimized and not learning:
            faults.add(InvalidValueError("it needs at least one loss to minimize."))
        if not learning and not any(isinstance(n, ModelNode) and n.backend == "torch" for n in nodes):
            faults.add(
                "no active node holds a torch model to train; estimators are fitted by a FitPhase, or learn "
                "batch by batch: ScikitModelWrapper(..., training_mode='partial_fit')."
            )
        several = [self._label_of(b.node_ref) for b in self.input_sources if len(b.roles) > 1]
        if learning and several:
            labels = [node.label for node in learning]
            faults.add(
                f"the estimators {labels} learn from single samples, and {several} draw several roles."
            )
        by_themselves = [node.label for node in learning]
        for loss in self._minimized:
            on, is_weighted = self._label_of(loss), loss.sample_weight or loss.class_weight
            if is_weighted and on in by_themselves:
                faults.add(
                    f"the estimator of {on!r} learns by itself, without the weights of the loss "
                    f"{loss.label!r}. A FitPhase hands it weights of samples, sample_weight='tags.w', and "
                    "those of classes are its own argument; a loss that is only recorded says so: "
                    "trainable=False."
                )
            if not any(name.partition(".")[0] in ("outputs", "module") for name in loss.arguments):
                faults.add(
                    LossError(f"the loss {loss.label!r} takes no outputs, so nothing can learn from it.")
                )
        for binding in self.input_sources:
            if binding.sampler is None:
                faults.add(
                    f"the binding of {self._label_of(binding.node_ref)!r} has no sampler; "
                    "make it with InputBinding.for_training(..., sampler=SimpleSampler(batch_size=32))."
                )
        clips = self.clip_norm is not None or self.clip_value is not None
        for learner in trained if clips else ():
            if learner.is_built and learner.has_sparse_gradients:
                faults.add(f"the gradients of {learner.label!r} are sparse, and torch does not clip such.")
        for node in nodes:
            learns = isinstance(node, ModelNode) and node.can_learn and not node.is_frozen
            if (self._minimized or learning) and learns and node not in trained:
                faults.add(
                    f"no loss reaches the node {node.label!r}: put a loss on it or on a node that it feeds, "
                    f"freeze it, or leave it out of active_nodes.{'' if graph.optimizer else _NODE_BY_NODE}"
                )
        if graph.optimizer is None:
            for node in trained:
                faults.attempt(own_optimizer, node)

    @property
    def _minimized(self) -> list[AppliedLoss]:
        return [loss for loss in self.losses if loss.trainable]

    def _trained(self, graph: ModelGraph, nodes: Sequence[GraphNode]) -> list[ModelNode]:
        reached = nodes_with_gradients(graph, nodes, self._minimized)
        return [node for node in reached if node.can_learn and not node.is_frozen]

    def execute(self, scope: PhaseScope) -> Execution:
        """Resolve the phase in `scope`; see `ExperimentPhase.execute`.

        Raises:
            InvalidValueError: If nothing is left to train, because all nodes are frozen.
        """
        graph = scope.graph
        self._exec_ctx = weakref.ref(scope.exec_ctx)  # which lives as long as the run of the phase
        active = self._ready_nodes(graph)
        learning, trained = _learning(active), self._trained(graph, active)
        nodes = nodes_of_losses(graph, active, self.losses, learning)
        if not trained and not learning:
            raise InvalidValueError(
                f"{self._where}: there is nothing to train; every torch node that a loss reaches is frozen, "
                "or has no parameters that ask for gradients; estimators are fitted by a FitPhase."
            )
        # A dropout by itself learns nothing, and is in training all the same.
        passive = [n for n in nodes if isinstance(n, ModelNode) and not (n.can_learn or n.is_frozen)]
        in_training = [*trained, *passive]
        devices = self._devices(nodes, scope)
        resolved = resolve(
            graph,
            nodes,
            self.input_sources,
            self.losses,
            where=self._where,
            nan=self.nan,
            devices=devices,
            schedule=turns.SCHEDULES.get(self.batch_schedule, self.batch_schedule),
            learning=learning,
            trains=True,
        )
        check_metrics(self.metrics, self.input_sources, scope.ctx, self._where)
        found, step, begin_steps, several = self._steps(graph, resolved, trained, devices, scope)
        flags = {node: node.is_frozen for node in active}
        recording = scope.recording(resolved.loss_nodes, self.result_recording)
        recording.minimized = [loss.label for loss in self._minimized]
        announced = {name for c in self.callbacks for name in getattr(c, "metric_names", ())}
        optimizers = {stage.rate: stage.optimizer for stage in found if stage.optimizer is not None}
        rates = Rates(optimizers, recording, announced)
        results = TrainResults(self.label, recording, **resolved.provenance)

        def begin(n_samples: np.ndarray, n_done: int) -> None:
            self._check_flags(flags)
            begin_steps(n_samples, n_done)

        def before_end(epoch: int) -> None:
            rates.record(epoch)
            if self.metrics:
                log_metrics(self.metrics, results.of_epoch(epoch), epoch, recording)

        def events() -> Iterator[Event]:
            moved = placed(nodes, devices, self._on(graph, devices), list(optimizers.values()))
            closed = contextlib.nullcontext() if several is None else contextlib.closing(several)
            with moved, training_flags(nodes, in_training), closed:
                yield from run_epochs(
                    scope,
                    resolved,
                    step,
                    recording,
                    n_epochs=self.n_epochs,
                    several=several,
                    begin=begin,
                    before_end=before_end,
                    after_end=rates.move_on,
                )

        return Execution(
            results=results,
            events=events(),
            n_batches=resolved.feed.n_batches(scope.first_epoch),
            rates=rates_of(optimizers),
            devices=devices,
        )

    def _check_flags(self, flags: Mapping[GraphNode, bool]) -> None:
        """Refuse to go on as before where a callback has frozen or unfrozen nodes meanwhile."""
        changed = [node.label for node, was_frozen in flags.items() if node.is_frozen != was_frozen]
        if changed:
            raise StateError(
                f"{self._where}: {changed} were frozen or unfrozen while it trains; which nodes it trains is "
                "decided when it begins. Train in two phases, and freeze or unfreeze between them."
            )

    def _steps(
        self,
        graph: ModelGraph,
        resolved: Resolved,
        trained: Sequence[GraphNode],
        devices: Mapping[str, torch.device],
        scope: PhaseScope,
    ) -> tuple[list[Stage], Step, turns.Begin, CompiledSteps | None]:
        """Return the stages, the step of a batch, what is called at each epoch, and what runs several."""
        device, n_done = devices[(trained or resolved.nodes)[0].label], scope.start.batch
        compiles = graph.compile if self.compile is None else self.compile
        if self.batch_schedule not in turns.SCHEDULES:
            found = stages(graph, resolved, trained, self.losses)
            step, window = train_step(found, resolved, self._options, device, n_done)
            several = self._compiled(found, resolved, step, window, devices, scope) if compiles else None
            return found, step, window.begin, several
        if compiles:
            warn(self._where, f"batch_schedule={self.batch_schedule!r} is not compiled")
        taken = turns.turns_of(graph, resolved, self.losses, self._where)
        of_turns = [
            stages(
                graph,
                turn.resolved,
                [node for node in trained if node in turn.resolved.nodes],
                [self.losses[i] for i in turn.indices],
            )
            for turn in taken
        ]
        steps = [
            train_step(found, turn.resolved, self._options, device, n_done)
            for turn, found in zip(taken, of_turns, strict=True)
        ]
        begun = [(step, window.begin) for step, window in steps]
        return [stage for found in of_turns for stage in found], *turns.round_of(taken, begun), None

    def _compiled(
        self,
        found: Sequence[Stage],
        resolved: Resolved,
        step: Step,
        window: Window,
        devices: Mapping[str, torch.device],
        scope: PhaseScope,
    ) -> CompiledSteps | None:
        """Return what runs batches compiled; None where that cannot be, after a warning."""
        watches = scope.watch_batches
        reason = why_not(found, resolved, self._options, devices, watches=watches)
        if reason is not None:
            warn(self._where, reason)
            return None
        every = list(resolved.forward.slot_of.values())
        recorded = [] if self.result_recording == ResultRecording.NONE else [s for s, _ in resolved.recorded]
        return CompiledSteps(
            found,
            resolved,
            self._options,
            step,
            window,
            wanted=every if watches else recorded,
            watches=watches,
            where=self._where,
        )


def _learning(nodes: Sequence[GraphNode]) -> list[ModelNode]:
    """Return the estimators that learn from every batch."""
    return [node for node in nodes if isinstance(node, ModelNode) and learns_by_batches(node)]
