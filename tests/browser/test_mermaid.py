"""The bundle of Mermaid draws every text that the library emits, though it holds flowcharts only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Page

from modularml.display.mermaid import mermaid
from modularml.display.spec import ANIMATIONS, SHAPES, STYLES, EdgeSpec, GraphSpec, NodeSpec, Section
from modularml.widgets.widget import STATIC_PATH

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
NASTY = (
    "a\"b'c`<script>boom()</script> #quot; &amp; **x** _y_ $$x^2$$ https://a.b @{ shape: x } %% [ ] { } end"
)
DRAW = r"""async ([source, texts]) => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const { drawer } = await import(url);
    const drawn = [];
    for (const text of texts) {
        const box = document.body.appendChild(document.createElement("div"));
        box.innerHTML = await drawer.draw(text);
        const ids = [...box.querySelectorAll("g.node")].map(e => e.id.match(/-flowchart-(.+)-\d+$/)[1]);
        const edges = [...box.querySelectorAll(".edgePaths path")].map(e => e.dataset.id);
        drawn.push({ ids, edges, text: box.innerText, scripts: box.querySelectorAll("script, img").length });
    }
    return drawn;
}""".replace("\\\\d", "\\d")


def kinds() -> GraphSpec:
    """Every kind, shape and animation in one diagram, with names that mean something to Mermaid."""
    nodes = [NodeSpec(id=f"n{i}", kind=kind, title=kind, name=NASTY) for i, kind in enumerate(STYLES)]
    block = (Section(heading="features", rows=("voltage_a.raw: (10,)", NASTY)),)
    nodes += [
        NodeSpec(id=f"s{i}", kind="MergeNode", title="x", lines=(NASTY,), blocks=(block,), shape=shape)
        for i, shape in enumerate(SHAPES)
    ]
    nodes.append(NodeSpec(id="t0", kind="OutputTerminal", shape="circle"))
    edges = [
        EdgeSpec(id=f"e{i}", source="n0", target=f"n{i + 1}", label=NASTY, animation=animation)
        for i, animation in enumerate((None, *ANIMATIONS))
    ]
    edges.append(EdgeSpec(id="e9", source="n1", target="t0", dotted=True))
    return GraphSpec(title="all", nodes=tuple(nodes), edges=tuple(edges))


def texts() -> dict[str, str]:
    found = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.mmd")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for i, cell in enumerate(nbformat.read(path, as_version=4).cells):
            for output in cell.get("outputs", []):
                if "text/vnd.mermaid" in output.get("data", {}):
                    found[f"{path.stem}-{i}"] = output["data"]["text/vnd.mermaid"]
    return found | {"kinds": mermaid(kinds())}


@pytest.fixture(scope="module")
def drawn(chromium: Browser) -> Iterator[dict[str, Any]]:
    page: Page = chromium.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    given = texts()
    source = (STATIC_PATH / "mermaid.js").read_text(encoding="utf-8")
    results = page.evaluate(DRAW, [source, list(given.values())])
    assert [url for url in asked if not url.startswith(("blob:", "about:", "data:"))] == []
    yield dict(zip(given, results, strict=True))
    page.close()


@pytest.mark.parametrize("name", list(texts()))
def test_every_text_is_drawn_with_each_of_its_boxes_and_arrows(drawn: dict[str, Any], name: str) -> None:
    picture = drawn[name]
    boxes = re.findall(r"^\t(\w+)@\{ ", texts()[name], flags=re.MULTILINE)
    arrows = re.findall(r"^\t\w+ (\w+)@-", texts()[name], flags=re.MULTILINE)
    assert boxes
    assert sorted(picture["ids"]) == sorted(boxes)
    assert sorted(picture["edges"]) == sorted(arrows)
    assert picture["scripts"] == 0


def test_names_are_drawn_as_text_whatever_they_hold(drawn: dict[str, Any]) -> None:
    shown = "".join(drawn["kinds"]["text"].split()).replace("\u2060", "")
    assert shown.count("".join(NASTY.split())) >= len(STYLES)
