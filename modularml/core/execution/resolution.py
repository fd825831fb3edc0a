"""A phase resolved once, before its first batch: columns, calls and losses over slots.

It knows no epoch and no optimizer. Whatever can be looked up, checked, converted or
aligned for the whole phase is done here, so that a step does none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from modularml.backends.torch_losses import Alignment, LossInput
from modularml.base.errors import Faults, InvalidTypeError, LossError, StateError
from modularml.core.data.view import FeatureSetView
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.checks import check_finite, check_lengths, check_view
from modularml.core.execution.columns import Column, Stack, column_of, dtype_in_torch
from modularml.core.execution.feed import Feed, Source
from modularml.core.execution.forward import Forward, built, dtype_of
from modularml.core.topology import structure
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.loss import AppliedLoss

LossCall = Callable[[Sequence[Any]], torch.Tensor]


@dataclass(kw_only=True)
class Resolved:
    """What the loops work on.

    Attributes:
        nodes: The nodes that run, in topological order.
        feed: Draws batches, one tensor a column; the columns go into the first slots.
        forward: The calls of the nodes.
        losses: One function a loss, from the slots to its weighted value.
        loss_nodes: Label of each loss -> label of its node.
        heads: Label of each node -> label of the head whose data reaches it.
        targets: Head label -> targets of its whole FeatureSet, of which rows can be taken.
    """

    nodes: Sequence[GraphNode]
    feed: Feed
    forward: Forward
    losses: Sequence[LossCall]
    loss_nodes: Mapping[str, str]
    heads: Mapping[str, str]
    targets: Mapping[str, Stack]

    @property
    def recorded(self) -> list[tuple[int, str]]:
        """Slot and label of each node whose outputs are recorded: those with losses and the tails."""
        fed = {source for _, source, _ in self.forward.calls}
        applied = set(self.loss_nodes.values())
        return [
            (slot, label)
            for label, slot in self.forward.slot_of.items()
            if slot not in fed or label in applied
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
        fitted: The estimators that the phase fits on the way.

    Raises:
        StateError: If a node is not built or not fitted, or a split has no rows.
        InvalidTypeError: If text would feed a model.
        InvalidValueError: If `nan` is ``"raise"`` and values are not finite, or if batches without a sampler
            would leave rows of a head out.
        LossError: If outputs and targets cannot be compared, or an input names a role.
    """
    ctx, faults = graph.ctx, Faults(where)
    ready = faults.attempt(built, nodes) or []
    for node in ready:
        if node not in fitted and not getattr(node.model, "is_fitted", True):
            faults.add(
                StateError(f"the estimator of {node.label!r} is not fitted yet; run a FitPhase first.")
            )
    faults.raise_if_any()
    heads = [node for node in ready if node.featureset_refs]
    binding_of = {ctx.get_node(binding.node_ref).label: binding for binding in bindings}
    views = {node.label: binding_of[node.label].resolve_input_view(ctx) for node in heads}
    for head in heads:
        check_view(head, binding_of[head.label], views[head.label], faults)
    if nan != "allow":
        check_finite([(h, binding_of[h.label], views[h.label]) for h in heads], faults, where, nan)
    sources = [_source(binding_of[h.label], h.label, views[h.label], batch_size) for h in heads]
    check_lengths(sources, faults)
    faults.raise_if_any()
    head_of = {node.label: graph.head_of(node).label for node in nodes}
    data = _Data(graph, binding_of, head_of)
    columns = [(head.label, data.features(head)) for head in heads]
    node_of = {loss.label: ctx.get_node(loss, ModelNode) for loss in losses}
    inputs = [_loss_inputs(loss, node_of[loss.label], data) for loss in losses]
    aligned = [
        _aligned(loss, node_of[loss.label], found, columns)
        for loss, found in zip(losses, inputs, strict=True)
    ]
    forward = Forward(graph, nodes, len(columns))
    return Resolved(
        nodes=nodes,
        feed=Feed(sources, columns),
        forward=forward,
        losses=[
            _loss_call(loss, forward.slot_of[node_of[loss.label].label], arguments)
            for loss, arguments in zip(losses, aligned, strict=True)
        ],
        loss_nodes={label: node.label for label, node in node_of.items()},
        heads=head_of,
        targets={head.label: found for head in heads if (found := data.targets(head.label)) is not None},
    )


def nodes_of_losses(
    graph: ModelGraph, nodes: Sequence[GraphNode], losses: Sequence[AppliedLoss]
) -> list[GraphNode]:
    """Return the nodes that the losses need: those they are applied on and all upstream."""
    needed = structure.ancestors(graph.upstreams(), labels_of_losses(graph, losses))
    return [node for node in nodes if node.label in needed]


