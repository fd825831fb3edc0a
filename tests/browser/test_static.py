"""What notebooks are saved with, in a JupyterLab that does not trust them: nothing of it is ours to run."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LabPage

pytestmark = pytest.mark.browser

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
