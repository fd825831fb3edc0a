"""Runs phases and groups: calls the hooks, times the phases, keeps the record.

It alone does these three. It knows no file and no screen: what happens goes to the
event bus, and checkpoints are asked for by the name of the moment.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from modularml.base.errors import ModularMLError
from modularml.base.events import (
    DisplayOptions,
    EpochEnded,
    EpochStarted,
    Event,
    EventBus,
    GroupEnded,
    GroupStarted,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    RunEnded,
    RunStarted,
)
from modularml.core.context import ExperimentContext
from modularml.core.execution.epochs import BatchEnded, BatchStarted
from modularml.core.execution.scope import ExecutionContext, PhaseScope
from modularml.core.experiment.callback import ExperimentCallback
from modularml.core.experiment.history import ExperimentRun, PhaseExecution, now
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.results import PhaseGroupResults, PhaseResults
from modularml.display.live import open_live_view

Results = PhaseResults | PhaseGroupResults
Entry = ExperimentPhase | PhaseGroup

_HOOK_OF_EVENT: dict[type[Event], str] = {
    EpochStarted: "on_epoch_start",
    BatchStarted: "on_batch_start",
    BatchEnded: "on_batch_end",
    EpochEnded: "on_epoch_end",
}


class CallbackError(ModularMLError, RuntimeError):
    """A callback raised; the message names it and its hook."""


class Surroundings(Protocol):
    """What the runner needs of an experiment."""

    label: str
    ctx: ExperimentContext
    events: EventBus
    epochs_done: dict[str, int]

    @property
    def exp_callbacks(self) -> list[ExperimentCallback]:
        """Its callbacks, in order of execution."""
        ...

    def checkpoint_on(self, moment: str, label: str) -> None:
        """Write a checkpoint if one is due."""
        ...


class Runner:
    """One run of an entry of a plan.

    Args:
        experiment: Whose run it is.
        options: What is shown.
        preview: Call no experiment callbacks and write no checkpoints.
    """

    def __init__(self, experiment: Surroundings, options: DisplayOptions, *, preview: bool = False) -> None:
        self.experiment, self.options, self.preview = experiment, options, preview
        self._stop = threading.Event()

    def run(self, entry: Entry, record: ExperimentRun, *, whole_plan: bool = False) -> Results:
        """Run `entry` and complete its record, whatever happens.

        Args:
            entry: A phase or a group.
            record: The record; it is given results, phases, status, times and error.
            whole_plan: Call the hooks of the experiment's start and end.

        Returns:
            The results; partial ones after a stop.
        """
        record.metadata |= _versions()
        started = time.perf_counter()
        close_view = open_live_view(self.experiment.events, self.options)
        try:
            with _interrupts(self._stop):
                self._emit_start(entry, record)
                if whole_plan:
                    self._moment("on_experiment_start", "experiment_start", "START")
                self._run_entry(
                    entry, (entry.label,), record, lambda found: setattr(record, "results", found)
                )
                if whole_plan:
                    self._moment("on_experiment_end", "experiment_end", "END")
            record.status = "stopped" if self._stop.is_set() else "completed"
        except BaseException as error:
            record.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            record.error = f"{type(error).__name__}: {error}"
            raise
        finally:
            record.ended_at = now()
            duration_s = time.perf_counter() - started
            self._emit(
                RunEnded(run_id=record.id, status=record.status, duration_s=duration_s, error=record.error)
            )
            close_view()
        results: Results = record.results
        return results

    # -- groups and phases -----------------------------------------------------------

    def _run_entry(
        self, entry: Entry, path: tuple[str, ...], record: ExperimentRun, attach: Callable[[Any], None]
    ) -> None:
        if isinstance(entry, PhaseGroup):
            self._run_group(entry, path, record, attach)
        else:
            self._run_phase(entry, path, record, attach)

    def _run_group(
        self, group: PhaseGroup, path: tuple[str, ...], record: ExperimentRun, attach: Callable[[Any], None]
    ) -> None:
        results = PhaseGroupResults(group.label)
        attach(results)
        is_plan = group is getattr(self.experiment, "execution_plan", None)
        self._emit(GroupStarted(run_id=record.id, path=path))
        if not is_plan:
            self._moment("on_group_start", "group_start", group.label, group=group)
        for entry in group.all:
            if self._stop.is_set():
                break
            self._run_entry(entry, (*path, entry.label), record, results.add)
        if not is_plan:
            self._moment("on_group_end", "group_end", group.label, group=group)
        self._emit(GroupEnded(run_id=record.id, path=path))

    def _run_phase(
        self,
        phase: ExperimentPhase,
        path: tuple[str, ...],
        record: ExperimentRun,
        attach: Callable[[Any], None],
    ) -> None:
        entry = PhaseExecution(path=path, kind=phase.kind, started_at=now())
        record.phases.append(entry)
        scope = self._scope(phase, path, record.id)
        results: PhaseResults | None = None
        try:
            self._moment("on_phase_start", "phase_start", phase.label, phase=phase)
            execution = phase.execute(scope)
            results = execution.results
            attach(results)
            self._emit(
                PhaseStarted(
                    run_id=record.id,
                    path=path,
                    kind=phase.kind,
                    n_epochs=phase.n_epochs,
                    n_batches=execution.n_batches,
                    losses=tuple(results.loss_labels),
                    nodes=execution.nodes,
                )
            )
            self._draw(phase, execution.events, scope, results)
            self._moment("on_phase_end", "phase_end", phase.label, phase=phase)
            entry.status = "stopped" if self._stop.is_set() else "completed"
        except BaseException as error:
            entry.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self._call_on_exception(phase, scope, results, error)
            raise
        finally:
            entry.ended_at = now()
            if results is not None:
                n_begun = len(results.recording.losses)
                self.experiment.epochs_done[phase.label] = scope.first_epoch + n_begun
            self._emit(
                PhaseEnded(
                    run_id=record.id,
                    path=path,
                    status=entry.status,
                    metrics=results.final() if results is not None else {},
                    duration_s=entry.duration_s,
                )
            )

    def _scope(self, phase: ExperimentPhase, path: tuple[str, ...], run_id: str) -> PhaseScope:
        watched = any(c.listens(hook) for c in phase.callbacks for hook in ("on_batch_start", "on_batch_end"))
        return PhaseScope(
            run_id=run_id,
            path=path,
            ctx=self.experiment.ctx,
            should_stop=self._stop.is_set,
            exec_ctx=ExecutionContext(phase_label=phase.label),
            first_epoch=self.experiment.epochs_done.get(phase.label, 0) if phase.kind == "train" else 0,
            watch_batches=watched,
        )

    def _draw(
        self, phase: ExperimentPhase, events: Iterator[Event], scope: PhaseScope, results: PhaseResults
    ) -> None:
        self._phase_hook(phase, "on_phase_start", results=results)
        # Closing the generator puts flags back also when a hook raises between two batches.
        with contextlib.closing(events) as drawn:  # type: ignore[type-var]
            for event in drawn:
                hook = _HOOK_OF_EVENT.get(type(event))
                if not isinstance(event, BatchStarted | BatchEnded):
                    self._emit(event)
                if hook is not None and phase.callbacks:
                    self._phase_hook(phase, hook, exec_ctx=scope.exec_ctx, results=results)
        self._phase_hook(phase, "on_phase_end", results=results)

    # -- events and hooks --------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        self.experiment.events.emit(event)

    def _emit_start(self, entry: Entry, record: ExperimentRun) -> None:
        self._emit(
            RunStarted(
                run_id=record.id,
                label=record.label,
                plan=tuple(_plan(entry, (entry.label,))),
                preview=self.preview,
                options=self.options,
                stop=self._stop.set,
            )
        )

    def _phase_hook(self, phase: ExperimentPhase, hook: str, **arguments: Any) -> None:
        for callback in phase.callbacks:
            if callback.listens(hook):
                _call(callback, hook, experiment=self.experiment, phase=phase, **arguments)

    def _moment(self, hook: str, moment: str, label: str, **arguments: Any) -> None:
        """Call a hook of the experiment's callbacks, and let it write its checkpoint."""
        if self.preview:
            return
        for callback in self.experiment.exp_callbacks:
            if callback.listens(hook):
                _call(callback, hook, experiment=self.experiment, **arguments)
        self.experiment.checkpoint_on(moment, label)

    def _call_on_exception(
        self,
        phase: ExperimentPhase,
        scope: PhaseScope,
        results: PhaseResults | None,
        error: BaseException,
    ) -> None:
        """Tell every callback, and let none of them hide the exception from the others."""
        error.add_note(f"raised in phase {'/'.join(scope.path)!r} of experiment {self.experiment.label!r}")
        listeners: list[tuple[Any, dict[str, Any]]] = [
            (callback, {"exec_ctx": scope.exec_ctx, "results": results}) for callback in phase.callbacks
        ]
        if not self.preview:
            listeners += [(callback, {}) for callback in self.experiment.exp_callbacks]
        for callback, extra in listeners:
            try:
                callback.on_exception(experiment=self.experiment, phase=phase, exception=error, **extra)
            except Exception as failure:  # noqa: BLE001 - told as a note; the first exception counts
                error.add_note(
                    f"{callback.label!r} failed in on_exception: {type(failure).__name__}: {failure}"
                )


def _call(callback: Any, hook: str, **arguments: Any) -> None:
    try:
        getattr(callback, hook)(**arguments)
    except Exception as error:
        raise CallbackError(
            f"The callback {callback.label!r} raised in {hook}: {type(error).__name__}: {error}"
        ) from error


def _plan(entry: Entry, path: tuple[str, ...]) -> Iterator[PlanEntry]:
    if not isinstance(entry, PhaseGroup):
        yield PlanEntry(path=path, kind=entry.kind, n_epochs=entry.n_epochs)
        return
    yield PlanEntry(path=path, kind="group")
    for nested in entry.all:
        yield from _plan(nested, (*path, nested.label))


@contextlib.contextmanager
def _interrupts(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C finish the batch, and the second raise.

    Only the main thread receives signals; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(signum: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)


@functools.cache
def _versions() -> dict[str, str]:
    packages = ("modularml-jupyter", "torch", "scikit-learn", "numpy")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }
