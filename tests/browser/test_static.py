"""What notebooks are saved with, where nothing of it is ours to run.

A JupyterLab does not trust them; other front ends pick a form of each output, and clean it. VS Code
(`NOTEBOOK_DISPLAY_ORDER` of its notebookCommon.ts) and nbconvert (`display_data_priority` of its HTML
exporter), and so nbviewer, take HTML, then SVG, then text of what we save. GitHub drops style sheets and the
attributes `style` and `id` (ipython/nbconvert#204, pandas-dev/pandas#33076). VS Code shows a widget that was
saved as an error (microsoft/vscode-jupyter#17518), so that none is saved.
"""

import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import LabPage

pytestmark = pytest.mark.browser

PICKED = ("text/html", "image/svg+xml", "text/plain")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def saved(name: str, word: str, folder: Path) -> Path:
    """A notebook with those cells of one of ours whose output holds a word."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    cells = [c for c in notebook.cells if any(word in str(o) for o in c.get("outputs", []))]
    assert cells
    notebook.cells = cells[:1]
    nbformat.write(notebook, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("name", "word", "parts"),
    [
        ("experiment.ipynb", "modularml-run", ["✓ train", "last values"]),
        ("history.ipynb", "modularml-history", ["completed", "seed"]),
        ("features.ipynb", "FeatureSet</span>", ["tags.block.raw", "mean 4.491"]),
    ],
)
def test_pictures_are_there_and_leave_no_texts_beside_them(
    open_notebook: Callable[..., LabPage], tmp_path: Path, name: str, word: str, parts: list[str]
) -> None:
    lab = open_notebook(saved(name, word, tmp_path))
    trusted = "jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.trusted)"
    assert lab.page.evaluate(trusted) == [False]
    output = lab.page.locator(".jp-RenderedHTML").first
    expect(output.locator("img").first).to_be_visible()
    lab.page.wait_for_function(
        "[...document.querySelectorAll('.jp-RenderedHTML img')].every(image => image.naturalWidth > 0)"
    )
    assert output.locator("style, svg").count() == 0
    for part in parts:
        expect(output).to_contain_text(part)
    expect(output).not_to_contain_text("batch_size: ")  # as a box of the graph says


def picked(data: dict[str, Any]) -> str:
    """What a front end shows of a bundle, without style sheets and all that CSS could hang on."""
    assert "application/vnd.jupyter.widget-view+json" not in data
    kind = next(kind for kind in PICKED if kind in data)
    if kind == "text/plain":
        return f"<pre>{escape(data[kind])}</pre>"
    text = re.sub(r"(?s)<style>.*?</style>|<!--.*?-->", "", data[kind])
    return text if kind == "image/svg+xml" else re.sub(r' (?:style|class)="[^"]*"', "", text)


@pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
def test_what_other_front_ends_pick_reads_without_styles_scripts_and_network(
    chromium: Browser, name: str
) -> None:
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    bodies = [picked(output.data) for output in outputs if "data" in output]
    context = chromium.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content("<!doctype html><meta charset=utf-8>" + "<hr>".join(bodies))
    images = page.locator("img")
    assert images.count() > 0
    widths = images.evaluate_all("images => images.map(image => image.naturalWidth)")
    assert all(width > 0 for width in widths)
    assert all(images.evaluate_all("images => images.map(image => image.alt)"))
    assert [url for url in asked if not url.startswith("data:")] == []
    assert "modularml-" not in page.locator("body").inner_text()  # as in a style sheet that became text
    context.close()
