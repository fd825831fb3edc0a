"""Training: a forward pass, a backward pass and an update, resolved into flat lists.

It knows no epochs (`run_epochs` does) and no phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modularml.base.errors import InvalidValueError, LossError, OptimizerNotSetError
from modularml.core.execution.epochs import Step
from modularml.core.execution.forward import Call
from modularml.core.execution.losses import LossCall
from modularml.core.execution.placement import CPU
from modularml.core.execution.resolution import Resolved
from modularml.core.execution.updates import Learn, UpdateOptions, Window, learn_of
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Calls whose losses are minimized together by one optimizer.

    Attributes:
        calls: The calls, in order.
        losses: Index and function of each loss, and whether it is a sum over the samples.
        watched: Index and function of each loss that is computed and not minimized.
        optimizer: Updates the parameters of the calls; None where nothing is trained.
        rate: The metric that its learning rate is recorded as.
    """

    calls: Sequence[Call]
    losses: Sequence[tuple[int, LossCall, bool]]
    watched: Sequence[tuple[int, LossCall]]
    optimizer: Optimizer | None
    rate: str = "lr"


def stages(
    graph: ModelGraph, resolved: Resolved, trained: Sequence[GraphNode], losses: Sequence[AppliedLoss]
) -> list[Stage]:
    """Return the stages of a training step.

    A graph with an optimizer is one stage. Without one, every trained node is a stage
    of its own, in topological order, and gradients stay within it.

    Args:
        graph: The graph.
        resolved: What runs.
        trained: The nodes to train.
        losses: The losses that were resolved.

    Raises:
        OptimizerNotSetError: If a trained node has no optimizer and the graph has none.
        InvalidValueError: If without a graph optimizer a loss is on a node that is not trained.
    """
    computed = list(enumerate(resolved.losses))
    minimized = {
        loss.label: (i, call, loss.loss.build().adds_up)
        for (i, call), loss in zip(computed, losses, strict=True)
        if loss.trainable and trained and not _of_estimator(resolved, loss)
    }
    watched = [one for one, loss in zip(computed, losses, strict=True) if loss.label not in minimized]
    if graph.optimizer is not None and minimized:
        every = list(minimized.values())
        return [Stage(calls=resolved.forward.calls, losses=every, watched=watched, optimizer=graph.optimizer)]
    for label in minimized:
        on = resolved.loss_nodes[label]
        if not any(node.label == on for node in trained):
            raise InvalidValueError(
                f"The loss {label!r} is on {on!r}, which is not trained (frozen, without parameters, or no "
                "torch model), and without an optimizer of the graph a loss trains the node that it is on, "
                "and no other."
            )
    found = []
    calls: list[Call] = []
    for node in resolved.nodes:
        of_node = resolved.forward.calls_of[node.label]
        if not any(node is other for other in trained):
            calls += of_node
            continue
        found.append(
            Stage(
                calls=[*calls, *_detached(of_node)],
                losses=[one for label, one in minimized.items() if resolved.loss_nodes[label] == node.label],
                watched=[],
                optimizer=own_optimizer(node),
                rate=f"lr/{node.label}",
            )
        )
        calls = []
    if watched or calls:
        found.append(Stage(calls=calls, losses=[], watched=watched, optimizer=None))
    return found


def _of_estimator(resolved: Resolved, loss: AppliedLoss) -> bool:
    """Tell whether a loss is of the outputs of an estimator, to which no gradient leads."""
    on = resolved.loss_nodes[loss.label]
    return any(node.label == on and node.backend == "scikit" for node in resolved.nodes)


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


def _detached(calls: Sequence[Call]) -> list[Call]:
    """Cut the calls of a node off from what comes before it."""
    own = {target for _, _, target in calls}
    return [
        call if isinstance(call[1], slice) or call[1] in own else _without_gradient(*call) for call in calls
    ]


