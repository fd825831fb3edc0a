"""What runs change in a graph, as a tree: weights, estimators, frozen flags, moments.

It knows no wiring and no file; nodes are matched by label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modularml.backends.backend import Backend, load
from modularml.base.config import same_tree
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.merge_node import MergeNode
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.optimizer import Optimizer


def take(nodes: Iterable[GraphNode], optimizer: Optimizer | None) -> dict[str, Any]:
    """Return a copy of the state of the nodes of a graph and of its optimizer."""
    models_first = sorted(nodes, key=lambda node: not isinstance(node, ModelNode))
    states = {node.label: state_of(node) for node in models_first}
    for node in _models(models_first):
        states[node.label]["optimizer"] = _moments(node.optimizer)
    return {"nodes": states, "optimizer": _moments(optimizer)}


def state_of(node: GraphNode) -> dict[str, Any]:
    """Return a copy of the state of a node, all but what its optimizer remembers."""
    if isinstance(node, MergeNode):
        return node.get_state()
    assert isinstance(node, ModelNode)
    return {"model": node.model.get_state(), "frozen_by": node.frozen_by}


def put_back(node: GraphNode, state: Mapping[str, Any]) -> None:
    """Return a node to what `state_of` returned."""
    if isinstance(node, MergeNode):
        node.set_state(state)
        return
    assert isinstance(node, ModelNode)
    node.model.set_state(state["model"])
    node.unfreeze()
    if state["frozen_by"] is not None:
        node.freeze(state["frozen_by"])


def put_into_optimizers(
    nodes: Iterable[GraphNode], optimizer: Optimizer | None, state: Mapping[str, Any]
) -> None:
    """Return optimizers, which are built for the nodes as they are now, to what `take` returned."""
    pairs = [(node.optimizer, state["nodes"][node.label]["optimizer"]) for node in _models(nodes)]
    for known, saved in [*pairs, (optimizer, state["optimizer"])]:
        if known is not None and saved is not None:
            known.set_state(saved)


def _models(nodes: Iterable[GraphNode]) -> list[ModelNode]:
    return [node for node in nodes if isinstance(node, ModelNode)]


def _moments(optimizer: Optimizer | None) -> dict[str, Any] | None:
    return optimizer.get_state() if optimizer is not None and optimizer.is_built else None


def equal(left: Any, right: Any) -> bool:
    """Tell whether two states hold the same; estimators count by what they have learnt."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if hasattr(left, "get_params") and hasattr(right, "get_params"):
        return bool(load(Backend.SCIKIT).same(left, right))
    return same_tree(left, right)
