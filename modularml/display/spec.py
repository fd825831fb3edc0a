"""A diagram as frozen data: what to draw, not how.

It knows neither Mermaid nor SVG nor what a node means; those who have something to
show return a `GraphSpec`, and everything that draws takes one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modularml.base.errors import Faults, InvalidValueError, check_choice

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


SHAPES = ("rect", "circle", "stadium")
MOST_ROWS = 12
"""Rows of a section; a table tells of hundreds of columns better than a box does."""
ANIMATIONS = ("slow", "medium", "fast")

_ID = re.compile(r"[a-z]+\d+")  # stands bare in Mermaid text and in SVG


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and the rows under it, e.g. ``features`` / ``voltage.raw: (10,)``.

    Of many rows the first are kept, and the last says how many more there are.
    """

    heading: str
    rows: tuple[str, ...]

    def __post_init__(self) -> None:
        n_more = len(self.rows) - MOST_ROWS + 1
        if n_more > 1:
            object.__setattr__(self, "rows", (*self.rows[: MOST_ROWS - 1], f"… {n_more:,} more"))


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

    def __post_init__(self) -> None:
        _check_id(self.id)
        check_choice(self.kind, f"kind of node '{self.id}'", STYLES)
        check_choice(self.shape, f"shape of node '{self.id}'", SHAPES)


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

    def __post_init__(self) -> None:
        _check_id(self.id)
        if self.animation is not None:
            check_choice(self.animation, f"animation of edge '{self.id}'", ANIMATIONS)


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """A whole diagram, left to right. The order of nodes and edges is the order drawn."""

    title: str
    nodes: tuple[NodeSpec, ...]
    edges: tuple[EdgeSpec, ...]

    def __post_init__(self) -> None:
        faults = Faults(f"Diagram of {self.title}")
        nodes = [node.id for node in self.nodes]
        ids = nodes + [edge.id for edge in self.edges]
        for twice in sorted({i for i in ids if ids.count(i) > 1}):
            faults.add(f"the id '{twice}' is used twice")
        for edge in self.edges:
            for end in (edge.source, edge.target):
                if end not in nodes:
                    faults.add(f"edge '{edge.id}' ends at '{end}', which is none of {nodes}")
        faults.raise_if_any()


def _check_id(id: str) -> None:
    if not _ID.fullmatch(id):
        raise InvalidValueError(f"An id in a diagram is letters and a number, like 'n0', got {id!r}.")
