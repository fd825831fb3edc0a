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


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind; see `written.py`."""
    folder = tmp_path_factory.mktemp("written")
    subprocess.run([sys.executable, Path(__file__).with_name("written.py"), folder], check=True)
    return folder
