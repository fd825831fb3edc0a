"""A phase resolved once, before its first batch: columns, calls and losses over slots.

It knows no epoch and no optimizer. Whatever can be looked up, checked, converted or
aligned for the whole phase is done here, so that a step does none of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modularml.base.errors import Faults, InvalidValueError, StateError
from modularml.core.data.reference import FeatureSetReference
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.checks import Input, check_finite, check_lengths, check_view
from modularml.core.execution.columns import Column, Source, rows_of
from modularml.core.execution.entering import EnteringData
from modularml.core.execution.feed import Feed
from modularml.core.execution.feed import Source as RowSource
from modularml.core.execution.forward import Forward, built, entering_dtypes
from modularml.core.execution.lessons import lesson_of
from modularml.core.execution.losses import Arguments, LossCall, arguments_of, loss_call, weights_of_fit
from modularml.core.execution.placement import CPU, connect, on_one_device
from modularml.core.execution.streams import label_and_role, parts_among, stream_of
from modularml.core.execution.units import Units
from modularml.core.topology import structure
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.merge_node import MergeNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.topology.origin import entry_of
from modularml.core.training.applied_loss import AppliedLoss


@dataclass(kw_only=True)
class Resolved:
    """What the loops work on.

    Attributes:
        nodes: The nodes that run, in topological order.
        feed: Draws batches, one tensor a column or weight; they go into the first slots.
        forward: The calls of the nodes.
        losses: One function a loss, from the slots to its weighted value.
        loss_nodes: Label of each loss -> label of its node.
        heads: Label of each node -> key of the data whose rows and targets belong to its outputs: the
            label of a head, or a name for what several of them bring.
        targets: Stream of such data -> their targets, of which rows can be taken; one a target where they
            differ in shape.
        units: Stream of such data -> how their targets are scaled.
        joined: Key of data that are joined of several entries -> key of the entry whose rows count.
        merged: Label of each node that several entries reach -> what `EnteringData.merged` says of it.
        weights: Label of each estimator that is fitted to weighted samples -> their weights.
    """

    nodes: Sequence[GraphNode]
    feed: Feed
    forward: Forward
    losses: Sequence[LossCall]
    loss_nodes: Mapping[str, str]
    heads: Mapping[str, str]
    targets: Mapping[str, Source]
    units: Mapping[str, Units]
    joined: Mapping[str, str]
    merged: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]

    def targets_of(self, node: str, rows: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Return the targets that belong to the outputs of a node, if there are any.

        Args:
            node: Its label.
            rows: Key of each entry -> the rows that are run.
        """
        key = self.heads[node]
        parts = parts_among(self.targets, key)
        if parts:
            raise InvalidValueError(
                f"The targets {parts} of {node!r} differ in shape, and an estimator takes them side by side; "
                "name those that it is to learn: fs.reference(targets=...)."
            )
        return rows_of(self.targets[key], rows, key) if key in self.targets else None

    @property
    def provenance(self) -> dict[str, Any]:
        """What results are told of where samples come from, by the names of their arguments."""
        found = {source.head: source.view.source for source in self.feed.sources}
        sources = found | {key: found[of] for key, of in self.joined.items()}
        return {"heads": self.heads, "units": self.units, "sources": sources, "merged": self.merged}

    @property
    def recorded(self) -> list[tuple[int, str]]:
        """Slot and stream of the nodes whose outputs are recorded: those with losses and the tails."""
        fed = {source for _, source, _ in self.forward.calls if isinstance(source, int)}
        applied = set(self.loss_nodes.values())
        return [
            (slot, stream)
            for stream, slot in self.forward.slot_of.items()
            if slot not in fed or label_and_role(stream)[0] in applied
        ]


