"""Inputs of one shape, value by value: their sum, their mean, or any function of them.

They know no graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.core.data.formats import DataFormat
from modularml.core.topology.merge_node import MergeNode


class SumNode(MergeNode):
    """Adds its inputs, value by value; see `MergeNode` for the arguments."""

    def apply_merge(
        self,
        values: Sequence[torch.Tensor],
        *,
        includes_batch_dim: bool = True,
        fmt: str | DataFormat | None = None,
        domain: str = "features",
    ) -> torch.Tensor:
        """Return the sum of the values; see `MergeNode.apply_merge`.

        Raises:
            InvalidValueError: If their shapes differ.
        """
        if len({value.shape for value in values}) > 1:
            raise InvalidValueError("their shapes differ; a ConcatNode takes inputs of different shapes.")
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total


class MeanNode(SumNode):
    """Averages its inputs, value by value; see `MergeNode` for the arguments."""

    def apply_merge(
        self,
        values: Sequence[torch.Tensor],
        *,
        includes_batch_dim: bool = True,
        fmt: str | DataFormat | None = None,
        domain: str = "features",
    ) -> torch.Tensor:
        """Return the mean of the values; see `MergeNode.apply_merge`.

        Raises:
            InvalidValueError: If their shapes differ.
        """
        total = super().apply_merge(values, includes_batch_dim=includes_batch_dim, fmt=fmt, domain=domain)
        return total / len(values)


class FunctionNode(MergeNode):
    """Merges its inputs by a function of your own.

    Args:
        label: Its name; unique in the experiment.
        upstream_refs: The inputs, at least two: nodes, FeatureSets and references to either.
        function: Takes a tensor an input, ``(n_samples, *input_shape)``, and returns one tensor. To be
            kept in files it must have a name: no lambda.
        target_strategy: Which targets belong to the outputs; see `MergeNode`.
        tags_strategy: The same for tags.
        node_id: Its id; made when None.
        register: Enter it in the active experiment.

    Raises:
        InvalidTypeError: If `function` cannot be called, or an upstream or strategy is of a wrong type.
        InvalidValueError: If there are fewer than two upstreams, or a strategy is unknown.
        DuplicateLabelError: If the label is taken and the policy is ``"raise"``.
    """

    def __init__(
        self,
        label: str,
        upstream_refs: Sequence[Any],
        function: Callable[..., torch.Tensor],
        *,
        target_strategy: Any = "first",
        tags_strategy: Any = "first",
        node_id: str | None = None,
        register: bool = True,
    ) -> None:
        if not callable(function):
            raise InvalidTypeError(f"FunctionNode {label!r}: function must be callable, got {function!r}.")
        self.function = function
        super().__init__(
            label,
            upstream_refs,
            target_strategy=target_strategy,
            tags_strategy=tags_strategy,
            node_id=node_id,
            register=register,
        )

    def apply_merge(
        self,
        values: Sequence[torch.Tensor],
        *,
        includes_batch_dim: bool = True,
        fmt: str | DataFormat | None = None,
        domain: str = "features",
    ) -> torch.Tensor:
        """Return what the function makes of the values; see `MergeNode.apply_merge`."""
        return self.function(*values)
