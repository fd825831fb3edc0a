"""The environment is read off the process itself, so each case runs in its own."""

import subprocess
import sys

import pytest

PROBE = "import modularml.display.environment as e; print(e.in_ipython(), e.in_notebook())"


def test_plain_python_is_neither_and_does_not_load_ipython():
    code = f"{PROBE}; import sys; print('IPython' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["False", "False", "False"]


def test_loading_ipython_is_not_running_under_it():
    code = f"import IPython; {PROBE}"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["False", "False"]


def test_ipython_in_a_terminal_is_no_notebook(tmp_path):
    command = [
        sys.executable,
        "-m",
        "IPython",
        "--simple-prompt",
        "--ipython-dir",
        str(tmp_path),
        "-c",
        PROBE,
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.split()[-2:] == ["True", "False"]


def test_a_jupyter_kernel_is_a_notebook():
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    try:
        printed: list[str] = []
        client.execute_interactive(
            PROBE,
            timeout=60,
            output_hook=lambda message: printed.append(message["content"].get("text", "")),
        )
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert "".join(printed).split() == ["True", "True"]
