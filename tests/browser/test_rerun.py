"""Cells run out of order, again, edited and interrupted in a real JupyterLab: all is as a person expects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.core.test_cells import NOTEBOOK
from tests.test_reruns import STATE

pytestmark = pytest.mark.browser

RUN = """([index, source]) => {
    const notebook = jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    if (source !== null) notebook.widgets[index].model.sharedModel.setSource(source);
    window.hasRun = false;
    jupyterapp.commands.execute('notebook:run-cell').finally(() => { window.hasRun = true; });
}"""
OUTPUTS = "(index) => jupyterapp.shell.currentWidget.content.widgets[index].model.sharedModel.getOutputs()"


class Driven:
    """A notebook whose cells have names, and a last cell that tells the state."""

    def __init__(self, open_notebook: Callable[..., Any]) -> None:
        self.cells = {**NOTEBOOK, "status": "status = exp.status()\nstatus", "state": STATE}
        self.lab = open_notebook(list(self.cells.values()))

    def start(self, name: str, source: str | None = None) -> None:
        self.cells[name] = self.cells[name] if source is None else source
        self.lab.page.evaluate(RUN, [list(self.cells).index(name), source])

    def run(self, *names: str, **edited: str) -> None:
        for name in names or edited:
            self.start(name, edited.get(name))
            self.lab.wait_for_cells(timeout_s=180)

    def outputs(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.lab.page.evaluate(OUTPUTS, list(self.cells).index(name))
        return found

    def text(self, name: str) -> str:
        return "".join("".join(output.get("text", "")) for output in self.outputs(name))

    def error(self, name: str) -> str:
        return "".join(output.get("evalue", "") for output in self.outputs(name))

    def state(self) -> Any:
        self.run("state")
        return json.loads(self.text("state"))


def test_after_every_step_the_page_shows_what_a_person_expects(open_notebook: Callable[..., Any]) -> None:
    notebook = Driven(open_notebook)
    lab = notebook.lab
    expected: dict[str, Any] = {
        "nodes": ["Sensor", "MLP"],
        "plan": ["train", "eval"],
        "runs": ["completed"],
        "stale": [],
        "batch_size": 8,
        "epochs": 2,
    }
    for runs in (1, 2):  # all of it, and all of it again
        lab.start_all_cells()
        lab.wait_for_cells(timeout_s=240)
        expected["runs"] = ["completed"] * runs
        assert json.loads(notebook.text("state")) == expected

    notebook.run("data", "experiment")  # out of order
    assert notebook.state() == expected

    edited = notebook.cells["sampler"].replace("batch_size=8", "batch_size=16")
    notebook.run("sampler", sampler=edited)
    assert notebook.state() == expected | {"batch_size": 16, "stale": ["train", "eval"]}
    notebook.run("status")
    rows = lab.page.locator(".jp-OutputArea-output table", has_text="batch_size 8 -> 16")
    expect(rows).to_have_count(1)
    expected |= {"batch_size": 16, "epochs": 4, "runs": [*expected["runs"], "completed"]}
    notebook.run("run")
    assert notebook.state() == expected

    taken = "other = FeatureSet.from_dict('Sensor', {'x': np.zeros((4, 3))}, 'x')"
    notebook.run("status", status=taken)  # the label of another cell
    assert "it was defined in the cell [" in notebook.error("status")
    assert notebook.state() == expected

    long = notebook.cells["phase"].replace("n_epochs=2", "n_epochs=1000000")
    notebook.run("phase", phase=long)
    notebook.start("run")
    expect(lab.page.locator('[data-view="run"] [data-fact="epoch"]')).to_be_visible(timeout=120_000)
    lab.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()")
    lab.wait_for_cells(timeout_s=120)
    assert notebook.error("run") == ""
    assert notebook.state()["runs"] == [*expected["runs"], "stopped"]

    notebook.run("phase", phase=long.replace("n_epochs=1000000", "n_epochs=1"))
    notebook.run("run", run="results = exp.run(fresh=True)")
    expected |= {"epochs": 1, "runs": [*expected["runs"], "stopped", "completed"]}
    assert notebook.state() == expected

    lab.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    lab.start_all_cells()  # the status cell fails where it takes the label of the data cell
    lab.wait_for_cells(timeout_s=240)
    notebook.run("status", status="status = exp.status()\nstatus")
    assert notebook.state() == expected | {"runs": ["completed"], "epochs": 1}
    assert lab.errors == []


def test_an_open_browser_shows_what_another_cell_made_stale(open_notebook: Callable[..., Any]) -> None:
    notebook = Driven(open_notebook)
    notebook.lab.start_all_cells()
    notebook.lab.wait_for_cells(timeout_s=240)
    notebook.run("status", status="exp.history")
    shown = notebook.lab.page.locator(".modularml-browser")
    status = shown.locator('[aria-rowindex="2"] [data-column="status"]')
    expect(status).to_have_text("Done", timeout=30_000)
    notebook.run(sampler=notebook.cells["sampler"].replace("batch_size=8", "batch_size=16"))
    expect(status).to_have_text("Done · stale")
    expect(shown.locator(".mml-panel")).to_contain_text("batch_size 8 -> 16")
    notebook.run(sampler=notebook.cells["sampler"].replace("batch_size=16", "batch_size=8"))
    expect(status).to_have_text("Done")
    assert notebook.lab.errors == []
