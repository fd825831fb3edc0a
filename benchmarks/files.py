"""What files cost, as ratios to ``torch.save`` and ``torch.load`` of the same weights and moments.

Ours write and check a digest of everything, and put the file in its place only when it is whole
and on the disk; torch does neither. A network of 50M parameters with the moments of Adam (573 MiB)
is saved and read back, and a FeatureSet beside ``numpy``. Both take turns in one process; the time is
the CPU's, of all threads, and the clock's beside it, as digests are computed side by side.
Run it with ``python benchmarks/files.py``, or with a smaller number of parameters, in millions.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from modularml import (
    Checkpointing,
    Experiment,
    ExperimentContext,
    FeatureSet,
    ModelGraph,
    ModelNode,
    Optimizer,
    TrainPhase,
)
from modularml.samplers import SimpleSampler

N_ROUNDS = 5
Work = Callable[[], object]


def times_of(work: Work) -> tuple[float, float]:
    """Return the CPU seconds and the seconds of the clock that a call takes."""
    cpu_s, clock_s = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu_s, time.perf_counter() - clock_s


def trained(n_millions: float, folder: Path) -> Experiment:
    """Return an experiment whose network has so many parameters, and moments."""
    width = int((n_millions * 1e6 / 2) ** 0.5)
    experiment = Experiment("files", checkpointing=Checkpointing(save_on="phase_end", every_n=10**9))
    experiment.set_checkpoint_dir(folder)
    rows = np.zeros((4, width), np.float32)
    samples = FeatureSet.from_dict("data", {"x": rows, "y": rows[:, :1]}, "x", "y")
    samples.split_random({"train": 0.5, "rest": 0.5}, seed=0)
    network = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 1))
    ModelNode("network", network, samples)
    ModelGraph(optimizer=Optimizer("adam")).build()
    sampler = SimpleSampler(batch_size=2, seed=0)
    phase = TrainPhase.from_split("train", split="train", sampler=sampler, losses="mse")
    experiment.run_phase(phase)
    return experiment


def rows_of(n_millions: float, folder: Path) -> list[tuple[str, str, Work, Work, Path, Path]]:
    """Return what is compared: a name, the limit, ours, the other's, and the files of both."""
    experiment = trained(n_millions, folder)
    graph = experiment.model_graph
    module, optimizer = graph.topological_nodes()[0].module, graph.optimizer.optimizer
    theirs, checkpoint, whole = folder / "weights.pt", folder / "one.ckpt.mml", folder / "whole.exp.mml"

    def torch_save() -> None:
        torch.save({"model": module.state_dict(), "optimizer": optimizer.state_dict()}, theirs)

    def torch_load() -> None:
        state = torch.load(theirs)
        module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])

    def load() -> None:
        with ExperimentContext().temporary():
            Experiment.load(whole)

    array = np.random.default_rng(0).standard_normal((500_000, 10))
    with ExperimentContext(registration_policy="overwrite").temporary():
        samples = FeatureSet.from_dict("samples", {"x": array}, "x")
    ours, npy = folder / "samples.fs.mml", folder / "x.npy"
    return [
        (
            "save a checkpoint",
            "1.3",
            lambda: experiment.save_checkpoint("one", overwrite=True),
            torch_save,
            checkpoint,
            theirs,
        ),
        ("restore it", "1.3", lambda: experiment.restore_checkpoint("one"), torch_load, checkpoint, theirs),
        (
            "save the experiment",
            "1.3",
            lambda: experiment.save(whole, overwrite=True),
            torch_save,
            whole,
            theirs,
        ),
        ("load it", "", load, torch_load, whole, theirs),
        (
            "save a FeatureSet, 500k x 10",
            "",
            lambda: samples.save(ours, overwrite=True),
            lambda: np.save(npy, array),
            ours,
            npy,
        ),
        ("load it, mapped", "", lambda: FeatureSet.load(ours), lambda: np.load(npy), ours, npy),
    ]


def main() -> None:
    """Print the table."""
    n_millions = float(sys.argv[1]) if len(sys.argv) > 1 else 50.0
    table = Table("what", "ours, ms", "CPU, ratio", "clock, ratio", "may be", "size, ratio (may be 1.1)")
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        for name, may_be, ours, theirs, own_file, their_file in rows_of(n_millions, Path(folder)):
            theirs(), ours()
            rounds = [(*times_of(theirs), *times_of(ours)) for _ in range(N_ROUNDS)]
            cpu, clock = (statistics.median(r[i + 2] / r[i] for r in rounds) for i in (0, 1))
            ms = 1e3 * statistics.median(r[3] for r in rounds)
            size = own_file.stat().st_size / their_file.stat().st_size
            table.add_row(name, f"{ms:.0f}", f"{cpu:.2f}", f"{clock:.2f}", may_be, f"{size:.3f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
