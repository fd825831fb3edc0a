"""A graph that was read from a file meets the data, the nodes and the graph that the context has.

It knows no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modularml.base.errors import Faults, GraphError, StateError, unknown_name
from modularml.core.context import ExperimentContext, new_id
from modularml.core.data.entrance import TITLE
from modularml.core.data.featureset import FeatureSet
from modularml.core.topology.graph_node import GraphNode
from modularml.display.notice import notice

GRAPH_TITLE = "ModelGraph Collision"
Columns = Mapping[str, Mapping[str, Any]]


def check_columns(read: Mapping[str, Columns], ctx: ExperimentContext, where: str) -> None:
    """Raise unless the FeatureSets that are there have the columns that a graph reads, and tell of others.

    Raises:
        GraphError: If columns are missing or of another shape; all of them are told.
    """
    faults = Faults(where)
    for label, columns in read.items():
        featureset = ctx.nodes.get(label)
        if not isinstance(featureset, FeatureSet):
            listed = ", ".join(f"{name} {tuple(column['shape'])}" for name, column in columns.items())
            notice(
                "Missing FeatureSet",
                f"The loaded ModelGraph reads FeatureSet {label!r} ({listed}), which is not in the active "
                "ExperimentContext. It predicts from arrays; to train it, make that FeatureSet.",
            )
            continue
        for name, column in columns.items():
            place = f"FeatureSet {label!r}"
            if name not in featureset.columns:
                faults.add(GraphError(unknown_name("column", name, featureset.columns, where=place)))
                continue
            shape, known = featureset.table.column(name).shape[1:], tuple(column["shape"])
            if shape != known:
                faults.add(
                    GraphError(f"the column {name!r} of {place} has the shape {shape}; it reads {known}.")
                )
    faults.raise_if_any()


def enter(graph: Any, ctx: ExperimentContext, *, overwrite: bool) -> Any:
    """Register a loaded graph and its nodes, or return the one that is the same; say what came of it."""
    present = ctx.model_graph
    if present is not None and present == graph:
        tell_identical(present)
        return present
    if overwrite and ctx.experiment is not None and ctx.experiment.is_running:
        raise StateError(f"Experiment {ctx.experiment.label!r} is running; no graph can take its place now.")
    nodes: Sequence[GraphNode] = list(graph.nodes.values())
    if not overwrite:
        _make_room(graph, nodes, ctx)
    for node in nodes:
        taken = [known for known in ctx.nodes.values() if _clash(known, node)]
        for known in taken:
            tell_node_replaced(known, node)
            ctx.remove_node(label=known.label)
        node._move_to(ctx)
    if present is None or overwrite:
        if present is not None:
            tell_replaced(present, graph)
        graph._move_to(ctx)
    else:
        graph.ctx = ctx
        notice(
            GRAPH_TITLE,
            f"The loaded ModelGraph {graph.label!r} differs from {present.label!r}, which stays the graph of "
            "the experiment; the loaded one predicts beside it. overwrite=True puts it in its place.",
        )
    return graph


def _clash(known: Any, node: GraphNode) -> bool:
    return bool(known.label == node.label or known.node_id == node.node_id)


def _make_room(graph: Any, nodes: Sequence[GraphNode], ctx: ExperimentContext) -> None:
    """Give the nodes whose id or label is taken an id and a label of their own, and tell each."""
    renamed = {}
    for node in nodes:
        if not any(_clash(known, node) for known in ctx.nodes.values()):
            continue
        before, wanted = node.reference(), node.label
        others = {*ctx.nodes, *(other.label for other in nodes if other is not node)}
        node.label = next(
            label
            for label in (wanted, *(f"{wanted}_{n}" for n in range(2, len(others) + 3)))
            if label not in others
        )
        node.node_id = new_id()
        renamed[before.node_id] = node.reference()
        notice(
            TITLE,
            f"The loaded {type(node).__name__} {wanted!r} has the label or the id of another one. "
            f"It was registered as {node.label!r} with a new id.",
        )
    graph._follow(renamed)


def tell_identical(present: Any) -> None:
    """Say that the loaded graph is in the context already."""
    notice(
        GRAPH_TITLE,
        f"Loaded ModelGraph is identical to {present.label!r} in the existing ExperimentContext. "
        f"Returning {present.label!r}.",
    )


def tell_replaced(present: Any, loaded: Any) -> None:
    """Say that the loaded graph takes the place of that of the context."""
    notice(
        GRAPH_TITLE,
        f"The loaded ModelGraph {loaded.label!r} differs from {present.label!r}, which will be "
        "overwritten in the active ExperimentContext.",
    )


def tell_node_replaced(present: Any, loaded: Any) -> None:
    """Say that a loaded node takes the place of one of the context."""
    shared = "ID" if present.node_id == loaded.node_id else "label"
    notice(
        TITLE,
        f"The loaded {type(loaded).__name__} has an overlapping {shared} with existing "
        f"{type(present).__name__} {present.label!r}. {present.label!r} will be "
        "overwritten in the active ExperimentContext.",
    )
