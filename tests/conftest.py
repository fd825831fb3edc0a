"""What holds for every test: one thread, and no deadline on a shared machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Small arrays are slower on several threads, and notebooks' kernels inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("modularml", deadline=None)
settings.load_profile("modularml")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what runs in a browser a second try, which the closing report tells.

    Chromium, JupyterLab and its kernels are processes with races of their own; what fails twice is ours.
    """
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind; see `written.py`."""
    folder = tmp_path_factory.mktemp("written")
    subprocess.run([sys.executable, Path(__file__).with_name("written.py"), folder], check=True)
    return folder
