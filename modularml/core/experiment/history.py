"""The runs of an experiment: one record each, entered when the run starts.

It knows no phases, and of its display only that there is one.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

from modularml.base.errors import FileFormatError, UnknownNameError, unknown_name
from modularml.base.events import Event, EventBus, RunEnded, RunStarted
from modularml.base.keywords import checked_keywords
from modularml.core import cells
from modularml.core.experiment.cv_results import CVResults
from modularml.core.experiment.results import results_by_path, results_from_state
from modularml.core.experiment.run_views import view_of
from modularml.display.card import Html, Shown, card
from modularml.display.figures import format_s
from modularml.display.live import show_runs
from modularml.display.run_book import RunBook
from modularml.display.run_list import run_details
from modularml.display.run_table import run_table
from modularml.display.runs import RunView
from modularml.io import codec

EPOCHS_BEFORE = "epochs_before"
"""What the metadata of a run calls the epochs of earlier runs that one of its train phases goes on from."""

_PLAIN = ("label", "id", "status", "error", "metadata", "fingerprint", "checkpoints", "paused_s")
STATUSES = ("running", "completed", "stopped", "interrupted", "failed")


@dataclass(kw_only=True)
class PhaseExecution:
    """When a phase of a run began, ended, and how.

    Attributes:
        path: Labels from the run's root down to the phase.
        kind: ``"train" | "eval" | "fit"``.
        status: One of `STATUSES`.
        started_at: Local time with zone.
        ended_at: Local time with zone; None while it runs.
        paused_s: Seconds between the parts of a run that was resumed.
    """

    path: tuple[str, ...]
    kind: str
    started_at: datetime
    status: str = "running"
    ended_at: datetime | None = None
    paused_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Seconds it took, or has taken so far, without pauses."""
        return _seconds(self)

    def go_on(self) -> None:
        """Run again after a pause."""
        _go_on(self)


