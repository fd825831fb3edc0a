"""What training, evaluating and previewing cost, as ratios to the code that people write by hand.

Everything of ours is on: history, recording, progress in the terminal, an epoch
callback and checkpoint hooks. The competitors take turns in one process, on one torch
thread, and CPU time is counted, so that a busy machine slows all alike. Run it with
``python benchmarks/train.py``, or with the names of some parts:
``python benchmarks/train.py steps chain``. skorch and Lightning are beside it where
they are installed. What live progress costs is measured by ``progress.py``.
"""

from __future__ import annotations

import copy
import io
import itertools
import logging
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from modularml import (
    Callback,
    Checkpointing,
    EvalPhase,
    Experiment,
    FeatureSet,
    ModelGraph,
    ModelNode,
    Optimizer,
    TrainPhase,
)
from modularml.base.events import EpochEnded
from modularml.core.execution import compiled as compiled_steps
from modularml.display.progress import ConsoleProgress
from modularml.samplers import SimpleSampler

N_ROUNDS = 7
Run = Callable[[], object]
CONSOLE = Console(width=110)


class CountEpochs(Callback):
    """A callback that does next to nothing, at every epoch."""

    def on_epoch_end(self, **_: object) -> None:
        """Touch the results, as callbacks do."""


def data(n_samples: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features ``(n_samples, n_features)`` and targets ``(n_samples, 1)``."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n_samples, n_features)).astype(np.float32)
    return features, features.sum(axis=1, keepdims=True)


def network(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers of these sizes with a ReLU between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def by_hand(sizes: Sequence[int], n_samples: int, n_epochs: int, batch_size: int) -> Run:
    """Return the loop that people write by hand."""
    features, targets = map(torch.from_numpy, data(n_samples, sizes[0]))
    model = network(sizes)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = nn.MSELoss()

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


def experiment_of(
    n_samples: int, models: Sequence[nn.Module], n_features: int
) -> tuple[Experiment, FeatureSet]:
    """Return an experiment with data and a chain of nodes."""
    features, targets = data(n_samples, n_features)
    checkpointing = Checkpointing(save_on="phase_end", every_n=10**9, directory=".")
    experiment = Experiment("benchmark", checkpointing=checkpointing)
    samples = FeatureSet.from_dict("data", {"x": features, "y": targets}, "x", "y")
    samples.split_random({"train": 0.5, "rest": 0.5}, seed=0)
    upstream: object = samples
    for i, model in enumerate(models):
        upstream = ModelNode(f"node {i}", model, upstream)
    ModelGraph(optimizer=Optimizer("adam", opt_kwargs={"lr": 1e-3})).build()
    return experiment, samples


def ours(*arguments: Any, **options: Any) -> Run:
    """Return the same training as an experiment; see `experiment_and_phase`."""
    experiment, phase = experiment_and_phase(*arguments, **options)
    return lambda: experiment.run_phase(phase)


def experiment_and_phase(
    sizes: Sequence[int],
    n_samples: int,
    n_epochs: int,
    batch_size: int,
    *,
    models: Sequence[nn.Module] | None = None,
    progress: bool = True,
    **options: object,
) -> tuple[Experiment, TrainPhase]:
    """Return an experiment with everything on, and the phase that does the same training."""
    experiment, _ = experiment_of(2 * n_samples, models or [network(sizes)], sizes[0])
    sampler = SimpleSampler(batch_size=batch_size, shuffle=True, seed=0)
    phase = TrainPhase.from_split(
        "train",
        split="train",
        sampler=sampler,
        losses="mse",
        n_epochs=n_epochs,
        callbacks=[CountEpochs()],
        **options,
    )
    if progress:
        # The progress of a terminal, drawn into nowhere; the run opens none where there is no terminal.
        experiment.events.subscribe(ConsoleProgress(Console(file=io.StringIO(), force_terminal=True)))
    return experiment, phase


def with_skorch(sizes: Sequence[int], n_samples: int, n_epochs: int, batch_size: int) -> Run:
    """Return the same training by skorch."""
    from skorch import NeuralNetRegressor

    features, targets = data(n_samples, sizes[0])
    net = NeuralNetRegressor(
        network(sizes),
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=n_epochs,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        warm_start=True,
    ).initialize()
    return lambda: net.fit(features, targets)


def with_lightning(sizes: Sequence[int], n_samples: int, n_epochs: int, batch_size: int) -> Run:
    """Return the same training by Lightning, with its bar, logger and checkpoints off."""
    import lightning

    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network(sizes)

        def training_step(self, batch: Sequence[torch.Tensor], _: int) -> torch.Tensor:
            return nn.functional.mse_loss(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    features, targets = map(torch.from_numpy, data(n_samples, sizes[0]))
    rows = torch.utils.data.TensorDataset(features, targets)
    loader = torch.utils.data.DataLoader(rows, batch_size=batch_size, shuffle=True)
    module = Module()

    def run() -> None:
        trainer = lightning.Trainer(
            max_epochs=n_epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)

    return run


def cpu_seconds(run: Run) -> float:
    """Return the CPU time of a call, in seconds."""
    started = time.process_time()
    run()
    return time.process_time() - started


def interleaved(runs: Sequence[Run], n_rounds: int = N_ROUNDS) -> np.ndarray:
    """Return the CPU time of each run in each round, ``(n_rounds, n_runs)``, after a first one uncounted."""
    for run in runs:
        run()
    return np.array([[cpu_seconds(run) for run in runs] for _ in range(n_rounds)])


def ratios(times: np.ndarray) -> np.ndarray:
    """Return the median ratio of each run to the first."""
    return np.median(times / times[:, :1], axis=0)


STEPS = [
    ("10-32-1, 500 x 50", (10, 32, 1), 500, 50, 32),
    ("10-32-1, 20k x 3", (10, 32, 1), 20_000, 3, 32),
    ("10-32-1, 200k x 2", (10, 32, 1), 200_000, 2, 256),
    ("128-512x3-10, 5k x 2", (128, 512, 512, 512, 1), 5_000, 2, 128),
]


def steps() -> None:
    """A training step, beside the libraries that do the same."""
    makers = {"by hand": by_hand, "ModularML": ours, "skorch": with_skorch, "Lightning": with_lightning}
    table = Table("network, samples x epochs", "batch", "by hand, µs", *list(makers)[1:])
    table.title = "A training step: ratios to the loop by hand (at most 0.65; 1.05 for the large network)"
    for name, sizes, n_samples, n_epochs, batch_size in STEPS:
        runs = []
        for maker in makers.values():
            try:
                runs.append(maker(sizes, n_samples, n_epochs, batch_size))
            except ImportError:
                runs.append(lambda: None)
        times = interleaved(runs, 3 if n_samples == 200_000 else N_ROUNDS)
        hand = statistics.median(times[:, 0]) / (-(-n_samples // batch_size) * n_epochs) * 1e6
        shown = [f"{ratio:.2f}" if ratio > 1e-3 else "not there" for ratio in ratios(times)[1:]]
        table.add_row(name, str(batch_size), f"{hand:.0f}", *shown)
    CONSOLE.print(table)


def compiled() -> None:
    """A compiled training step, one a call and several; what compiling itself takes stands beside it."""
    sizes, n_samples, n_epochs, batch_size = (10, 32, 1), 20_000, 6, 32
    n_steps = n_samples // batch_size
    hand = by_hand(sizes, n_samples, 1, batch_size)

    def times_of(n_batches: int, *, compile: bool = True) -> tuple[float, float]:
        """Return the CPU time of an epoch behind the first, and what the first takes more, in seconds."""
        steps_of_a_call, compiled_steps.MOST_BATCHES = compiled_steps.MOST_BATCHES, n_batches
        ended: list[float] = []
        experiment, phase = experiment_and_phase(sizes, n_samples, n_epochs, batch_size, compile=compile)
        experiment.events.subscribe(
            lambda event: ended.append(time.process_time()) if isinstance(event, EpochEnded) else None
        )
        started = time.process_time()
        try:
            experiment.run_phase(phase)
        finally:
            compiled_steps.MOST_BATCHES = steps_of_a_call
        epoch = float(np.median(np.diff(ended)))
        return epoch, ended[0] - started - epoch

    hand()
    rounds = []
    for _ in range(5):
        plain = statistics.median(cpu_seconds(hand) for _ in range(3))
        rounds.append([(plain, 0.0), times_of(1, compile=False), times_of(1), times_of(8)])
    times = np.array(rounds)
    per_step = ratios(times[:, :, 0])
    first = np.median(times[:, :, 1], axis=0)
    table = Table("training step, everything on", "ratio to the loop by hand", "compiling, CPU s")
    table.title = f"Compiled steps; by hand {np.median(times[:, 0, 0]) / n_steps * 1e6:.0f} µs"
    table.add_row("as it is", f"{per_step[1]:.2f} (at most 0.65)", "")
    table.add_row("compiled", f"{per_step[2]:.2f} (at most 0.25)", f"{first[2]:.1f}")
    table.add_row("compiled, 8 a call", f"{per_step[3]:.2f} (at most 0.15)", f"{first[3]:.1f}")
    CONSOLE.print(table)


def chain() -> None:
    """What a further node costs beside its own forward and backward pass."""
    n_nodes, n_samples, n_epochs = 16, 3200, 2

    def models(n: int) -> list[nn.Module]:
        return [nn.Linear(10, 32), *(nn.Linear(32, 32) for _ in range(n - 2)), nn.Linear(32, 1)]

    def bare(n: int) -> Run:
        """The same step without a library: fused Adam, gathered batches."""
        features, targets = map(torch.from_numpy, data(n_samples, 10))
        model = nn.Sequential(*models(n))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def run() -> None:
            for _ in range(n_epochs):
                order = torch.randperm(n_samples)
                pairs = zip(features[order].split(32), targets[order].split(32), strict=True)
                for x, y in pairs:
                    nn.functional.mse_loss(model(x), y).backward()
                    optimizer.step()
                    optimizer.zero_grad()

        return run

    runs = [bare(2), bare(n_nodes)]
    runs += [ours((10,), n_samples, n_epochs, 32, models=models(n)) for n in (2, n_nodes)]
    times = np.median(interleaved(runs), axis=0) / (n_samples // 32 * n_epochs) * 1e6
    raw, own = (times[1] - times[0]) / (n_nodes - 2), (times[3] - times[2]) / (n_nodes - 2)
    CONSOLE.print(
        f"A further node of a chain of {n_nodes}: {own:.1f} µs, without a library {raw:.1f} µs, "
        f"so ours is {own - raw:.1f} µs (at most 25)"
    )


def evaluation() -> None:
    """Evaluating a million rows."""
    n_samples = 1_000_000
    model = network((10, 32, 1))
    features, targets = map(torch.from_numpy, data(n_samples, 10))
    experiment, samples = experiment_of(n_samples, [model], 10)
    samples.split_by_condition({"all": {"y": lambda y: np.ones(len(y), bool)}})
    phase = EvalPhase.from_split("eval", split="all", losses="mse")

    def plain() -> None:
        with torch.no_grad():
            nn.functional.mse_loss(model(features), targets).item()

    ratio = ratios(interleaved([plain, lambda: experiment.run_phase(phase)]))[1]
    CONSOLE.print(f"Evaluating 1M x 10: {ratio:.2f} of a forward pass and a loss (at most 2)")


def phases() -> None:
    """A hundred phases with next to nothing in them."""
    sizes = (10, 32, 1)
    experiment, _ = experiment_of(100, [network(sizes)], sizes[0])
    one = EvalPhase.from_split("one", split="rest")
    for i in range(100):
        experiment.execution_plan.add_phase(EvalPhase.from_split(f"eval {i}", split="rest"))

    def one_by_one() -> None:
        for _ in range(100):
            experiment.run_phase(one)

    times = interleaved([by_hand(sizes, 3_200, 1, 32), experiment.run, one_by_one])  # of 100 steps
    _, of_plan, of_runs = ratios(times)
    ms = np.median(times, axis=0) * 1e3
    CONSOLE.print(
        f"100 EvalPhases of a plan: {ms[1]:.0f} ms, each {of_plan:.1f} steps of the loop by hand "
        f"(at most 2); as runs: {ms[2]:.0f} ms, {of_runs:.1f} steps"
    )


def memory() -> None:
    """Memory over many epochs."""
    run = ours((10, 32, 1), 2_000, 200, 32)
    ours((10, 32, 1), 2_000, 20, 32)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    CONSOLE.print(f"200 epochs of 2000 samples: {grown:.1f} MiB more (outputs are kept up to 64 MiB)")


def preview() -> None:
    """Previewing a phase on a large network."""
    sizes = (1000, 7000, 6000, 1)
    model = network(sizes)
    experiment, _ = experiment_of(4, [model], sizes[0])
    sampler = SimpleSampler(batch_size=2, seed=0)
    phase = TrainPhase.from_split("train", split="train", sampler=sampler, losses="mse")
    experiment.run_phase(phase)
    optimizer = experiment.model_graph.optimizer.optimizer
    runs: list[Run] = [
        lambda: copy.deepcopy((model.state_dict(), optimizer.state_dict())),
        lambda: experiment.run_phase(phase),
        lambda: experiment.preview_phase(phase),
    ]
    copied, ran, previewed = np.median(interleaved(runs, 5), axis=0)
    n = sum(p.numel() for p in model.parameters()) / 1e6
    CONSOLE.print(
        f"Previewing a phase on {n:.0f}M parameters: {previewed - ran:.2f} s more than running it, "
        f"{(previewed - ran) / copied:.2f} of a deepcopy of weights and moments (at most 2)"
    )


PARTS = {part.__name__: part for part in (steps, compiled, chain, evaluation, phases, memory, preview)}


def main() -> None:
    """Run the parts that are named, or all."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
