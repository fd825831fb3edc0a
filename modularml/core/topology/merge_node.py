"""A node without weights that makes one input of several: the base of all merges.

It knows no graph and no loop; a call merges one batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch

from modularml.base.attributes import as_made
from modularml.base.config import Configurable
from modularml.base.errors import (
    Faults,
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    told_of,
)
from modularml.base.keywords import checked_keywords
from modularml.core.data.formats import DataFormat
from modularml.core.data.reference import FeatureSetReference, GraphNodeReference
from modularml.core.topology.graph_node import GraphNode, Shape, UpstreamReference
from modularml.core.topology.merge_strategy import Strategy, as_strategy
from modularml.core.topology.merging import merged

N_DUMMY = 2


@checked_keywords
class MergeNode(GraphNode, Configurable, ABC):
    """Merges what several nodes or FeatureSets give for the same samples.

    Subclass it and implement `apply_merge`; what it returns decides the output shape.
    A subclass keeps each further argument of its constructor in an attribute of its name.

    Args:
        label: Its name; unique in the experiment.
        upstream_refs: The inputs, at least two: nodes, FeatureSets and references to either.
        target_strategy: Which targets belong to the merged outputs: an axis along which those of the
            inputs are joined, ``"first"``, ``"last"``, ``"mean"``, or the upstream whose targets to keep.
            Inputs that bring the same targets, as branches of one trunk do, bring them once.
        tags_strategy: The same for tags.
        node_id: Its id; made when None.
        register: Enter it in the active experiment.

    Raises:
        InvalidTypeError: If an upstream or a strategy is of a wrong type.
        InvalidValueError: If there are fewer than two upstreams, or a strategy is unknown.
        DuplicateLabelError: If the label is taken and the policy is ``"raise"``.
    """

    kind: ClassVar[str] = "MergeNode"
    _arguments: ClassVar[Mapping[str, str]] = {}  # a strategy -> its argument, where that has another name

    def __init__(
        self,
        label: str,
        upstream_refs: Sequence[Any],
        *,
        target_strategy: Any = "first",
        tags_strategy: Any = "first",
        node_id: str | None = None,
        register: bool = True,
    ) -> None:
        where = f"{type(self).__name__} {label!r}"
        if isinstance(upstream_refs, str) or not isinstance(upstream_refs, Sequence):
            raise InvalidTypeError(f"{where}: upstream_refs must be a list of nodes, got {upstream_refs!r}.")
        if len(upstream_refs) < 2:
            raise InvalidValueError(
                f"{where}: a merge needs at least two upstreams, got {len(upstream_refs)}."
            )
        super().__init__(label, upstream_refs, node_id=node_id, register=False)
        faults = Faults(where)
        self.target_strategy: Any = faults.attempt(self._strategy, target_strategy, "target_strategy")
        self.tags_strategy: Any = faults.attempt(self._strategy, tags_strategy, "tags_strategy")
        faults.raise_if_any()
        self._input_shapes: tuple[Shape, ...] | None = None
        self._output_shape: Shape | None = None
        if register:
            self.context.register(self)

    def _assigned(self, name: str, value: Any) -> Any:
        if name == "upstream_refs":
            return super()._assigned(name, value)
        if name in ("target_strategy", "tags_strategy"):
            with told_of(f"{type(self).__name__} {self.label!r}"):
                return self._strategy(value, name)
        with self.context.temporary():
            return as_made(self, name, value, register=False)

    def _strategy(self, value: Any, name: str) -> Strategy | UpstreamReference:
        if not isinstance(value, GraphNode | FeatureSetReference | GraphNodeReference) and not hasattr(
            value, "reference"
        ):
            return as_strategy(value, self._arguments.get(name, name))
        ref = self._as_reference(value)
        named = [up for up in self.upstream_refs if up == ref] or [
            up for up in self.upstream_refs if up.node_id == ref.node_id
        ]
        if not named:
            labels = [up.node_label for up in self.upstream_refs]
            argument = self._arguments.get(name, name)
            raise InvalidValueError(
                f"{argument} must be one of the upstreams {labels}, got {ref.node_label!r}."
            )
        return named[0]

    def _facts(self) -> dict[str, Any]:
        known = [str(shape) for shape in (*self.input_shapes, self.output_shape) if shape is not None]
        shapes = f"{' + '.join(known[:-1])} → {known[-1]}" if self.is_built else None
        return {**super()._facts(), "shapes": shapes}

    # -- its description ---------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return everything it was made of, upstreams as references."""
        return {name: value for name, value in super().get_config().items() if name != "register"}

    def settings(self) -> dict[str, Any]:
        """Return its description without ids; an upstream that it names is told by its place."""
        refs = self.upstream_refs
        named = {name: refs.index(v) for name, v in vars(self).items() if v in refs} if refs else {}
        config = {k: v for k, v in self.get_config().items() if k not in ("node_id", "upstream_refs")}
        return {k: v for k, v in config.items() if not isinstance(v, dict)} | named

    @property
    def register(self) -> bool:
        """Whether its experiment knows it."""
        return self.context.has_node(self)

    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __repr__ = GraphNode.__repr__

    def _data_strategy(self, domain: str) -> Strategy | UpstreamReference:
        """What becomes of the targets or tags of the inputs."""
        found: Strategy | UpstreamReference = self.tags_strategy if domain == "tags" else self.target_strategy
        return found

    @property
    def target_axis(self) -> int:
        """The axis along which targets are joined.

        Raises:
            InvalidTypeError: If they are not.
        """
        return self._axis("target_strategy")

    @property
    def tags_axis(self) -> int:
        """The axis along which tags are joined.

        Raises:
            InvalidTypeError: If they are not.
        """
        return self._axis("tags_strategy")

    def _axis(self, name: str) -> int:
        value = getattr(self, name)
        if not isinstance(value, int):
            raise InvalidTypeError(f"{self!r} joins along no axis: its {name} is {value!r}.")
        return value

    @property
    def backend(self) -> str:
        """The numeric library that computes it: ``"torch"``, whatever its inputs are made with."""
        return "torch"

    def _check_upstream_refs(self, upstreams: Sequence[Any]) -> tuple[UpstreamReference, ...]:
        """Return the references that are meant; see `GraphNode._check_upstream_refs`."""
        refs = super()._check_upstream_refs(upstreams)
        if len(refs) < 2:
            labels = [ref.node_label for ref in refs]
            raise GraphError(f"{self!r} needs at least two upstreams, not {labels}; remove or replace it.")
        for name in ("target_strategy", "tags_strategy"):
            self._moved(getattr(self, name), refs, name)
        return refs

    def _moved(self, strategy: Any, refs: Sequence[UpstreamReference], name: str) -> Any:
        """Return a strategy for other upstreams: what stands in the place of what it named."""
        if isinstance(strategy, Strategy) or strategy in refs:
            return strategy
        if len(refs) == len(self.upstream_refs):
            return refs[self.upstream_refs.index(strategy)]
        raise GraphError(
            f"{self!r}: its {name} keeps the data of {strategy.node_label!r}, which would feed it no more; "
            f"set node.{name} to another upstream or word before."
        )

    def set_upstream_refs(self, upstreams: Sequence[Any]) -> None:
        """Let it be fed by something else; see `GraphNode.set_upstream_refs`."""
        refs = self._check_upstream_refs(upstreams)
        self.target_strategy = self._moved(self.target_strategy, refs, "target_strategy")
        self.tags_strategy = self._moved(self.tags_strategy, refs, "tags_strategy")
        self.upstream_refs, self._output_shape, self._input_shapes = refs, None, None

    def _follow(self, renamed: Mapping[str, GraphNodeReference]) -> None:
        """Be fed by the same nodes under other ids; see `GraphNode._follow`."""
        super()._follow(renamed)
        for name in ("target_strategy", "tags_strategy"):
            strategy = getattr(self, name)
            if isinstance(strategy, GraphNodeReference):
                setattr(self, name, renamed.get(strategy.node_id, strategy))

    # -- shapes --------------------------------------------------------------------

    @property
    def input_shapes(self) -> tuple[Shape | None, ...]:
        """Shape of one sample of each input, or None before `build`."""
        return self._input_shapes or (None,) * len(self.upstream_refs)

    @property
    def output_shape(self) -> Shape | None:
        """Shape of one merged sample, or None before `build`."""
        return self._output_shape

    @property
    def is_built(self) -> bool:
        """Whether the shapes are known."""
        return self._output_shape is not None

    def build(
        self, input_shapes: Sequence[Shape], *, includes_batch_dim: bool = False, backend: str | None = None
    ) -> Self:
        """Find the output shape by merging samples of zeros.

        Args:
            input_shapes: The shape of each input.
            includes_batch_dim: Whether their first dimension is that of the samples.
            backend: Merges are computed with torch, whatever their inputs are made with.

        Raises:
            GraphError: If such inputs cannot be merged; the message names each of them.
        """
        shapes = tuple(tuple(shape)[1:] if includes_batch_dim else tuple(shape) for shape in input_shapes)
        try:
            merged = self.apply_merge([torch.zeros(N_DUMMY, *shape) for shape in shapes])
        except Exception as error:
            named = zip((ref.node_label for ref in self.upstream_refs), shapes, strict=True)
            listed = ", ".join(f"{label!r} {shape}" for label, shape in named)
            kind = "" if isinstance(error, ModularMLError) else f"{type(error).__name__}: "
            raise GraphError(f"{self!r} cannot merge {listed}: {kind}{error}") from error
        if not isinstance(merged, torch.Tensor) or merged.ndim == 0 or len(merged) != N_DUMMY:
            came = (
                f"shape {tuple(merged.shape)}" if isinstance(merged, torch.Tensor) else type(merged).__name__
            )
            raise GraphError(
                f"{self!r}: apply_merge() must return one tensor whose first dimension is the samples; for "
                f"{N_DUMMY} samples it returned {came}."
            )
        self._input_shapes, self._output_shape = shapes, tuple(merged.shape[1:])
        return self

    def get_state(self) -> dict[str, Any]:
        """Return its shapes and whether it is frozen; it has no weights."""
        return {
            "input_shapes": self._input_shapes,
            "output_shape": self._output_shape,
            "frozen_by": self.frozen_by,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `get_state` returned."""
        shapes, output = state["input_shapes"], state["output_shape"]
        self._input_shapes = None if shapes is None else tuple(tuple(shape) for shape in shapes)
        self._output_shape = None if output is None else tuple(output)
        self._frozen_by = state["frozen_by"]

    # -- merging -------------------------------------------------------------------

    @abstractmethod
    def apply_merge(
        self,
        values: Sequence[torch.Tensor],
        *,
        includes_batch_dim: bool = True,
        fmt: str | DataFormat | None = None,
        domain: str = "features",
    ) -> torch.Tensor:
        """Return several values as one.

        Args:
            values: One tensor an input, ``(n_samples, *input_shape)``, in the order of the upstreams.
            includes_batch_dim: Whether their first dimension is that of the samples.
            fmt: The format that the values came in, where `merge` was called with samples.
            domain: ``"features"``; targets and tags are merged by the strategies.
        """

    def forward(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return a batch of every input merged; the call of the loops."""
        return self.apply_merge(values)

    def merge(self, inputs: Sequence[Any]) -> Any:
        """Return samples of every input as one: `SampleData`, `RoleData` or `Batch`.

        Features are merged by `apply_merge`, targets and tags by their strategies. Ids are those of
        the first input. Weights are averaged, and a sample counts where it counts in every input.

        Raises:
            InvalidValueError: If inputs differ in roles or in how many samples they have, or there are
                not as many as upstreams.
            InvalidTypeError: If they are of different types, or of none of these.
        """
        return merged(self, inputs)

    def __call__(self, *inputs: Any) -> Any:
        """Return `merge` of the inputs, given one by one or as a list."""
        return self.merge(inputs[0] if len(inputs) == 1 else inputs)
