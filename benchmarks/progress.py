"""What live progress costs a training of about 2,000 steps a second, in a terminal and in a notebook.

The terminal is drawn into nowhere. The notebook is a real kernel with a client that reads
what it sends, as JupyterLab does; the CPU time is that of the kernel's whole process, its
threads for messages included. Each run with everything shown lies between two with nothing shown, and
is compared to their mean; how far those two are apart says how busy the machine is.
Run it with ``python benchmarks/progress.py``.
"""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jupyter_client.manager import start_new_kernel
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from train import experiment_of, network

from modularml import TrainPhase
from modularml.display.progress import ConsoleProgress
from modularml.samplers import SimpleSampler

N_ROUNDS = 20
SIZES = (64, 128, 64, 1)
HIDDEN = {"show_training_progress": False, "show_eval_progress": False, "show_sampler_progress": False}
CASES = {"long epochs": (16_000, 4), "short epochs": (512, 125)}
"""Name -> samples and epochs, of batches of 32: 500 and 16 batches an epoch."""


def measured(name: str, *, in_terminal: bool = False) -> dict[str, Any]:
    """Return the steps a second without progress, how much longer each run takes with it, and the noise."""
    n_samples, n_epochs = CASES[name]
    torch.set_num_threads(1)
    experiment, _ = experiment_of(2 * n_samples, [network(SIZES)], SIZES[0])
    sampler = SimpleSampler(batch_size=32, shuffle=True, seed=0)
    phase = TrainPhase.from_split("train", split="train", sampler=sampler, losses="mse", n_epochs=n_epochs)
    n_steps = n_epochs * -(-n_samples // 32)

    def cpu_s(**display: bool) -> float:
        console = ConsoleProgress(Console(file=io.StringIO(), force_terminal=True, width=110))
        unsubscribe = experiment.events.subscribe(console) if in_terminal and display != HIDDEN else None
        began = time.process_time()
        experiment.run_phase(phase, **display)
        took_s = time.process_time() - began
        if unsubscribe is not None:
            unsubscribe()
        return took_s

    cpu_s(), cpu_s(**HIDDEN)
    rounds = [(cpu_s(**HIDDEN), cpu_s(show_sampler_progress=True), cpu_s(**HIDDEN)) for _ in range(N_ROUNDS)]
    before, shown, after = np.array(rounds).T
    hidden = (before + after) / 2
    return {
        "rate": n_steps / float(np.median(hidden)),
        "ratios": (shown / hidden).tolist(),
        "apart": float(np.median(np.abs(after / before - 1))),
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
            costs = 100 * (np.array(found["ratios"]) - 1)
            low, middle, high = np.percentile(costs, [25, 50, 75])
            print(
                f"{name}, {where}: {found['rate']:.0f} steps a second without progress, "
                f"{middle:.1f} % more with it ({low:.1f} to {high:.1f}; at most 3); "
                f"runs without it are {100 * found['apart']:.1f} % apart"
            )


if __name__ == "__main__":
    main()
