"""A diagram as frozen data: what to draw, not how.

It knows neither Mermaid nor SVG nor what a node means; those who have something to
show return a `GraphSpec`, and everything that draws takes one.
"""

from __future__ import annotations

from dataclasses import dataclass

STYLES: dict[str, tuple[str, str, str]] = {
    "FeatureSet": ("#AA00FF", "#E1BEE7", "#000000"),
    "FeatureSetView": ("#AA00FF", "#F3E5F5", "#000000"),
    "OutputTerminal": ("#424242", "#616161", "#FFFFFF"),
    "InactiveNode": ("#BDBDBD", "#F5F5F5", "#9E9E9E"),
    "ModelNode": ("#2962FF", "#BBDEFB", "#000000"),
    "ModelNodeFrozen": ("#90CAF9", "#E3F2FD", "#666666"),
    "MergeNode": ("#565656", "#B1B1B1", "#000000"),
    "AppliedLoss": ("#D50000", "#FFCDD2", "#000000"),
    "FeatureSampler": ("#FF6D00", "#FFE0B2", "#000000"),
}
"""Kind of node -> its (stroke, fill, text) colours, in the order pictures list them."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and the rows under it, e.g. ``features`` / ``voltage.raw: (10,)``."""

    heading: str
    rows: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A box of the diagram. All texts are plain: whoever draws escapes them.

    Attributes:
        id: Unique in the diagram: ``n0``, ``n1``, ...
        kind: A key of `STYLES`.
        title: What it is, e.g. ``"ModelNode"``; empty for a terminal.
        name: Its label; drawn in single quotes.
        note: A remark after the name, e.g. ``"<torch>"``.
        lines: Further lines of the first block.
        blocks: Blocks of sections; a rule is drawn before each block.
        shape: ``"rect" | "circle" | "stadium"``.
    """

    id: str
    kind: str
    title: str = ""
    name: str | None = None
    note: str | None = None
    lines: tuple[str, ...] = ()
    blocks: tuple[tuple[Section, ...], ...] = ()
    shape: str = "rect"


@dataclass(frozen=True, kw_only=True)
class EdgeSpec:
    """An arrow of the diagram.

    Attributes:
        id: Unique in the diagram: ``e0``, ``e1``, ...
        label: Text on the arrow; None for none.
        dotted: A dotted arrow, e.g. from a loss to its node.
        animation: ``None | "slow" | "medium" | "fast"``: dashes that flow.
    """

    id: str
    source: str
    target: str
    label: str | None = None
    dotted: bool = False
    animation: str | None = None


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """A whole diagram, left to right. The order of nodes and edges is the order drawn."""

    title: str
    nodes: tuple[NodeSpec, ...]
    edges: tuple[EdgeSpec, ...]
