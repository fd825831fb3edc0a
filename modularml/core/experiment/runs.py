"""The runs of an experiment: those there were, the one that goes on, and where to go on with the newest.

It knows no file: a checkpoint to go on from is read by whoever calls. One run goes on at a time.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from modularml.base.errors import ModularMLError, StateError
from modularml.base.events import DisplayOptions
from modularml.core import cells
from modularml.core.experiment.checkpoints import Checkpoints
from modularml.core.experiment.display_options import display_options
from modularml.core.experiment.entries import Entry, own, phases_of
from modularml.core.experiment.history import ExperimentRun, History, now
from modularml.core.experiment.host import Host
from modularml.core.experiment.outdated import outdated
from modularml.core.experiment.phases.phase import ExperimentPhase, active_graph
from modularml.core.experiment.resuming import Bookmark, Point, entry_of, point_in, position_in, restore_own
from modularml.core.experiment.runner import Runner
from modularml.core.experiment.state import begin_anew, put_back, restored
from modularml.core.topology.model_node import ModelNode
from modularml.display.notice import notice


class Runs:
    """Begins the runs of an experiment, goes on with them, and previews.

    Args:
        checkpoints: The checkpoints that are written meanwhile.

    Attributes:
        history: The records of all runs, oldest first.
        bookmark: Where the newest one that did not end can be gone on with.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self.history = History()
        self.bookmark = Bookmark()
        self._trained: dict[str, weakref.WeakSet[Any]] = {}
        self._running = threading.Lock()
        self._runner: Runner | None = None
        self._told_in: int | None = None
        self._told: set[str] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return runs of their own; the nodes they trained are those that were copied before."""
        made = type(self)(copy.deepcopy(self._checkpoints, memo))
        memo[id(self)] = made
        made.history, made.bookmark = copy.deepcopy((self.history, self.bookmark), memo)
        for label, nodes in self._trained.items():
            made._trained[label] = weakref.WeakSet(memo[id(node)] for node in nodes if id(node) in memo)
        return made

    @property
    def is_running(self) -> bool:
        """Whether a run or a preview goes on."""
        return self._running.locked()

    def request_stop(self) -> bool:
        """End the run that goes on after its present batch, and tell whether there is one."""
        runner = self._runner
        if runner is not None:
            runner.stop.request()
        return runner is not None

    @contextlib.contextmanager
    def _as_the_present(self, runner: Runner) -> Iterator[None]:
        self._runner = runner
        try:
            yield
        finally:
            self._runner = None

    @contextlib.contextmanager
    def exclusively(self, experiment: Host) -> Iterator[None]:
        """Let no run begin within a ``with`` block.

        Raises:
            StateError: If one goes on.
        """
        if not self._running.acquire(blocking=False):
            raise StateError(f"Experiment {experiment.label!r} is running; wait for it or stop it first.")
        try:
            yield
        finally:
            self._running.release()

    def begin(
        self,
        experiment: Host,
        entry: Entry,
        display: Mapping[str, Any],
        *,
        whole_plan: bool = False,
        fresh: bool = False,
    ) -> Any:
        """Run an entry and record it; see `Experiment.run`."""
        __tracebackhide__ = True
        self.tell_outdated(entry)
        options = display_options(display)
        with self.exclusively(experiment), experiment.random_stream.active():
            runner = self._runner_of(experiment, options)
            self._prepare(experiment, phases_of(entry))
            if fresh:
                begin_anew(experiment)
            seed = {} if experiment.ctx.seed is None else {"seed": experiment.ctx.seed}
            record = ExperimentRun(
                label=entry.label, started_at=now(), metadata=seed | ({"fresh": True} if fresh else {})
            )
            self.history.append(record)
            return self._follow(experiment, runner, record, entry, whole_plan=whole_plan)

    def point(self, read: Callable[[str], Mapping[str, Any]]) -> Point | None:
        """Return where the newest run can be gone on with, or None.

        Args:
            read: Returns the state in a checkpoint.
        """
        if self.bookmark.checkpoint is None:
            return self.bookmark.point
        return point_in(read(self.bookmark.checkpoint))

    def go_on(self, experiment: Host, point: Point, given: Entry | None, display: Mapping[str, Any]) -> Any:
        """Go on from a point; see `Experiment.resume`.

        Args:
            experiment: The experiment.
            point: The point.
            given: What is gone on with; None finds it in the plan.
            display: What is shown meanwhile.
        """
        __tracebackhide__ = True
        position, whole_plan = position_in(point), point["progress"]["whole_plan"]
        entry = own(experiment, entry_of(point, experiment.execution_plan, given), None, "resume")
        self.tell_outdated(entry)
        options = display_options(display)
        with self.exclusively(experiment), experiment.random_stream.active():
            runner = self._runner_of(experiment, options, begin_at=position)
            earlier = ExperimentRun.from_state(point["run"])
            record = next((run for run in self.history if run.id == earlier.id), None)
            if record is None:
                record = earlier
                self.history.append(record)
            notice(None, f"Resuming {entry.label!r} ({record.status}): {position}.")
            put_back(experiment, point["state"] if point["outside"] is None else point["outside"])
            restore_own(entry, point)
            record.go_on(earlier, str(position))
            return self._follow(experiment, runner, record, entry, whole_plan=whole_plan, point=point)

    def preview(self, experiment: Host, entry: Entry, display: Mapping[str, Any]) -> Any:
        """Run an entry without a trace; see `Experiment.preview_phase`."""
        __tracebackhide__ = True
        self.tell_outdated(entry)
        options = display_options(display)
        with self.exclusively(experiment), experiment.random_stream.active():
            runner = self._runner_of(experiment, options, preview=True)
            record = ExperimentRun(label=entry.label, started_at=now())
            with restored(experiment, phases_of(entry)), self._as_the_present(runner):
                return runner.run(entry, record)

    def tell_outdated(self, entry: Entry) -> None:
        """Say what a run will use that was defined anew since: each once in a cell."""
        cell = cells.current()
        try:
            words = outdated(phases_of(entry))
        except ModularMLError:  # the run itself will say what is wrong
            return
        execution = None if cell is None else cell.execution
        if execution != self._told_in:
            self._told_in, self._told = execution, set()
        news = [sentence for sentence in words if sentence not in self._told]
        if news:
            notice(None, "\n".join(news))
        self._told.update(news)

    def _runner_of(self, experiment: Host, options: DisplayOptions, **how: Any) -> Runner:
        return Runner(experiment, self.history, self.bookmark, self._checkpoints, options, **how)

    def _follow(
        self,
        experiment: Host,
        runner: Runner,
        record: ExperimentRun,
        entry: Entry,
        *,
        whole_plan: bool,
        point: Point | None = None,
    ) -> Any:
        __tracebackhide__ = True
        self.bookmark.begin(lambda: runner.position, record, entry, whole_plan=whole_plan, point=point)
        try:
            with self._as_the_present(runner), experiment.results_config.written(record):
                return runner.run(entry, record, whole_plan=whole_plan)
        finally:
            self.bookmark.end()

    def _prepare(self, experiment: Host, phases: Sequence[ExperimentPhase]) -> None:
        """Forget the epochs of phases whose nodes were defined anew, and let models that are new begin."""
        for phase in phases:
            if phase.kind != "train":  # of others none are counted
                continue
            nodes = phase.nodes(active_graph(experiment.ctx, repr(phase)))
            known = self._trained.get(phase.label)
            if known is not None and any(node not in known for node in nodes):
                experiment.epochs_done.pop(phase.label, None)
            self._trained[phase.label] = weakref.WeakSet(nodes)
            for node in nodes:
                if isinstance(node, ModelNode):
                    node.model.begin()
