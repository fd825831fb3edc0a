"""Where the targets, tags and rows that belong to a node's outputs come from.

It knows no rows and no batches: an origin is an entry of data into the graph, or several
that are joined on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modularml.core.context import ExperimentContext
from modularml.core.data.columns import DOMAINS
from modularml.core.data.reference import FeatureSetReference
from modularml.core.data.table import stack
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.merge_strategy import MergeStrategy, Strategy, join

_UNLIKE_ANY_LABEL = "\u2063"  # not printable, and so in no label; nothing is seen of it


@dataclass(frozen=True)
class Entry:
    """A FeatureSet that enters the graph at a node.

    Attributes:
        key: Its name: the label of the node, if that has no other FeatureSet upstream.
        ref: The columns that enter.
    """

    key: str
    ref: FeatureSetReference

    @property
    def rows(self) -> Entry:
        """The entry whose rows count."""
        return self

    def columns(self, domain: str) -> tuple[str, ...]:
        """The full names of its columns."""
        return tuple(getattr(self.ref, domain))


@dataclass(frozen=True)
class Joined:
    """Data of several entries that are joined.

    Attributes:
        parts: What is joined, in order.
        how: The axis of a sample, or ``"mean"``.
    """

    parts: tuple[Origin, ...]
    how: Strategy

    @property
    def key(self) -> str:
        """Its name, unlike any label."""
        return f"{f' {_UNLIKE_ANY_LABEL}+ '.join(part.key for part in self.parts)} ({self.how})"

    @property
    def rows(self) -> Entry:
        """The entry whose rows count: the first."""
        return self.parts[0].rows

    def columns(self, domain: str) -> tuple[str, ...]:
        """The full names of the columns of all parts, in order."""
        return tuple(name for part in self.parts for name in part.columns(domain))


Origin = Entry | Joined


def entry_of(node: GraphNode, ref: FeatureSetReference, ctx: ExperimentContext) -> Entry:
    """Return the entry of a FeatureSet at a node that it feeds."""
    refs = node.featureset_refs
    several = len(refs) > 1 and len({ctx.label_of(other) for other in refs}) > 1
    return Entry(f"{node.label} {_UNLIKE_ANY_LABEL}<- {ctx.label_of(ref)}" if several else node.label, ref)


def entries_of(node: GraphNode, ctx: ExperimentContext) -> list[Entry]:
    """Return the entries whose samples reach a node, each key once."""
    found: dict[str, Entry] = {}
    for ref in node.upstream_refs:
        if isinstance(ref, FeatureSetReference):
            entries = [entry_of(node, ref, ctx)]
        else:
            entries = entries_of(ctx.get_node(ref), ctx)
        for entry in entries:
            found.setdefault(entry.key, entry)
    return list(found.values())


def origin_of(node: GraphNode, domain: str, ctx: ExperimentContext) -> Origin:
    """Return where the data of a domain come from that belong to the outputs of a node.

    Features are those of the rows that its targets come from.
    """
    if domain not in ("targets", "tags"):
        return origin_of(node, "targets", ctx).rows
    of_inputs: list[Origin] = [
        entry_of(node, ref, ctx)
        if isinstance(ref, FeatureSetReference)
        else origin_of(ctx.get_node(ref), domain, ctx)
        for ref in node.upstream_refs
    ]
    how = node._data_strategy(domain)
    if how == MergeStrategy.FIRST or how == MergeStrategy.LAST:
        return of_inputs[0 if how == MergeStrategy.FIRST else -1]
    if not isinstance(how, Strategy):
        return of_inputs[node.upstream_refs.index(how)]
    # Branches of one trunk bring the same data several times.
    distinct: dict[Any, Origin] = {}
    for origin in of_inputs:
        if origin.columns(domain):
            distinct.setdefault(_meaning(origin, domain, ctx), origin)
    parts = tuple(distinct.values())
    return Joined(parts, how) if len(parts) > 1 else parts[0] if parts else of_inputs[0]


def tree_of(origin: Origin, domain: str) -> dict[str, Any]:
    """Return as plain values what is read of which entries, and how it is joined."""
    if isinstance(origin, Entry):
        return {"key": origin.key, "columns": list(origin.columns(domain))}
    return {"parts": [tree_of(part, domain) for part in origin.parts], "how": origin.how}


def columns_of(node: GraphNode, ctx: ExperimentContext) -> dict[str, tuple[str, ...]]:
    """Return the full names of the columns that belong to the outputs of a node, by domain."""
    return {domain: origin_of(node, domain, ctx).columns(domain) for domain in DOMAINS}


def _meaning(origin: Origin, domain: str, ctx: ExperimentContext) -> Any:
    if isinstance(origin, Entry):
        return ctx.label_of(origin.ref), origin.columns(domain)
    return tuple(_meaning(part, domain, ctx) for part in origin.parts), origin.how


def shape_of(origin: Origin, domain: str, ctx: ExperimentContext) -> tuple[int, ...] | None:
    """Return the shape of a sample of the data of a domain; None if there are none.

    Raises:
        InvalidValueError: If columns or parts have shapes that do not fit together.
    """
    return None if not origin.columns(domain) else tuple(_sample(origin, domain, ctx).shape[1:])


def _sample(origin: Origin, domain: str, ctx: ExperimentContext) -> Any:
    if isinstance(origin, Entry):
        table = ctx.get_node(origin.ref).table
        return stack({name: table.column(name)[:1] for name in origin.columns(domain)})
    return join([_sample(part, domain, ctx) for part in origin.parts], origin.how)
