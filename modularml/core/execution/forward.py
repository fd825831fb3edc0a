"""A graph resolved once into a flat list of calls over numbered slots.

It knows no loss and no optimizer. A batch is written into the first slots; each call
reads one slot and writes another. Between torch and other backends values are
converted in the call itself, so the loops see tensors only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from modularml.base.errors import StateError
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode

Call = tuple[Callable[[Any], Any], int, int]


class Forward:
    """The calls that run some nodes of a graph, in topological order.

    Args:
        graph: The graph; it must be built.
        nodes: The nodes to run, in topological order.
        n_columns: How many slots at the front a batch takes. The features of the i-th
            head are in slot i.

    Attributes:
        calls: ``(function, slot read, slot written)``.
        slot_of: Node label -> slot of its output.
        n_slots: How many slots a pass needs.

    Raises:
        StateError: If a node is not built.
    """

    def __init__(self, graph: ModelGraph, nodes: Sequence[GraphNode], n_columns: int) -> None:
        self.calls: list[Call] = []
        self.slot_of: dict[str, int] = {}
        heads = iter(range(n_columns))
        backend_of: dict[str, str] = {}
        for slot, node in enumerate(built(nodes), start=n_columns):
            if node.featureset_refs:
                source, fed_by = next(heads), "torch"
            else:
                upstream = graph.ctx.get_node(node.node_refs[0]).label
                source, fed_by = self.slot_of[upstream], backend_of[upstream]
            self.slot_of[node.label] = slot
            backend_of[node.label] = node.backend
            self.calls.append((forward_call(node, fed_by), source, slot))
        self.n_slots = n_columns + len(nodes)

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
    array: np.ndarray = batch.detach().cpu().numpy() if isinstance(batch, torch.Tensor) else np.asarray(batch)
    return array


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
