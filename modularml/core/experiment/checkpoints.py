"""The checkpoints of an experiment: those of its own and of its phases, written when they are due.

It knows no runner and no bytes: it is told of moments, and `storage` writes. Of a run it knows the
bookmark, which turns to what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError, check_label
from modularml.core.execution.scope import ExecutionContext
from modularml.core.experiment import storage
from modularml.core.experiment.background import Background
from modularml.core.experiment.checkpoint_store import CheckpointStore
from modularml.core.experiment.checkpointing import EXPERIMENT, Checkpointing
from modularml.core.experiment.goals import check_logged, goal_in
from modularml.core.experiment.host import Host
from modularml.core.experiment.phase_results import PhaseResults
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.resuming import Bookmark
from modularml.core.experiment.state import take
from modularml.io.names import safe_name, with_suffix


class Checkpoints(CheckpointStore):
    """What an experiment knows and does of its checkpoints.

    Args:
        owner: The label of the experiment.
    """

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self._background = Background()

    def attach(self, policy: Checkpointing | None) -> None:
        """Attach or replace the policy of the experiment; see `Experiment.set_checkpointing`."""
        if policy is not None and not isinstance(policy, Checkpointing):
            raise InvalidTypeError(f"checkpointing must be a Checkpointing, got {policy!r}.")
        if policy is not None:
            policy.check_for(EXPERIMENT, f"experiment {self.owner!r}")
        self.policy = policy

    def settle(self) -> None:
        """Wait for the file that is being written.

        Raises:
            OSError: If it could not be written.
        """
        self._background.settle()

    def check(self, entry: ExperimentPhase | Group) -> None:
        """Raise unless the phases of an entry that write files have a folder for them.

        Raises:
            StateError: If one has none.
        """
        for phase in () if self.is_disabled else _writing(entry):
            policy = phase.checkpointing
            if policy is None or policy.in_memory:
                continue
            if self.folder_of(phase.label, policy.directory) is None:
                raise StateError(
                    f"{phase!r} has no folder for its checkpoints; call exp.set_checkpoint_dir(path), or use "
                    'Checkpointing(directory=...) or mode="memory".'
                )

    def save(
        self, experiment: Host, bookmark: Bookmark, name: str, *, overwrite: bool, meta: Mapping[str, Any]
    ) -> Path:
        """Write a checkpoint now; see `Experiment.save_checkpoint`."""
        self.settle()
        target = self.target(name, automatic=False, overwrite=overwrite)
        storage.checkpoint_of(experiment, target, name, meta, at_once=True)()
        self.add(name, target, automatic=False)
        bookmark.turn_to(target)
        return target

    def on(self, experiment: Host, bookmark: Bookmark, moment: str, label: str) -> None:
        """Write a checkpoint of the experiment if one is due.

        Raises:
            StateError: If one is due and there is no folder for it.
        """
        name, policy = self.due(moment, label), self.policy
        if name is None or policy is None:
            return
        self.settle()
        target, record = self.target(name, automatic=True, overwrite=policy.overwrite), bookmark.record

        def enter() -> None:
            self.add(name, target, automatic=True)
            bookmark.add(record, name, target)

        at_once = not policy.background
        write = storage.checkpoint_of(experiment, target, name, {"moment": moment}, at_once=at_once)
        self._do(write, enter, policy)

    def within(
        self,
        experiment: Host,
        bookmark: Bookmark,
        phase: ExperimentPhase,
        moment: str,
        at: ExecutionContext,
        results: PhaseResults,
    ) -> None:
        """Keep a checkpoint of a phase if one is due, or the epoch is the best."""
        policy, epoch, batch = phase.checkpointing, at.epoch_idx, at.batch_idx
        if policy is None or self.is_disabled:
            return
        if moment == "phase_start":
            policy.begin()
        is_due = policy.should_save(moment)
        value = _value(policy, phase, results, epoch) if moment == "epoch_end" else None
        best = value if value is not None and policy.improves(value, _goal(policy, phase)) else None
        if not is_due and best is None:
            return
        key = check_label(policy.name_within(moment, phase.label, epoch, batch), "checkpoint")
        if not policy.overwrite and policy.has_key(key):
            raise InvalidValueError(
                f"{phase!r} has a checkpoint {key!r} already; use overwrite=True or another name_template."
            )
        if policy.in_memory:
            state = take(experiment)
            policy.keep(key, state, best=best, is_due=is_due)
            return
        self.settle()
        policy.settle = self.settle
        name, path = f"{phase.label}/{key}", self._file(phase.label, key, policy)
        meta = {"moment": moment, "phase": phase.label, "epoch": epoch}
        meta |= {"batch": batch} if moment.startswith("batch") else {}
        meta |= {} if value is None else {str(policy.best): value}
        gone, record = policy.keep(key, path, best=best, is_due=is_due), bookmark.record

        def enter() -> None:
            self.add(name, path, automatic=False)
            if policy.best_key is not None:
                self.best[phase.label] = f"{phase.label}/{policy.best_key}"
            bookmark.add(record, name, path)
            for old in gone:
                found = self.paths.pop(f"{phase.label}/{old}", None)
                if found is not None:
                    found.unlink(missing_ok=True)

        try:
            write = storage.checkpoint_of(experiment, path, name, meta, at_once=not policy.background)
            self._do(write, enter, policy, key)
        except BaseException:
            policy.forget(key)
            raise

    def _file(self, phase: str, key: str, policy: Checkpointing) -> Path:
        folder = self.folder_of(phase, policy.directory)
        if folder is None:
            raise StateError(f"The phase {phase!r} has no folder for the checkpoint {key!r}.")
        folder.mkdir(parents=True, exist_ok=True)
        path = with_suffix(folder / safe_name(key), "checkpoint")
        if not policy.overwrite and path.exists():
            raise InvalidValueError(f"A checkpoint {key!r} is there already, in {str(folder)!r}.")
        return path

    def _do(
        self, write: Callable[[], Path], enter: Callable[[], None], policy: Checkpointing, key: str = ""
    ) -> None:
        if policy.background:
            self._background.begin(write, enter, lambda: policy.forget(key))
        else:
            write()
            enter()


def _writing(entry: ExperimentPhase | Group) -> Iterator[ExperimentPhase]:
    """Yield the phases of an entry but for those in folds, which write no checkpoints."""
    if isinstance(entry, ExperimentPhase):
        yield entry
    elif not entry.keeps_weights:
        for part in entry.all:
            yield from _writing(part)


def _goal(policy: Checkpointing, phase: ExperimentPhase) -> str:
    where = f"The Checkpointing of {phase!r}"
    return goal_in(phase, str(policy.best), given=policy.best_mode, where=where, option="best_mode")


def _value(policy: Checkpointing, phase: ExperimentPhase, results: PhaseResults, epoch: int) -> float | None:
    """Return the metric that decides which epoch is the best, if this epoch has it."""
    if policy.best is None:
        return None
    check_logged(policy.best, phase, results)
    return results.recording.values_of(epoch).get(policy.best)
