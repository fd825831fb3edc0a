"""The view that is opened is the one for where the process runs."""

import os
import subprocess
import sys

import pytest

from modularml.base.events import DisplayOptions, EventBus
from modularml.display.live import open_live_view

RUN = """
from modularml.base.events import *
from modularml.display.live import open_live_view

bus, options = EventBus(), DisplayOptions(**{options})
here = {{"run_id": "r", "path": ("run", "train")}}
close = open_live_view(bus, options)
plan = (PlanEntry(path=here["path"], kind="train"),)
bus.emit(RunStarted(run_id="r", label="run", plan=plan, preview=False, options=options, stop=lambda: None))
bus.emit(PhaseStarted(**here, kind="train", n_epochs=1, n_batches=1, losses=("mse",)))
close()
print("the end", bus._listeners)
"""


COMMAND = [sys.executable, "-W", "error", "-c"]


def in_a_kernel(code):
    """Run code as a notebook cell; return the messages it displayed and the text it printed."""
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    messages = []
    try:
        reply = client.execute_interactive(code, timeout=60, output_hook=messages.append)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok", reply["content"]
    displayed = [m for m in messages if m["msg_type"] == "display_data"]
    return displayed, "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")


def test_a_notebook_gets_the_panel():
    displayed, printed = in_a_kernel(RUN.format(options={}))
    assert displayed
    assert printed == "the end []\n"


def test_a_notebook_whose_panel_is_broken_is_warned_and_runs_on():
    broken = "import sys; sys.modules['modularml.widgets.progress'] = None\n"
    displayed, printed = in_a_kernel(broken + RUN.format(options={}))
    assert not displayed
    assert "The progress panel cannot be shown" in printed
    assert "the end []\n" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_terminal_gets_the_lines():
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm"}
    command = [*COMMAND, RUN.format(options={})]
    subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, check=True, env=environment
    )
    text = os.read(ours, 100_000).decode()
    os.close(theirs)
    os.close(ours)
    assert "train" in text
    assert "batches" in text
    assert text.endswith("the end []\r\n")


def test_a_pipe_gets_nothing():
    command = [*COMMAND, RUN.format(options={})]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "the end []\n"


def test_with_nothing_to_show_no_view_is_opened():
    bus = EventBus()
    hidden = {"show_training_progress": False, "show_sampler_progress": False, "show_eval_progress": False}
    close = open_live_view(bus, DisplayOptions(**hidden))
    assert bus._listeners == []
    close()


def test_closing_takes_the_view_off_the_bus_and_may_be_done_twice():
    bus = EventBus()
    close = open_live_view(bus, DisplayOptions())
    assert len(bus._listeners) == 1
    close()
    close()
    assert bus._listeners == []
