"""A graph resolved once into a flat list of calls over numbered slots.

It knows no loss and no optimizer. A batch is written into the first slots; each call
reads a slot, or several side by side, and writes another. Between torch and other backends values are
converted in the call itself, so the loops see tensors only.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from modularml.backends.torch import as_array
from modularml.backends.torch_modules import modes_kept, parameters, set_mode
from modularml.base.errors import GraphError, StateError
from modularml.core.data.reference import FeatureSetReference
from modularml.core.execution.streams import DEFAULT_ROLE, roles_among, stream_of
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.merge_node import MergeNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.topology.origin import entry_of
from modularml.models.torch.outputs import pick

Call = tuple[Callable[[Any], Any], Any, int]
"""A function, what it reads and the slot that it writes: a slot is read by its number, several that
lie side by side by a slice, and so the loops need not know which it is."""


class Forward:
    """The calls that run some nodes of a graph, in topological order.

    Args:
        graph: The graph; it must be built.
        nodes: The nodes to run, in topological order.
        n_columns: How many slots at the front a batch takes. The features that enter come first: node
            by node, FeatureSet by FeatureSet and role by role.
        roles: Key of each entry of data -> the roles of its samples; a node runs once for each. An entry
            that is not named has the one role of single samples.
        lessons: Label of each estimator that learns from every batch -> the slot of its targets, if it
            has any, and what learns from both and returns the outputs.

    Attributes:
        calls: ``(function, slot or slots read, slot written)``.
        calls_of: Node label -> its calls.
        slot_of: Stream of a node -> slot of its output.
        n_slots: How many slots a pass needs.

    Raises:
        StateError: If a node is not built.
        GraphError: If inputs that are merged have different roles, or are text.
    """

    def __init__(
        self,
        graph: ModelGraph,
        nodes: Sequence[GraphNode],
        n_columns: int,
        roles: Mapping[str, Sequence[str]] | None = None,
        lessons: Mapping[str, tuple[int | None, Callable[[Any], Any]]] | None = None,
    ) -> None:
        self.calls_of: dict[str, list[Call]] = {}
        self.slot_of: dict[str, int] = {}
        columns, slots = iter(range(n_columns)), itertools.count(n_columns)
        dtypes: dict[str, torch.dtype | None] = {}
        for node in built(nodes):
            inputs: list[dict[str, int]] = []
            came: list[torch.dtype | None] = []
            entering = iter(entering_dtypes(node))
            for ref in node.upstream_refs:
                if isinstance(ref, FeatureSetReference):
                    of_entry = (roles or {}).get(entry_of(node, ref, graph.ctx).key, (DEFAULT_ROLE,))
                    inputs.append({role: next(columns) for role in of_entry})
                    came.append(next(entering))
                else:
                    upstream = graph.ctx.get_node(ref, GraphNode)
                    output = upstream.output_name(ref.output)
                    of_node = roles_among(self.slot_of, upstream.label)
                    inputs.append(
                        {role: self.slot_of[stream_of(upstream.label, role, output)] for role in of_node}
                    )
                    came.append(dtypes[upstream.label])
            _check_roles(node, inputs)
            function, dtypes[node.label] = forward_call(node, came)
            if node.output_names:  # they may have a dtype each
                dtypes[node.label] = None
            calls = self.calls_of[node.label] = []
            targets, function = (lessons or {}).get(node.label, (None, function))
            for role in inputs[0]:
                read: Any = inputs[0][role]
                if len(inputs) > 1 or targets is not None:
                    sources = [of_role[role] for of_role in inputs] + ([] if targets is None else [targets])
                    side_by_side = [next(slots) for _ in sources]
                    read = slice(side_by_side[0], side_by_side[-1] + 1)
                    calls += [
                        (_itself, source, slot) for source, slot in zip(sources, side_by_side, strict=True)
                    ]
                whole = next(slots)
                calls.append((function, read, whole))
                for output in node.output_names:
                    slot = self.slot_of[stream_of(node.label, role, output)] = next(slots)
                    calls.append((functools.partial(pick, name=output), whole, slot))
                if not node.output_names:
                    self.slot_of[stream_of(node.label, role)] = whole
        self.calls: list[Call] = list(itertools.chain.from_iterable(self.calls_of.values()))
        self.n_slots = n_columns + len(self.calls)

    def only(self, nodes: Sequence[GraphNode]) -> Forward:
        """Return the same slots with the calls of some nodes alone."""
        part = copy.copy(self)
        part.calls_of = {node.label: self.calls_of[node.label] for node in nodes}
        part.calls = list(itertools.chain.from_iterable(part.calls_of.values()))
        return part

    def run(self, slots: list[Any]) -> None:
        """Run every call; the batch must be in the first slots."""
        for function, source, target in self.calls:
            slots[target] = function(slots[source])


def _itself(batch: Any) -> Any:
    return batch


def _check_roles(node: GraphNode, inputs: Sequence[Mapping[str, int]]) -> None:
    roles = [sorted(of_input) for of_input in inputs]
    if any(of_input != roles[0] for of_input in roles):
        named = {ref.node_label: found for ref, found in zip(node.upstream_refs, roles, strict=True)}
        raise GraphError(
            f"The inputs of {node!r} have samples in different roles, {named}, and cannot be read side by "
            "side; bind their FeatureSets to samplers of one kind."
        )


def built(nodes: Sequence[GraphNode]) -> list[GraphNode]:
    """Return the nodes.

    Raises:
        StateError: If some are not built; the message names them all.
    """
    missing = [node.label for node in nodes if not node.is_built]
    if missing:
        raise StateError(f"The nodes {missing} are not built; call graph.build() first.")
    return list(nodes)


def forward_call(
    node: GraphNode, came: Sequence[torch.dtype | None]
) -> tuple[Callable[[Any], Any], torch.dtype | None]:
    """Return the function from a batch of inputs to a batch of outputs of a node, and their dtype.

    Args:
        node: The node.
        came: The dtype of each input; None where only a batch can tell, as behind estimators.
    """
    if isinstance(node, MergeNode):
        merge = node.forward
        dtype = came[0] if len(set(came)) == 1 else None
        return (merge if dtype is not None else lambda batches: merge(_alike(batches, node))), dtype
    assert isinstance(node, ModelNode)
    if node.backend != "torch":
        return (lambda batch: tensor_of(node.model.forward(array_of(batch)))), None
    if node.takes_list:
        return _of_several(node, came)
    module = _sparing(node)
    if node.dtype is None and not node.model.takes_integers and came[0] is not None:
        return module, came[0]  # without parameters it takes what comes
    (wanted,) = node.input_dtypes
    return (module if came[0] == wanted else lambda batch: module(batch.to(wanted))), dtype_of(node)


def _of_several(
    node: ModelNode, came: Sequence[torch.dtype | None]
) -> tuple[Callable[[Any], Any], torch.dtype]:
    module, wanted, spares = node._called_module, node.input_dtypes, node.model.changes_input
    if list(came) == wanted and not spares:
        return module, dtype_of(node)
    return (
        lambda batches: module(
            [one.to(dtype, copy=spares) for one, dtype in zip(batches, wanted, strict=True)]
        )
    ), dtype_of(node)


def _sparing(node: ModelNode) -> Callable[[Any], Any]:
    """Return the module of a node, which shall not write into what others read, too."""
    module: Callable[[Any], Any] = node._called_module
    return (lambda batch: module(batch.clone())) if node.model.changes_input else module


def _alike(batches: Sequence[Any], node: GraphNode) -> list[torch.Tensor]:
    """Return batches in the dtype that can hold them all, floating for the sake of the modules behind."""
    for batch, ref in zip(batches, node.upstream_refs, strict=True):
        if not isinstance(batch, torch.Tensor):
            raise GraphError(f"{node!r} cannot merge the text that comes from {ref.node_label!r}.")
    dtype = functools.reduce(torch.promote_types, [batch.dtype for batch in batches])
    dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
    return [batch.to(dtype) for batch in batches]


def dtype_of(node: GraphNode) -> torch.dtype:
    """Return the dtype that a node computes in: that of its parameters, else torch's default."""
    own = node.dtype if isinstance(node, ModelNode) else None
    return own or torch.get_default_dtype()


