"""An open browser of runs is told what became of its runs, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from modularml.display.run_book import RunBook
from modularml.widgets.history import OpenBrowser
from tests.core.test_cells import Notebook
from tests.widgets.conftest import RecordingComm


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    main = sys.modules["__main__"]  # a shell puts a module of its own there
    made = Notebook()
    made.cells |= {"idle": "1 + 1", "fails": "1 / 0"}
    yield made
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main


def patches(comms: list[RecordingComm]) -> list[dict[str, Any]]:
    return [m["patch"] for one in comms for m in one.custom if m["type"] == "patch"]


def test_it_learns_after_each_cell_what_became_stale(notebook: Notebook, comms: list[RecordingComm]) -> None:
    notebook.run(*list(notebook.cells)[:-1])
    browser = OpenBrowser(RunBook([notebook["exp"].history]))
    notebook.run("idle")
    notebook.fail("fails")
    assert patches(comms) == []

    notebook.edit("sampler", "batch_size=8", "batch_size=16")
    notebook.run("sampler")
    (patch,) = patches(comms)
    (row,) = patch["rows"]
    assert "batch_size 8 -> 16" in " ".join(row["stale"])
    assert patch["details"] == []
    notebook.run("idle")
    assert len(patches(comms)) == 1

    notebook.edit("sampler", "batch_size=16", "batch_size=8")
    notebook.run("sampler")
    assert patches(comms)[-1]["rows"][0]["stale"] == []

    browser.close()
    notebook.edit("sampler", "batch_size=8", "batch_size=4")
    notebook.run("sampler")
    assert len(patches(comms)) == 2
