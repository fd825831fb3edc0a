"""Inputs side by side along an axis, padded to a common shape where asked for.

It knows no graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError, check_choice
from modularml.core.data.formats import DataFormat
from modularml.core.topology.merge_node import MergeNode

PAD_MODES = ("constant", "reflect", "replicate", "circular")


def _with_axes(shape: torch.Size, rank: int, first: int) -> tuple[int, ...]:
    """Return a shape whose samples have as many axes as `rank`, new ones of length 1 before theirs."""
    return (*shape[:first], *(1,) * (rank + first - len(shape)), *shape[first:])


class ConcatNode(MergeNode):
    """Joins its inputs along an axis of their samples.

    Axis 0 joins ``(1, 16)`` and ``(1, 16)`` to ``(2, 16)``, axis -1 to ``(1, 32)``. Beside an input of more
    dimensions, ``(16,)`` counts as ``(1, 16)``.

    Args:
        label: Its name; unique in the experiment.
        upstream_refs: The inputs, at least two: nodes, FeatureSets and references to either.
        concat_axis: The axis, counted without the samples.
        concat_axis_targets: What becomes of the targets: an axis to join them along, ``"first"``,
            ``"last"``, ``"mean"``, or the upstream whose targets to keep. Inputs that bring the same
            targets, as branches of one trunk do, bring them once.
        concat_axis_tags: The same for tags.
        pad_inputs: Pad inputs behind their values, along all other axes, to the largest of them.
        pad_mode: With what: ``"constant"``, ``"reflect"``, ``"replicate"`` or ``"circular"``,
            as in `torch.nn.functional.pad`.
        pad_value: The constant.
        node_id: Its id; made when None.
        register: Enter it in the active experiment.

    Raises:
        InvalidTypeError: If an argument is of a wrong type.
        InvalidValueError: If there are fewer than two upstreams, or a mode or strategy is unknown.
        DuplicateLabelError: If the label is taken and the policy is ``"raise"``.
    """

    _arguments: ClassVar[Mapping[str, str]] = {
        "target_strategy": "concat_axis_targets",
        "tags_strategy": "concat_axis_tags",
    }

    def __init__(
        self,
        label: str,
        upstream_refs: Sequence[Any],
        concat_axis: int = 0,
        *,
        concat_axis_targets: Any = -1,
        concat_axis_tags: Any = -1,
        pad_inputs: bool = False,
        pad_mode: str = "constant",
        pad_value: float = 0.0,
        node_id: str | None = None,
        register: bool = True,
    ) -> None:
        faults = Faults(f"ConcatNode {label!r}")
        if isinstance(concat_axis, bool) or not isinstance(concat_axis, int):
            faults.add(InvalidTypeError(f"concat_axis must be an int, got {concat_axis!r}"))
        if isinstance(pad_value, bool) or not isinstance(pad_value, int | float):
            faults.add(InvalidTypeError(f"pad_value must be a number, got {pad_value!r}"))
        faults.attempt(check_choice, pad_mode, "pad_mode", PAD_MODES)
        faults.raise_if_any()
        self.concat_axis, self.pad_inputs = concat_axis, bool(pad_inputs)
        self.pad_mode, self.pad_value = pad_mode, pad_value
        super().__init__(
            label,
            upstream_refs,
            target_strategy=concat_axis_targets,
            tags_strategy=concat_axis_tags,
            node_id=node_id,
            register=register,
        )

    @property
    def concat_axis_targets(self) -> Any:
        """What becomes of the targets; the same as `target_strategy`."""
        return self.target_strategy

    @property
    def concat_axis_tags(self) -> Any:
        """What becomes of the tags; the same as `tags_strategy`."""
        return self.tags_strategy

    def apply_merge(
        self,
        values: Sequence[torch.Tensor],
        *,
        includes_batch_dim: bool = True,
        fmt: str | DataFormat | None = None,
        domain: str = "features",
    ) -> torch.Tensor:
        """Return the values side by side; see `MergeNode.apply_merge`.

        Raises:
            InvalidValueError: If they have no such axis, differ along another one, or cannot be padded.
        """
        first = int(includes_batch_dim)
        rank = max(value.ndim for value in values) - first
        values = [value.reshape(_with_axes(value.shape, rank, first)) for value in values]
        if not -rank <= self.concat_axis < rank:
            raise InvalidValueError(f"samples of {rank} dimensions have no axis {self.concat_axis}.")
        axis = self.concat_axis % rank + first
        largest = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
        others = [dim for dim in range(first, rank + first) if dim != axis]
        if not self.pad_inputs:
            for dim in others:
                if any(value.shape[dim] != largest[dim] for value in values):
                    raise InvalidValueError(
                        f"they differ along axis {dim - first}, and are joined along axis "
                        f"{axis - first}. Join them along another concat_axis, or use pad_inputs=True."
                    )
            return torch.cat(list(values), axis)
        return torch.cat(
            [self._padded(value, {dim: largest[dim] for dim in others}) for value in values], axis
        )

    def _padded(self, value: torch.Tensor, sizes: dict[int, int]) -> torch.Tensor:
        for dim, size in sizes.items():
            n = value.shape[dim]
            if n == size:
                continue
            if self.pad_mode == "constant":
                shape = [*value.shape[:dim], size - n, *value.shape[dim + 1 :]]
                value = torch.cat([value, value.new_full(shape, self.pad_value)], dim)
            else:
                value = value.index_select(dim, self._indices(n, size).to(value.device))
        return value

    def _indices(self, n: int, size: int) -> torch.Tensor:
        """Return the places that a longer axis takes its values from."""
        places = torch.arange(size)
        if self.pad_mode == "replicate":
            return places.clamp(max=n - 1)
        most = n - 1 if self.pad_mode == "reflect" else n
        if size - n > most:
            raise InvalidValueError(
                f"an axis of {n} values cannot be padded to {size} with {self.pad_mode!r}, which has no "
                f"more than {most} to give; use 'replicate' or 'constant'."
            )
        return (
            places % n
            if self.pad_mode == "circular"
            else torch.where(places < n, places, 2 * (n - 1) - places)
        )
