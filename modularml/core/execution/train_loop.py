"""Training: a forward pass, a backward pass and an update, resolved into flat lists.

It knows no epochs (`run_epochs` does) and no phase.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modularml.backends.torch import backward
from modularml.base.errors import InvalidValueError, LossError, OptimizerNotSetError
from modularml.core.execution.epochs import Step
from modularml.core.execution.forward import Call
from modularml.core.execution.losses import LossCall
from modularml.core.execution.resolution import Resolved
from modularml.core.execution.schedules import update_of
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Calls whose losses are minimized together by one optimizer.

    Attributes:
        calls: The calls, in order.
        losses: Index and function of each loss.
        watched: Index and function of each loss that is computed and not minimized.
        optimizer: Updates the parameters of the calls; None where nothing is trained.
        rate: The metric that its learning rate is recorded as.
    """

    calls: Sequence[Call]
    losses: Sequence[tuple[int, LossCall]]
    watched: Sequence[tuple[int, LossCall]]
    optimizer: Optimizer | None
    rate: str = "lr"


def stages(
    graph: ModelGraph, resolved: Resolved, trained: Sequence[GraphNode], watched: Collection[str] = ()
) -> list[Stage]:
    """Return the stages of a training step.

    A graph with an optimizer is one stage. Without one, every trained node is a stage
    of its own, in topological order, and gradients stay within it.

    Args:
        graph: The graph.
        resolved: What runs.
        trained: The nodes to train.
        watched: The labels of the losses that are not minimized.

    Raises:
        OptimizerNotSetError: If a trained node has no optimizer and the graph has none.
        InvalidValueError: If without a graph optimizer a loss is on a node that is not trained.
    """
    labelled = list(zip(resolved.loss_nodes, enumerate(resolved.losses), strict=True))
    shown = [loss for label, loss in labelled if label in watched]
    if graph.optimizer is not None:
        losses = [loss for label, loss in labelled if label not in watched]
        return [Stage(calls=resolved.forward.calls, losses=losses, watched=shown, optimizer=graph.optimizer)]
    for label, on in resolved.loss_nodes.items():
        if label not in watched and not any(node.label == on for node in trained):
            raise InvalidValueError(
                f"The loss {label!r} is on {on!r}, which is not trained (frozen, or no torch model), and "
                "without an optimizer of the graph a loss trains the node that it is on, and no other."
            )
    found = []
    calls: list[Call] = []
    for node in resolved.nodes:
        of_node = resolved.forward.calls_of[node.label]
        if not any(node is other for other in trained):
            calls += of_node
            continue
        own = [
            loss
            for label, loss in labelled
            if label not in watched and resolved.loss_nodes[label] == node.label
        ]
        detached = [*calls, *map(_detached, of_node)]
        found.append(
            Stage(
                calls=detached,
                losses=own,
                watched=[],
                optimizer=own_optimizer(node),
                rate=f"lr/{node.label}",
            )
        )
        calls = []
    if shown:
        found.append(Stage(calls=calls, losses=[], watched=shown, optimizer=None))
    return found


def own_optimizer(node: GraphNode) -> Optimizer:
    """Return the optimizer of a node.

    Raises:
        OptimizerNotSetError: If it has none.
    """
    if not isinstance(node, ModelNode) or node.optimizer is None:
        raise OptimizerNotSetError(
            f"{node!r} is to be trained, but neither it nor the graph has an optimizer. Pass "
            'optimizer=Optimizer("adam") to the ModelGraph, or to this node.'
        )
    return node.optimizer


def _detached(call: Call) -> Call:
    function, source, target = call
    return (lambda batch: function(batch.detach())), source, target


def train_step(found: Sequence[Stage], resolved: Resolved) -> Step:
    """Return the function that trains on one batch and returns the value of each loss.

    The step raises LossError if a loss cannot train, as no gradient leads from it to a parameter.
    """
    for stage in found:
        if stage.optimizer is not None:
            stage.optimizer.zero_grad()
    updates = [None if stage.optimizer is None else update_of(stage.optimizer) for stage in found]
    if len(found) == 1 and len(found[0].losses) == 1 and not found[0].watched:
        return _single_loss_step(found[0], resolved)

    def step(slots: list[Any]) -> list[torch.Tensor]:
        values: dict[int, torch.Tensor] = {}
        for stage, update in zip(found, updates, strict=True):
            for function, source, target in stage.calls:
                slots[target] = function(slots[source])
            if stage.watched:
                with torch.no_grad():
                    values |= {i: loss(slots) for i, loss in stage.watched}
            if stage.optimizer is None or update is None:
                continue
            computed = {i: loss(slots) for i, loss in stage.losses}
            total: Any = sum(computed.values())
            if not total.requires_grad:
                raise _no_gradient(resolved, [i for i, _ in stage.losses])
            backward(total)
            update()
            stage.optimizer.zero_grad()
            values |= computed
        return [values[i].detach() for i in range(len(values))]

    return step


def _single_loss_step(stage: Stage, resolved: Resolved) -> Step:
    """The common case without a list or a sum: about a tenth of a small network's step."""
    assert stage.optimizer is not None
    calls, (_, loss) = stage.calls, stage.losses[0]
    update, zero_grad = update_of(stage.optimizer), stage.optimizer.zero_grad

    def step(slots: list[Any]) -> tuple[torch.Tensor]:
        for function, source, target in calls:
            slots[target] = function(slots[source])
        value = loss(slots)
        if not value.requires_grad:
            raise _no_gradient(resolved, [0])
        backward(value)
        update()
        zero_grad()
        return (value.detach(),)

    return step


def _no_gradient(resolved: Resolved, losses: Sequence[int]) -> LossError:
    labels = list(resolved.loss_nodes)
    return LossError(
        f"No gradient leads from the losses {[labels[i] for i in losses]} to a trained node: "
        "they must be computed from its outputs, by torch, without detach()."
    )
