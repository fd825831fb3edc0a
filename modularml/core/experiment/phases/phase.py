"""What all phases share: their inputs, losses, active nodes, checks and picture.

It knows no loop and no runner: a phase says what is to be done and hands the doing
to `core.execution`.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch

from modularml.backends.accelerator import Accelerator, as_accelerator
from modularml.base.config import Configurable, to_config
from modularml.base.errors import (
    DuplicateLabelError,
    Faults,
    InvalidTypeError,
    StateError,
    check_label,
    unknown_name,
)
from modularml.base.events import Event
from modularml.core import cells
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import GraphNodeReference
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.placement import devices_of
from modularml.core.execution.scope import PhaseScope
from modularml.core.execution.streams import input_name
from modularml.core.experiment.callback import Callback, check_callbacks, without_callback
from modularml.core.experiment.checkpointing import Checkpointing
from modularml.core.experiment.phase_results import PhaseResults
from modularml.core.experiment.phases.diagram import phase_spec
from modularml.core.topology import structure
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.origin import columns_of, entry_of, origin_of
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.loss import Loss
from modularml.core.training.losses import Losses, applied_losses
from modularml.display.diagram import Diagram
from modularml.io.objects import InYaml
from modularml.samplers import Sampler


@dataclass(frozen=True, kw_only=True)
class Execution:
    """A phase that is ready to run.

    Attributes:
        results: They fill while the events are drawn.
        events: What happens; drawing them is running the phase.
        n_batches: Batches an epoch.
        devices: Label of each node that runs, in order -> the device it computes on.
        rates: The learning rates, by the names of their metrics.
    """

    results: PhaseResults
    events: Iterator[Event]
    n_batches: int
    devices: Mapping[str, torch.device]
    rates: Mapping[str, float] = field(default_factory=dict)


class ExperimentPhase(InYaml, Configurable):
    """A unit of work of an experiment; see `TrainPhase`, `EvalPhase` and `FitPhase`.

    Args:
        label: Its name in plans, results and history.
        input_sources: One binding for each active head node.
        losses: What is computed: `AppliedLoss` objects, or for the only tail a loss by itself, its
            name (``"mse"``) or class, or such a one for each label of a node.
        active_nodes: The nodes that take part, as nodes, labels or ids; None is all.
        callbacks: Hooks within the phase.
        accelerator: The device that nodes compute on which name none themselves; None is that
            of the experiment, or else where their parameters are.

    Raises:
        StateError: If the active experiment has no model graph.
        InvalidValueError: If bindings are missing or doubled, labels stand twice, or names are
            unknown; all faults are told together.
        InvalidTypeError: If a binding, loss or callback is of a wrong type.
    """

    kind: ClassVar[str]
    freezes_graph: ClassVar[bool] = False
    checkpointing: Checkpointing | None = None
    _fixed = ("ctx", "label", "active_nodes")
    _elsewhere: ClassVar[Mapping[str, str]] = {
        "run fit train start": "The experiment runs it: exp.run_phase(phase).",
        "device to cuda": "Say where it computes: accelerator='cuda'.",
        "split": "One of a split is made so: EvalPhase.from_split('other', split='test', losses='mse').",
        "verbose progress": "What is shown is said to a run: exp.run(show_training_progress=False).",
        "seed random_state": "An experiment has one, and a sampler: Experiment('first', seed=0).",
    }

    _own: ClassVar[tuple[str, ...]] = ()  # further arguments that `_meant` reads; kept as given until then

    def __init__(
        self,
        label: str,
        *,
        input_sources: Sequence[InputBinding],
        losses: Losses | None = None,
        active_nodes: Sequence[GraphNode | str] | None = None,
        callbacks: Sequence[Callback] | None = None,
        accelerator: Accelerator | str | None = None,
    ) -> None:
        self._label = check_label(label, type(self).__name__)
        self._where = f"{type(self).__name__} {label!r}"
        self.ctx = ExperimentContext.get_active()
        graph = active_graph(self.ctx, self._where)
        faults = Faults(self._where)
        self.input_sources: list[InputBinding] = self._meant("input_sources", input_sources, faults)
        self.accelerator: Accelerator | None = self._meant("accelerator", accelerator, faults)
        self._active = None if active_nodes is None else _active_refs(graph, active_nodes, faults)
        self.losses: list[AppliedLoss] = self._meant("losses", losses, faults)
        self.callbacks: list[Callback] = self._meant("callbacks", callbacks, faults)
        self._added_in: dict[int, cells.Cell | None] = {}
        for name in self._own:
            vars(self)[name] = self._meant(name, vars(self)[name], faults)
        if faults:
            self._check_options(faults)  # the rest would be of what is not there
        faults.raise_if_any()
        self._check(graph, self.nodes(graph), faults)
        faults.raise_if_any()
        cells.define(self, "phase", label, self.ctx)

    def _meant(self, name: str, value: Any, faults: Faults) -> Any:
        """Return what is meant by the value of an argument."""
        graph = active_graph(self.ctx, self._where)
        if name == "input_sources":
            return _checked(value, InputBinding, name, faults)
        if name == "accelerator":
            return faults.attempt(as_accelerator, value)
        if name == "losses":
            return applied_losses(value, self._tails(graph), faults, _target_keys(graph))
        if name == "callbacks":
            return faults.attempt(check_callbacks, value, Callback, self._where)
        return value

    def _assigned(self, name: str, value: Any) -> Any:
        """Return what an attribute that is assigned holds; what goes with what is seen to when it runs."""
        faults, probe = Faults(self._where), copy.copy(self)
        with self.ctx.temporary():
            vars(probe)[name] = self._meant(name, value, faults)
        faults.raise_if_any()
        probe._check_options(faults)
        faults.raise_if_any()
        return vars(probe)[name]

    def _check_options(self, faults: Faults) -> None:
        """Note every argument that is not allowed, whatever the graph is."""

    def _refresh(self) -> None:
        """Take what was defined anew, as cells ran again: bindings, samplers, losses, callbacks."""
        bindings = [cells.present(binding) for binding in self.input_sources]
        for i, binding in enumerate(bindings):
            sampler = None if binding.sampler is None else cells.present(binding.sampler)
            if sampler is not binding.sampler:
                bindings[i] = replace(binding, sampler=sampler)
        self.input_sources = bindings
        self.losses = [cells.present(loss) for loss in self.losses]
        for loss in self.losses:
            loss._refresh()
        present = [cells.present(callback) for callback in self.callbacks]
        self.callbacks = check_callbacks(present, Callback, self._where)

    def add_callback(self, callback: Callback) -> None:
        """Append a callback; a cell of a notebook that is executed again replaces what it added before.

        Raises:
            InvalidTypeError: If it is no `Callback`.
        """
        check_callbacks([callback], Callback, self._where)
        added = cells.add_once(callback, self.callbacks, self._added_in)
        self.callbacks = check_callbacks(added, Callback, self._where)

    def remove_callback(self, callback: Callback | str) -> None:
        """Leave out a callback, by itself or its label.

        Raises:
            UnknownNameError: If it is not there.
        """
        self.callbacks = without_callback(self.callbacks, callback, self._where)

    # -- what is in it -------------------------------------------------------------

    @property
    def label(self) -> str:
        """Its name, by which a group that holds it knows it."""
        return self._label

    @property
    def active_nodes(self) -> list[str]:
        """The ids of the nodes that take part."""
        return [node.node_id for node in self.nodes(active_graph(self.ctx, self._where))]

    def nodes(self, graph: ModelGraph) -> list[GraphNode]:
        """The nodes of `graph` that take part, in topological order."""
        nodes = graph.topological_nodes()
        if self._active is None:
            return nodes
        active = {graph.ctx.get_node(ref).label for ref in self._active}
        return [node for node in nodes if node.label in active]

    def _devices(self, nodes: Sequence[GraphNode], scope: PhaseScope) -> dict[str, torch.device]:
        """Where each node computes when the phase runs; raises StateError if a device is not there."""
        return devices_of(nodes, self.accelerator or scope.accelerator, self._where)

    def _on(self, graph: ModelGraph, devices: Mapping[str, torch.device]) -> list[tuple[Loss, torch.device]]:
        """Each loss and the device of its node."""
        return [(loss.loss, devices[graph.ctx.get_node(loss).label]) for loss in self.losses]

    def _tails(self, graph: ModelGraph) -> list[GraphNode]:
        """The nodes that take part and feed no other that does."""
        nodes = self.nodes(graph)
        upstreams = graph.upstreams()
        tails = structure.tails({node.label: upstreams[node.label] for node in nodes})
        return [node for node in nodes if node.label in tails]

    def _seed_samplers(self) -> None:
        """Let samplers without a seed follow from the experiment's, by the phase and its first head."""
        seen: set[int] = set()
        for binding in self.input_sources:
            seed = self.ctx.seed_for("sampler", self.label, self._label_of(binding.node_ref))
            sampler = binding.sampler
            if sampler is None or sampler.seed is not None or seed is None or id(sampler) in seen:
                continue
            seen.add(id(sampler))
            sampler.set_state({"entropy": seed})

    def _ready_nodes(self, graph: ModelGraph) -> list[GraphNode]:
        """Make ready: check again, as the graph may be another one than at the definition, and seed."""
        faults, nodes = Faults(self._where), self.nodes(graph)
        self._check(graph, nodes, faults)
        faults.raise_if_any()
        self._seed_samplers()
        return nodes

    def _check(self, graph: ModelGraph, nodes: Sequence[GraphNode], faults: Faults) -> None:
        """Note every fault of the phase against the graph it will run on, and its nodes there."""
        self._check_options(faults)
        active = [node.label for node in nodes]
        bound = [(self._label_of(b.node_ref), self._label_of(b.upstream_ref)) for b in self.input_sources]
        for node in nodes:
            for source in dict.fromkeys(map(self._label_of, node.featureset_refs)):
                n_bound = bound.count((node.label, source))
                if not n_bound:
                    faults.add(f"the head node {node.label!r} needs an InputBinding for {source!r}.")
                if n_bound > 1:
                    faults.add(f"the head node {node.label!r} has {n_bound} bindings for {source!r}.")
        labels = [loss.label for loss in self.losses]
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            faults.add(
                DuplicateLabelError(f"two losses have the label {label!r}; give each its own `label`.")
            )
        for name, _ in bound:
            if name not in active:
                faults.add(unknown_name("node of an InputBinding", name, active))
        for loss in self.losses:
            if loss.context is not None and loss.context is not self.ctx:
                faults.add(f"the loss {loss.label!r} is on {loss.node_label!r} of another experiment.")
            elif self._label_of(loss) not in active:
                faults.add(unknown_name(f"node of the loss {loss.label!r}:", self._label_of(loss), active))

        self._check_roles(graph, {node.label: node for node in nodes}, faults)

    def _check_roles(self, graph: ModelGraph, nodes: Mapping[str, GraphNode], faults: Faults) -> None:
        """Note the inputs of losses that name no role, or a role or column that is not there."""
        if not self.losses:
            return
        bindings = {
            (self._label_of(binding.node_ref), self._label_of(binding.upstream_ref)): binding
            for binding in self.input_sources
        }
        for loss in self.losses:
            label = self._label_of(loss)
            found = _binding_behind(graph, nodes[label], bindings) if label in nodes else None
            for name in loss.data:
                if found is None:
                    break  # told above
                where = f"the loss {loss.label!r} on {label!r}"
                if name.startswith("outputs.") and not nodes[label].is_built:
                    continue  # its outputs are known when it is built, and looked at when the phase runs
                columns = columns_of(nodes[label], self.ctx)
                faults.attempt(input_name, name, found.roles, columns, where, nodes[label].output_names)

    def _refuse_samplers(self, bindings: Sequence[InputBinding], faults: Faults) -> None:
        for binding in bindings:
            if binding.sampler is not None:
                faults.add(
                    f"the binding of {self._label_of(binding.node_ref)!r} has a sampler, and this phase "
                    "takes all rows in their order; make it with InputBinding.for_evaluation(...)."
                )

    def _label_of(self, ref: Any) -> str:
        """Return the label that what a reference or loss names bears by now."""
        return self.ctx.label_of(ref)

    def get_config(self) -> dict[str, Any]:
        """Return everything the phase was made of, nodes by label, as plain values."""
        return {
            "label": self.label,
            "input_sources": [to_config(binding) for binding in self.input_sources],
            "callbacks": [to_config(callback) for callback in self.callbacks],
            **self.settings(),
        }

    def settings(self) -> dict[str, Any]:
        """Return what else it was made of than its label, its data and callbacks, as plain values."""
        return {
            "losses": [to_config(loss) | {"on": self._label_of(loss)} for loss in self.losses],
            "active_nodes": None if self._active is None else [self._label_of(ref) for ref in self._active],
            "accelerator": to_config(self.accelerator),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a phase from what `get_config` returned, in the active experiment.

        Samplers that are described alike become one, so that several heads keep getting
        the same rows although the sampler has no seed.
        """
        phase = super().from_config(config)
        samplers = [binding.sampler for binding in phase.input_sources]
        phase.input_sources = [
            replace(binding, sampler=samplers[samplers.index(binding.sampler)])
            for binding in phase.input_sources
        ]
        return phase

    def __repr__(self) -> str:
        return f"{type(self).__name__}(label={self.label!r})"

    # -- doing it ------------------------------------------------------------------

    @property
    def _question(self) -> Hashable:
        """All it is made of but label and callbacks; phases of the same are resolved once, see `Shared`.

        None where it is resolved by itself.
        """
        return None

    @property
    def n_epochs(self) -> int:
        """How many epochs it runs."""
        return 1

    @abstractmethod
    def execute(self, scope: PhaseScope) -> Execution:
        """Resolve the phase in `scope`; nothing runs until its events are drawn."""

    # -- looking -------------------------------------------------------------------

    def diagram(self) -> Diagram:
        """Return the picture of the phase: data, samplers, nodes and losses."""
        graph = active_graph(self.ctx, self._where)
        spec = phase_spec(
            self.label,
            self.nodes(graph),
            self.ctx,
            self.input_sources,
            self.losses,
            frozen=self.freezes_graph,
        )
        return Diagram(spec)

    def visualize(self) -> None:
        """Show the picture of the phase."""
        self.diagram().show()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.diagram()._repr_mimebundle_(include, exclude)


def active_graph(ctx: ExperimentContext, where: str) -> ModelGraph:
    """Return the model graph of a context.

    Raises:
        StateError: If it has none.
    """
    if ctx.model_graph is None:
        raise StateError(f"{where}: the active experiment has no ModelGraph yet; make one first.")
    graph: ModelGraph = ctx.model_graph
    return graph


def _target_keys(graph: ModelGraph) -> Callable[[str], list[str]]:
    """Return the function from a node to the keys of the targets that reach it."""

    def keys(node: str) -> list[str]:
        origin = origin_of(graph.ctx.get_node(node, GraphNode), "targets", graph.ctx)
        return [name.split(".")[1] for name in origin.columns("targets")]

    return keys


def _binding_behind(
    graph: ModelGraph, node: GraphNode, bindings: Mapping[tuple[str, str], InputBinding]
) -> InputBinding | None:
    """Return the binding of the data whose rows belong to the outputs of a node."""
    key = origin_of(node, "targets", graph.ctx).rows.key
    for head in graph.head_nodes:
        for ref in head.featureset_refs:
            if entry_of(head, ref, graph.ctx).key == key:
                return bindings.get((head.label, graph.ctx.label_of(ref)))
    return None


def bindings_for_split(
    where: str,
    split: str,
    active_nodes: Sequence[GraphNode | str] | None,
    sampler: Sampler | None = None,
) -> list[InputBinding]:
    """Bind every active head node of the active graph to one split of what feeds it.

    Heads of several FeatureSets get the split of this name of their own; with one sampler they get the same
    positions of it, where these have as many rows.

    Raises:
        InvalidValueError: If no FeatureSet feeds the heads, or one of them has no such split.
        StateError: If there is no graph.
    """
    ctx = ExperimentContext.get_active()
    graph = active_graph(ctx, where)
    faults = Faults(where)
    refs = None if active_nodes is None else _active_refs(graph, active_nodes, faults)
    faults.raise_if_any()
    heads = [node for node in graph.head_nodes if refs is None or node.reference() in refs]
    pairs = {
        (head.label, ctx.label_of(ref)): (head, ctx.get_node(ref, FeatureSet))
        for head in heads
        for ref in head.featureset_refs
    }
    if not pairs:
        faults.add("from_split needs head nodes with a FeatureSet upstream, and there are none.")
    sources = {fs.label: fs for _, fs in pairs.values()}
    or_else = " Or give an InputBinding for each head instead." if len(sources) > 1 else ""
    for label, featureset in sources.items():
        known = featureset.available_splits
        if split not in known:
            missing = unknown_name("split", split, known, where=f"FeatureSet {label!r}")
            make_some = "" if known else " Make some: fs.split_random({'train': 0.8, 'test': 0.2})."
            all_rows = " An InputBinding without a split takes all rows." if split is None else ""
            faults.add(f"{missing}{or_else}{make_some}{all_rows}")
    faults.raise_if_any()
    if sampler is None:
        return [InputBinding.for_evaluation(node=n, split=split, upstream=fs) for n, fs in pairs.values()]
    return [
        InputBinding.for_training(node=n, sampler=sampler, split=split, upstream=fs)
        for n, fs in pairs.values()
    ]


def _checked(items: Any, kind: type, name: str, faults: Faults) -> list[Any]:
    if isinstance(items, str) or not isinstance(items, Sequence):
        faults.add(InvalidTypeError(f"{name} must be a list of {kind.__name__}, got {items!r}."))
        return []
    for item in items:
        if not isinstance(item, kind):
            got = f"{item!r} ({type(item).__name__})"
            faults.add(InvalidTypeError(f"{name} must hold {kind.__name__} objects, got {got}."))
    return [item for item in items if isinstance(item, kind)]


def _active_refs(
    graph: ModelGraph, nodes: Sequence[GraphNode | str], faults: Faults
) -> list[GraphNodeReference]:
    if isinstance(nodes, str) or not isinstance(nodes, Sequence):
        faults.add(InvalidTypeError(f"active_nodes must be a list of nodes, got {nodes!r}."))
        return []
    members = {node.label: node for node in graph.topological_nodes()}
    active = {}
    for node in nodes:
        found = graph.ctx.get_node(node) if graph.ctx.has_node(node) else None
        if found is None or found.label not in members:
            faults.add(unknown_name("active node", getattr(node, "label", node), members))
        else:
            active[found.label] = found.reference()
    if not nodes:
        faults.add("active_nodes is empty; None takes all nodes.")
    for missing in sorted(structure.ancestors(graph.upstreams(), active) - set(active)):
        faults.add(f"the active nodes need {missing!r}, which feeds them, to be active too.")
    return list(active.values())
