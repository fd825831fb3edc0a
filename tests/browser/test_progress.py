"""The panel of a run in a real JupyterLab: it moves while the cell runs, stops it, and can be saved."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HOLD, PANEL

pytestmark = pytest.mark.browser

VIEW_MIME = "application/vnd.jupyter.widget-view+json"
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 640, "height": 900}


def wait_for_epoch(lab: Any, epoch: int) -> None:
    """Wait until the panel shows this epoch, or a later one."""
    shown = """document.querySelector('[data-fact="epoch"] .mml-figure')?.textContent"""
    lab.page.wait_for_function(
        f"epoch => parseInt({shown}) >= epoch",
        arg=epoch,
        timeout=60_000,
    )


def n_coloured(page: Page) -> int:
    """How many pixels of the chart are coloured, that is: part of a curve."""
    return int(
        page.locator(".modularml-progress canvas").evaluate(
            """canvas => {
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                let n = 0;
                for (let i = 0; i < data.length; i += 4) {
                    const [r, g, b, a] = data.subarray(i, i + 4);
                    n += a > 60 && Math.max(r, g, b) - Math.min(r, g, b) > 60;
                }
                return n;
            }"""
        )
    )


def mimes(notebook: Any) -> list[set[str]]:
    return [set(o["data"]) for cell in notebook.cells for o in cell.outputs if "data" in o]


def test_a_run_moves_while_its_cell_blocks_and_is_saved_without_a_widget(
    open_notebook: Callable[..., Any],
) -> None:
    # Long enough after the fortieth epoch for any page to look at it: with the run its panel goes.
    lab = open_notebook([PANEL, "_ = SyntheticRun(bus, n_epochs=100, batch_s=0.01).run()"])
    lab.start_all_cells()
    wait_for_epoch(lab, 2)
    height, early = lab.panel.bounding_box()["height"], n_coloured(lab.page)
    assert early > 0
    wait_for_epoch(lab, 40)
    assert lab.panel.bounding_box()["height"] == height
    assert n_coloured(lab.page) > early
    lab.wait_for_cells()

    expect(lab.panel).to_have_count(0)
    expect(lab.page.locator(".modularml-run img")).to_be_visible()
    saved = lab.saved()
    assert mimes(saved) == [{"text/plain", "text/html"}]
    assert "widgets" not in saved.metadata
    assert "Output()" not in str(saved)
    assert lab.errors == []


def test_stop_ends_the_run_in_a_blocking_cell(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook(
        [PANEL, "print('status:', SyntheticRun(bus, n_epochs=10_000).run())", "print('went on')"]
    )
    lab.start_all_cells()
    wait_for_epoch(lab, 2)
    lab.page.get_by_role("button", name="Stop run my_experiment").click()
    lab.wait_for_cells(timeout_s=20)
    assert "status: stopped" in lab.output_text()
    assert "went on" in lab.output_text()


def test_stop_can_be_reached_and_pressed_by_keyboard(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook([PANEL, "print('status:', SyntheticRun(bus, n_epochs=10_000).run())"])
    lab.start_all_cells()
    wait_for_epoch(lab, 2)
    phase = lab.page.get_by_role("option", name="train")
    phase.focus()
    lab.page.keyboard.press("ArrowDown")
    expect(lab.page.get_by_role("option", name="eval")).to_be_focused()
    lab.page.keyboard.press("Shift+Tab")
    expect(lab.page.locator(".mml-stop")).to_be_focused()
    lab.page.keyboard.press("Enter")
    lab.wait_for_cells(timeout_s=20)
    assert "status: stopped" in lab.output_text()


def test_a_page_loaded_during_a_run_shows_the_whole_curve(open_notebook: Callable[..., Any]) -> None:
    """The kernel is free here: the run goes on in a thread."""
    run = "run = SyntheticRun(bus, n_epochs=10_000, batch_s=0.06)"
    start = "threading.Thread(target=run.run, daemon=True).start()"
    lab = open_notebook([PANEL, f"import threading\n{run}\n{start}\n{HOLD}"])
    lab.start_all_cells()
    wait_for_epoch(lab, 4)
    lab.release()
    lab.wait_for_cells()
    lab.saved()
    lab.load()
    wait_for_epoch(lab, 6)
    # The line from the first epoch on is there, not only what came after the page was loaded.
    # The axis ends at epoch 10, 20 or 40 by now, so this is where the first load was still looking.
    over = lab.panel.locator(".u-over")
    over.hover(position={"x": over.bounding_box()["width"] * 0.06, "y": 20})
    expect(lab.panel.locator(".mml-legend-title")).to_have_text(re.compile(r"^epoch [1-3]$"))
    expect(lab.panel.locator(".mml-legend-item").first).to_have_text(re.compile(r"mse \d"))


def test_a_page_loaded_during_a_blocking_run_shows_it_once_the_kernel_is_free(
    open_notebook: Callable[..., Any],
) -> None:
    # Long enough for any page to load meanwhile: with the run its panel goes.
    lab = open_notebook([PANEL, "_ = SyntheticRun(bus, n_epochs=40).run()"])
    lab.start_all_cells()
    wait_for_epoch(lab, 3)
    lab.saved()
    lab.load()
    expect(lab.panel.locator(".mml-status")).to_have_text("Done", timeout=60_000)
    assert n_coloured(lab.page) > 0


def test_runs_that_are_over_at_once_leave_no_error(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook(
        [PANEL, "for i in range(50):\n    _ = SyntheticRun(bus, n_epochs=i % 3, batch_s=0).run()"]
    )
    lab.start_all_cells()
    lab.wait_for_cells()
    expect(lab.page.locator(".modularml-run")).to_have_count(50)
    expect(lab.panel).to_have_count(0)
    assert lab.errors == []
    assert "Error" not in lab.output_text()


def test_a_run_of_no_batches_is_shown_as_what_it_is(open_notebook: Callable[..., Any]) -> None:
    slow = "import time\nrun = SyntheticRun(bus, n_epochs=40, n_batches=0)"
    pause = "bus.subscribe(lambda event: time.sleep(0.05))\n_ = run.run()"
    lab = open_notebook([PANEL, f"{slow}\n{pause}"])
    lab.start_all_cells()
    wait_for_epoch(lab, 3)
    expect(lab.panel.locator('[data-fact^="batch"]')).to_have_count(0)
    expect(lab.panel.locator(".mml-legend-item").first).to_have_text(re.compile(r"mse nan"))
    lab.wait_for_cells()
    shown = lab.page.locator(".modularml-run")
    expect(shown).to_contain_text("40 of 40")
    expect(shown).to_contain_text("nan")
    assert lab.errors == []


def test_a_failed_run_tells_its_error_as_text(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook([PANEL, "_ = SyntheticRun(bus).run(error=ValueError('<img src=x onerror=boom()>'))"])
    lab.start_all_cells()
    lab.wait_for_cells()
    expect(lab.page.locator(".modularml-run .failed").last).to_be_visible()
    assert "<img src=x onerror=boom()>" in lab.output_text()
    assert lab.page.locator('.modularml-run img[src="x"]').count() == 0


FITS = """width => {
    const panel = document.querySelector(".modularml-progress");
    const [outer, stop] = [panel, panel.querySelector(".mml-stop")].map(e => e.getBoundingClientRect());
    const footer = panel.querySelector("footer");
    return outer.right <= width && stop.right <= outer.right && footer.scrollWidth <= footer.clientWidth;
}"""


def test_nothing_overflows_in_light_and_dark_wide_and_narrow(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook([PANEL, "_ = SyntheticRun(bus, n_epochs=10_000).run()"])
    lab.start_all_cells()
    wait_for_epoch(lab, 2)
    grounds = []
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        lab.execute("apputils:change-theme", theme=theme)
        for viewport in (WIDE, NARROW):
            lab.page.set_viewport_size(viewport)
            # Lab lays itself out anew in its own time; what counts is where that ends.
            lab.page.wait_for_function(FITS, arg=viewport["width"], timeout=10_000)
        grounds.append(lab.panel.evaluate("panel => getComputedStyle(panel).backgroundColor"))
    lab.page.set_viewport_size(WIDE)
    lab.page.locator(".mml-stop").click()
    lab.wait_for_cells()
    assert len(set(grounds)) == 2


def test_a_saved_run_is_shown_again_without_a_kernel(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook([PANEL, "_ = SyntheticRun(bus, n_epochs=3).run()"])
    lab.start_all_cells()
    lab.wait_for_cells()
    lab.saved()
    lab.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    lab.load()
    expect(lab.page.locator(".modularml-run img")).to_be_visible()
    assert "not found" not in lab.output_text()
