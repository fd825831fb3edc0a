"""The picture of a phase: the graph's picture with samplers and losses added.

It knows no loop; boxes and arrows of the graph keep their ids, so a live view can
follow a node from one picture to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modularml.core.context import ExperimentContext
from modularml.core.execution.binding import InputBinding
from modularml.core.topology.diagram import graph_spec
from modularml.core.topology.graph_node import GraphNode
from modularml.core.training.applied_loss import AppliedLoss
from modularml.display.spec import EdgeSpec, GraphSpec, NodeSpec, Section


def phase_spec(
    title: str,
    nodes: Sequence[GraphNode],
    ctx: ExperimentContext,
    bindings: Sequence[InputBinding],
    losses: Sequence[AppliedLoss],
    *,
    frozen: bool,
) -> GraphSpec:
    """Describe the picture of a phase over `nodes`, given in topological order.

    A binding with a sampler replaces the arrow from its FeatureSet by two that flow,
    through the sampler; one without adds its split to the arrow. Losses point at
    their nodes by dotted arrows.
    """
    graph = graph_spec(title, nodes, ctx)
    id_of = {box.name: box.id for box in graph.nodes if box.name is not None}
    labels = {ref: ctx.get_node(ref).label for b in bindings for ref in (b.node_ref, b.upstream_ref)}
    bound = {labels[b.node_ref]: b for b in bindings}
    boxes = [_with_columns(box, bound.get(box.name or ""), frozen) for box in graph.nodes]
    edges = list(graph.edges)
    n_edges = len(edges)
    for binding in bindings:
        source, target = id_of[labels[binding.upstream_ref]], id_of[labels[binding.node_ref]]
        i = next(i for i, edge in enumerate(edges) if (edge.source, edge.target) == (source, target))
        split = f"split: {binding.split}" if binding.split is not None else None
        if binding.sampler is None:
            edges[i] = replace(edges[i], label=" ".join(filter(None, (edges[i].label, split))))
            continue
        box = _sampler_box(f"n{len(boxes)}", binding, split)
        boxes.append(box)
        shape = edges.pop(i).label
        edges.append(
            EdgeSpec(id=f"e{n_edges}", source=source, target=box.id, label=split, animation="medium")
        )
        edges.append(
            EdgeSpec(id=f"e{n_edges + 1}", source=box.id, target=target, label=shape, animation="medium")
        )
        n_edges += 2
    for loss in losses:
        lines = (f"loss: {loss.loss.name}",)
        box = NodeSpec(
            id=f"n{len(boxes)}",
            kind="AppliedLoss",
            title="AppliedLoss",
            name=loss.label,
            lines=lines,
            shape="stadium",
        )
        boxes.append(box)
        target = id_of[ctx.get_node(loss).label]
        edges.append(EdgeSpec(id=f"e{n_edges}", source=box.id, target=target, dotted=True))
        n_edges += 1
    return GraphSpec(title=title, nodes=tuple(boxes), edges=tuple(edges))


def _with_columns(box: NodeSpec, binding: InputBinding | None, frozen: bool) -> NodeSpec:
    if frozen and box.kind == "ModelNode":
        box = replace(box, kind="ModelNodeFrozen")
    if binding is None:
        return box
    ref = binding.upstream_ref
    sections = tuple(
        Section(heading=domain, rows=tuple(dict.fromkeys(name.split(".")[1] for name in names)))
        for domain, names in (("features", ref.features), ("targets", ref.targets))
        if names
    )
    return replace(box, blocks=(sections,))


def _sampler_box(box_id: str, binding: InputBinding, split: str | None) -> NodeSpec:
    sampler = binding.sampler
    lines = [type(sampler).__name__, f"batch_size: {getattr(sampler, 'batch_size', 1)}"]
    if split is not None:
        lines.append(split)
    return NodeSpec(id=box_id, kind="FeatureSampler", title="Sampler", lines=tuple(lines))