@checked_keywords
@dataclass(kw_only=True)
class ExperimentRun(Shown):
    """One run of a phase, a group or the whole plan.

    Attributes:
        label: The label of what was run.
        status: One of `STATUSES`.
        started_at: Local time with zone.
        ended_at: Local time with zone; None while it runs.
        results: The results of what was run; partial unless it completed.
        phases: The phases it executed, in order.
        error: The text of the exception that ended it, if one did.
        metadata: Versions, the seed and other plain facts; ``"resumed"`` lists when and where it went
            on, if it did, ``"stopped_by"`` says who asked it to stop, and ``"continues"`` of a
            train phase, by its path, how many epochs of earlier runs there were before it.
        fingerprint: Phase -> what it consumed, as a plain tree; see `fingerprint.fingerprint`.
        checkpoints: Names of the checkpoints that were written meanwhile.
        id: Tells runs of one label apart.
        paused_s: Seconds between the parts of a run that was resumed.
    """

    _elsewhere: ClassVar[Mapping[str, str]] = {
        "execution_meta": "When each phase ran, and how it ended: run.phases.",
        "losses metrics plot history loss": "Its results have them, a plan by phase: run.results['train'].",
    }

    label: str
    started_at: datetime
    status: str = "running"
    ended_at: datetime | None = None
    results: Any = None
    phases: list[PhaseExecution] = field(default_factory=list)
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    checkpoints: list[str] = field(default_factory=list)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    paused_s: float = 0.0

    def __repr__(self) -> str:
        return f"ExperimentRun(label={self.label!r}, status={self.status!r})"

    @property
    def duration(self) -> timedelta:
        """How long it took, or has taken so far, without pauses."""
        return timedelta(seconds=_seconds(self))

    @property
    def duration_seconds(self) -> float:
        """How long it took, in seconds."""
        return self.duration.total_seconds()

    @property
    def phase_durations(self) -> dict[str, float]:
        """Path of each phase, joined by ``/`` -> seconds it took."""
        return {"/".join(phase.path): phase.duration_s for phase in self.phases}

    @property
    def children(self) -> list[ExperimentRun]:
        """The folds of a cross-validation, each as a record of its own; else none."""
        if not isinstance(self.results, CVResults):
            return []
        return [self._child(label) for label in self.results.fold_labels]

    def _child(self, label: str) -> ExperimentRun:
        phases = [replace(p, path=p.path[1:]) for p in self.phases if p.path[1:2] == (label,)]
        statuses = [phase.status for phase in phases]
        return ExperimentRun(
            label=label,
            started_at=min((p.started_at for p in phases), default=self.started_at),
            ended_at=max((p.ended_at or now() for p in phases), default=self.ended_at),
            status=next((status for status in statuses if status != "completed"), "completed"),
            results=self.results[label],
            phases=phases,
            metadata=self.metadata,
            id=f"{self.id}/{label}",
        )

    def results_at(self, path: tuple[str, ...]) -> Any:
        """Return the results of the entry at a path, which begins with the label of the run."""
        found = self.results
        for label in path[1:]:
            found = found[label]
        return found

    def go_on(self, earlier: ExperimentRun, where: str) -> None:
        """Return to an earlier part of this run, of which all that follows is gone on with.

        Args:
            earlier: What was recorded by then.
            where: The words for the place, for `metadata`.
        """
        resumed = [*self.metadata.get("resumed", ()), {"at": now(), "where": where, "after": self.status}]
        for name in ("status", "ended_at", "paused_s", "results", "phases", "fingerprint"):
            setattr(self, name, getattr(earlier, name))
        self.metadata, self.error = earlier.metadata | {"resumed": resumed}, None
        _go_on(self)

    def get_state(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return the record as a tree of plain values and arrays.

        A run that goes on has ended now, as far as its state can tell.

        Args:
            tensors: Include recorded outputs and targets.
        """
        own = {name: copy.copy(getattr(self, name)) for name in _PLAIN}
        times = {"started_at": self.started_at, "ended_at": self.ended_at or now()}
        results = None if self.results is None else self.results.get_state(tensors=tensors)
        phases = [vars(phase) | {"ended_at": phase.ended_at or now()} for phase in self.phases]
        return own | times | {"phases": phases, "results": results}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make a record of what `get_state` returned; what was going on then was interrupted."""
        results = None if state["results"] is None else results_from_state(state["results"])
        phases = [PhaseExecution(**_not_running(phase)) for phase in state["phases"]]
        return cls(**{**_not_running(state), "phases": phases, "results": results})

    @classmethod
    def load(cls, filepath: str | Path) -> Self:
        """Read a run that `ResultsConfig` wrote; no code of the file is run.

        Raises:
            FileFormatError: If the file is no whole run.
        """
        tree = codec.load(filepath, "run")
        try:
            return cls.from_state(tree["run"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"{str(filepath)!r} is no whole run: {type(error).__name__}: {error}"
            raise FileFormatError(message) from error

    def _card(self) -> Html:
        view = view_of(self)
        note = f"{view.status}, {format_s(view.duration_s)}"
        return card(type(self).__name__, self.label, run_details(view), note=note)


def _seconds(record: PhaseExecution | ExperimentRun) -> float:
    return ((record.ended_at or now()) - record.started_at).total_seconds() - record.paused_s


def _go_on(record: PhaseExecution | ExperimentRun) -> None:
    if record.ended_at is not None:
        record.paused_s += (now() - record.ended_at).total_seconds()
    record.status, record.ended_at = "running", None


def _not_running(state: Mapping[str, Any]) -> dict[str, Any]:
    return {**state, "status": "interrupted" if state["status"] == "running" else state["status"]}


@checked_keywords
class History(list[ExperimentRun]):
    """The runs of an experiment, oldest first.

    ``history[-1]`` is the newest, ``history["train"]`` the newest of that label.

    A notebook shows it as a browser of runs: a table that sorts and filters, and the curves,
    settings and phases of the runs that are picked. A saved notebook keeps a form of it that
    needs neither a kernel nor a script.

    Args:
        runs: The runs.
        name: The label of the experiment.
        bus: Where the experiment tells what happens, so that what is shown follows it.
        present: Returns the runs that there are by now; None for a list that does not change.
        stale: Returns what is stale in the runs, and why, by their index; None if that is not known.
    """

    _elsewhere: ClassVar[Mapping[str, str]] = {
        "to_pandas df": "A table of all runs: compare(exp).to_pandas().",
    }

    def __init__(
        self,
        runs: Iterable[ExperimentRun] = (),
        *,
        name: str = "",
        bus: EventBus | None = None,
        present: Callable[[], Iterable[ExperimentRun]] | None = None,
        stale: Callable[[], Mapping[int, tuple[str, ...]]] | None = None,
    ) -> None:
        super().__init__(runs)
        self.name = name
        self._bus, self._present, self._stale = bus, present, stale

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        newest = {run.label: run for run in self}
        if key not in newest:
            paths = [phase.path for run in self for phase in run.phases if phase.path[-1] == key]
            hint = ""
            if paths:
                (label, *below) = paths[-1]
                place = "".join(f"[{part!r}]" for part in below)
                hint = f" A run of {label!r} ran it: history[{label!r}].results{place}."
            raise UnknownNameError(unknown_name("run", key, newest, where="the history") + hint)
        return newest[key]

    def _ipython_key_completions_(self) -> list[str]:
        return list({run.label: run for run in self})

    def views(self) -> list[RunView]:
        """Return what there is to show of the runs that there are by now."""
        runs = list(self if self._present is None else self._present())
        # While a run goes on, what it works on is on its way to be up to date.
        is_settled = self._stale is not None and all(run.status != "running" for run in runs)
        stale = self._stale() if self._stale is not None and is_settled else {}
        views = map(view_of, runs)
        return [replace(view, stale=stale[i]) if i in stale else view for i, view in enumerate(views)]

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` when a run starts or ends, and after each cell, which may have made results stale.

        Args:
            changed: What to call.

        Returns:
            A function that ends this.
        """
        if self._bus is None:
            return lambda: None

        def listen(event: Event) -> None:
            if isinstance(event, RunStarted | RunEnded):
                changed()

        end_events, end_cells = self._bus.subscribe(listen), cells.after_each(changed)

        def end() -> None:
            end_events()
            end_cells()

        return end

    def to_html(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the browser of these runs to one file, which needs no server, kernel or network.

        Args:
            path: The file.
            overwrite: Replace the file if it is there.

        Raises:
            FileExistsError: If it is there and `overwrite` is False.
        """
        return RunBook([self]).save(path, overwrite=overwrite)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return show_runs(RunBook([self]), repr(self))

    _most: int | None = None
    """No fewer bytes than outputs take, as far as that is known; looking at all runs takes its time."""

    def make_room_within(self, n_bytes: int, added: int) -> None:
        """Let the oldest outputs go until those of all runs take at most `n_bytes`.

        Args:
            n_bytes: How much all may take.
            added: How much has come since the last call.
        """
        if self._most is not None and self._most + added <= n_bytes:
            self._most += added
            return
        self._most, left = 0, n_bytes
        for run in reversed(self):
            for _, results in reversed(list(results_by_path(run.results))):
                for recording in results.recordings():
                    taken = recording.make_room_within(max(left, 0))
                    left, self._most = left - taken, self._most + taken

    def __str__(self) -> str:
        return run_table(self.views())

    def __repr__(self) -> str:
        lines = [f"  [{i}] {run.label}: {run.status}" for i, run in enumerate(self)]
        return "\n".join([f"History({len(self)} runs)", *lines])


def now() -> datetime:
    """The time of a record: local, with its zone."""
    return datetime.now(UTC).astimezone()
