"""Histories of many runs, made without running anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from modularml.base.events import DisplayOptions, EventBus, RunStarted
from modularml.core.execution.recording import Recording
from modularml.core.experiment.history import ExperimentRun, History, PhaseExecution
from modularml.core.experiment.phase_results import TrainResults

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


class FollowedHistory(History):
    """A history that tells when a run was added, as that of an experiment does."""

    def __init__(self) -> None:
        self.told = EventBus()
        super().__init__(name="sweep", bus=self.told, present=lambda: list(self))


def history(n_runs: int, n_epochs: int = 50) -> History:
    """Return a history of `n_runs` runs of `n_epochs` epochs."""
    runs = FollowedHistory()
    for i in range(n_runs):
        runs.append(_run(i, n_epochs))
    return runs


def add_run(runs: FollowedHistory, label: str) -> None:
    """Add a run to a history that is shown."""
    run = _run(len(runs), 50, label)
    runs.append(run)
    options, no_stop = DisplayOptions(), lambda: None
    runs.told.emit(
        RunStarted(run_id=run.id, label=label, plan=(), preview=False, options=options, stop=no_stop)
    )


def _run(i: int, n_epochs: int, label: str = "train") -> ExperimentRun:
    rng = np.random.default_rng(i)
    at = np.linspace(0, 4, n_epochs)[:, None]
    losses = (1 + i % 7 / 10) * np.exp(-at) + 0.05 * rng.random((n_epochs, 1)) + 0.02
    recording = Recording({"mse": "net"}, losses=list(losses[:, None]), n_samples=[np.ones(1)] * n_epochs)
    for epoch, value in enumerate((losses[:, 0] * 1.2).tolist()):
        recording.log("val_loss", value, epoch)
    started = START + timedelta(minutes=7 * i)
    ended = started + timedelta(seconds=5 + i)
    has_failed = i % 12 == 5
    phase = PhaseExecution(path=(label,), kind="train", started_at=started, ended_at=ended)
    phase.status = "failed" if has_failed else "completed"
    return ExperimentRun(
        label=label,
        started_at=started,
        ended_at=ended,
        status=phase.status,
        error="LossError: the loss 'mse' is nan" if has_failed else None,
        results=TrainResults(label, recording, {}),
        phases=[phase],
        metadata={"seed": i % 5},
        fingerprint={label: {"type": "TrainPhase", "n_epochs": n_epochs + i // 3, "lr": 0.01 / (1 + i % 4)}},
        checkpoints=["END"],
    )
