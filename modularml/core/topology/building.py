"""Shape inference: what reaches each node, from the data on, and every node built for that.

It knows no optimizer and no batch: a FeatureSet is asked for one sample of the columns that are read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from modularml.base.errors import GraphError, InvalidValueError, StateError, told_of, unknown_name
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import FeatureSetReference
from modularml.core.data.table import side_by_side
from modularml.core.data.values import check_feeds
from modularml.core.topology.graph_node import GraphNode, Shape, UpstreamReference
from modularml.core.topology.merge_node import MergeNode
from modularml.core.topology.model_node import ModelNode
from modularml.core.topology.origin import entries_of, origin_of, shape_of


def build_nodes(
    nodes: Sequence[GraphNode], tails: Collection[str], anew: Collection[str], ctx: ExperimentContext
) -> None:
    """Build all nodes for what feeds them; what is built keeps its weights.

    Args:
        nodes: The nodes, in topological order.
        tails: The labels of those that feed no other.
        anew: The labels of those that are built again, with new weights.
        ctx: Where upstreams are looked up.

    Raises:
        GraphError: If a model does not take the shape that reaches it.
    """
    for node in nodes:
        if isinstance(node, MergeNode):
            node.build([shape_of_input(node, ref, ctx) for ref in node.upstream_refs])
        if not isinstance(node, ModelNode):
            continue
        wanted = None
        predicts = node.label in tails or node.backend == "scikit"
        again = node.label in anew
        known = node.model.own_output_shape if again else node.model.output_shape
        if predicts and known is None:
            wanted = _wanted_shape(node, ctx)
        shapes = [shape_of_input(node, ref, ctx) for ref in node.upstream_refs]
        if node.takes_list:
            kinds = [_kind_of_input(node, ref, ctx) for ref in node.upstream_refs]
            node.build(shapes, wanted, force=again, input_kinds=kinds)
        else:
            node.build(shapes[0], wanted, force=again)


def shape_of_input(node: GraphNode, ref: UpstreamReference, ctx: ExperimentContext) -> Shape:
    """Return the shape of one sample that an upstream brings.

    From a FeatureSet it is ``(n_keys, *key_shape)``, or ``(n_values,)`` where samples of its columns
    differ in shape.

    Raises:
        StateError: If the node upstream of it is not built.
    """
    if isinstance(ref, FeatureSetReference):
        table = featureset_of(ref, node, ctx).table
        samples = {name: table.column(name)[:1] for name in ref.features}
        check_feeds(samples, repr(node))
        of_columns: Shape = side_by_side(samples).shape[1:]
        return of_columns
    upstream = ctx.get_node(ref, GraphNode)
    if upstream.output_shape is None:
        first = f"fit it first (FitPhase with active_nodes=[..., {upstream.label!r}])"
        raise StateError(
            f"The output shape of {upstream!r} is unknown, so {node!r} behind it cannot be built: "
            f"{first if upstream.is_built else 'build it first'}, then build the graph again."
        )
    try:
        shape: Shape = upstream.shape_of_output(ref.output)
    except GraphError as error:
        raise GraphError(f"{node!r}: {error}") from error
    return shape


def _kind_of_input(node: GraphNode, ref: UpstreamReference, ctx: ExperimentContext) -> str:
    """Return what an upstream brings: ``"int"`` or ``"bool"`` where a FeatureSet holds that alone."""
    if not isinstance(ref, FeatureSetReference):
        return "float"
    table = featureset_of(ref, node, ctx).table
    found = {table.column(name).dtype.kind for name in ref.features}
    return "bool" if found == {"b"} else "int" if found <= set("biu") else "float"


def target_shape(node: GraphNode, ctx: ExperimentContext) -> Shape | None:
    """Return the shape of one sample's targets as they reach a node, or None if it has none.

    Raises:
        InvalidTypeError: If targets are neither numbers nor bools.
        InvalidValueError: If they have shapes that do not fit together.
    """
    for entry in entries_of(node, ctx):
        table = featureset_of(entry.ref, node, ctx).table
        check_feeds({name: table.column(name)[:1] for name in entry.ref.targets}, repr(node))
    with told_of(f"{node!r}: its targets"):
        return shape_of(origin_of(node, "targets", ctx), "targets", ctx)


def _wanted_shape(node: ModelNode, ctx: ExperimentContext) -> Shape | None:
    """Return the shape that a tail is to have; None where targets of several shapes have a loss each."""
    try:
        return target_shape(node, ctx)
    except InvalidValueError:
        if node.model.takes_output_shape:
            raise
        return None


def featureset_of(ref: FeatureSetReference, node: GraphNode, ctx: ExperimentContext) -> FeatureSet:
    """Return what a reference of a node leads to.

    Raises:
        GraphError: If it is not there, or lacks a column that the reference names.
    """
    known = {label: fs for label, fs in ctx.nodes.items() if isinstance(fs, FeatureSet)}
    found = ctx.get_node(ref) if ctx.has_node(ref) else None
    if not isinstance(found, FeatureSet):
        raise GraphError(unknown_name("FeatureSet", ref.node_label, known, where=repr(node)))
    for name in ref.columns:
        if name not in found.columns:
            where = f"{found.label!r}, which feeds {node!r}"
            raise GraphError(unknown_name("column", name, found.columns, where=where))
    return found
