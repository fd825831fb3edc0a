"""How long a training step takes, as a ratio to the loop that people write by hand.

Everything of ours is on: history, recording, progress in the terminal, an epoch
callback and checkpoint hooks. The two take turns in one process, on one torch thread,
and CPU time is counted, so that a busy machine slows both alike. Run it with
``python benchmarks/train_step.py``.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from modularml import (
    AppliedLoss,
    Callback,
    Checkpointing,
    Experiment,
    FeatureSet,
    InputBinding,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    TrainPhase,
)
from modularml.display.progress import ConsoleProgress
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

N_ROUNDS = 7
CASES = [("500 x 50", 500, 50, 32), ("20k x 3", 20_000, 3, 32), ("200k x 2", 200_000, 2, 256)]


class CountEpochs(Callback):
    """A callback that does next to nothing, at every epoch."""

    def on_epoch_end(self, **_: object) -> None:
        """Touch the results, as callbacks do."""


def data(n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features ``(n_samples, 10)`` and targets ``(n_samples, 1)``."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n_samples, 10)).astype(np.float32)
    return features, features.sum(axis=1, keepdims=True)


def by_hand(n_samples: int, n_epochs: int, batch_size: int) -> Callable[[], None]:
    """Return the loop that people write by hand."""
    features, targets = map(torch.from_numpy, data(n_samples))
    model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = torch.nn.MSELoss()

    def run() -> None:
        losses = []
        for _ in range(n_epochs):
            order = torch.randperm(n_samples)
            for start in range(0, n_samples, batch_size):
                rows = order[start : start + batch_size]
                optimizer.zero_grad()
                loss = loss_of(model(features[rows]), targets[rows])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())

    return run


def ours(n_samples: int, n_epochs: int, batch_size: int) -> Callable[[], None]:
    """Return the same training as an experiment."""
    features, targets = data(n_samples)
    experiment = Experiment(
        "benchmark", checkpointing=Checkpointing(save_on="phase_end", every_n=10**9, directory=".")
    )
    samples = FeatureSet.from_dict("data", {"x": features, "y": targets}, "x", "y")
    node = ModelNode("mlp", SequentialMLP(output_shape=(1, 1), hidden_dim=32), samples)
    ModelGraph([node], Optimizer("adam", opt_kwargs={"lr": 1e-3})).build()
    sampler = SimpleSampler(batch_size=batch_size, shuffle=True, seed=0)
    phase = TrainPhase(
        "train",
        input_sources=[InputBinding.for_training(node=node, sampler=sampler)],
        losses=[AppliedLoss(Loss("mse"), on=node, inputs=["outputs", "targets"])],
        n_epochs=n_epochs,
        callbacks=[CountEpochs()],
    )
    # The progress of a terminal, drawn into nowhere; the run opens none where there is no terminal.
    experiment.events.subscribe(ConsoleProgress(Console(file=io.StringIO(), force_terminal=True)))
    return lambda: experiment.run_phase(phase)


def cpu_seconds(run: Callable[[], None]) -> float:
    """Return the CPU time of a call, in seconds."""
    started = time.process_time()
    run()
    return time.process_time() - started


def main() -> None:
    """Print a row a case."""
    torch.set_num_threads(1)
    table = Table(
        "samples x epochs", "batch", "by hand, µs/step", "ModularML, µs/step", "ratio", title="Training"
    )
    for name, n_samples, n_epochs, batch_size in CASES:
        runs = [by_hand(n_samples, n_epochs, batch_size), ours(n_samples, n_epochs, batch_size)]
        for run in runs:
            run()
        times = [[cpu_seconds(run) for run in runs] for _ in range(N_ROUNDS)]
        n_steps = -(-n_samples // batch_size) * n_epochs
        hand, own = (statistics.median(column) / n_steps * 1e6 for column in zip(*times, strict=True))
        ratio = statistics.median(mine / theirs for theirs, mine in times)
        table.add_row(name, str(batch_size), f"{hand:.0f}", f"{own:.0f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
