"""A run without an engine: a blocking loop that emits the events of a training and an evaluation."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import numpy as np

from modularml.base.events import (
    BatchesEnded,
    DisplayOptions,
    EpochEnded,
    EpochStarted,
    Event,
    EventBus,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    RunEnded,
    RunStarted,
)

N_BATCHES = 13


class SyntheticRun:
    """Emits what a run emits; stops after the present batch, by `stop` or by SIGINT."""

    def __init__(
        self,
        bus: EventBus,
        *,
        n_epochs: int = 8,
        batch_s: float = 0.03,
        label: str = "my_experiment",
        n_batches: int = N_BATCHES,
    ) -> None:
        self.bus = bus
        self.n_epochs = n_epochs
        self.batch_s = batch_s
        self.label = label
        self.n_batches = n_batches
        self.is_stopped = False
        self.rng = np.random.default_rng(0)

    def stop(self) -> None:
        self.is_stopped = True

    def run(self, *, error: Exception | None = None, **options: Any) -> str:
        began_s = time.time()
        is_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, lambda *_: self.stop()) if is_main else None
        try:
            plan = (
                PlanEntry(path=("train",), kind="train", n_epochs=self.n_epochs),
                PlanEntry(path=("eval",), kind="eval"),
            )
            self.emit(
                RunStarted,
                label=self.label,
                plan=plan,
                preview=False,
                options=DisplayOptions(**options),
                stop=self.stop,
            )
            self.train(error)
            if not self.is_stopped and error is None:
                self.evaluate()
        finally:
            if is_main:
                signal.signal(signal.SIGINT, before)
        status = "failed" if error else "stopped" if self.is_stopped else "completed"
        self.emit(
            RunEnded, status=status, duration_s=time.time() - began_s, error=repr(error) if error else None
        )
        return status

    def train(self, error: Exception | None) -> None:
        began_s = time.time()
        path = ("train",)
        self.emit(
            PhaseStarted,
            path=path,
            kind="train",
            n_epochs=self.n_epochs,
            n_batches=self.n_batches,
            losses=("mse",),
        )
        metrics: dict[str, float] = {}
        for epoch in range(self.n_epochs):
            self.emit(EpochStarted, path=path, epoch=epoch)
            losses = []
            for batch in range(self.n_batches):
                time.sleep(self.batch_s)
                done = epoch + batch / self.n_batches
                losses.append((0.2 + np.exp(-done / 2)) * self.rng.uniform(0.85, 1.15))
                self.emit(
                    BatchesEnded, path=path, epoch=epoch, n_done=batch + 1, losses=np.array([[losses[-1]]])
                )
                if self.is_stopped:
                    break
            mean = float(np.mean(losses)) if losses else float("nan")
            metrics = {"mse": mean, "val_loss": 0.24 + float(np.exp(-(epoch + 1) / 1.8))}
            self.emit(EpochEnded, path=path, epoch=epoch, metrics=metrics)
            if self.is_stopped or (error is not None and epoch + 1 >= self.n_epochs / 2):
                break
        status = "failed" if error else "stopped" if self.is_stopped else "completed"
        self.emit(PhaseEnded, path=path, status=status, metrics=metrics, duration_s=time.time() - began_s)

    def evaluate(self) -> None:
        path = ("eval",)
        began_s = time.time()
        self.emit(PhaseStarted, path=path, kind="eval", n_epochs=1, n_batches=4, losses=("mse",))
        self.emit(EpochStarted, path=path, epoch=0)
        for batch in range(4):
            time.sleep(self.batch_s)
            self.emit(BatchesEnded, path=path, epoch=0, n_done=batch + 1, losses=np.array([[0.25]]))
        self.emit(EpochEnded, path=path, epoch=0, metrics={"mse": 0.25})
        took_s = time.time() - began_s
        self.emit(PhaseEnded, path=path, status="completed", metrics={"mse": 0.25}, duration_s=took_s)

    def emit(self, event_type: type[Event], /, **fields: Any) -> None:
        self.bus.emit(event_type(run_id="r1", **fields))