def entering_dtypes(node: GraphNode) -> list[torch.dtype | None]:
    """Return the dtype in which the features of each FeatureSet enter a node; None: as they are."""
    if isinstance(node, ModelNode) and node.backend == "torch":
        pairs = zip(node.upstream_refs, node.input_dtypes, strict=True)
        return [dtype for ref, dtype in pairs if isinstance(ref, FeatureSetReference)]
    return [dtype_of(node) if node.backend == "torch" else None for _ in node.featureset_refs]


def array_of(batch: Any) -> np.ndarray:
    """Return a batch as a numpy array without a gradient."""
    return as_array(batch) if isinstance(batch, torch.Tensor) else np.asarray(batch)


def tensor_of(array: np.ndarray) -> Any:
    """Return an array as a tensor; text (e.g. class names) stays an array."""
    return torch.from_numpy(np.ascontiguousarray(array)) if array.dtype.kind in "biufc" else array


@contextmanager
def training_flags(nodes: Sequence[GraphNode], trained: Sequence[GraphNode]) -> Iterator[None]:
    """Put the trained torch nodes in training mode, all others in evaluation mode.

    Only the parameters of the trained ones ask for gradients. Every flag is as before
    afterwards, whatever happens.
    """
    modules = [
        (node._called_module, any(t is node for t in trained))
        for node in nodes
        if isinstance(node, ModelNode) and node.backend == "torch"
    ]
    asking = [(p, p.requires_grad, trains) for module, trains in modules for p in parameters(module)]
    with modes_kept(module for module, _ in modules):
        try:
            for module, trains in modules:
                set_mode(module, trains)
            for parameter, asks, trains in asking:
                if asks and not trains:
                    parameter.requires_grad = False
            yield
        finally:
            for parameter, asks, _ in asking:
                if parameter.requires_grad is not asks:
                    parameter.requires_grad = asks
