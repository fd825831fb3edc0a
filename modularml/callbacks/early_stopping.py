"""Early stopping: an end to training when a metric gets no better.

It knows no phase by class: it reads the recording and the graph of the experiment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

from modularml.base.errors import Faults, check_choice, check_int, check_label
from modularml.core.execution.scope import ExecutionContext
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.callback_results import EarlyStoppingResult
from modularml.core.experiment.checkpointing import Checkpointing, is_better
from modularml.core.experiment.goals import check_logged, goal_in
from modularml.core.experiment.phase_results import PhaseResults


class EarlyStopping(Callback):
    """Ends a training phase when a metric has not got better for some epochs.

    The weights of the best epoch come back when the phase ends, also where it was
    stopped or ran to its last epoch. Where the phase writes the best epoch of the same metric to a file
    (``Checkpointing(best=...)``) they come from there, and no copy is held in memory.

    A phase ends with a `CallbackError` after its first epoch if nothing logs the metric, or if it is not
    known which end of it is the better one.

    Args:
        monitor: A metric that is logged, e.g. by `Evaluation`, the label of a loss, or ``"train_loss"``: the
            sum of the losses that are minimized.
        mode: ``"min"`` if lower is better, ``"max"`` if higher is. None follows from the metric: losses and
            errors are to fall, scorers of scikit-learn and other scores to rise.
        patience: How many epochs without improvement are waited for.
        min_delta: How much better counts as better, at least 0.
        restore_best: Return to the weights of the best epoch.
        label: Its name.
        execution_order: Lower ones are called first; metrics must be logged before.

    Attributes:
        best_value: The best value so far, or None.
        best_epoch: Its epoch within this run of the phase, from 0, or None.
        stopped_epoch: The epoch after which it ended the phase, or None.

    Raises:
        InvalidTypeError, InvalidValueError: If an argument is not allowed; all faults are told together.
    """

    _elsewhere: ClassVar[Mapping[str, str]] = {
        "reducer": "Of an epoch the last value of a metric counts: EarlyStopping(monitor='val_loss').",
    }

    def __init__(
        self,
        *,
        monitor: str = "val_loss",
        mode: str | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        label: str | None = None,
        execution_order: int = 1,
    ) -> None:
        super().__init__(label, execution_order)
        faults = Faults("EarlyStopping")
        faults.attempt(check_label, monitor, "metric to monitor")
        if mode is not None:
            faults.attempt(check_choice, mode, "mode", ("min", "max"))
        faults.attempt(check_int, patience, "patience")
        given: object = min_delta
        if not (isinstance(given, Real) and math.isfinite(min_delta) and min_delta >= 0):
            got = f"{min_delta!r} ({type(min_delta).__name__})"
            faults.add(f"min_delta must be a number of at least 0, got {got}.")
        faults.raise_if_any()
        self.monitor, self.mode, self.patience = monitor, mode, int(patience)
        self.min_delta = float(min_delta)
        self.restore_best = bool(restore_best)
        self._forget()

    def _forget(self) -> None:
        self.best_value: float | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._best_state: dict[str, Any] | None = None
        self._is_on_disk = False

    def get_state(self) -> dict[str, Any]:
        """What it has seen, and within a phase the weights to restore."""
        return {
            "best": self.best_value,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "best_state": self._best_state,
            "is_on_disk": self._is_on_disk,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned."""
        self.best_value, self.best_epoch = state["best"], state["best_epoch"]
        self.stopped_epoch, self._best_state = state["stopped_epoch"], state["best_state"]
        self._is_on_disk = state["is_on_disk"]

    def on_phase_start(self, *, experiment: Any, phase: Any, results: PhaseResults) -> None:
        """Begin anew: epochs count within one run of the phase."""
        self._forget()

    def on_epoch_end(
        self, *, experiment: Any, phase: Any, exec_ctx: ExecutionContext, results: PhaseResults
    ) -> None:
        """Compare with the best epoch, and end the phase if patience is at its end."""
        epoch = exec_ctx.epoch_idx
        check_logged(self.monitor, phase, results)
        recording = results.recording
        # What another callback says it will log may come later than the first epoch.
        value = recording.values_of(epoch).get(self.monitor)
        if value is None:
            return
        goal = goal_in(phase, self.monitor, given=self.mode, where="EarlyStopping", option="mode")
        if self.best_value is None or is_better(value, self.best_value, goal, self.min_delta):
            self.best_value, self.best_epoch = value, epoch
            exec_ctx.best_epoch = epoch
            recording.held_epoch = epoch if self.restore_best else None
            kept = exec_ctx.checkpointing
            self._is_on_disk = self.restore_best and kept is not None and self._is_kept_by(kept, goal)
            if self.restore_best and not self._is_on_disk:
                self._best_state = experiment.model_graph.get_state()
        elif self.best_epoch is not None and epoch - self.best_epoch >= self.patience:
            self.stopped_epoch = epoch
            exec_ctx.request_stop()

    def _is_kept_by(self, checkpointing: Checkpointing, goal: str) -> bool:
        """Tell whether the phase writes the best epoch to a file, so that no copy of it is needed."""
        return not self.min_delta and checkpointing.watches(self.monitor, goal)

    def on_phase_end(self, *, experiment: Any, phase: Any, results: PhaseResults) -> EarlyStoppingResult:
        """Return to the best epoch, and say which it was."""
        recording = results.recording
        if recording.keeps == "last" and any(of.epoch == recording.held_epoch for of in recording.tensors):
            recording.forget_tensors(but=recording.held_epoch)
        recording.held_epoch = None
        if self._is_on_disk:
            experiment.model_graph.set_state(phase.checkpointing.get_state("best")["graph"])
        elif self._best_state is not None:
            experiment.model_graph.set_state(self._best_state)
            self._best_state = None
        return EarlyStoppingResult(
            best_value=self.best_value, best_epoch=self.best_epoch, stopped_epoch=self.stopped_epoch
        )