def resolve(
    graph: ModelGraph,
    nodes: Sequence[GraphNode],
    bindings: Sequence[InputBinding],
    losses: Sequence[AppliedLoss],
    *,
    where: str,
    batch_size: int | None = None,
    nan: str = "allow",
    fitted: Sequence[GraphNode] = (),
    sample_weight: Mapping[str, str] | None = None,
    devices: Mapping[str, torch.device] | None = None,
    schedule: str = "zip_strict",
    learning: Sequence[ModelNode] = (),
    trains: bool = False,
) -> Resolved:
    """Resolve what a phase does on `nodes`.

    Args:
        graph: The built graph.
        nodes: The nodes to run, in topological order.
        bindings: The data of the heads among them.
        losses: The losses on some of them.
        where: The label of the phase, for messages.
        batch_size: Rows a batch where no sampler draws them; None is all at once.
        nan: What is done about data that no model can learn from, NaN and infinite values:
            ``"raise"``, ``"warn"`` or ``"allow"``.
        schedule: What an epoch is where entries have different numbers of batches.
        fitted: The estimators that the phase fits on the way.
        sample_weight: Label of each of them whose samples are weighted -> the column of weights.
        learning: The estimators that learn from every batch.
        trains: Whether the weights that losses give to classes count.
        devices: Label of each node -> where it computes; None is the CPU for all.

    Raises:
        StateError: If a node is not built or not fitted, or a split has no rows.
        InvalidTypeError: If text would feed a model.
        InvalidValueError: If `nan` is ``"raise"`` and values are not finite, or if batches without a sampler
            would leave rows of a head out.
        LossError: If outputs and targets cannot be compared, an input names a role that is not
            there, or none where there are several, or a column of weights holds none.
    """
    _check_ready(nodes, [*fitted, *learning], where)
    entering = [(node, ref) for node in nodes for ref in node.featureset_refs]
    inputs = _inputs(graph, entering, bindings)
    sources = _sources(inputs, where, batch_size, nan)
    roles = {one.key: one.binding.roles for one in inputs}
    devices = devices or {}
    data = EnteringData(graph.ctx, nodes, roles, devices, {one.key: one.view.rows for one in inputs})
    columns: list[tuple[str, Column]] = []
    dtypes = [dtype for node in nodes for dtype in entering_dtypes(node)]
    for (node, ref), dtype in zip(entering, dtypes, strict=True):
        key, column = entry_of(node, ref, graph.ctx).key, data.features(node, ref, dtype)
        columns += [(stream_of(key, role), column) for role in roles[key]]
    node_of = {loss.label: graph.ctx.get_node(loss, GraphNode) for loss in losses}
    arguments = [arguments_of(loss, node_of[loss.label], data, columns, trains=trains) for loss in losses]
    lessons = {node.label: lesson_of(node, data, columns) for node in learning}
    weighed = {source.head for source in sources if source.may_weigh}
    compared = [
        _compared(found, data.entries(node.label))
        for found, node in zip(arguments, node_of.values(), strict=True)
    ]
    means = list(dict.fromkeys(of for of in compared if any(label_and_role(s)[0] in weighed for s in of)))
    slot_of_mean = {of: slot for slot, of in enumerate(means, start=len(columns))}
    taught = {label: (lesson.targets, lesson.call) for label, lesson in lessons.items()}
    forward = Forward(graph, nodes, len(columns) + len(means), roles, taught)
    connect(forward, nodes, devices)
    targets = data.targets()
    together = {node.label: tuple(data.entries(node.label)) for node in nodes}
    return Resolved(
        nodes=nodes,
        feed=Feed(
            sources,
            columns,
            means,
            joined=data.joined,
            schedule=schedule,
            together=[keys for keys in dict.fromkeys(together.values()) if len(keys) > 1],
        ),
        forward=forward,
        losses=on_one_device(
            [
                loss_call(loss, found, forward.slot_of, slot_of_mean.get(of))
                for loss, found, of in zip(losses, arguments, compared, strict=True)
            ],
            [devices.get(node.label, CPU) for node in node_of.values()],
        ),
        loss_nodes={label: node.label for label, node in node_of.items()},
        heads=data.keys,
        targets={
            stream_of(key, role, part): source
            for (key, part), source in targets.items()
            for role in roles[data.joined.get(key, key)]
        },
        units=data.units(targets),
        joined=data.joined,
        merged={label: data.merged(label) for label, keys in together.items() if len(keys) > 1},
        weights={
            label: weights_of_fit(
                name, graph.ctx.get_node(label, GraphNode), data, f"{where}: sample_weight of {label!r}"
            )
            for label, name in (sample_weight or {}).items()
        },
    )


