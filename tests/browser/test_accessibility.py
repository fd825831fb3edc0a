"""What the panels show can be read in both themes, reached by keyboard, named, and kept still."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HOLD, PANEL

pytestmark = pytest.mark.browser

ENDED = "_ = SyntheticRun(bus, n_epochs=3, batch_s=0).run(error=ValueError('a loss is nan'))"
RUNS = """
from dataclasses import replace
from runs_by_hand import history
runs = history(14)
runs.append(replace(runs[-1], id="stale"))
runs._stale = lambda: {14: ("results of 'train' (run 14) are stale: node 'net' changed lr 0.1 -> 0.2",)}
runs
"""
CARD = "runs[5]"
GOES_ON = f"""
import logging, threading
run = SyntheticRun(bus, n_epochs=10_000)
threading.Thread(target=run.run, daemon=True).start()
{HOLD}
logging.getLogger("a").warning("watch out")
"""
LEAST_CONTRAST = 4.5  # WCAG 2.2, AA, for text of any size

CONTRASTS = """root => {
    const parse = text => {
        const found = text.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
        const scale = text.startsWith("color(") ? 255 : 1;
        return [found[0] * scale, found[1] * scale, found[2] * scale, found[3] ?? 1];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
    const light = rgb => {
        const part = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        return 0.2126 * part(rgb[0]) + 0.7152 * part(rgb[1]) + 0.0722 * part(rgb[2]);
    };
    const groundOf = element => {
        const chain = [];
        for (let at = element; at; at = at.parentElement) chain.unshift(getComputedStyle(at).backgroundColor);
        return chain.reduce((under, color) => over(parse(color), under), [255, 255, 255]);
    };
    const found = [];
    for (const scope of document.querySelectorAll(root)) {
        const texts = document.createTreeWalker(scope, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const element = texts.currentNode.parentElement;
            if (!texts.currentNode.data.trim() || element.closest("svg, style, option")) continue;
            if (!element.checkVisibility({ checkVisibilityCSS: true })) continue;
            const ground = groundOf(element);
            let [r, g, b, alpha] = parse(getComputedStyle(element).color);
            for (let at = element; at; at = at.parentElement) alpha *= Number(getComputedStyle(at).opacity);
            const [one, other] = [light(over([r, g, b, alpha], ground)), light(ground)].sort((a, b) => b - a);
            const ratio = (one + 0.05) / (other + 0.05);
            const text = texts.currentNode.data.slice(0, 40);
            found.push([Math.round(ratio * 100) / 100, element.className, text]);
        }
    }
    return found;
}"""
NAMELESS = """root => [...document.querySelectorAll(root)].flatMap(scope =>
    [...scope.querySelectorAll("button, input, select, summary, [tabindex], [role=img], [role=progressbar]")])
    .filter(e => e.checkVisibility() && (e.tabIndex >= 0 || e.role))
    .filter(e => !(e.ariaLabel || e.title || e.textContent.trim())).map(e => e.outerHTML.slice(0, 120))"""
MOVING = """() => document.getAnimations().map(a => a.effect.target)
    .filter(e => e?.closest(".mml")).map(e => e.getAttribute("class"))"""


def warn(lab: Any) -> None:
    """Wait for the panel, then for the warning that comes while it is there."""
    expect(lab.panel.locator('[data-fact="epoch"]')).to_be_visible(timeout=60_000)
    lab.release()
    expect(lab.panel.locator(".mml-log summary")).to_have_text("warning: watch out", timeout=60_000)


def tabbed(page: Page, first: str, n: int) -> set[str]:
    """The classes and roles that `n` presses of Tab reach, from the first element of that selector on."""
    page.locator(first).first.focus()
    reached = set()
    for _ in range(n):
        reached |= set(
            page.evaluate("e => [...document.activeElement.classList, document.activeElement.role ?? '']")
        )
        page.keyboard.press("Tab")
    return reached


def test_all_text_can_be_read_in_both_themes(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook([PANEL, ENDED, RUNS, CARD, GOES_ON])
    lab.start_all_cells()
    warn(lab)
    expect(lab.page.locator(".modularml-browser .mml-stale")).to_be_visible(timeout=30_000)
    lab.page.evaluate("document.querySelectorAll('.modularml-history').forEach(e => e.hidden = false)")
    too_faint = []
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        lab.execute("apputils:change-theme", theme=theme)
        lab.page.wait_for_function(
            "theme => document.body.dataset.jpThemeName === theme",
            arg=theme,
        )
        for root in (".modularml-progress", ".modularml-browser", ".modularml-run", ".modularml-card"):
            told = lab.page.evaluate(CONTRASTS, root)
            assert len(told) > 5, root
            too_faint += [(theme, root, *one) for one in told if one[0] < LEAST_CONTRAST]
    assert not too_faint, "\n".join(map(str, too_faint))
    assert lab.page.evaluate(NAMELESS, ".mml") == []
    assert lab.errors == []


def test_everything_that_can_be_used_is_reached_by_keyboard(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook([PANEL, RUNS, GOES_ON])
    lab.start_all_cells()
    warn(lab)
    assert {"mml-stop", "option", "mml-scale"} <= tabbed(lab.page, ".mml-stop", 5)
    assert {"mml-tr", "tab", "mml-scroll"} <= tabbed(lab.page, ".modularml-browser input", 16)
    lab.page.locator(".mml-log summary").focus()
    lab.page.keyboard.press("Enter")
    expect(lab.panel.locator(".mml-log li")).to_have_text(["warning: watch out"])


def test_nothing_moves_for_those_who_asked_for_that(open_notebook: Callable[..., Any]) -> None:
    lab = open_notebook([PANEL, GOES_ON])
    lab.start_all_cells()
    warn(lab)
    lab.panel.evaluate("e => e.querySelector('.mml-bar').dataset.vague = ''")
    assert lab.page.evaluate(MOVING) != []
    lab.page.emulate_media(reduced_motion="reduce")
    lab.panel.evaluate("e => e.querySelector('.mml-bar').dataset.vague = ''")
    assert lab.page.evaluate(MOVING) == []
