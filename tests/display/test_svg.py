"""The picture stands alone: no script, no reference, no id; labels are text in it."""

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from modularml.display.spec import STYLES, EdgeSpec, GraphSpec, NodeSpec
from modularml.display.svg import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "g", "rect", "path", "text", "tspan"}
ATTRIBUTES = {
    *("role", "width", "height", "viewBox", "style", "font-family", "transform", "fill", "stroke", "rx"),
    *(
        "stroke-width",
        "stroke-dasharray",
        "stroke-linecap",
        "stroke-linejoin",
        "d",
        "x",
        "y",
        "dx",
        "opacity",
    ),
    *("text-anchor", "font-size", "font-weight", "{http://www.w3.org/XML/1998/namespace}space"),
}


def texts(picture: str) -> list[str]:
    root = ElementTree.fromstring(picture)
    return ["".join(element.itertext()) for element in root.iter(f"{NAMESPACE}text")]


def test_picture_shows_every_text_of_the_spec(spec):
    shown = texts(svg(spec))
    for node in spec.nodes:
        rows = [row for block in node.blocks for section in block for row in (section.heading, *section.rows)]
        for text in (node.title, *node.lines, *rows):
            assert not text or text in shown
        assert node.name is None or any(text.startswith(f"'{node.name}'") for text in shown)
    assert all(edge.label is None or edge.label in shown for edge in spec.edges)


def test_picture_uses_the_colours_of_its_kinds_and_names_itself(spec):
    picture = svg(spec)
    root = ElementTree.fromstring(picture)
    assert root.get("role") == "img"
    assert root[0].tag == f"{NAMESPACE}title"
    assert root[0].text == spec.title
    for node in spec.nodes:
        stroke, fill, _ = STYLES[node.kind]
        assert f'fill="{fill}" stroke="{stroke}"' in picture


def test_dotted_and_animated_arrows_are_told_apart():
    nodes = tuple(NodeSpec(id=f"n{i}", kind="ModelNode", title="x") for i in range(2))
    drawn = {
        svg(GraphSpec(title="g", nodes=nodes, edges=(EdgeSpec(id="e0", source="n0", target="n1", **look),)))
        for look in ({}, {"dotted": True}, {"animation": "fast"})
    }
    assert len(drawn) == 3


@given(
    st.text() | st.sampled_from(["</title><script>alert(1)</script>", "]]>", "&#x3C;", "<!--", "\x00\ud800"])
)
def test_a_label_is_text_and_never_markup(text):
    node = NodeSpec(id="n0", kind="FeatureSet", title=text, name=text, note=text, lines=(text,))
    edge = EdgeSpec(id="e0", source="n0", target="n0", label=text)
    picture = svg(GraphSpec(title=text, nodes=(node,), edges=(edge,)))
    assert picture == svg(GraphSpec(title=text, nodes=(node,), edges=(edge,)))
    root = ElementTree.fromstring(picture.encode())
    assert {element.tag.removeprefix(NAMESPACE) for element in root.iter()} <= TAGS
    assert {name for element in root.iter() for name in element.attrib} <= ATTRIBUTES
    if len(text) <= 40 and re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]*", text):
        assert (root[0].text or "") == text
        assert f"'{text}'{text}" in texts(picture)


def test_a_very_long_label_is_cut():
    node = NodeSpec(id="n0", kind="FeatureSet", title="t", name="x" * 5_000)
    width = ElementTree.fromstring(svg(GraphSpec(title="g", nodes=(node,), edges=()))).get("width")
    assert float(width) < 600


def test_nothing_to_draw_is_an_empty_picture():
    assert texts(svg(GraphSpec(title="empty", nodes=(), edges=()))) == []
