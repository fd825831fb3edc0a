"""A real JupyterLab in a real Chromium: `open_notebook(path)` opens a notebook and steers it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REPORTS = pytest.StashKey[list[pytest.TestReport]]()
START_S = 60
IS_READY = """(widget => widget?.context?.isReady && widget.sessionContext?.isReady
    && widget.sessionContext.session?.kernel)(window.jupyterapp?.shell?.currentWidget)"""
MS = 1000
PANEL = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from modularml.base.events import EventBus
from modularml.widgets.progress import ProgressPanel
from synthetic_run import SyntheticRun
bus = EventBus()
_ = bus.subscribe(ProgressPanel())
"""
"""A cell with a bus, the panel of what is told on it, and `SyntheticRun`, which tells."""
HOLD = """
import pathlib, time
while not pathlib.Path("release").exists():
    time.sleep(0.05)
"""
"""The end of a cell that goes on until `LabPage.release`: Lab drops what is displayed after a cell's end."""


class LabPage:
    """One notebook, open in JupyterLab."""

    def __init__(self, page: Page, url: str, path: Path) -> None:
        self.page = page
        self.path = path
        self._url = f"{url}/lab/tree/{path.name}"
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.load(f"{self._url}?reset")

    def load(self, url: str | None = None) -> None:
        """Load the page (again), and wait for the notebook and its kernel."""
        self.page.goto(url or self._url)
        # Asked again and again, not awaited: while the workspace is reset, Lab may put another widget in
        # the place of the first one, whose promises are then never kept.
        self.page.wait_for_function(IS_READY, timeout=START_S * MS)

    def execute(self, command: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab, and wait for it."""
        self.page.evaluate(
            "([id, args]) => jupyterapp.commands.execute(id, args).then(() => {})", [command, arguments]
        )

    def start_all_cells(self) -> None:
        """Run all cells, without waiting for them."""
        self.page.evaluate("""() => {
            window.hasRun = false;
            jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.hasRun = true; });
        }""")

    def release(self) -> None:
        """Let a cell that ends with `HOLD` end."""
        (self.path.parent / "release").touch()

    def wait_for_cells(self, timeout_s: float = 60) -> None:
        """Wait until `start_all_cells` is through."""
        self.page.wait_for_function("window.hasRun", timeout=timeout_s * MS)

    @property
    def panel(self) -> Locator:
        """The live panels on the page."""
        return self.page.locator(".modularml-progress")

    def saved(self) -> nbformat.NotebookNode:
        """Save the notebook and read what was written."""
        self.execute("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def output_text(self) -> str:
        """What the cells printed."""
        return "".join(self.page.locator(".jp-OutputArea-output").all_inner_texts())


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing, and in CI the browser tests must run.")
        pytest.skip("Chromium is missing.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def lab_url(lab_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab of its own, which shares no setting with that of the user."""
    home = tmp_path_factory.mktemp("jupyter")
    overrides = home / "config" / "labconfig"
    overrides.mkdir(parents=True)
    settings = {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
    }
    (overrides / "default_setting_overrides.json").write_text(json.dumps(settings))
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    environment = os.environ | {name: str(home / folder) for name, folder in folders.items()}
    port = free_port()
    flags = ["--no-browser", "--allow-root", f"--port={port}", f"--ServerApp.root_dir={lab_folder}"]
    flags += ["--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"]
    flags += ["--LabApp.expose_app_in_browser=True"]
    url = f"http://127.0.0.1:{port}"
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *flags], env=environment, stdout=log, stderr=log
        )
        try:
            wait_for_answer(f"{url}/api/status", server, home / "log")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:  # it waits for a kernel; those end with it
                server.kill()
                server.wait()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures see whether their test failed."""
    report = yield
    item.stash[REPORTS] = [*item.stash.get(REPORTS, []), report]
    return report


@pytest.fixture
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of its own for each test; if the test fails, it is pictured in ``test-results/``."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    yield page
    if any(report.failed for report in request.node.stash.get(REPORTS, [])):
        page.screenshot(path=f"test-results/{request.node.name}.png")
    context.close()


@pytest.fixture
def open_notebook(page: Page, lab_url: str, lab_folder: Path) -> Iterator[Callable[..., LabPage]]:
    """Open a notebook: a path, which is copied, or the sources of code cells."""
    opened: list[LabPage] = []

    def open_it(source: Path | list[str], name: str = "test.ipynb") -> LabPage:
        path = lab_folder / (source.name if isinstance(source, Path) else name)
        (lab_folder / "release").unlink(missing_ok=True)
        if isinstance(source, Path):
            shutil.copy(source, path)
        else:
            cells = [nbformat.v4.new_code_cell(text) for text in source]
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
        opened.append(LabPage(page, lab_url, path))
        return opened[-1]

    yield open_it
    for lab_page in opened:
        lab_page.page.evaluate("jupyterapp.shell.currentWidget?.sessionContext.shutdown()")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_answer(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