def nodes_with_gradients(
    graph: ModelGraph, nodes: Sequence[GraphNode], losses: Sequence[AppliedLoss]
) -> list[GraphNode]:
    """Return the torch nodes that a gradient of the losses reaches.

    With one optimizer for the graph it flows upstream until an estimator stops it; where
    every node has its own optimizer it stays in the node that the loss is applied on.
    """
    differentiable = {n.label for n in nodes if isinstance(n, ModelNode) and n.backend == "torch"}
    upstreams = graph.upstreams() if graph.optimizer is not None else {}
    torch_only = {
        label: [up for up in ups if up in differentiable]
        for label, ups in upstreams.items()
        if label in differentiable
    }
    reached = structure.ancestors(torch_only, labels_of_losses(graph, losses)) & differentiable
    return [node for node in nodes if node.label in reached]


def labels_of_losses(graph: ModelGraph, losses: Sequence[AppliedLoss]) -> list[str]:
    """Return the label that the node of each loss bears by now."""
    return [graph.ctx.get_node(loss).label for loss in losses]


class _Data:
    """The columns that reach the nodes, by head."""

    def __init__(
        self, graph: ModelGraph, bindings: Mapping[str, InputBinding], heads: Mapping[str, str]
    ) -> None:
        self.graph, self.bindings, self.heads = graph, bindings, heads

    def features(self, head: ModelNode) -> Column:
        dtype = dtype_of(head) if head.backend == "torch" else None
        return column_of(self._stack(head.label, "features"), Alignment(dtype=dtype))

    def targets(self, head: str) -> Stack | None:
        return self._stack(head, "targets") if self.bindings[head].upstream_ref.targets else None

    def column(self, node: str, domain: str, where: str) -> tuple[str, Stack]:
        """Return the head of a node and the columns of a domain."""
        head = self.heads[node]
        if domain not in ("features", "targets", "tags"):
            raise LossError(
                f"{where}: the input {domain!r} names a role, but the batches of this phase have none; "
                f"use {domain.partition('.')[0]!r}."
            )
        if not getattr(self.bindings[head].upstream_ref, domain):
            raise StateError(f"{where} needs {domain}, but the reference of {head!r} names none.")
        column = self._stack(head, domain)
        if column.dtype.kind not in "biufc":
            raise InvalidTypeError(f"{where}: {domain} of dtype {column.dtype} cannot enter a loss.")
        return head, column

    def _stack(self, head: str, domain: str) -> Stack:
        ref = self.bindings[head].upstream_ref
        table = self.graph.ctx.get_node(ref).table
        return Stack({name: table.column(name) for name in getattr(ref, domain)})


def _source(binding: InputBinding, head: str, view: FeatureSetView, batch_size: int | None) -> Source:
    return Source(head=head, view=view, sampler=binding.sampler, batch_size=batch_size)


Inputs = Sequence[tuple[LossInput, tuple[str, Stack] | None]]


def _loss_inputs(loss: AppliedLoss, node: ModelNode, data: _Data) -> Inputs:
    inputs: list[tuple[LossInput, tuple[str, Stack] | None]] = []
    for name in loss.arguments:
        if name == "outputs":
            dtype, shape = dtype_of(node), tuple(node.output_shape or ())
            inputs.append((LossInput(name=name, shape=shape, dtype=dtype, is_output=True), None))
        else:
            head, column = data.column(node.label, name, f"The loss {loss.label!r} on {node.label!r}")
            one = LossInput(name=name, shape=column.shape, dtype=dtype_in_torch(column), is_output=False)
            inputs.append((one, (head, column)))
    return inputs


def _aligned(
    loss: AppliedLoss, node: ModelNode, inputs: Inputs, columns: list[tuple[str, Column]]
) -> list[int | Alignment]:
    """Align the data of a loss as columns; return the slot of each, or what outputs need."""
    alignments = loss.loss.align([one for one, _ in inputs], where=repr(node.label))
    arguments: list[int | Alignment] = []
    estimated = node.backend != "torch"
    for (one, column), alignment in zip(inputs, alignments, strict=True):
        if column is None:
            # An estimator's outputs may be of any numeric dtype.
            arguments.append(replace(alignment, dtype=one.dtype) if estimated else alignment)
        else:
            arguments.append(len(columns))
            columns.append((column[0], column_of(column[1], alignment)))
    return arguments


def _loss_call(loss: AppliedLoss, output: int, arguments: Sequence[int | Alignment]) -> LossCall:
    scalar = loss.loss.build().scalar
    steps = [(output, a) if isinstance(a, Alignment) and a.is_needed else (a, None) for a in arguments]
    picks = [(output if isinstance(slot, Alignment) else slot, how) for slot, how in steps]
    if len(picks) == 2 and picks[0][1] is None and picks[1][1] is None:
        first, second = picks[0][0], picks[1][0]
        call: LossCall = lambda slots: scalar(slots[first], slots[second])  # noqa: E731
    else:
        call = lambda slots: scalar(*(how.apply(slots[i]) if how else slots[i] for i, how in picks))  # noqa: E731
    if loss.weight == 1.0:
        return call
    weight = loss.weight
    return lambda slots: call(slots) * weight
