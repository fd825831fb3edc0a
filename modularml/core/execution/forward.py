"""A graph resolved once into a flat list of calls over numbered slots.

It knows no loss and no optimizer. A batch is written into the first slots; each call
reads one slot and writes another. Between torch and other backends values are
converted in the call itself, so the loops see tensors only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from modularml.backends.torch import as_array
from modularml.base.errors import StateError
from modularml.core.execution.streams import DEFAULT_ROLE, roles_among, stream_of
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode

Call = tuple[Callable[[Any], Any], int, int]


class Forward:
    """The calls that run some nodes of a graph, in topological order.

    Args:
        graph: The graph; it must be built.
        nodes: The nodes to run, in topological order.
        n_columns: How many slots at the front a batch takes. The features of the heads come
            first, head by head and role by role.
        roles: Head label -> the roles of its samples; a node runs once for each. A head that
            is not named has the one role of single samples.

    Attributes:
        calls: ``(function, slot read, slot written)``.
        calls_of: Node label -> its calls, one a role.
        slot_of: Stream of a node -> slot of its output.
        n_slots: How many slots a pass needs.

    Raises:
        StateError: If a node is not built.
    """

    def __init__(
        self,
        graph: ModelGraph,
        nodes: Sequence[GraphNode],
        n_columns: int,
        roles: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.calls_of: dict[str, list[Call]] = {}
        self.slot_of: dict[str, int] = {}
        heads, slots = iter(range(n_columns)), itertools.count(n_columns)
        backend_of: dict[str, str] = {}
        for node in built(nodes):
            if node.featureset_refs:
                of_head = (roles or {}).get(node.label, (DEFAULT_ROLE,))
                sources, fed_by = {role: next(heads) for role in of_head}, "torch"
            else:
                upstream = graph.ctx.get_node(node.node_refs[0]).label
                of_node = roles_among(self.slot_of, upstream)
                sources = {role: self.slot_of[stream_of(upstream, role)] for role in of_node}
                fed_by = backend_of[upstream]
            backend_of[node.label] = node.backend
            function = forward_call(node, fed_by)
            for role in sources:
                self.slot_of[stream_of(node.label, role)] = next(slots)
            self.calls_of[node.label] = [
                (function, source, self.slot_of[stream_of(node.label, role)])
                for role, source in sources.items()
            ]
        self.calls: list[Call] = list(itertools.chain.from_iterable(self.calls_of.values()))
        self.n_slots = n_columns + len(self.calls)

    def run(self, slots: list[Any]) -> None:
        """Run every call; the batch must be in the first slots."""
        for function, source, target in self.calls:
            slots[target] = function(slots[source])


def built(nodes: Sequence[GraphNode]) -> list[ModelNode]:
    """Return the nodes.

    Raises:
        StateError: If some are not built; the message names them all.
    """
    ready = [node for node in nodes if isinstance(node, ModelNode) and node.is_built]
    if len(ready) < len(nodes):
        missing = [node.label for node in nodes if node not in ready]
        raise StateError(f"The nodes {missing} are not built; call graph.build() first.")
    return ready


def forward_call(node: ModelNode, fed_by: str) -> Callable[[Any], Any]:
    """Return the function from a batch of inputs to a batch of outputs of a node.

    Args:
        node: The node.
        fed_by: The backend of whatever its input comes from.
    """
    if node.backend == "torch":
        module: Callable[[Any], Any] = node.module
        if fed_by == "torch":
            return module
        dtype = dtype_of(node)
        return lambda batch: module(batch.to(dtype))
    return lambda batch: tensor_of(node.model.forward(array_of(batch)))


def dtype_of(node: ModelNode) -> torch.dtype:
    """Return the dtype that a node computes in: that of its parameters, else torch's default."""
    parameters = node.module.parameters() if node.backend == "torch" else iter(())
    return next((p.dtype for p in parameters if p.is_floating_point()), torch.get_default_dtype())


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
        (node.module, any(t is node for t in trained))
        for node in nodes
        if isinstance(node, ModelNode) and node.backend == "torch"
    ]
    modes = [(part, part.training) for module, _ in modules for part in module.modules()]
    grads = [(p, p.requires_grad) for module, _ in modules for p in module.parameters()]
    try:
        for module, trains in modules:
            module.train(trains)
            if not trains:
                module.requires_grad_(False)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, flag in grads:
            parameter.requires_grad_(flag)
