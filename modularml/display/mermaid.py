"""The Mermaid text of a `GraphSpec`.

It knows no renderer and no class of the library; equal specs give equal bytes.
"""

from __future__ import annotations

import re

from modularml.display.spec import STYLES, EdgeSpec, GraphSpec, NodeSpec, Section

RULE = "─" * 10

_ANIMATION_S = {"slow": 8, "medium": 3, "fast": 1}
_NO_ANIMATION = "NoAnimation"

_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_INNER_UNDERSCORE = r"(?<=[^\W_])_(?=[^\W_])"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Mermaid looks for directives, statements and colours before it looks for strings,
# so each character that could begin one is written as its number.
_ACTIVE = re.compile(rf"[&<>\"'\\`#%*~\[$]|:(?! )|(?!{_INNER_UNDERSCORE})_")
_MARKDOWN = re.compile(rf"[\\`*~\[$]|(?!{_INNER_UNDERSCORE})_")
_LINK_OR_FORMULA = re.compile(r":(?=//|fa-)|@|\$(?=\$)|www(?=\.)", re.IGNORECASE)
_WORD_JOINER = "\u2060"  # invisible, and what it parts is no link, icon or formula any more


def escape(text: str) -> str:
    """Return `text` as the label of an edge shows it literally, on one line."""
    line = _CONTROL.sub(" ", text)
    return _ACTIVE.sub(lambda found: _HTML.get(found[0]) or f"#{ord(found[0])};", line)


def escape_in_box(text: str) -> str:
    """Return `text` as a box shows it literally: there Mermaid also draws Markdown."""
    parted = _LINK_OR_FORMULA.sub(rf"\g<0>{_WORD_JOINER}", text)
    return escape(_MARKDOWN.sub(r"\\\g<0>", parted))


def mermaid(spec: GraphSpec) -> str:
    """Return the Mermaid text of a diagram, from ``flowchart LR`` to its last class."""
    blocks = [
        [_edge(edge) for edge in spec.edges],
        [_box(node) for node in spec.nodes]
        + [f"{node.id}:::{node.kind}" for node in spec.nodes]
        + [_style(kind) for kind in _kinds(spec)],
        [_animation(name) for name in sorted({_animation_name(edge) for edge in spec.edges})]
        + [f"class {edge.id} {_animation_name(edge)}" for edge in spec.edges],
    ]
    written = ["\n".join(f"\t{line}" for line in lines) for lines in blocks if lines]
    return "flowchart LR\n" + "\n\n".join(written)


def _edge(edge: EdgeSpec) -> str:
    arrow = "-.->" if edge.dotted else "-->"
    label = "" if edge.label is None else f'|"{escape(edge.label)}"|'
    return f"{edge.source} {edge.id}@{arrow}{label} {edge.target}"


def _box(node: NodeSpec) -> str:
    return f'{node.id}@{{ label: "{_label(node)}", shape: {node.shape} }}'


def _label(node: NodeSpec) -> str:
    lines = [f"<b>{escape_in_box(node.title)}</b>"] if node.title else []
    name = [] if node.name is None else [f"'{escape_in_box(node.name)}'"]
    note = [] if node.note is None else [escape_in_box(node.note)]
    lines += ["  ".join(name + note)] if name or note else []
    lines += [escape_in_box(line) for line in node.lines]
    for block in node.blocks:
        lines.append(RULE)
        for section in block:
            lines += _section(section)
    return "<br>".join(lines) or " "


def _section(section: Section) -> list[str]:
    return [f"<b>{escape_in_box(section.heading)}</b>", *(f"  {escape_in_box(row)}" for row in section.rows)]


def _kinds(spec: GraphSpec) -> list[str]:
    """Return the kinds drawn, in the order of `STYLES`; a FeatureSet stands behind its sampler."""
    used = {node.kind for node in spec.nodes}
    kinds = [kind for kind in STYLES if kind in used]
    if {"FeatureSet", "FeatureSampler"} <= used:
        kinds.remove("FeatureSet")
        kinds.append("FeatureSet")
    return kinds


def _style(kind: str) -> str:
    stroke, fill, text = STYLES[kind]
    look = f"stroke-width: 2px, stroke-dasharray: 0, stroke: {stroke}, fill: {fill}, color:{text}"
    return f"classDef {kind} {look};"


def _animation_name(edge: EdgeSpec) -> str:
    return f"Dash{edge.animation.capitalize()}Animation" if edge.animation else _NO_ANIMATION


def _animation(name: str) -> str:
    if name == _NO_ANIMATION:
        return f"classDef {name} stroke-dasharray: 0;"
    seconds = _ANIMATION_S[name.removeprefix("Dash").removesuffix("Animation").lower()]
    look = f"stroke-dasharray: 9,5, stroke-dashoffset: 100, animation: dash {seconds}s linear infinite"
    return f"classDef {name} {look};"
