"""The committed notebooks are whole and clean, run without a browser, and are compared fairly.

nbval compares their outputs (`make test`); here they are run by nbclient, so that one of the two
is left if nbval breaks.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbval.plugin import get_sanitize_patterns

from modularml.widgets.run_html import END

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PATTERNS = get_sanitize_patterns((ROOT / "notebooks" / "nbval-sanitize.cfg").read_text())


def sanitized(text: str) -> str:
    for pattern, replacement in PATTERNS:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_a_notebook_was_run_once_from_top_to_bottom(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_a_notebook_holds_neither_errors_nor_warnings(notebook: nbformat.NotebookNode) -> None:
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert "Warning" not in output.get("text", "")


def test_a_notebook_shows_the_same_without_a_kernel(notebook: nbformat.NotebookNode) -> None:
    """No widget is left behind: it would be a blank or an error where no kernel answers."""
    assert "widgets" not in notebook.metadata
    for output in outputs(notebook):
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
        assert "Output()" not in str(output)


def test_a_notebook_fetches_nothing(notebook: nbformat.NotebookNode) -> None:
    for output in outputs(notebook):
        assert not re.search(r"<script|(src|href)=.https?:|@import|url\(.?https?:", str(output))


def test_the_demo_shows_the_runs_and_leaves_the_notebook_and_a_page(tmp_path: Path) -> None:
    demo = [sys.executable, ROOT / "notebooks" / "demo.py"]
    environment = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run(demo, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    source = nbformat.read(ROOT / "notebooks" / "experiment.ipynb", as_version=4)
    executed = nbformat.read(tmp_path / "demo-output" / "experiment.ipynb", as_version=4)
    page = (tmp_path / "demo-output" / "experiment.html").read_text(encoding="utf-8")
    assert [cell.source for cell in executed.cells] == [cell.source for cell in source.cells]
    assert "demo-output" in done.stdout
    assert re.search(r"0 .* train .* completed .* mse \d+\.\d+", done.stdout)
    assert not re.search(r"<script[^>]*src=|<link[^>]*href=.https?:|import\(", page)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<ModelGraph object at 0x317904d30>", "<ModelGraph object at 0x7f1c2a3b4c50>"),
        ("duration=0:00:00.481113", "duration=0:01:07"),
        ("node: 818054a3...", "node: 0123abcd..."),
        (
            "to: /tmp/tmpcbx2h5de/a.ckpt.mml",
            "to: /var/folders/21/fsx4ddjs3fg2wgpl7_ksh0k00000gn/T/tmpvpfqkphf/a.ckpt.mml",
        ),
        ("to: /tmp/tmpcbx2h5de/a.ckpt.mml", r"to: C:\Users\me\AppData\Local\Temp\tmpvpfqkphf/a.ckpt.mml"),
    ],
    ids=["address", "duration", "id", "folder-macos", "folder-windows"],
)
def test_what_differs_from_run_to_run_is_not_compared(one: str, other: str) -> None:
    assert one != other
    assert sanitized(one) == sanitized(other)


def test_the_panel_of_a_run_is_taken_out_and_no_more() -> None:
    panels = [
        f'<p>1</p><div class="modularml-run"><p>{t} s</p>\n<div></div></div>{END}<p>2</p>' for t in (1, 2)
    ]
    assert sanitized(panels[0]) == sanitized(panels[1]) == "<p>1</p>RUN<p>2</p>"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("status=completed", "status=failed"),
        ("History entries: 2", "History entries: 3"),
        ("n=400", "n=401"),
        ("loss 0.481113", "loss 0.481114"),
        ("/tmp/tmpcbx2h5de/a.ckpt.mml", "/tmp/tmpcbx2h5de/b.ckpt.mml"),
        ("label='abcdef01'", "label='abcdef02'"),
        ("ModelGraph object at 0x317904d30", "FeatureSet object at 0x317904d30"),
    ],
)
def test_what_means_something_is_compared(one: str, other: str) -> None:
    assert sanitized(one) != sanitized(other)
