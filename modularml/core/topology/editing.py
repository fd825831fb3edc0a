"""Changes to a graph: nodes come, go and are replaced, and what they fed is fed otherwise.

It knows no shapes and no weights. Each change is made on paper first and then all at once,
so one that raises leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from modularml.base.errors import Faults, GraphError, unknown_name
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import FeatureSetReference, GraphNodeReference
from modularml.core.topology import structure
from modularml.core.topology.graph_node import GraphNode, UpstreamReference

Wiring = Mapping[str, tuple[Hashable, ...]]


def wiring_of(nodes: Sequence[GraphNode], ctx: ExperimentContext) -> dict[str, tuple[Hashable, ...]]:
    """Return what feeds each node: labels of nodes, references to FeatureSets."""
    return {node.label: tuple(_point(ref, ctx) for ref in node.upstream_refs) for node in nodes}


class _Output(str):
    """One of several outputs of a node: it stands for the node, and differs from its other outputs."""

    output: str

    def __new__(cls, label: str, output: str) -> _Output:
        made = super().__new__(cls, label)
        made.output = output
        return made

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) and getattr(other, "output", self.output) == self.output

    __hash__ = str.__hash__


def _point(ref: UpstreamReference, ctx: ExperimentContext) -> Hashable:
    if isinstance(ref, FeatureSetReference):
        return ref
    label = ctx.label_of(ref)
    return label if ref.output is None else _Output(label, ref.output)


def point_of(upstream: GraphNode | FeatureSet | UpstreamReference | str, ctx: ExperimentContext) -> Hashable:
    """Return what stands for an upstream in a wiring.

    Raises:
        UnknownNameError: If it is not of this experiment.
    """
    if isinstance(upstream, FeatureSetReference):
        return upstream
    found = ctx.get_node(upstream)
    if isinstance(upstream, GraphNodeReference):
        return _point(upstream, ctx)
    return found.label if isinstance(found, GraphNode) else found.reference()


def position(wiring: Wiring, upstream: Hashable, downstream: str) -> int:
    """Return which of its upstreams feeds a node.

    Raises:
        GraphError: If it does not; the message lists what does. A FeatureSet may be named without
            its columns where no other reference to it feeds the node.
    """
    ups = wiring[downstream]
    if upstream in ups:
        return ups.index(upstream)
    if isinstance(upstream, FeatureSetReference):
        named = [
            i
            for i, up in enumerate(ups)
            if isinstance(up, FeatureSetReference) and up.node_label == upstream.node_label
        ]
        if len(named) == 1:
            return named[0]
    listed = [_name(up) for up in ups]
    raise GraphError(unknown_name("upstream", _name(upstream), listed, where=f"the node {downstream!r}"))


def _name(point: Hashable) -> str:
    return point.node_label if isinstance(point, FeatureSetReference) else str(point)


def apply(wiring: Wiring, nodes: Mapping[str, GraphNode], ctx: ExperimentContext, where: str) -> None:
    """Give the nodes the upstreams of a wiring; all of them, or none if one cannot have them.

    Args:
        wiring: The new graph.
        nodes: Label -> node, of all nodes in it.
        ctx: Where labels are looked up.
        where: The graph, for messages.

    Raises:
        GraphError: If it has a cycle, or a node cannot be fed so.
    """
    faults = Faults(where)
    faults.attempt(structure.check_acyclic, wiring)
    changes: dict[str, list[UpstreamReference]] = {}
    for label, points in wiring.items():
        before = {_point(ref, ctx): ref for ref in nodes[label].upstream_refs}
        refs = [before.get(point) or _reference(point, nodes) for point in points]
        if tuple(refs) != nodes[label].upstream_refs:
            faults.attempt(nodes[label].check_upstream_refs, refs)
            changes[label] = refs
    faults.raise_if_any()
    for label, refs in changes.items():
        nodes[label].set_upstream_refs(refs)


def _reference(point: Hashable, nodes: Mapping[str, GraphNode]) -> UpstreamReference:
    if isinstance(point, FeatureSetReference):
        return point
    return nodes[str(point)].reference(getattr(point, "output", None))
