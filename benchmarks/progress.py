"""What live progress costs a training of about 2,000 steps a second, in a terminal and in a notebook.

The terminal is drawn into nowhere. The notebook is a real kernel with a client that reads
what it sends, as JupyterLab does; the CPU time is that of the kernel's whole process, its
threads for messages included. Within one training a view is open for a second, then none for a
second, and so on: steps that lie so close to each other are equally fast but for what is shown, however
busy the machine is. What it takes to open and close a view is told apart.
Run it with ``python benchmarks/progress.py``.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jupyter_client.manager import start_new_kernel
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from train import experiment_of, network

from modularml import TrainPhase
from modularml.base.events import (
    BatchesEnded,
    DisplayOptions,
    EpochStarted,
    Event,
    PhaseStarted,
    RunEnded,
    RunStarted,
)
from modularml.display.progress import ConsoleProgress
from modularml.samplers import SimpleSampler
from modularml.widgets.progress import ProgressPanel

N_STRETCHES = 41
STRETCH_S = 1.0
SIZES = (64, 128, 64, 1)
HIDDEN = {"show_training_progress": False, "show_eval_progress": False, "show_sampler_progress": False}
CASES = {"long epochs": 16_000, "short epochs": 512}
"""Name -> samples, of batches of 32: 500 and 16 batches an epoch."""


class Alternating:
    """Opens a view for every other stretch of a run, and counts steps and their CPU time.

    Args:
        view: Makes a view.
    """

    def __init__(self, view: Callable[[], Callable[[Event], None]]) -> None:
        self._make = view
        self._view: Callable[[Event], None] | None = None
        self._opening: list[Event] = []
        self._stop: Callable[[], None] = lambda: None
        self.s_a_step: list[float] = []
        self.opened_s: list[float] = []
        self._until_s = self._cpu_s = 0.0
        self._n_steps = self._n_done = 0

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, RunStarted):
            self._stop, event = event.stop, replace(event, options=DisplayOptions())
        if isinstance(event, RunStarted | PhaseStarted):
            self._opening.append(event)
        if isinstance(event, EpochStarted):
            self._n_done = 0
        if isinstance(event, BatchesEnded):
            self._n_steps += event.n_done - self._n_done
            self._n_done = event.n_done
            if time.monotonic() > self._until_s:
                self._turn(event)
        if self._view is not None:
            self._view(event)

    def _turn(self, event: Event) -> None:
        if self._until_s:
            self.s_a_step.append((time.process_time() - self._cpu_s) / self._n_steps)
        began_s = time.process_time()
        if self._view is None:
            self._view = self._make()
            for earlier in self._opening:
                self._view(earlier)
        else:
            self._view(RunEnded(run_id=event.run_id, status="completed", duration_s=0.0))
            self._view = None
        time.sleep(0.1)  # threads send what is left
        self.opened_s.append(time.process_time() - began_s)
        if len(self.s_a_step) == N_STRETCHES:
            self._stop()
        self._n_steps, self._cpu_s = 0, time.process_time()
        self._until_s = time.monotonic() + STRETCH_S


def measured(name: str, *, in_terminal: bool = False) -> dict[str, Any]:
    """Return the steps a second without a view, how much longer they take with it, and its opening."""
    torch.set_num_threads(1)
    experiment, _ = experiment_of(2 * CASES[name], [network(SIZES)], SIZES[0])
    sampler = SimpleSampler(batch_size=32, shuffle=True, seed=0)
    phase = TrainPhase.from_split("train", split="train", sampler=sampler, losses="mse", n_epochs=10**6)

    def terminal() -> ConsoleProgress:
        return ConsoleProgress(Console(file=io.StringIO(), force_terminal=True, width=110))

    alternating = Alternating(terminal if in_terminal else ProgressPanel)
    experiment.events.subscribe(alternating)
    experiment.run_phase(phase, **HIDDEN)
    # The first stretch has a view, and counts for nothing: its steps are slower anyway.
    hidden, shown = np.array(alternating.s_a_step[1::2]), np.array(alternating.s_a_step[2::2])
    around = (hidden[:-1] + hidden[1:]) / 2
    return {
        "rate": float(1 / np.median(hidden)),
        "costs": (shown[: len(around)] / around - 1).tolist(),
        "opening": 2 * float(np.median(alternating.opened_s[1:])),
    }


def in_notebook(name: str) -> dict[str, Any]:
    """Measure with the panel of a notebook, in a kernel."""
    manager, client = start_new_kernel()
    here = str(Path(__file__).parent)
    code = f"""
import json, sys
sys.path.insert(0, {here!r})
import progress
result = json.dumps(progress.measured({name!r}))"""
    answers: list[str] = []
    try:
        client.execute_interactive(code, output_hook=lambda message: None, timeout=600)
        client.execute_interactive(
            "print(result)", output_hook=lambda message: answers.append(message["content"].get("text", ""))
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    found: dict[str, Any] = json.loads("".join(answers))
    return found


def main() -> None:
    """Print what progress costs."""
    for name in CASES:
        for where in ("terminal", "notebook"):
            found = measured(name, in_terminal=True) if where == "terminal" else in_notebook(name)
            low, middle, high = 100 * np.percentile(found["costs"], [25, 50, 75])
            print(
                f"{name}, {where}: {found['rate']:.0f} steps a second without progress, "
                f"{middle:.1f} % longer with it ({low:.1f} to {high:.1f}; at most 3), and "
                f"{1e3 * found['opening']:.0f} ms to open and close it"
            )


if __name__ == "__main__":
    main()
