"""What estimators are taught batch by batch: the targets of each batch, and all classes from the start.

It knows no epoch and no phase: a lesson is a call that learns before it answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from modularml.backends.torch_losses import Alignment
from modularml.core.execution.columns import Column, Stack, column_of
from modularml.core.execution.entering import EnteringData
from modularml.core.execution.forward import array_of, tensor_of
from modularml.core.execution.streams import stream_of
from modularml.core.topology.model_node import ModelNode
from modularml.models import ScikitModelWrapper


def learns_by_batches(node: Any) -> bool:
    """Tell whether a node holds an estimator that is to learn batch by batch, and may."""
    model = getattr(node, "model", None)
    return (
        isinstance(model, ScikitModelWrapper)
        and model.resolved_training_mode == "partial_fit"
        and not node.is_frozen
    )


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a node learns.

    Attributes:
        targets: The slot of its targets; None for an estimator that needs none.
        call: From a batch of inputs, or of inputs and targets, to the outputs after the lesson.
    """

    targets: int | None
    call: Callable[[Any], Any]


def lesson_of(node: ModelNode, data: EnteringData, columns: list[tuple[str, Column]]) -> Lesson:
    """Return how a node learns, and append the column of its targets to `columns`."""
    model: Any = node.model
    taught = data.taught(node.label)
    if taught is None:

        def learn_alone(batch: Any) -> Any:
            rows = array_of(batch)
            model.partial_fit(rows)
            return tensor_of(model.forward(rows))

        return Lesson(targets=None, call=learn_alone)
    key, source = taught
    classes = None
    if model.needs_classes and isinstance(source, Stack):
        classes = np.unique(source[data.rows[key]])
    columns.append((stream_of(key), column_of(source, Alignment())))

    def learn(batches: Any) -> Any:
        rows, targets = map(array_of, batches)
        model.partial_fit(rows, targets, classes=classes)
        return tensor_of(model.forward(rows))

    return Lesson(targets=len(columns) - 1, call=learn)
