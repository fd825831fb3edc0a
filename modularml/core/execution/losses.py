"""The losses of a phase as functions of the slots, all that can be aligned aligned before.

It knows no forward call and no optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from modularml.backends.torch_losses import Alignment, LossInput
from modularml.base.errors import InvalidTypeError, StateError
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.columns import Column, Stack, column_of, dtype_in_torch
from modularml.core.execution.forward import dtype_of
from modularml.core.execution.streams import domain_and_role, stream_of
from modularml.core.execution.units import Units
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.loss import AppliedLoss

LossCall = Callable[[Sequence[Any]], torch.Tensor]


class HeadData:
    """The columns that reach the nodes, by head.

    Args:
        graph: The graph.
        bindings: Head label -> its binding.
        heads: Label of each node -> label of the head whose data reaches it.
    """

    def __init__(
        self, graph: ModelGraph, bindings: Mapping[str, InputBinding], heads: Mapping[str, str]
    ) -> None:
        self.graph, self.bindings, self.heads = graph, bindings, heads

    def features(self, head: ModelNode) -> Column:
        """Return the features of a head, in the dtype that it computes in."""
        dtype = dtype_of(head) if head.backend == "torch" else None
        return column_of(self._stack(head.label, "features"), Alignment(dtype=dtype))

    def targets(self, head: str) -> Stack | None:
        """Return the targets of a head, if its reference names any."""
        return self._stack(head, "targets") if self.bindings[head].upstream_ref.targets else None

    def units(self, head: str) -> Units | None:
        """Return how the targets of a head are scaled, if its reference names any."""
        ref = self.bindings[head].upstream_ref
        return Units.of_targets(self.graph.ctx.get_node(ref), ref.targets) if ref.targets else None

    def of_node(self, node: str, domain: str, where: str) -> Stack:
        """Return the columns of a domain that reach a node.

        Raises:
            StateError: If its head's reference names none.
            InvalidTypeError: If they hold text.
        """
        head = self.heads[node]
        if not getattr(self.bindings[head].upstream_ref, domain):
            raise StateError(f"{where} needs {domain}, but the reference of {head!r} names none.")
        column = self._stack(head, domain)
        if column.dtype.kind not in "biufc":
            raise InvalidTypeError(f"{where}: {domain} of dtype {column.dtype} cannot enter a loss.")
        return column

    def _stack(self, head: str, domain: str) -> Stack:
        ref = self.bindings[head].upstream_ref
        table = self.graph.ctx.get_node(ref).table
        return Stack({name: table.column(name) for name in getattr(ref, domain)})


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One input of a loss.

    Attributes:
        stream: The stream that it is of: of the node for outputs, else of the head.
        column: The slot of its column; None for outputs.
        alignment: What is done with outputs at every step.
    """

    stream: str
    column: int | None
    alignment: Alignment


def arguments_of(
    loss: AppliedLoss, node: ModelNode, data: HeadData, columns: list[tuple[str, Column]]
) -> list[Argument]:
    """Align the inputs of a loss, and append the columns that it needs to `columns`.

    Raises:
        LossError: If inputs cannot be compared, or one names a role that is not there, or none.
        StateError: If data are missing.
        InvalidTypeError: If they are text.
    """
    where, head = f"The loss {loss.label!r} on {node.label!r}", data.heads[node.label]
    named = [domain_and_role(name, data.bindings[head].roles, where) for name in loss.arguments]
    sources = [None if d == "outputs" else data.of_node(node.label, d, where) for d, _ in named]
    inputs = [
        LossInput(name=name, shape=tuple(node.output_shape or ()), dtype=dtype_of(node), is_output=True)
        if source is None
        else LossInput(name=name, shape=source.shape, dtype=dtype_in_torch(source), is_output=False)
        for name, source in zip(loss.arguments, sources, strict=True)
    ]
    alignments = loss.loss.align(inputs, where=repr(node.label))
    arguments = []
    for (_, role), source, one, how in zip(named, sources, inputs, alignments, strict=True):
        if source is None:
            # An estimator's outputs may be of any numeric dtype.
            aligned = how if node.backend == "torch" else replace(how, dtype=one.dtype)
            arguments.append(Argument(stream=stream_of(node.label, role), column=None, alignment=aligned))
        else:
            stream = stream_of(head, role)
            arguments.append(Argument(stream=stream, column=len(columns), alignment=Alignment()))
            columns.append((stream, column_of(source, how)))
    return arguments


def loss_call(
    loss: AppliedLoss, arguments: Sequence[Argument], slot_of: Mapping[str, int], weights: int | None
) -> LossCall:
    """Return the function from the slots to the weighted value of a loss.

    Args:
        loss: The loss.
        arguments: Its inputs.
        slot_of: The slot of each stream's outputs.
        weights: The slot of the samples' weights; None where samples have none.
    """
    picks = [
        (slot_of[a.stream] if a.column is None else a.column, a.alignment if a.alignment.is_needed else None)
        for a in arguments
    ]
    forms = loss.loss.build()
    call = _call(forms.scalar, picks)
    if weights is not None:
        call = _weighted(call, _call(forms.per_sample, picks), weights, adds_up=forms.adds_up)
    if loss.weight == 1.0:
        return call
    factor = loss.weight
    return lambda slots: call(slots) * factor


def _call(form: Callable[..., torch.Tensor], picks: Sequence[tuple[int, Alignment | None]]) -> LossCall:
    if len(picks) == 2 and picks[0][1] is None and picks[1][1] is None:
        first, second = picks[0][0], picks[1][0]
        return lambda slots: form(slots[first], slots[second])
    return lambda slots: form(*(how.apply(slots[i]) if how else slots[i] for i, how in picks))


def _weighted(whole: LossCall, each: LossCall, weights: int, *, adds_up: bool) -> LossCall:
    def call(slots: Sequence[Any]) -> torch.Tensor:
        factors = slots[weights]
        if factors is None:
            return whole(slots)
        values = each(slots) * factors
        return values.sum() if adds_up else values.mean()

    return call
