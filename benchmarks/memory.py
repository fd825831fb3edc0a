"""What a FeatureSet in a file needs in memory while it is split, filtered, sampled and trained on.

A file is written, and another process opens it, whose private memory is watched from outside:
pages that are mapped from a file do not count. It may not allocate more than a tenth of the file's
size on top of what the imports and the same work on a small file took (``RLIMIT_DATA``), else it
dies. Run it with ``python benchmarks/memory.py [gigabytes]`` on Linux.
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

GB = 2.0
N_VALUES = 256  # 1 kB a sample
N_SMALL = 2000
SHARE = 0.1


def write(folder: Path, label: str, n_samples: int) -> Path:
    """Save a FeatureSet, made in a file as well, and return the path of its file."""
    rng = np.random.default_rng(0)
    x = np.memmap(folder / "x", np.float32, "w+", shape=(n_samples, N_VALUES))
    for start in range(0, n_samples, 100_000):
        part = x[start : start + 100_000]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
    data = {
        "x": x,
        "y": rng.standard_normal(n_samples, dtype=np.float32),
        "cell": np.array([f"cell_{i:03}" for i in range(100)])[rng.integers(0, 100, n_samples)],
    }
    path = FeatureSet.from_dict(label, data, "x", "y", "cell").save(folder / label)
    (folder / "x").unlink()
    return path


def private_bytes(pid: int | str, field: str = "RssAnon") -> int:
    """Return how much memory a process has that no file backs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def select(path: Path) -> str:
    """Open the file, split, look at it, filter, and go through all batches."""
    fs = FeatureSet.load(path)
    fs.split_random({"train": 0.8, "test": 0.2}, group_by="cell")
    fs.summary()
    few = fs["test"].filter({"cell": [f"cell_{i:03}" for i in range(50)]})
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


def work_under_limit(task: str, path: Path) -> str:
    """Do a task on a small file, which takes what every file takes, and then on the large one."""
    WORK[task](path.with_name("small.fs.mml"))
    print("ready", flush=True)
    limit = int(private_bytes("self", "VmData") + SHARE * path.stat().st_size)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return WORK[task](path)


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
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else GB
    with tempfile.TemporaryDirectory() as folder, ExperimentContext().temporary():
        write(Path(folder), "small", N_SMALL)
        path = write(Path(folder), "big", int(gigabytes * 1e9 / (4 * N_VALUES)))
        title = f"a file of {path.stat().st_size / 1e6:.0f} MB"
        table = Table("what", "private memory, MB", "of the file", "time, s", title=title)
        for task in WORK:
            table.add_row(*watch(task, path))
    Console().print(table)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(work_under_limit(sys.argv[1], Path(sys.argv[2])))
    else:
        main()
