"""The settings that come with the package take effect in JupyterLab, on our panels and nowhere else."""

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.browser

WAIT = """
import time
from IPython.display import HTML, display
display(HTML('<div class="modularml-progress">a panel</div><div class="another">no panel</div>'))
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("was interrupted")
"""


def test_a_right_click_on_a_panel_offers_to_interrupt_the_kernel(open_notebook: Callable) -> None:
    lab = open_notebook([WAIT])
    lab.start_all_cells()
    entry = lab.page.locator(".lm-Menu-item", has_text="Interrupt Kernel")

    lab.page.get_by_text("no panel", exact=True).click(button="right")
    lab.page.locator(".lm-Menu-item", has_text="Cut Cell").wait_for()
    assert entry.count() == 0
    lab.page.keyboard.press("Escape")

    lab.page.get_by_text("a panel", exact=True).click(button="right")
    entry.click()
    lab.wait_for_cells(timeout_s=20)
    assert "was interrupted" in lab.output_text()
