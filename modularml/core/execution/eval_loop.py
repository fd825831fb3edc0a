"""Evaluation and fitting: forward passes without gradients, estimators fitted on the way.

It knows no epochs (`run_epochs` does) and no phase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch

from modularml.base.errors import listed
from modularml.core.execution.epochs import Step
from modularml.core.execution.forward import array_of
from modularml.core.execution.resolution import Resolved
from modularml.core.topology.model_node import ModelNode


def eval_step(resolved: Resolved) -> Step:
    """Return the function that evaluates one batch and returns the value of each loss."""
    forward, losses = resolved.forward, resolved.losses

    def step(slots: list[Any]) -> list[torch.Tensor]:
        with torch.no_grad():
            forward.run(slots)
            return [loss(slots) for loss in losses]

    return step


def fit_step(
    resolved: Resolved,
    fitted: Sequence[ModelNode],
    targets: Callable[[str], np.ndarray | None],
    watch: Callable[[ModelNode], AbstractContextManager[None]],
) -> Step:
    """Return the function that fits each of `fitted` when its input is there, in order.

    Args:
        resolved: What runs.
        fitted: The nodes to fit.
        targets: From the label of a node to the targets of the rows that are fitted on.
        watch: Stands around the fit of each node.
    """
    to_fit = {resolved.forward.slot_of[node.label]: node for node in fitted}

    def step(slots: list[Any]) -> list[torch.Tensor]:
        with torch.no_grad():
            for function, source, target in resolved.forward.calls:
                if target in to_fit:
                    node = to_fit[target]
                    x, y = array_of(slots[source]), targets(node.label)
                    weights = resolved.weights.get(node.label)
                    with watch(node), _told_of(node, x, y):
                        node.model.learn(x, y, sample_weight=weights)  # type: ignore[attr-defined]
                slots[target] = function(slots[source])
            return [loss(slots) for loss in resolved.losses]

    return step


@contextmanager
def _told_of(node: ModelNode, x: np.ndarray, y: np.ndarray | None) -> Iterator[None]:
    """Add to what an estimator raises which node it is of and what it was handed."""
    try:
        yield
    except Exception as error:
        columns = [name.split(".")[1] for ref in node.featureset_refs for name in ref.features]
        order = f", whose columns are, in order, {listed(columns)}" if len(columns) == x.shape[1] else ""
        targets = "" if y is None else f" and targets {y.shape}"
        error.add_note(f"{node!r} was fitted to an array of samples {x.shape}{order}{targets}.")
        raise
