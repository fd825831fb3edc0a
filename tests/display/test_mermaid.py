"""The text is the notebook's to the byte, and no label can be more than text in it."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from modularml.display.mermaid import escape, escape_in_box, mermaid
from modularml.display.spec import ANIMATIONS, EdgeSpec, GraphSpec, NodeSpec, Section

PIECES = (
    "``` \" ' | ] } \n \r ; %%{init:{'a':1}}%% %% < > & # \\ &lt; @ :// <script> -- style: classDef: a \u2028"
)
HOSTILE = st.text() | st.lists(st.sampled_from([*PIECES.split(" "), " ", "*", "_", "end", "$$"])).map("".join)

MARKUP = re.compile(r"</?b>|<br>")


def drawn(text: str) -> str:
    """What a reader sees of an escaped text: Mermaid's numbers and HTML's names, undone once."""
    return html.unescape(re.sub(r"#(\d+);", lambda found: f"&#{found[1]};", text))


def test_text_is_that_of_the_notebook(spec, expected_mermaid):
    assert mermaid(spec) == expected_mermaid


def on_one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text)


@given(HOSTILE)
def test_an_escaped_text_is_inert_and_reads_as_it_was(text):
    for written in (escape(text), escape_in_box(text)):
        assert not set("\"'`\\<>%*~[$\n\r\u2028\u2029") & set(written)
        assert re.fullmatch(r"(?:[^#&]|#\d+;|&(?:amp|lt|gt);)*", written)
        # Mermaid drops the last ';' of a line that looks like a style with a colour.
        assert not re.search(r"(?:style|classDef).*:\S*#.*;", written)
    assert drawn(escape(text)) == on_one_line(text)


@given(HOSTILE.filter(lambda text: "\u2060" not in text))
def test_in_a_box_nothing_of_a_text_is_markdown(text):
    markdown = drawn(escape_in_box(text)).replace("\u2060", "")
    assert re.sub(r"\\(.)", r"\1", markdown) == on_one_line(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[*~`\[]", markdown)
    assert not re.search(r"\$\$|://|:fa-|www\.|@\w", drawn(escape_in_box(text)))


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_label_adds_a_line_or_leaves_its_quotes(title, name, row, label):
    def text_of(title: str, name: str, row: str, label: str) -> list[str]:
        section = Section(heading=title, rows=(row, name))
        texts = {"title": title, "name": name, "note": label, "lines": (row,), "blocks": ((section,),)}
        node = NodeSpec(id="n0", kind="MergeNode", **texts)
        edge = EdgeSpec(id="e0", source="n0", target="n0", label=label)
        return mermaid(GraphSpec(title=title, nodes=(node,), edges=(edge,))).split("\n")

    hostile, plain = text_of(title or "t", name, row, label), text_of("t", "n", "r", "l")
    assert len(hostile) == len(plain)
    assert len("\n".join(hostile).splitlines()) == len(plain)
    for got, harmless in zip(hostile, plain, strict=True):
        assert MARKUP.sub("", got).count('"') == harmless.count('"')
        assert [re.sub('".*"', "", got)] == [re.sub('".*"', "", harmless)]
        assert MARKUP.findall(got) == MARKUP.findall(harmless)


def test_labels_of_everyday_stay_readable():
    for text in ("voltage.raw: (10,)", "n=400", "batch_size: 32", "lr=1e-3, T = 20 °C", "my model (2)"):
        assert escape(text) == escape_in_box(text) == text
    assert escape("<torch>") == "&lt;torch&gt;"


def test_animations_are_listed_by_name_and_only_if_used():
    nodes = (NodeSpec(id="n0", kind="ModelNode", title="a"), NodeSpec(id="n1", kind="ModelNode", title="b"))
    edges = tuple(
        EdgeSpec(id=f"e{i}", source="n0", target="n1", animation=speed)
        for i, speed in enumerate([*ANIMATIONS, None])
    )
    text = mermaid(GraphSpec(title="g", nodes=nodes, edges=edges))
    names = re.findall(r"classDef (\w+) .*?(\d+s|0;)", text.split("\n\n")[-1])
    assert names == [
        ("DashFastAnimation", "1s"),
        ("DashMediumAnimation", "3s"),
        ("DashSlowAnimation", "8s"),
        ("NoAnimation", "0;"),
    ]


def test_a_diagram_without_edges_or_nodes_is_still_a_flowchart():
    assert mermaid(GraphSpec(title="empty", nodes=(), edges=())) == "flowchart LR\n"
    lone = mermaid(
        GraphSpec(title="lone", nodes=(NodeSpec(id="n0", kind="FeatureSet", title="x"),), edges=())
    )
    assert lone.startswith('flowchart LR\n\tn0@{ label: "<b>x</b>", shape: rect }\n\tn0:::FeatureSet\n')
