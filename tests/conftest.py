"""What holds for every test: one thread, the same random numbers, no deadline on a shared machine."""

import gc
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

# Small arrays are slower on several threads, and notebooks' kernels inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("modularml", deadline=None)
settings.load_profile("modularml")


def pytest_runtest_setup() -> None:
    """Give every test the same random numbers, whichever tests ran before it in its process."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


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


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let nothing go within a test but by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Clock:
    """The time that `display/pacing.py` goes by: it passes when a test says so."""

    def __init__(self) -> None:
        self.monotonic_s = self.process_s = self.thread_s = 0.0

    def monotonic(self) -> float:
        """The time that everybody shares."""
        return self.monotonic_s

    def process_time(self) -> float:
        """What the process had of it, all its threads together."""
        return self.process_s

    def thread_time(self) -> float:
        """What the thread that asks had of it; here only drawing takes of that."""
        return self.thread_s

    def pass_s(self, seconds: float, *, n_busy: float = 1.0) -> None:
        """Let time pass that a mean of `n_busy` threads spend on something else than drawing."""
        self.monotonic_s += seconds
        self.process_s += seconds * n_busy

    def draw_s(self, seconds: float) -> None:
        """Let time pass that is spent on drawing."""
        self.pass_s(seconds)
        self.thread_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every `Budget` of a test."""
    clock = Clock()
    monkeypatch.setattr("modularml.display.pacing.time", clock)
    return clock
