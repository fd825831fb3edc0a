"""Changes to a graph: nodes come, go and are replaced, and what they fed is fed otherwise.

It knows no shapes and no weights. Each change is drafted first and then made all at once,
so one that raises leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, Self

from modularml.base.errors import Faults, GraphError, unknown_name
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import FeatureSetReference, GraphNodeReference
from modularml.core.topology import structure
from modularml.core.topology.graph_node import GraphNode, UpstreamReference


class Draft:
    """A graph as it is to be: its nodes, and what feeds each.

    Args:
        nodes: The nodes of the graph, fed as they are now.
        ctx: Where labels are looked up.
        where: The graph, for messages.
    """

    def __init__(self, nodes: Sequence[GraphNode], ctx: ExperimentContext, where: str) -> None:
        self.nodes = {node.label: node for node in nodes}
        # Labels of nodes and references to FeatureSets.
        self.wiring = {node.label: tuple(_point(ref, ctx) for ref in node.upstream_refs) for node in nodes}
        self._ctx, self._where = ctx, where

    def add(self, node: GraphNode | str) -> Self:
        """Take in a node, fed as it is.

        Raises:
            GraphError: If it is in the graph already.
        """
        self._enter(node)
        return self

    def remove(self, node: GraphNode | str) -> Self:
        """Leave out a node; what it fed is fed by what fed it."""
        label = self._member(node)
        self.wiring = structure.without(self.wiring, label)
        del self.nodes[label]
        return self

    def replace(self, old: GraphNode | str, new: GraphNode | str) -> Self:
        """Put a node in the place of another."""
        label, entering = self._member(old), self._enter(new)
        ups = self.wiring.pop(label)
        self.wiring = structure.with_replaced(self.wiring, label, entering) | {entering: ups}
        del self.nodes[label]
        return self

    def insert_between(self, new: GraphNode | str, upstream: Any, downstream: GraphNode | str) -> Self:
        """Put a node on the way from an upstream to a node that it feeds.

        Raises:
            GraphError: If it does not feed that.
        """
        label, entering = self._member(downstream), self._enter(new)
        i = _position(self.wiring, _point_of(upstream, self._ctx), label, self._ctx)
        ups = self.wiring[label]
        self.wiring |= {entering: (ups[i],), label: (*ups[:i], entering, *ups[i + 1 :])}
        return self

    def insert_before(self, new: GraphNode | str, downstream: GraphNode | str) -> Self:
        """Put a node before another: fed by all that feeds that one, which it then feeds alone."""
        label, entering = self._member(downstream), self._enter(new)
        self.wiring |= {entering: self.wiring[label], label: (entering,)}
        return self

    def insert_after(self, new: GraphNode | str, upstream: GraphNode | str) -> Self:
        """Put a node behind another: fed by it, feeding all that it fed."""
        label, entering = self._member(upstream), self._enter(new)
        self.wiring = structure.with_replaced(self.wiring, label, entering) | {entering: (label,)}
        return self

    def apply(self) -> list[GraphNode]:
        """Let the nodes be fed so, all of them, or none if one cannot be, and return them.

        Raises:
            GraphError: If there is no node, one is fed by what is not in the graph or cannot be fed so,
                or there is a cycle.
        """
        faults = Faults(self._where)
        if not self.nodes:
            faults.add(GraphError("it needs at least one node."))
        for label, points in self.wiring.items():
            for point in points:
                if isinstance(point, str) and point not in self.nodes:
                    faults.add(
                        GraphError(f"{point!r} feeds {label!r} and is not in the graph; add it first.")
                    )
        faults.raise_if_any()
        faults.attempt(structure.check_acyclic, self.wiring)
        changes: dict[str, list[UpstreamReference]] = {}
        for label, points in self.wiring.items():
            node = self.nodes[label]
            before = {_point(ref, self._ctx): ref for ref in node.upstream_refs}
            refs = [before.get(point) or _reference(point, self.nodes) for point in points]
            if tuple(refs) != node.upstream_refs:
                faults.attempt(node._check_upstream_refs, refs)
                changes[label] = refs
        faults.raise_if_any()
        for label, refs in changes.items():
            self.nodes[label].set_upstream_refs(refs)
        return list(self.nodes.values())

    def _member(self, node: GraphNode | str) -> str:
        return member(node, self.nodes, self._ctx, self._where)

    def _enter(self, node: GraphNode | str) -> str:
        found: GraphNode = self._ctx.get_node(node, GraphNode)
        if found.label in self.nodes:
            raise GraphError(f"{found!r} is in {self._where} already.")
        self.nodes[found.label] = found
        self.wiring[found.label] = tuple(_point(ref, self._ctx) for ref in found.upstream_refs)
        return found.label


def member(
    node: GraphNode | GraphNodeReference | str, labels: Collection[str], ctx: ExperimentContext, where: str
) -> str:
    """Return the label of a node of a graph.

    Args:
        node: The node, its label, its id or a reference to it.
        labels: Those of the nodes in the graph.
        ctx: Where it is looked up.
        where: The graph, for messages.

    Raises:
        GraphError: If it is not in the graph; the message has the nearest match.
    """
    label = str(ctx.get_node(node, GraphNode).label)
    if label not in labels:
        raise GraphError(unknown_name("node", label, labels, where=where))
    return label


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


def _point_of(upstream: GraphNode | FeatureSet | UpstreamReference | str, ctx: ExperimentContext) -> Hashable:
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


def _position(wiring: structure.Wiring, upstream: Hashable, downstream: str, ctx: ExperimentContext) -> int:
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
            if isinstance(up, FeatureSetReference) and _name(up, ctx) == _name(upstream, ctx)
        ]
        if len(named) == 1:
            return named[0]
    listed = [_name(up, ctx) for up in ups]
    raise GraphError(unknown_name("upstream", _name(upstream, ctx), listed, where=f"the node {downstream!r}"))


def _name(point: Hashable, ctx: ExperimentContext) -> str:
    return ctx.label_of(point) if isinstance(point, FeatureSetReference) else str(point)


def _reference(point: Hashable, nodes: Mapping[str, GraphNode]) -> UpstreamReference:
    if isinstance(point, FeatureSetReference):
        return point
    return nodes[str(point)].reference(getattr(point, "output", None))
