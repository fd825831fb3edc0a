"""The static picture of a `GraphSpec`: one SVG that needs nothing but itself.

It knows no page around it: whatever stands on the ground itself can be read on a
light and on a dark one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from modularml.display.drawing import MONO, NEUTRAL, frame, number, shortened, text_width, xml_text
from modularml.display.layout import Arrow, Point, lay_out
from modularml.display.spec import STYLES, EdgeSpec, GraphSpec, NodeSpec

CHIP_FILL, CHIP_STROKE, CHIP_INK = "#F3F4F6", "#9AA1AB", "#24292F"
DASHED, DOTTED = "9 5", "2 5"

MARGIN = 10.0
PADDING = 14.0
TERMINAL = 20.0
CHIP_HEIGHT = 20.0
CHIP_SIZE = 11.5
MOST_CHARACTERS = 48  # the rest of a longer text stands in the Mermaid form


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One line in a box: a text, or a rule across it."""

    text: str = ""
    note: str = ""
    size: float = 12.0
    bold: bool = False
    mono: bool = False
    indent: float = 0.0
    rule: bool = False

    @property
    def height(self) -> float:
        return 13.0 if self.rule else self.size * 1.5

    @property
    def width(self) -> float:
        note = text_width(f"  {self.note}", self.size) if self.note else 0.0
        return self.indent + text_width(self.text, self.size, bold=self.bold, mono=self.mono) + note


@functools.lru_cache(maxsize=32)
def svg(spec: GraphSpec) -> str:
    """Return the diagram as the text of a self-contained SVG element.

    Kept for the next run of the same phase: to lay it out takes longer than all else of a saved picture.
    """
    lines = {node.id: _lines(node) for node in spec.nodes}
    sizes = {node.id: _size(node, lines[node.id]) for node in spec.nodes}
    arrows = [
        Arrow(source=e.source, target=e.target, label_width=_chip_width(e.label) if e.label else 0.0)
        for e in spec.edges
    ]
    layout = lay_out(sizes, arrows)
    drawn = [_edge(edge, layout.routes[i]) for i, edge in enumerate(spec.edges)]
    drawn += [_box(node, lines[node.id], layout.boxes[node.id], sizes[node.id]) for node in spec.nodes]
    drawn += [_chip(edge.label, layout.labels[i]) for i, edge in enumerate(spec.edges) if edge.label]
    return frame(spec.title, drawn, *layout.size, margin=MARGIN)


def _lines(node: NodeSpec) -> list[_Line]:
    def line(text: str, **look: Any) -> _Line:
        return _Line(text=shortened(text, MOST_CHARACTERS), **look)

    lines = [line(node.title, size=13, bold=True)] if node.title else []
    if node.name is not None or node.note:
        name = "" if node.name is None else f"'{node.name}'"
        lines.append(line(name, note=shortened(node.note or "", MOST_CHARACTERS), size=13))
    lines += [line(text) for text in node.lines]
    for block in node.blocks:
        lines.append(_Line(rule=True))
        for section in block:
            lines.append(line(section.heading, size=11.5, bold=True))
            lines += [line(row, size=11.5, mono=True, indent=10) for row in section.rows]
    return lines


def _size(node: NodeSpec, lines: list[_Line]) -> Point:
    if node.shape == "circle" and not lines:
        return TERMINAL, TERMINAL
    width = max((line.width for line in lines), default=0.0) + 2 * PADDING
    height = sum(line.height for line in lines) + 2 * PADDING * 0.8
    if node.shape == "circle":
        return (max(width, height) * 1.2,) * 2
    return (width + height * 0.3, height) if node.shape == "stadium" else (width, height)


def _box(node: NodeSpec, lines: list[_Line], corner: Point, size: Point) -> str:
    stroke, fill, ink = STYLES[node.kind]
    (x, y), (width, height) = corner, size
    radius = 10.0 if node.shape == "rect" else height / 2
    centred = node.shape != "rect"
    left = width / 2 if centred else PADDING
    parts = [
        f'<g transform="translate({number(x)} {number(y)})" fill="{ink}"'
        + (' text-anchor="middle">' if centred else ">"),
        f'<rect width="{number(width)}" height="{number(height)}" rx="{number(radius)}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="2"/>',
    ]
    top = (height - sum(line.height for line in lines)) / 2
    for line in lines:
        if line.rule:
            parts.append(_rule(width, top + line.height / 2, stroke))
        else:
            parts.append(_line(line, left, top + line.height * 0.7))
        top += line.height
    return "\n".join([*parts, "</g>"])


def _rule(width: float, y: float, stroke: str) -> str:
    ends = f"M{PADDING:g} {number(y)}H{number(width - PADDING)}"
    return f'<path d="{ends}" stroke="{stroke}" opacity="0.45"/>'


def _line(line: _Line, x: float, y: float) -> str:
    weight = ' font-weight="600"' if line.bold else ""
    family = f' font-family="{MONO}"' if line.mono else ""
    note = f'<tspan dx="8" opacity="0.7">{xml_text(line.note)}</tspan>' if line.note else ""
    return (
        f'<text x="{number(x + line.indent)}" y="{number(y)}" font-size="{line.size:g}"{weight}{family} '
        f'xml:space="preserve">{xml_text(line.text)}{note}</text>'
    )


def _edge(edge: EdgeSpec, route: list[Point]) -> str:
    dashes = DOTTED if edge.dotted else DASHED if edge.animation else None
    style = f' stroke-dasharray="{dashes}"' if dashes else ""
    x, y = route[-1]
    shaft = [*route[:-1], (x - 7, y)]
    path = f"M{number(shaft[0][0])} {number(shaft[0][1])}"
    for (x1, y1), (x2, y2) in pairwise(shaft):
        middle = number((x1 + x2) / 2)
        path += f"C{middle} {number(y1)} {middle} {number(y2)} {number(x2)} {number(y2)}"
    head = f"M{number(x - 1)} {number(y)}l-10 -5v10z"
    return (
        f'<path d="{path}" fill="none" stroke="{NEUTRAL}" stroke-width="2" stroke-linecap="round"{style}/>'
        f'<path d="{head}" fill="{NEUTRAL}" stroke="{NEUTRAL}" stroke-linejoin="round"/>'
    )


def _chip_width(label: str) -> float:
    return text_width(shortened(label, MOST_CHARACTERS), CHIP_SIZE) + 18


def _chip(label: str, middle: Point) -> str:
    (x, y), width = middle, _chip_width(label)
    left, top = number(x - width / 2), number(y - CHIP_HEIGHT / 2)
    return (
        f'<rect x="{left}" y="{top}" width="{number(width)}" height="{CHIP_HEIGHT:g}" '
        f'rx="{CHIP_HEIGHT / 2:g}" fill="{CHIP_FILL}" stroke="{CHIP_STROKE}"/>'
        f'<text x="{number(x)}" y="{number(y + 4)}" font-size="{CHIP_SIZE}" fill="{CHIP_INK}" '
        f'text-anchor="middle">{xml_text(shortened(label, MOST_CHARACTERS))}</text>'
    )
