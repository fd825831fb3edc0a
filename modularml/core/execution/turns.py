"""Turns: samplers that take part one after the other, each with an update of its own.

It knows no epoch and no optimizer: a round is one step to the loop, which runs a step for each turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from modularml.base.errors import Faults
from modularml.core.execution.epochs import Step
from modularml.core.execution.resolution import Resolved
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.origin import entries_of
from modularml.core.training.applied_loss import AppliedLoss

SCHEDULES = {"alternate_strict": "zip_strict", "alternate_cycle": "zip_cycle"}
"""The schedules that take turns, and how many rounds there are to an epoch: as many as zipped batches."""

Begin = Callable[[np.ndarray, int], None]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What takes part when the entries of one sampler are in turn.

    Attributes:
        resolved: The nodes that all of their data reaches, and the losses on those.
        indices: Which of all losses these are.
    """

    resolved: Resolved
    indices: Sequence[int]


def turns_of(graph: ModelGraph, resolved: Resolved, losses: Sequence[AppliedLoss], where: str) -> list[Turn]:
    """Return the turns of a round, in the order of the samplers; heads that share one are in turn together.

    Raises:
        InvalidValueError: If a loss needs samples that are never in turn at once.
    """
    by_sampler: dict[int, set[str]] = {}
    for source in resolved.feed.sources:
        by_sampler.setdefault(id(source.sampler), set()).add(source.head)
    needs = {node.label: {entry.key for entry in entries_of(node, graph.ctx)} for node in resolved.nodes}
    faults = Faults(where)
    for label, node in resolved.loss_nodes.items():
        if not any(needs[node] <= entries for entries in by_sampler.values()):
            faults.add(
                f"the loss {label!r} on {node!r} needs the data of {sorted(needs[node])} at once, and they "
                "take turns. Bind them to one sampler, or use batch_schedule='zip_strict'."
            )
    faults.raise_if_any()
    found = []
    for entries in by_sampler.values():
        nodes = [node for node in resolved.nodes if needs[node.label] <= entries]
        labels = {node.label for node in nodes}
        indices = [i for i, loss in enumerate(losses) if resolved.loss_nodes[loss.label] in labels]
        if indices:
            found.append(Turn(resolved=_only(resolved, nodes, indices), indices=indices))
    return found


def _only(resolved: Resolved, nodes: Sequence[Any], indices: Sequence[int]) -> Resolved:
    on = list(resolved.loss_nodes.items())
    return replace(
        resolved,
        nodes=nodes,
        forward=resolved.forward.only(nodes),
        losses=[resolved.losses[i] for i in indices],
        loss_nodes=dict(on[i] for i in indices),
    )


def round_of(turns: Sequence[Turn], steps: Sequence[tuple[Step, Begin]]) -> tuple[Step, Begin]:
    """Return the step that takes every turn once, and returns the value of each loss.

    Args:
        turns: The turns.
        steps: The step of each, and what is to be called at each epoch.
    """
    pairs = [(step, turn.indices) for turn, (step, _) in zip(turns, steps, strict=True)]

    def take_turns(slots: list[Any]) -> list[torch.Tensor]:
        values: dict[int, torch.Tensor] = {}
        for step, indices in pairs:
            values.update(zip(indices, step(slots), strict=True))
        return [values[i] for i in range(len(values))]

    def begin(n_samples: np.ndarray, n_done: int) -> None:
        for _, one in steps:
            one(n_samples, n_done)

    return take_turns, begin
