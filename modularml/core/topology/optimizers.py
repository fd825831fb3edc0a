"""The optimizers of a graph, one for all torch nodes or one each, and the parameters they update.

It knows no shapes and no wiring, and nothing of the steps that are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from modularml.base.errors import GraphError
from modularml.core.topology.model_node import ModelNode


def build_optimizers(graph: Any, models: Sequence[ModelNode], *, force: bool) -> None:
    """Let the optimizers of a graph and of its nodes update the parameters that these have by now.

    Args:
        graph: The graph.
        models: Its nodes with models.
        force: Forget moments.

    Raises:
        GraphError: If one optimizer is to update several things: it would update the last of them alone.
    """
    _check_apart([graph, *models], f"ModelGraph {graph.label!r}")
    trained = [node for node in models if node.backend == "torch" and node.is_built]
    if graph.optimizer is not None and trained:
        is_sparse = any(node.has_sparse_gradients for node in trained)
        graph.optimizer.build(parameters_of(trained), force_rebuild=force, sparse=is_sparse)
    for node in trained:
        if node.optimizer is not None:
            named = dict(node.module.named_parameters())
            node.optimizer.build(named, force_rebuild=force, sparse=node.has_sparse_gradients)


def _check_apart(owners: Sequence[Any], where: str) -> None:
    holders: dict[int, list[str]] = {}
    for owner in owners:
        if owner.optimizer is not None:
            holders.setdefault(id(owner.optimizer), []).append(repr(owner))
    for shared in holders.values():
        if len(shared) > 1:
            raise GraphError(
                f"{where}: {' and '.join(shared)} have one Optimizer object; give each "
                "an Optimizer of its own, or the graph alone one for all nodes."
            )


def parameters_of(nodes: Iterable[ModelNode]) -> dict[str, Any]:
    """Return the parameters of built torch nodes, by ``"<node>.<name>"``."""
    return {f"{n.label}.{name}": p for n in nodes for name, p in n.module.named_parameters()}