def _check_ready(nodes: Sequence[GraphNode], fitted: Sequence[GraphNode], where: str) -> None:
    """Refuse nodes that are not built, or not fitted if a fit is not to come."""
    faults = Faults(where)
    ready = faults.attempt(built, nodes) or []
    unfitted = [
        node
        for node in ready
        if isinstance(node, ModelNode) and node not in fitted and not getattr(node.model, "is_fitted", True)
    ]
    out = {node.label for node in unfitted}
    for node in ready:
        if any(node.context.label_of(ref) in out for ref in node.node_refs):
            out.add(node.label)
    rest = [node.label for node in ready if node.label not in out]
    or_else = f", or leave it out: active_nodes={rest}" if rest else ""
    for node in unfitted:
        faults.add(
            StateError(f"the estimator of {node.label!r} is not fitted yet; run a FitPhase first{or_else}.")
        )
    faults.raise_if_any()


def _inputs(
    graph: ModelGraph,
    entering: Sequence[tuple[GraphNode, FeatureSetReference]],
    bindings: Sequence[InputBinding],
) -> list[Input]:
    """Return the data of each entry; references to one FeatureSet share its rows."""
    label_of = graph.ctx.label_of
    binding_of = {(label_of(b.node_ref), label_of(b.upstream_ref)): b for b in bindings}
    found: dict[str, Input] = {}
    for node, ref in entering:
        key, binding = entry_of(node, ref, graph.ctx).key, binding_of[node.label, label_of(ref)]
        refs = (*found[key].refs, ref) if key in found else (ref,)
        found[key] = Input(
            key=key, node=node, refs=refs, binding=binding, view=binding.resolve_input_view(graph.ctx)
        )
    return list(found.values())


def _sources(inputs: Sequence[Input], where: str, batch_size: int | None, nan: str) -> list[RowSource]:
    """Return the rows of each entry, looked at before anything is made of them."""
    faults = Faults(where)
    for one in inputs:
        check_view(one, faults)
    if nan != "allow":
        check_finite(inputs, faults, where, nan)
    sources = [
        RowSource(head=one.key, view=one.view, sampler=one.binding.sampler, batch_size=batch_size)
        for one in inputs
    ]
    check_lengths(sources, faults)
    faults.raise_if_any()
    return sources


def _compared(arguments: Arguments, entries: Sequence[str]) -> tuple[str, ...]:
    """Return the streams of entries whose samples a loss compares, each once."""
    roles = [label_and_role(stream)[1] for stream in arguments.streams]
    return tuple(dict.fromkeys(stream_of(key, role) for key in entries for role in roles))


def nodes_of_losses(
    graph: ModelGraph,
    nodes: Sequence[GraphNode],
    losses: Sequence[AppliedLoss],
    learning: Sequence[GraphNode] = (),
) -> list[GraphNode]:
    """Return the nodes that the losses and `learning` need: those themselves and all upstream."""
    ends = [*labels_of_losses(graph, losses), *(node.label for node in learning)]
    needed = structure.ancestors(graph.upstreams(), ends)
    return [node for node in nodes if node.label in needed]


def nodes_with_gradients(
    graph: ModelGraph, nodes: Sequence[GraphNode], losses: Sequence[AppliedLoss]
) -> list[ModelNode]:
    """Return the torch nodes that a gradient of the losses reaches.

    With one optimizer for the graph it flows upstream until an estimator stops it; where
    every node has its own optimizer it stays in the node that the loss is applied on.
    """
    models = {n.label for n in nodes if isinstance(n, ModelNode) and n.backend == "torch"}
    differentiable = models | {n.label for n in nodes if isinstance(n, MergeNode)}
    upstreams = graph.upstreams() if graph.optimizer is not None else {}
    torch_only = {
        label: [up for up in ups if up in differentiable]
        for label, ups in upstreams.items()
        if label in differentiable
    }
    reached = structure.ancestors(torch_only, labels_of_losses(graph, losses)) & models
    return [node for node in nodes if isinstance(node, ModelNode) and node.label in reached]


def labels_of_losses(graph: ModelGraph, losses: Sequence[AppliedLoss]) -> list[str]:
    """Return the label that the node of each loss bears by now."""
    return [graph.ctx.get_node(loss).label for loss in losses]