def _without_gradient(function: Callable[[Any], Any], source: Any, target: int) -> Call:
    return (lambda batch: function(batch.detach())), source, target


def train_step(
    found: Sequence[Stage],
    resolved: Resolved,
    options: UpdateOptions = UpdateOptions(),  # noqa: B008 - frozen
    device: torch.device = CPU,
    n_done: int | None = None,
) -> tuple[Step, Window]:
    """Return the function that trains on one batch and returns the value of each loss.

    The step raises LossError if a loss cannot train, as no gradient leads from it to a parameter.

    Args:
        found: The stages.
        resolved: What runs.
        options: What is done with gradients.
        device: Where the forward pass is computed.
        n_done: How many batches of its first epoch are done, whose gradients may wait for the
            update; None if it has not begun.

    Returns:
        The step, and the batches to an update, which begin anew at each epoch.
    """
    for stage in found:
        if stage.optimizer is not None and n_done is None:
            stage.optimizer.zero_grad()
    window = Window(options.accumulate)
    parts = [
        (
            _forward_of(stage.calls, options.half, device),
            stage,
            None if stage.optimizer is None else learn_of(stage.optimizer, options, window, device),
        )
        for stage in found
    ]
    is_single = len(found) == 1 and len(found[0].losses) == 1 and not found[0].watched
    if is_single and options.accumulate == 1 and options.half is None:
        return _single_loss_step(found[0], resolved, parts[0][2]), window

    def step(slots: list[Any]) -> list[torch.Tensor]:
        values: dict[int, torch.Tensor] = {}
        window.advance()
        for forward, stage, learn in parts:
            read = forward(slots)
            if stage.watched:
                with torch.no_grad():
                    values |= {i: loss(read) for i, loss in stage.watched}
            if learn is None:
                continue
            computed = {i: loss(read) for i, loss, _ in stage.losses}
            if window.share == 1.0:
                total: Any = sum(computed.values())
            else:
                total = sum(
                    computed[i] if adds_up else computed[i] * window.share for i, _, adds_up in stage.losses
                )
            if not total.requires_grad:
                raise _no_gradient(resolved, list(computed))
            learn(total)
            values |= computed
        return [values[i].detach() for i in range(len(values))]

    return step, window


def _forward_of(
    calls: Sequence[Call], half: torch.dtype | None, device: torch.device
) -> Callable[[list[Any]], Sequence[Any]]:
    """Return the function that runs the calls and returns the slots that losses read."""

    def forward(slots: list[Any]) -> Sequence[Any]:
        for function, source, target in calls:
            slots[target] = function(slots[source])
        return slots

    if half is None:
        return forward
    autocast = torch.autocast(device.type, half)

    def forward_in_half(slots: list[Any]) -> Sequence[Any]:
        with autocast:
            forward(slots)
        # Losses of half precision would lose what a step changes.
        return [slot.float() if _is_half(slot) else slot for slot in slots]

    return forward_in_half


def _is_half(slot: Any) -> bool:
    return isinstance(slot, torch.Tensor) and slot.dtype in (torch.bfloat16, torch.float16)


def _single_loss_step(stage: Stage, resolved: Resolved, learn: Learn | None) -> Step:
    """The common case without a list or a sum: about a tenth of a small network's step."""
    assert learn is not None
    calls, (_, loss, _) = stage.calls, stage.losses[0]

    def step(slots: list[Any]) -> tuple[torch.Tensor]:
        for function, source, target in calls:
            slots[target] = function(slots[source])
        value = loss(slots)
        if not value.requires_grad:
            raise _no_gradient(resolved, [0])
        learn(value)
        return (value.detach(),)

    return step


def _no_gradient(resolved: Resolved, losses: Sequence[int]) -> LossError:
    labels = list(resolved.loss_nodes)
    return LossError(
        f"No gradient leads from the losses {[labels[i] for i in losses]} to a trained node: "
        "they must be computed from its outputs, by torch, without detach()."
    )
