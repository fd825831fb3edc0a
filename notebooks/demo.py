"""Runs the experiment notebook without a browser, and shows what came of it.

It knows nothing of the experiment but that the notebook calls it `exp`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from rich.console import Console
from rich.table import Table

NOTEBOOK = Path(__file__).with_name("experiment.ipynb")
OUTPUT = Path("demo-output")

# Asked of the kernel when the notebook is through; not kept in the notebook.
REPORT = """
import json

def final(results, *path):
    if hasattr(results, "final"):
        return {"/".join(path) or results.label: results.final()}
    nested = [final(entry, *path, label) for label, entry in results.items()]
    return {key: losses for entry in nested for key, losses in entry.items()}

print(json.dumps([
    [run.label, run.status, str(run.ended_at - run.started_at), final(run.results)]
    for run in exp.history
]))
"""

# The page is complete in itself: the stock template fetches three libraries that no cell of ours needs.
OFFLINE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


def execute(path: Path) -> tuple[nbformat.NotebookNode, list[Any]]:
    """Run the notebook top to bottom; return it and what it says of each run in its history."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(REPORT))
    client = NotebookClient(
        notebook,
        timeout=600,
        store_widget_state=False,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute()
    return notebook, json.loads(notebook.cells.pop().outputs[0].text)


def table(runs: list[Any]) -> Table:
    """Return the runs as a table: one line a run, with the last losses of each of its phases."""
    shown = Table("", "Run", "Status", "Duration", "Final losses", title="History")
    for number, (label, status, duration, phases) in enumerate(runs):
        losses = [
            f"{phase}: " + ", ".join(f"{name} {value:.6g}" for name, value in values.items())
            for phase, values in phases.items()
        ]
        shown.add_row(str(number), label, status, duration, "\n".join(losses))
    return shown


def main() -> None:
    """Execute the notebook, print the table of its runs and write the notebook and a page."""
    console = Console()
    console.print(f"Running {NOTEBOOK.name} ...")
    notebook, runs = execute(NOTEBOOK)
    page, _ = HTMLExporter(raw_template=OFFLINE).from_notebook_node(notebook)
    OUTPUT.mkdir(exist_ok=True)
    nbformat.write(notebook, OUTPUT / NOTEBOOK.name)
    (OUTPUT / NOTEBOOK.with_suffix(".html").name).write_text(page, encoding="utf-8")
    console.print(table(runs))
    console.print(f"The executed notebook and a page to look at are in {OUTPUT}/:")
    for path in sorted(OUTPUT.iterdir()):
        console.print(f"  {path}")


if __name__ == "__main__":
    main()
