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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from modularml.base.errors import CallbackError
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
from modularml.core.experiment.callback_results import as_result
from modularml.core.experiment.fingerprint import fingerprint
from modularml.core.experiment.history import ExperimentRun, PhaseExecution, now
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import Execution, ExperimentPhase
from modularml.core.experiment.random_stream import RandomStream
from modularml.core.experiment.results import PhaseGroupResults, PhaseResults
from modularml.core.experiment.staleness import name_of, upstream
from modularml.display.live import open_live_view

Results = PhaseResults | PhaseGroupResults
Entry = ExperimentPhase | Group

_HOOK_OF_EVENT: dict[type[Event], str] = {
    EpochStarted: "on_epoch_start",
    BatchStarted: "on_batch_start",
    BatchEnded: "on_batch_end",
    EpochEnded: "on_epoch_end",
}


class Surroundings(Protocol):
    """What the runner needs of an experiment."""

    label: str
    ctx: ExperimentContext
    events: EventBus
    epochs_done: dict[str, int]
    random_stream: RandomStream

    @property
    def history(self) -> Sequence[ExperimentRun]:
        """Its runs so far, the present one included."""
        ...

    @property
    def exp_callbacks(self) -> list[ExperimentCallback]:
        """Its callbacks, in order of execution."""
        ...

    def checkpoint_on(self, moment: str, label: str) -> None:
        """Write a checkpoint if one is due."""
        ...

    def bound_history(self, added: int) -> None:
        """Let the oldest outputs go where all runs together hold too many."""
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
        self._phase: ExperimentPhase | None = None
        self._apart = False

    def run(self, entry: Entry, record: ExperimentRun, *, whole_plan: bool = False) -> Results:
        """Run `entry` and complete its record, whatever happens.

        Args:
            entry: A phase or a group.
            record: The record; it is given results, phases, status, times and error.
            whole_plan: Call the hooks of the experiment's start and end.

        Returns:
            The results; partial ones after a stop.
        """
        started = time.perf_counter()
        with contextlib.ExitStack() as closing:
            try:
                record.metadata |= _versions()
                closing.callback(open_live_view(self.experiment.events, self.options))
                with _interrupts(self._stop):
                    self._run_root(entry, record, whole_plan)
            except BaseException as error:
                record.status = _status_after(error)
                record.error = f"{type(error).__name__}: {error}".removesuffix(": ")
                raise
            finally:
                record.ended_at = now()
                self._emit(
                    RunEnded(
                        run_id=record.id,
                        status=record.status,
                        duration_s=time.perf_counter() - started,
                        error=record.error,
                    )
                )
        results: Results = record.results
        return results

    def _run_root(self, entry: Entry, record: ExperimentRun, whole_plan: bool) -> None:
        def attach(results: Results) -> None:
            record.results = results

        try:
            self._emit_start(entry, record)
            if whole_plan and isinstance(entry, Group):
                self._moment("on_experiment_start", "experiment_start", "START")
                self._run_group(entry, (entry.label,), record, attach, hooks=False)
                self._moment("on_experiment_end", "experiment_end", "END")
            else:
                self._run_entry(entry, (entry.label,), record, attach)
        except BaseException as error:
            if not self.preview:
                self._call_on_exception(self.experiment.exp_callbacks, self._phase, error)
            raise

    # -- groups and phases -----------------------------------------------------------

    def _run_entry(
        self, entry: Entry, path: tuple[str, ...], record: ExperimentRun, attach: Callable[[Any], None]
    ) -> None:
        if isinstance(entry, Group):
            self._run_group(entry, path, record, attach)
        else:
            self._run_phase(entry, path, record, attach)

    def _run_group(
        self,
        group: Group,
        path: tuple[str, ...],
        record: ExperimentRun,
        attach: Callable[[Any], None],
        *,
        hooks: bool = True,
    ) -> None:
        results = group.new_results()
        attach(results)
        self._emit(GroupStarted(run_id=record.id, path=path))
        try:
            if hooks:
                self._moment("on_group_start", "group_start", group.label, group=group)
            apart, self._apart = self._apart, self._apart or group.keeps_weights
            with group.stage(self.experiment):
                self._run_parts(group, path, record, results)
            self._apart = apart
            if len(path) == 1:
                self._conclude(record)
            if hooks:
                self._moment("on_group_end", "group_end", group.label, group=group)
        finally:
            self._emit(GroupEnded(run_id=record.id, path=path))

    def _run_parts(
        self, group: Group, path: tuple[str, ...], record: ExperimentRun, results: PhaseGroupResults
    ) -> None:
        runs = group.elsewhere(self.experiment, self._stop.is_set)
        if runs is None:
            for entry in group.parts():
                if self._stop.is_set():
                    return
                self._run_entry(entry, (*path, entry.label), record, results.add)
            return
        with contextlib.closing(runs):  # type: ignore[type-var]
            for run in runs:
                results.add(run.results)
                record.phases += [replace(phase, path=(*path, *phase.path)) for phase in run.phases]
                self._emit(GroupStarted(run_id=record.id, path=(*path, run.label)))
                self._emit(GroupEnded(run_id=record.id, path=(*path, run.label)))

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
        self._phase = phase
        try:
            self._moment("on_phase_start", "phase_start", phase.label, phase=phase)
            self._begin_stream(phase, "phase")
            execution = phase.execute(scope)
            results = execution.results
            attach(results)
            if not self.preview:
                record.fingerprint[name_of(path, self.experiment.label)] = {
                    **fingerprint(phase),
                    "upstream": upstream(self.experiment.history),
                    **({"apart": True} if self._apart else {}),
                }
            self._draw(phase, execution, scope)
            self.experiment.bound_history(sum(found.n_bytes for found in results.recordings()))
            # Before the last hook, as a checkpoint that is written then must hold all of this.
            self._conclude(entry)
            if len(path) == 1:
                self._conclude(record)
            self._moment("on_phase_end", "phase_end", phase.label, phase=phase)
        except BaseException as error:
            entry.status, entry.ended_at = _status_after(error), now()
            error.add_note(f"raised in phase {'/'.join(path)!r} of experiment {self.experiment.label!r}")
            self._call_on_exception(phase.callbacks, phase, error, exec_ctx=scope.exec_ctx, results=results)
            raise
        finally:
            self._emit(
                PhaseEnded(
                    run_id=record.id,
                    path=path,
                    status=entry.status,
                    metrics=results.final() if results is not None else {},
                    duration_s=entry.duration_s,
                    is_early=scope.exec_ctx.stop_requested,
                )
            )
        self._phase = None

    def _conclude(self, record: ExperimentRun | PhaseExecution) -> None:
        record.status = "stopped" if self._stop.is_set() else "completed"
        record.ended_at = now()

    def _scope(self, phase: ExperimentPhase, path: tuple[str, ...], run_id: str) -> PhaseScope:
        watched = any(c.listens(hook) for c in phase.callbacks for hook in ("on_batch_start", "on_batch_end"))
        return PhaseScope(
            run_id=run_id,
            path=path,
            ctx=self.experiment.ctx,
            should_stop=self._stop.is_set,
            exec_ctx=ExecutionContext(phase_label=phase.label, run_id=run_id, path=path),
            first_epoch=self.experiment.epochs_done.get(phase.label, 0) if phase.kind == "train" else 0,
            watch_batches=watched,
        )

    def _draw(self, phase: ExperimentPhase, execution: Execution, scope: PhaseScope) -> None:
        """Do the phase: draw its events, and call its callbacks between them."""
        results = execution.results
        started = PhaseStarted(
            run_id=scope.run_id,
            path=scope.path,
            kind=phase.kind,
            n_epochs=phase.n_epochs,
            n_batches=execution.n_batches,
            losses=tuple(results.loss_labels),
            nodes=execution.nodes,
            rates=execution.rates,
            devices=execution.devices,
        )
        self._emit(started)
        self._phase_hook(phase, "on_phase_start", results=results)
        try:
            # Closing the generator puts flags back also when a hook raises between two batches.
            with contextlib.closing(execution.events) as events:  # type: ignore[type-var]
                for event in events:
                    if isinstance(event, EpochStarted):
                        self._begin_stream(phase, "epoch", scope.first_epoch + event.epoch)
                    if not isinstance(event, BatchStarted | BatchEnded | EpochEnded):
                        self._emit(event)
                    hook = _HOOK_OF_EVENT.get(type(event))
                    if isinstance(event, EpochEnded):
                        self._count_epochs(phase, scope, results)
                    if hook is not None and phase.callbacks:
                        self._phase_hook(phase, hook, exec_ctx=scope.exec_ctx, results=results)
                    if isinstance(event, EpochEnded):
                        # Told after the hooks, with what they logged.
                        logged = results.recording.epoch_metrics(event.epoch)
                        metrics = {**event.metrics, **logged}
                        self._emit(replace(event, metrics=metrics, best_epoch=scope.exec_ctx.best_epoch))
        finally:
            self._count_epochs(phase, scope, results)
        self._phase_hook(phase, "on_phase_end", results=results)

    def _begin_stream(self, phase: ExperimentPhase, kind: str, *at: int) -> None:
        """Let what is random in an epoch follow from the experiment's seed, whatever ran before."""
        seed = self.experiment.ctx.seed_for(kind, phase.label, *at)
        if seed is not None:
            self.experiment.random_stream.begin_anew(seed)

    def _count_epochs(self, phase: ExperimentPhase, scope: PhaseScope, results: PhaseResults) -> None:
        if phase.kind == "train":
            n_begun = len(results.recording.losses)
            self.experiment.epochs_done[phase.label] = scope.first_epoch + n_begun

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
                epochs_before=self._epochs_before(entry),
            )
        )

    def _epochs_before(self, entry: Entry) -> int:
        phases = entry.flatten() if isinstance(entry, Group) else [entry]
        labels = {phase.label for phase in phases if phase.kind == "train"}
        return sum(self.experiment.epochs_done.get(label, 0) for label in labels)

    def _phase_hook(self, phase: ExperimentPhase, hook: str, *, results: PhaseResults, **at: Any) -> None:
        """Call a hook of the phase's callbacks, and keep what they return."""
        for callback in phase.callbacks:
            if callback.listens(hook):
                given = {"experiment": self.experiment, "phase": phase, "results": results}
                returned = _call(callback, hook, **given, **at)
                if returned is not None:
                    place = _place(hook, at.get("exec_ctx"))
                    names = {"callback_label": callback.label, "phase_label": phase.label}
                    results.record(as_result(returned).placed(**names, **place))

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
        callbacks: Sequence[Any],
        phase: ExperimentPhase | None,
        error: BaseException,
        **arguments: Any,
    ) -> None:
        """Tell every callback, and let none of them hide the exception from the others."""
        for callback in callbacks:
            try:
                callback.on_exception(experiment=self.experiment, phase=phase, exception=error, **arguments)
            except Exception as failure:  # noqa: BLE001 - told as a note; the first exception counts
                error.add_note(
                    f"{callback.label!r} failed in on_exception: {type(failure).__name__}: {failure}"
                )


def _place(hook: str, exec_ctx: ExecutionContext | None) -> dict[str, Any]:
    """Return where in a phase a hook is called."""
    scope, edge = hook.removeprefix("on_").split("_")
    at: dict[str, Any] = {"scope": scope, "edge": edge}
    if exec_ctx is not None:
        at["epoch"] = exec_ctx.epoch_idx
        at["batch"] = exec_ctx.batch_idx if scope == "batch" else None
    return at


def _call(callback: Any, hook: str, **arguments: Any) -> Any:
    try:
        return getattr(callback, hook)(**arguments)
    except Exception as error:
        raise CallbackError(
            f"The callback {callback.label!r} raised in {hook}: {type(error).__name__}: {error}"
        ) from error


def _status_after(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _plan(entry: Entry, path: tuple[str, ...]) -> Iterator[PlanEntry]:
    if not isinstance(entry, Group):
        yield PlanEntry(path=path, kind=entry.kind, n_epochs=entry.n_epochs, draw=entry.diagram)
        return
    yield PlanEntry(path=path, kind="group")
    for nested in entry.parts():
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
