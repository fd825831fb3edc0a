"""The browser of runs in a real JupyterLab, and as a file of its own."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
history = runpy.run_path(str(HERE / "runs_by_hand.py"))["history"]
SETUP = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from runs_by_hand import add_run, history
runs = history(1200)
runs
"""
N_SEEN = 200


def test_runs_are_browsed_filtered_sorted_and_picked_by_keyboard(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook([SETUP])
    lab.execute("notebook:run-cell-and-select-next")
    page = lab.page
    shown = page.locator(".modularml-browser")
    count = shown.locator(".mml-count")
    expect(count).to_have_text("1,200 runs, 3 picked", timeout=30_000)  # all pages came
    expect(page.locator(".modularml-history")).to_be_hidden()
    expect(shown.locator("canvas").first).to_be_visible()
    assert page.locator(".modularml-browser .mml-body .mml-tr").count() < N_SEEN

    shown.get_by_role("searchbox").fill("failed")
    expect(count).to_have_text("100 of 1,200 runs, 3 picked")
    shown.get_by_role("searchbox").fill("")
    took = shown.get_by_role("columnheader", name="Took")
    took.get_by_role("button").click()
    expect(took).to_have_attribute("aria-sort", "descending")
    first = shown.locator('[aria-rowindex="2"] [data-column="n"]')
    expect(first).to_have_text("1199")

    shown.locator('[aria-rowindex="2"]').focus()
    page.keyboard.press("Enter")
    expect(count).to_have_text("1,200 runs, 1 picked")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    expect(count).to_have_text("1,200 runs, 2 picked")
    page.keyboard.press("End")
    expect(shown.locator('.mml-tr[tabindex="0"]')).to_have_attribute("aria-rowindex", "1201")
    shown.get_by_role("tab", name="Settings").click()
    expect(shown.locator(".mml-panel")).to_contain_text("train.lr")

    page.evaluate(
        """code => jupyterapp.shell.currentWidget.sessionContext.session.kernel
        .requestExecute({ code }).done.then(() => {})""",
        "add_run(runs, label='fresh')",
    )
    expect(count).to_contain_text("1,201 runs")
    assert lab.errors == []


def test_a_saved_notebook_reads_without_a_kernel_and_without_a_widget(
    open_notebook: Callable[..., Any],
) -> None:
    lab = open_notebook([SETUP])
    lab.start_all_cells()
    lab.wait_for_cells()
    expect(lab.page.locator(".modularml-browser")).to_be_visible()
    saved = lab.saved()
    (output,) = saved.cells[0].outputs
    assert set(output.data) == {"text/plain", "text/html"}
    assert len(output.data["text/html"]) < 150_000
    assert "widgets" not in saved.metadata

    lab.load()  # the kernel lives: the browser is there again
    expect(lab.page.locator(".modularml-browser .mml-count")).to_contain_text("1,200 runs", timeout=30_000)
    lab.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    lab.page.reload()
    static = lab.page.locator(".modularml-history")
    expect(static).to_be_visible(timeout=30_000)
    expect(lab.page.locator(".modularml-browser")).to_have_count(0)
    assert "1,200 runs" in static.inner_text()
    assert "model not found" not in lab.page.locator("body").inner_text()


def test_the_file_is_browsed_from_disk_with_the_network_off(chromium: Browser, tmp_path: Path) -> None:
    path = history(30).to_html(tmp_path / "runs.html")
    context = chromium.new_context(offline=True, viewport={"width": 1000, "height": 800})
    page = context.new_page()
    failures: list[Any] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    shown = page.locator(".modularml-browser")
    expect(shown.locator(".mml-count")).to_have_text("30 runs, 3 picked")
    expect(shown.locator("canvas").first).to_be_visible()
    shown.get_by_role("tab", name="Phases").click()
    expect(shown.locator(".mml-panel")).to_contain_text("Checkpoints: END")
    assert failures == []
    context.close()
