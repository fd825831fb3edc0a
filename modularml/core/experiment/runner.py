"""Runs phases and groups: calls the hooks, times the phases, keeps the record.

It alone does these three. It knows no file and no screen: what happens goes to the
event bus, and checkpoints are asked for by the name of the moment.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import itertools
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from modularml.base.errors import CallbackError
from modularml.base.events import (
    DisplayOptions,
    EpochEnded,
    EpochStarted,
    Event,
    GroupEnded,
    GroupStarted,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    RunEnded,
    RunStarted,
)
from modularml.core.execution.epochs import BatchEnded, BatchStarted, EpochLeft, Paused
from modularml.core.execution.recording import HISTORY_BUDGET_BYTES
from modularml.core.execution.scope import ExecutionContext, PhaseScope, Shared, Start
from modularml.core.experiment.callback_results import as_result
from modularml.core.experiment.checkpointing import PHASE
from modularml.core.experiment.checkpoints import Checkpoints
from modularml.core.experiment.entries import Entry
from modularml.core.experiment.fingerprint import fingerprint
from modularml.core.experiment.history import EPOCHS_BEFORE, ExperimentRun, History, PhaseExecution, now
from modularml.core.experiment.host import Host
from modularml.core.experiment.phase_results import PhaseResults
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import Execution, ExperimentPhase
from modularml.core.experiment.position import Position
from modularml.core.experiment.results import PhaseGroupResults
from modularml.core.experiment.resuming import Bookmark
from modularml.core.experiment.staleness import name_of, upstream
from modularml.core.experiment.stopping import Stop
from modularml.display.live import open_live_view

Results = PhaseResults | PhaseGroupResults

_HOOK_OF_EVENT: dict[type[Event], str] = {
    EpochStarted: "on_epoch_start",
    BatchStarted: "on_batch_start",
    BatchEnded: "on_batch_end",
    EpochEnded: "on_epoch_end",
}

_NOT_YET_TOLD = (BatchStarted, BatchEnded, EpochEnded)
"""Events of batches, of which nobody is told but callbacks, and those that are told after the hooks."""


class Runner:
    """One run of an entry of a plan.

    Args:
        experiment: Whose run it is.
        history: Its runs so far, to which the present one comes.
        bookmark: Remembers where the run is, to go on from there; of a preview it remembers nothing.
        checkpoints: Told of the moments at which one may be due.
        options: What is shown.
        preview: Call no experiment callbacks and write no checkpoints.
        begin_at: Where an earlier part of the run ended; None begins at the beginning.

    Attributes:
        position: Where it is.
        stop: By which it is asked to end.
    """

    def __init__(
        self,
        experiment: Host,
        history: History,
        bookmark: Bookmark,
        checkpoints: Checkpoints,
        options: DisplayOptions,
        *,
        preview: bool = False,
        begin_at: Position | None = None,
    ) -> None:
        self.experiment, self.history = experiment, history
        self.bookmark, self.checkpoints = bookmark, checkpoints
        self.options, self.preview = options, preview
        self.position, self.stop = Position(path=()), Stop()
        self._begin_at = begin_at
        self._phase: ExperimentPhase | None = None
        self._apart = False
        self._shared = Shared()

    def run(self, entry: Entry, record: ExperimentRun, *, whole_plan: bool = False) -> Results:
        """Run `entry` and complete its record, whatever happens.

        Args:
            entry: A phase or a group.
            record: The record; it is given results, phases, status, times and error.
            whole_plan: Call the hooks of the experiment's start and end.

        Returns:
            The results; partial ones after a stop.
        """
        __tracebackhide__ = True
        started = time.perf_counter()
        with contextlib.ExitStack() as closing:
            try:
                record.metadata |= _versions()
                closing.callback(open_live_view(self.experiment.events, self.options))
                with self.stop.on_interrupt():
                    self._run_root(entry, record, whole_plan)
            except BaseException as error:
                record.status = _status_after(error)
                record.error = f"{type(error).__name__}: {error}".removesuffix(": ")
                raise
            finally:
                self._shared.forget()  # whoever shows the run keeps this object, and what it holds
                record.ended_at = now()
                record.metadata.pop("stopped_by", None)
                if self.stop.is_requested():
                    record.metadata["stopped_by"] = self.stop.by
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
        __tracebackhide__ = True

        def attach(results: Results) -> None:
            record.results = results

        try:
            self._emit_start(entry, record)
            if whole_plan and isinstance(entry, Group):
                root = (entry.label,)
                if self._stage_of(root) in ("before", "begun"):
                    self.position = Position(path=root, stage="begun")
                    self._moment("on_experiment_start", "experiment_start", "START")
                self._run_group(entry, root, record, attach, hooks=False)
                self._moment("on_experiment_end", "experiment_end", "END")
            else:
                self._run_entry(entry, (entry.label,), record, attach)
            self.checkpoints.settle()
        except BaseException as error:
            self._settle_after(error)
            if not self.preview:
                self._call_on_exception(self.experiment.exp_callbacks, self._phase, error)
            raise

    def _settle_after(self, error: BaseException) -> None:
        """Wait for the checkpoint that is being written; never in the place of `error`."""
        try:
            self.checkpoints.settle()
        except Exception as failure:  # noqa: BLE001 - told as a note; the first exception counts
            error.add_note(f"The last checkpoint was not written: {type(failure).__name__}: {failure}")

    # -- groups and phases -----------------------------------------------------------

    def _run_entry(
        self, entry: Entry, path: tuple[str, ...], record: ExperimentRun, attach: Callable[[Any], None]
    ) -> None:
        __tracebackhide__ = True
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
        __tracebackhide__ = True
        self._arrive(path)
        stage = self._stage_of(path)
        results = record.results_at(path) if stage in ("running", "ended") else group._new_results()
        attach(results)
        self._emit(GroupStarted(run_id=record.id, path=path))
        name = name_of(path, self.experiment.label)
        try:
            if hooks and stage in ("before", "begun"):
                self.position = Position(path=path, stage="begun")
                self._moment("on_group_start", "group_start", group.label, group=group)
                whole = None if self._apart or self.preview else group._consumed()
                if whole is not None:
                    record.fingerprint[name] = whole
            if stage != "ended":
                apart, self._apart = self._apart, self._apart or group.keeps_weights
                with self.bookmark.within(group, self.experiment), group._stage(self.experiment):
                    self._shared.forget()  # a fold has rows of its own
                    self._run_parts(group, path, record, results)
                self._shared.forget()
                self._apart = apart
                if name in record.fingerprint:
                    record.fingerprint[name]["whole"] = not self.stop.is_requested()
            self.position = Position(path=path, stage="ended")
            if len(path) == 1:
                self._conclude(record)
            if hooks:
                self._moment("on_group_end", "group_end", group.label, group=group)
        finally:
            self._emit(GroupEnded(run_id=record.id, path=path))

    def _run_parts(
        self, group: Group, path: tuple[str, ...], record: ExperimentRun, results: PhaseGroupResults
    ) -> None:
        __tracebackhide__ = True
        runs = group._runs_elsewhere(self.experiment, self.stop.is_requested)
        if runs is None:
            for entry in self._entries(group, path):
                if self.stop.is_requested():
                    self._pause(Position(path=(*path, entry.label)))
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
        __tracebackhide__ = True
        self._arrive(path)
        entry = self._execution_of(phase, path, record)
        stage = self._stage_of(path)
        scope = self._scope(phase, path, record, stage)
        if scope.first_epoch:
            continues = record.metadata.setdefault("continues", {})
            continues["/".join(path)] = {EPOCHS_BEFORE: scope.first_epoch}
        results: PhaseResults | None = None
        self._phase = phase
        try:
            if stage in ("before", "begun"):
                self.position = Position(path=path, stage="begun")
                self._moment("on_phase_start", "phase_start", phase.label, phase=phase)
                self._begin_stream(phase, "phase")
            if stage == "ended":
                results = record.results_at(path)
            else:
                execution = phase.execute(scope)
                results = execution.results
                self._take_over(record, path, results, phase, is_new=scope.start.recorded is None)
                attach(results)
                self._draw(phase, execution, scope)
                added = sum(found.n_bytes for found in results.recordings())
                self.history.make_room_within(HISTORY_BUDGET_BYTES, added)
            self.position = Position(path=path, stage="ended")
            # Before the last hook, as a checkpoint that is written then must hold all of this.
            self._conclude(entry)
            if len(path) == 1:
                self._conclude(record)
            self._moment("on_phase_end", "phase_end", phase.label, phase=phase)
        except BaseException as error:
            if self.position.stage in ("begun", "started"):
                self._pause_before_the_start(path, error)
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
                    reached=None if results is None else results.recording.reached,
                )
            )
        self._phase = None

    # -- going on where an earlier part of the run ended --------------------------------

    def _stage_of(self, path: tuple[str, ...]) -> str:
        return "before" if self._begin_at is None else self._begin_at.stage_of(path)

    def _arrive(self, path: tuple[str, ...]) -> None:
        """Return to everything as it was, where an earlier part of the run ended."""
        if self._begin_at is not None and self._begin_at.path == path:
            self.bookmark.arrive(self.experiment)

    def _entries(self, group: Group, path: tuple[str, ...]) -> Iterator[Entry]:
        """Yield the parts of a group that are not done."""
        entries = iter(group.parts())
        if self._begin_at is not None and self._begin_at.path[: len(path)] == path != self._begin_at.path:
            next_label = self._begin_at.path[len(path)]
            entries = itertools.dropwhile(lambda entry: entry.label != next_label, entries)
        yield from entries

    def _take_over(
        self,
        record: ExperimentRun,
        path: tuple[str, ...],
        results: PhaseResults,
        phase: ExperimentPhase,
        *,
        is_new: bool,
    ) -> None:
        """Note what a phase begins with, or take over what an earlier part of the run noted."""
        if not is_new:
            results.callback_results[:] = record.results_at(path).callback_results
            return
        if not self.preview:
            record.fingerprint[name_of(path, self.experiment.label)] = {
                **fingerprint(phase, self._shared),
                "upstream": upstream(self.history),
                **({"apart": True} if self._apart else {}),
            }

    def _execution_of(
        self, phase: ExperimentPhase, path: tuple[str, ...], record: ExperimentRun
    ) -> PhaseExecution:
        if self._begin_at is not None and self._begin_at.path == path:
            known = [entry for entry in record.phases if entry.path == path]
            if known:
                known[-1].go_on()
                return known[-1]
        record.phases.append(PhaseExecution(path=path, kind=phase.kind, started_at=now()))
        return record.phases[-1]

    def _pause_before_the_start(self, path: tuple[str, ...], error: BaseException) -> None:
        """Remember a phase of which nothing is done; callbacks that were told of it are not told again."""
        n_called = len(self.experiment.exp_callbacks)
        if self.position.stage == "begun":
            n_called = self.position.n_called - isinstance(error, CallbackError)
        begun = Position(path=path, stage="begun", hook="on_phase_start", n_called=n_called)
        self._pause(begun, error)

    def _pause(self, position: Position, error: BaseException | None = None) -> None:
        """Remember where to go on; never in the place of `error`."""
        self.position = position
        if self.preview:
            return
        try:
            self.bookmark.pause(self.experiment)
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"The run cannot be resumed: {type(failure).__name__}: {failure}")

    def _conclude(self, record: ExperimentRun | PhaseExecution) -> None:
        record.status = "stopped" if self.stop.is_requested() else "completed"
        record.ended_at = now()

    def _scope(
        self, phase: ExperimentPhase, path: tuple[str, ...], record: ExperimentRun, stage: str
    ) -> PhaseScope:
        watched = any(c.listens(hook) for c in phase.callbacks for hook in ("on_batch_start", "on_batch_end"))
        keeps = None if self.preview or self.checkpoints.is_disabled else phase.checkpointing
        watched |= keeps is not None and any(m.startswith("batch") for m in keeps.moments(PHASE))
        scope = PhaseScope(
            run_id=record.id,
            path=path,
            ctx=self.experiment.ctx,
            should_stop=self.stop.is_requested,
            exec_ctx=ExecutionContext(
                phase_label=phase.label, run_id=record.id, path=path, checkpointing=keeps
            ),
            first_epoch=self.experiment.epochs_done.get(phase.label, 0) if phase.kind == "train" else 0,
            watch_batches=watched,
            tell=self._emit,
            shared=self._shared,
        )
        if self._begin_at is not None and stage in ("running", "finished"):
            at, recorded = self._begin_at, record.results_at(path).recording.get_state()
            is_at_end = at.hook == "on_epoch_end"
            scope.start = Start(epoch=at.epoch, batch=at.batch, recorded=recorded, is_at_end=is_at_end)
            scope.first_epoch, scope.exec_ctx.stop_requested = at.first_epoch, at.stop_requested
        return scope

    def _draw(self, phase: ExperimentPhase, execution: Execution, scope: PhaseScope) -> None:
        """Do the phase: draw its events, and call its callbacks between them."""
        __tracebackhide__ = True
        results = execution.results
        if not phase.freezes_graph:
            self._shared.forget()
        started = PhaseStarted(
            run_id=scope.run_id,
            path=scope.path,
            kind=phase.kind,
            n_epochs=phase.n_epochs,
            n_batches=execution.n_batches,
            losses=tuple(results.loss_labels),
            nodes=tuple(execution.devices),
            rates=execution.rates,
            devices={label: str(device) for label, device in execution.devices.items()},
        )
        self._emit(started)
        if scope.start.recorded is None:
            self._locate(scope, "started")
            self._phase_hook(phase, "on_phase_start", scope, results)
        self._locate(scope, "running", scope.start.epoch, scope.start.batch)
        try:
            # Closing the generator puts flags back also when a hook raises between two batches.
            with contextlib.closing(execution.events) as events:  # type: ignore[type-var]
                for event in events:
                    self._handle(event, phase, scope, results)
        finally:
            self._count_epochs(phase, scope, results)
        self._locate(scope, "finished", self.position.epoch, self.position.batch)
        self._phase_hook(phase, "on_phase_end", scope, results)

    def _begin_stream(self, phase: ExperimentPhase, kind: str, *at: int) -> None:
        """Let what is random in an epoch follow from the experiment's seed, whatever ran before."""
        seed = self.experiment.ctx.seed_for(kind, phase.label, *at)
        if seed is not None:
            self.experiment.random_stream.begin_anew(seed)

    def _handle(self, event: Event, phase: ExperimentPhase, scope: PhaseScope, results: PhaseResults) -> None:
        """Tell one event of a phase, and call the hooks that belong to it."""
        if isinstance(event, Paused):
            self._locate(scope, "running", event.epoch, event.batch)
            self._pause(self.position)
            return
        if isinstance(event, EpochLeft):
            self._locate(scope, "running", event.epoch + 1)
            return
        if isinstance(event, EpochStarted):
            self._begin_stream(phase, "epoch", scope.first_epoch + event.epoch)
        if not isinstance(event, _NOT_YET_TOLD):
            self._emit(event)
        hook = _HOOK_OF_EVENT.get(type(event))
        if hook is None:
            return
        exec_ctx = scope.exec_ctx
        epoch, batch = exec_ctx.epoch_idx, exec_ctx.batch_idx
        if isinstance(event, EpochStarted):
            self._locate(scope, "running", epoch)
        elif isinstance(event, EpochEnded):
            self._count_epochs(phase, scope, results)
            self._locate(scope, "running", epoch, len(results.recording.losses[epoch]))
        else:
            self._locate(scope, "running", epoch, batch + 1 if isinstance(event, BatchEnded) else batch)
        self._phase_hook(phase, hook, scope, results, exec_ctx=exec_ctx)
        if isinstance(event, EpochEnded):
            # Told after the hooks, with what they logged.
            logged = results.recording.epoch_metrics(event.epoch)
            metrics = {**event.metrics, **logged}
            self._emit(replace(event, metrics=metrics, best_epoch=exec_ctx.best_epoch))

    def _locate(self, scope: PhaseScope, stage: str, epoch: int = 0, batch: int | None = None) -> None:
        self.position = Position(
            path=scope.path,
            stage=stage,
            epoch=epoch,
            batch=batch,
            first_epoch=scope.first_epoch,
            stop_requested=scope.exec_ctx.stop_requested,
        )

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
                plan=tuple(_plan(entry, (entry.label,), (entry.label,))),
                preview=self.preview,
                options=self.options,
                stop=functools.partial(self.stop.request, "Stop"),
                epochs_before=self._epochs_before(entry),
            )
        )

    def _epochs_before(self, entry: Entry) -> int:
        phases = entry.flatten() if isinstance(entry, Group) else [entry]
        labels = {phase.label for phase in phases if phase.kind == "train"}
        return sum(self.experiment.epochs_done.get(label, 0) for label in labels)

    def _phase_hook(
        self, phase: ExperimentPhase, hook: str, scope: PhaseScope, results: PhaseResults, **at: Any
    ) -> None:
        """Call a hook of the phase's callbacks, keep what they return, and a checkpoint if one is due."""
        __tracebackhide__ = True

        def keep(callback: Any, returned: Any) -> None:
            place = _place(hook, at.get("exec_ctx"))
            names = {"callback_label": callback.label, "phase_label": phase.label}
            results.record(as_result(returned).placed(**names, **place))

        is_done = self._call_all(phase.callbacks, hook, keep, phase=phase, results=results, **at)
        here = scope.exec_ctx
        if here.checkpointing is not None and not is_done:
            moment = hook.removeprefix("on_")
            self.checkpoints.within(self.experiment, self.bookmark, phase, moment, here, results)

    def _call_all(
        self,
        callbacks: Sequence[Any],
        hook: str,
        keep: Callable[[Any, Any], None] | None = None,
        **arguments: Any,
    ) -> bool:
        """Call a hook of those that an earlier part of the run did not call; tell whether it called all."""
        __tracebackhide__ = True
        at, n_called, is_done = self._begin_at, 0, False
        if at is not None and at.is_in_hook(self.position._replace(hook=hook)):
            n_called, is_done = at.n_called, at.n_called == len(callbacks)
        for i, callback in enumerate(callbacks[n_called:], start=n_called + 1):
            if callback.listens(hook):
                self.position = self.position._replace(hook=hook, n_called=i)
                self.stop.calling = callback.label
                returned = _call(callback, hook, experiment=self.experiment, **arguments)
                self.stop.calling = ""
                self._shared.forget()
                if keep is not None and returned is not None:
                    keep(callback, returned)
        self.position = self.position._replace(hook=hook, n_called=len(callbacks))
        return is_done

    def _moment(self, hook: str, moment: str, label: str, **arguments: Any) -> None:
        """Call a hook of the experiment's callbacks, and let it write its checkpoint."""
        __tracebackhide__ = True
        if self.preview:
            return
        if not self._call_all(self.experiment.exp_callbacks, hook, **arguments):
            self.checkpoints.on(self.experiment, self.bookmark, moment, label)

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


def _plan(entry: Entry, path: tuple[str, ...], family: tuple[str, ...]) -> Iterator[PlanEntry]:
    if not isinstance(entry, Group):
        yield PlanEntry(
            path=path, family=family, kind=entry.kind, n_epochs=entry.n_epochs, draw=entry.diagram
        )
        return
    yield PlanEntry(path=path, family=family, kind="group")
    for nested in entry.parts():
        is_fold = isinstance(nested, Group) and nested.is_fold
        yield from _plan(nested, (*path, nested.label), family if is_fold else (*family, nested.label))


@functools.cache
def _versions() -> dict[str, str]:
    packages = ("modularml-jupyter", "torch", "scikit-learn", "numpy")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }
