"""A real experiment in a real JupyterLab: the notebook runs through, and a training can be stopped."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import HOLD

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
VIEW_MIME = "application/vnd.jupyter.widget-view+json"
EXPERIMENT = """
import numpy as np
from modularml import AppliedLoss, Experiment, FeatureSet, Loss, ModelGraph, ModelNode, Optimizer, TrainPhase
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

exp = Experiment(label="long", registration_policy="overwrite")
x = np.random.default_rng(0).standard_normal((500, 10))
data = {"voltage": list(x), "soh": list(x[:, :1])}
fs = FeatureSet.from_dict(label="Sensor", data=data, feature_keys="voltage", target_keys="soh")
fs.split_random(ratios={"train": 0.8, "test": 0.2}, seed=13)
ref = fs.reference(features="voltage", targets="soh")
mlp = SequentialMLP(output_shape=(1, 1), n_layers=2, hidden_dim=32)
node = ModelNode(label="MLP", model=mlp, upstream_ref=ref)
adam = Optimizer("adam", opt_kwargs={"lr": 1e-3}, backend="torch")
ModelGraph(label="Graph", nodes=[node], optimizer=adam).build()
loss = AppliedLoss(loss=Loss("mse", backend="torch"), on=node, inputs=["outputs", "targets"])
sampler = SimpleSampler(batch_size=32, shuffle=True, seed=42)
how = {"sampler": sampler, "losses": [loss], "n_epochs": 1_000_000}
train = TrainPhase.from_split(label="train", split="train", **how)
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_through_and_is_saved_without_a_widget(
    open_notebook: Callable[..., Any], path: Path
) -> None:
    lab = open_notebook(path)
    lab.start_all_cells()
    lab.wait_for_cells(timeout_s=120)
    outputs = [output for cell in lab.saved().cells for output in cell.get("outputs", [])]
    assert [output.get("evalue") for output in outputs if output.output_type == "error"] == []
    assert all(VIEW_MIME not in output.get("data", {}) for output in outputs)
    assert "Output()" not in str(outputs)
    assert lab.errors == []


def test_a_training_is_followed_on_its_graph_and_stopped(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook(
        [
            EXPERIMENT,
            "exp.model_graph.visualize(live=True)",
            "results = exp.run_phase(train)",
            "print('status:', exp.last_run.status)",
        ]
    )
    lab.start_all_cells()
    pinned, panel = lab.page.locator('[data-view="graph"]'), lab.page.locator('[data-view="run"]')
    epoch = panel.locator('[data-fact="epoch"] .mml-figure')
    early = epoch.inner_text(timeout=60_000)
    expect(epoch).not_to_have_text(early)
    for view in (pinned, panel):
        expect(view.locator('.mml-picture[data-flows] .node[data-state="running"]')).to_have_count(5)
        expect(view.locator(".mml-chip:visible")).to_have_text(
            [
                re.compile(r"lr 0.001 · cpu"),
                re.compile(r"rows/s"),
                re.compile(r"batch \d+ / 13|13 batches"),
                re.compile(r"^\d"),
            ]
        )
    assert lab.page.evaluate("document.querySelector('.mml-graph').scrollWidth <= window.innerWidth")
    pinned.get_by_role("button", name="Stop run").click()
    lab.wait_for_cells(timeout_s=20)
    assert "status: stopped" in lab.output_text()
    expect(lab.panel).to_have_count(0)
    expect(lab.page.locator(".modularml-run .graph img")).to_be_visible()
    assert lab.errors == []


def test_the_folds_of_a_cross_validation_are_followed_and_stopped(open_notebook: Callable[..., Any]) -> None:
    folds = """
from modularml import CrossValidation, CVBinding
exp.execution_plan.add_phase(train)
results = CrossValidation(bindings=CVBinding(fs, ["train"]), n_folds=3).run()
"""
    lab = open_notebook([EXPERIMENT, folds, "print('status:', exp.last_run.status)"])
    lab.start_all_cells()
    expect(lab.page.locator('[data-fact="epoch"] .mml-figure')).to_have_text(
        re.compile(r"[2-9] / 1000000"), timeout=60_000
    )
    expect(lab.panel.get_by_role("option")).to_have_count(3)
    expect(lab.panel.locator(".mml-legend-title")).to_have_text("fold_0 / train")
    lab.panel.get_by_role("button", name="Stop run").click()
    lab.wait_for_cells(timeout_s=20)
    assert "status: stopped" in lab.output_text()
    assert lab.errors == []


def test_two_experiments_run_side_by_side_and_load_mermaid_once(open_notebook: Callable[..., Any]) -> None:
    threads = f"""
import threading
experiments = []
for label in ("left", "right"):
    exec(EXPERIMENT.replace('"long"', repr(label)).replace('label="train"', 'label=' + repr(label)))
    experiments.append((exp, train))
threads = [threading.Thread(target=exp.run_phase, args=(phase,)) for exp, phase in experiments]
for thread in threads:
    thread.start()
{HOLD}
"""
    lab = open_notebook([f"EXPERIMENT = {EXPERIMENT!r}", threads])
    lab.start_all_cells()
    expect(lab.page.locator(".mml-picture > svg")).to_have_count(2, timeout=60_000)
    lab.release()  # then the kernel hears Stop
    lab.wait_for_cells()
    for label in ("left", "right"):
        lab.panel.get_by_role("button", name=f"Stop run {label}").click()
    expect(lab.page.locator(".modularml-run p .stopped")).to_have_count(2, timeout=20_000)
    assert lab.errors == []
