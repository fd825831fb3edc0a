"""What a FeatureSet in a file needs in memory while it is split, filtered, sampled and trained on.

A file is written, and another process opens it, whose private memory is watched from outside:
pages that are mapped from a file do not count. All but training may not allocate more than a
tenth of the file's size on top of what the imports and a file of two samples took
(``RLIMIT_DATA``), else the process dies. Training holds chunks of a fixed size besides, so its
memory is only told. Run it with ``python benchmarks/memory.py`` on Linux.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from modularml import (
    AppliedLoss,
    Experiment,
    ExperimentContext,
    FeatureSet,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    TrainPhase,
)
from modularml.samplers import SimpleSampler

N_SAMPLES, N_VALUES = 300_000, 256  # 1 kB a sample
SHARE = 0.1


def write(folder: Path) -> Path:
    """Save a FeatureSet and return the path of its file."""
    rng = np.random.default_rng(0)
    data = {
        "x": rng.standard_normal((N_SAMPLES, N_VALUES), dtype=np.float32),
        "y": rng.standard_normal(N_SAMPLES, dtype=np.float32),
        "cell": np.array([f"cell_{i:04}" for i in range(1000)])[rng.integers(0, 1000, N_SAMPLES)],
    }
    return FeatureSet.from_dict("big", data, "x", "y", "cell").save(folder / "big")


def private_bytes(pid: int | str, field: str = "RssAnon") -> int:
    """Return how much memory a process has that no file backs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def select(path: Path) -> str:
    """Open the file, split, look at it, filter, and go through all batches, under the limit."""
    small = FeatureSet.from_dict("small", {"x": [1.0, 2.0]}, "x")
    FeatureSet.load(small.save(path.with_name("small")), overwrite=True)  # what every file takes
    limit = int(private_bytes("self", "VmData") + SHARE * path.stat().st_size)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    fs = FeatureSet.load(path)
    fs.split_random({"train": 0.8, "test": 0.2}, group_by="cell")
    fs.summary()
    few = fs["test"].filter({"cell": [f"cell_{i:04}" for i in range(100)]})
    sampler = SimpleSampler(batch_size=256, shuffle=True, seed=0, source=fs["train"])
    n = sum(len(batch["default"].materialize_batch(features="x").role_data.features) for batch in sampler)
    return f"split, summed up, {few.n_samples} of {fs['test'].n_samples} filtered, {n} in batches"


def train(path: Path) -> str:
    """Open the file and train on it for an epoch."""
    exp = Experiment("memory", registration_policy="overwrite")
    fs = FeatureSet.load(path)
    fs.split_random({"train": 0.8, "test": 0.2}, group_by="cell")
    node = ModelNode("linear", torch.nn.Linear(N_VALUES, 1), fs.reference(features="x", targets="y"))
    ModelGraph([node], Optimizer("sgd", opt_kwargs={"lr": 1e-3})).build()
    loss = AppliedLoss(Loss("mse"), node, ["outputs", "targets"])
    sampler = SimpleSampler(batch_size=256, shuffle=True, seed=0)
    phase = TrainPhase.from_split(
        "train", split="train", sampler=sampler, losses=[loss], n_epochs=1, result_recording="none"
    )
    exp.run_phase(phase)
    return f"trained on {fs['train'].n_samples}"


WORK = {"select": select, "train": train}


def watch(task: str, path: Path) -> list[str]:
    """Run a task in a process of its own; return what it did, and the most memory that it had."""
    began = time.perf_counter()
    command = [sys.executable, __file__, task, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        before = peak = private_bytes(process.pid)
        while process.poll() is None:
            peak = max(peak, private_bytes(process.pid))
            time.sleep(0.002)
        told, failed = process.stdout.read().strip(), process.stderr.read()
    if process.returncode:
        raise SystemExit(f"{task} failed:\n{failed}")
    share = (peak - before) / path.stat().st_size
    return [told, f"{(peak - before) / 1e6:.1f}", f"{share:.1%}", f"{time.perf_counter() - began:.1f}"]


def main() -> None:
    """Write the file, and watch the work on it."""
    with tempfile.TemporaryDirectory() as folder, ExperimentContext().temporary():
        path = write(Path(folder))
        title = f"a file of {path.stat().st_size / 1e6:.0f} MB"
        table = Table("what", "private memory, MB", "of the file", "time, s", title=title)
        for task in WORK:
            table.add_row(*watch(task, path))
    Console().print(table)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print("ready", flush=True)
        print(WORK[sys.argv[1]](Path(sys.argv[2])))
    else:
        main()
