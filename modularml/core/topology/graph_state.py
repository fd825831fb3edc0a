"""What runs change in a graph, as a tree: weights, estimators, frozen flags, moments.

It knows no wiring and no file; nodes are matched by label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modularml.backends.backend import Backend, load
from modularml.base.config import same_tree
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.merge_node import MergeNode
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.optimizer import Optimizer


def take(nodes: Iterable[GraphNode], optimizer: Optimizer | None) -> dict[str, Any]:
    """Return a copy of the state of the nodes of a graph and of its optimizer."""
    models, merges = _by_kind(nodes)
    states = {
        node.label: {
            "model": node.model.get_state(),
            "frozen_by": node.frozen_by,
            "optimizer": _moments(node.optimizer),
        }
        for node in models
    }
    states |= {node.label: node.get_state() for node in merges}
    return {"nodes": states, "optimizer": _moments(optimizer)}


def put_into_nodes(nodes: Iterable[GraphNode], state: Mapping[str, Any]) -> None:
    """Return nodes to what `take` returned, all but what optimizers remember."""
    models, merges = _by_kind(nodes)
    for node in models:
        saved = state["nodes"][node.label]
        node.model.set_state(saved["model"])
        node.unfreeze()
        if saved["frozen_by"] is not None:
            node.freeze(saved["frozen_by"])
    for merge in merges:
        merge.set_state(state["nodes"][merge.label])


def put_into_optimizers(
    nodes: Iterable[GraphNode], optimizer: Optimizer | None, state: Mapping[str, Any]
) -> None:
    """Return optimizers, which are built for the nodes as they are now, to what `take` returned."""
    models, _ = _by_kind(nodes)
    pairs = [(node.optimizer, state["nodes"][node.label]["optimizer"]) for node in models]
    for known, saved in [*pairs, (optimizer, state["optimizer"])]:
        if known is not None and saved is not None:
            known.set_state(saved)


def _by_kind(nodes: Iterable[GraphNode]) -> tuple[Sequence[ModelNode], Sequence[MergeNode]]:
    nodes = list(nodes)
    return (
        [node for node in nodes if isinstance(node, ModelNode)],
        [node for node in nodes if isinstance(node, MergeNode)],
    )


def _moments(optimizer: Optimizer | None) -> dict[str, Any] | None:
    return optimizer.get_state() if optimizer is not None and optimizer.is_built else None


def equal(left: Any, right: Any) -> bool:
    """Tell whether two states hold the same; estimators count by what they have learnt."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if hasattr(left, "get_params") and hasattr(right, "get_params"):
        return bool(load(Backend.SCIKIT).same(left, right))
    return same_tree(left, right)
