"""The picture of a graph: its nodes, the FeatureSets that feed them, the outputs.

It knows no phases; a phase takes this picture and adds its own samplers and losses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_node import ModelNode
from modularml.display.figures import format_shape
from modularml.display.spec import EdgeSpec, GraphSpec, NodeSpec

SHOWN = frozenset({"frozen", "splits"})
"""What a picture shows where nothing is said: which nodes are frozen, and the splits of FeatureSets."""


def graph_spec(
    title: str, nodes: Sequence[GraphNode], ctx: ExperimentContext, shown: Collection[str] = SHOWN
) -> GraphSpec:
    """Describe the picture of `nodes`, given in topological order.

    Of FeatureSets it can tell the keys of columns, too: ``"features"``, ``"targets"``, ``"tags"``.

    The boxes are numbered: nodes first, then FeatureSets, then outputs. Edges are
    numbered node by node: what feeds it, then, if nothing follows it, its output.
    """
    box_of = {node.label: f"n{i}" for i, node in enumerate(nodes)}
    found = [ctx.get_node(ref, FeatureSet) for node in nodes for ref in node.featureset_refs]
    sources = {fs.label: fs for fs in found}
    box_of |= {label: f"n{len(nodes) + i}" for i, label in enumerate(sources)}
    feeding = {ctx.get_node(ref).label for node in nodes for ref in node.node_refs}
    boxes = [_node_box(box_of[node.label], node, shown) for node in nodes]
    boxes += [_featureset_box(box_of[label], fs, shown) for label, fs in sources.items()]
    arrows: list[tuple[str, str, str | None]] = []
    for node in nodes:
        box = box_of[node.label]
        for ref, shape in zip(node.upstream_refs, node.input_shapes, strict=True):
            arrows.append(
                (box_of[ctx.get_node(ref).label], box, format_shape(shape, getattr(ref, "output", None)))
            )
        if node.label not in feeding:
            terminal = NodeSpec(id=f"n{len(boxes)}", kind="OutputTerminal", shape="circle")
            boxes.append(terminal)
            arrows.append((box, terminal.id, format_shape(node.output_shape)))
    edges = tuple(
        EdgeSpec(id=f"e{i}", source=source, target=target, label=label)
        for i, (source, target, label) in enumerate(arrows)
    )
    return GraphSpec(title=title, nodes=tuple(boxes), edges=edges)


def _node_box(box_id: str, node: GraphNode, shown: Collection[str]) -> NodeSpec:
    is_model = isinstance(node, ModelNode)
    is_frozen = is_model and node.is_frozen and "frozen" in shown
    return NodeSpec(
        id=box_id,
        kind="ModelNodeFrozen" if is_frozen else node.kind,
        title="ModelNode" if is_model else type(node).__name__,
        name=node.label,
        note=f"<{node.backend}>" if is_model else None,
    )


def _featureset_box(box_id: str, featureset: FeatureSet, shown: Collection[str]) -> NodeSpec:
    lines = [f"n={featureset.n_samples}"]
    keys = {
        "features": featureset.get_feature_keys,
        "targets": featureset.get_target_keys,
        "tags": featureset.get_tag_keys,
    }
    for domain, get in keys.items():
        found = dict.fromkeys(get(include_rep_suffix=False, include_domain_prefix=False))
        if domain in shown and found:
            lines.append(f"{domain}: {', '.join(found)}")
    if featureset.available_splits and "splits" in shown:
        lines.append(f"splits: {', '.join(featureset.available_splits)}")
    return NodeSpec(
        id=box_id, kind="FeatureSet", title="FeatureSet", name=featureset.label, lines=tuple(lines)
    )
