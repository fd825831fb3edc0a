"""What the results of an experiment are worth now, and what a run of it is to do again.

It knows plans, histories and fingerprints; how they are compared is in `staleness`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from modularml.base.errors import InvalidTypeError, ModularMLError, UnknownNameError
from modularml.base.trees import Difference
from modularml.core import cells
from modularml.core.experiment.comparison import Diff, compare
from modularml.core.experiment.fingerprint import Tree, fingerprint
from modularml.core.experiment.history import EPOCHS_BEFORE, ExperimentRun
from modularml.core.experiment.host import Host
from modularml.core.experiment.outdated import outdated
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.staleness import FAULT, STALE, Status, name_of, resolve, status
from modularml.display import runs

Run = int | str | ExperimentRun


@dataclass(frozen=True)
class Standing:
    """What a phase, or a cross-validation as a whole, would consume now, or why it could not run."""

    kind: str
    tree: Tree
    outdated: tuple[str, ...]


def entries_of(group: Group, above: str = "") -> Iterator[tuple[str, ExperimentPhase | Group]]:
    """Iterate over the phases and cross-validations of a group by name; the latter each as a whole."""
    for entry in group.all:
        if isinstance(entry, PhaseGroup):
            yield from entries_of(entry, f"{above}{entry.label}/")
        else:
            yield f"{above}{entry.label}", entry


def tree_of(entry: ExperimentPhase | Group) -> Tree:
    """Return what an entry would consume now."""
    return fingerprint(entry) if isinstance(entry, ExperimentPhase) else entry._consumed() or {}


def _standing(entry: ExperimentPhase | Group) -> Standing:
    kind = entry.kind if isinstance(entry, ExperimentPhase) else "group"
    try:
        phases = [entry] if isinstance(entry, ExperimentPhase) else entry.flatten()
        return Standing(kind, tree_of(entry), tuple(outdated(phases)))
    except ModularMLError as error:
        return Standing(kind, {FAULT: str(error)}, ())


def status_of(experiment: Host, group: Group) -> Status:
    """Compare what the entries of a group consumed when they ran last with what they would consume now."""
    standings = {name: _standing(entry) for name, entry in entries_of(group)}
    present = {name: (standing.kind, standing.tree) for name, standing in standings.items()}
    found = status(experiment.label, present, experiment.history)
    return Status(replace(entry, outdated=standings[entry.phase].outdated) for entry in found)


def alone(entry: ExperimentPhase | Group) -> PhaseGroup:
    """Return a group of this entry, which is recorded under its own label where it runs by itself."""
    around = PhaseGroup(entry.label)
    around._replace_items([entry])
    return around


def stale_runs(experiment: Host) -> dict[int, tuple[str, ...]]:
    """Return for each run by its index, if it holds stale results, what is stale in it, and why."""
    told: dict[int, tuple[str, ...]] = {}
    for entry in status_to_show(experiment):
        if entry.run is not None and entry.state == STALE:
            told[entry.run] = (*told.get(entry.run, ()), str(entry))
    return told


def status_to_show(experiment: Host) -> Status:
    """Return the status to stand beside something: empty before the first run.

    What cells defined anew is in the plan by then, as in a run; nothing is built, which would draw weights.
    """
    if not experiment.history:
        return Status()
    if experiment.history[-1].status != "running":
        cells.settle()
        experiment.execution_plan._refresh()
    return status_of(experiment, experiment.execution_plan)


def only(group: PhaseGroup, names: set[str], above: str = "") -> PhaseGroup:
    """Return a group of those phases of `group` that are named, under the same labels."""
    kept: list[Any] = []
    for entry in group.all:
        if isinstance(entry, PhaseGroup):
            nested = only(entry, names, f"{above}{entry.label}/")
            kept += [nested] if len(nested) else []
        elif f"{above}{entry.label}" in names:
            kept.append(entry)
    with_only = PhaseGroup(group.label)
    with_only._replace_items(kept)
    return with_only


def diff_of(experiment: Host, before: Run | None, after: Run | None) -> Diff:
    """Compare what two runs consumed; None is the last run, and for `after` what there is now."""
    history: list[ExperimentRun] = experiment.history
    first = _index(history, len(history) - 1 if before is None else before)
    name = f"run {first}"
    if after is not None:
        second = _index(history, after)
        told = compare(history[first].fingerprint, history[second].fingerprint, (name, f"run {second}"))
        continued = _continued(history[first], history[second], experiment.label)
        words = [f"{phase!r} began after {d.after} epochs instead of {d.before}" for phase, d in continued]
        return replace(told, words=(*told.words, *words), rows=(*told.rows, *continued))
    recorded = history[first].fingerprint
    plan = {name: _standing(entry).tree for name, entry in entries_of(experiment.execution_plan)}
    met = {phase: found for phase in recorded if (found := resolve(phase, plan)) is not None}
    present = {phase: plan[found] for phase, found in met.items()}
    return compare(recorded, present, (name, "now"))


def _continued(before: ExperimentRun, after: ExperimentRun, experiment: str) -> list[tuple[str, Difference]]:
    """Return which train phases of two runs began after other numbers of epochs of earlier runs."""
    first, second = (run.metadata.get("continues", {}) for run in (before, after))
    earlier = {phase.path for phase in before.phases}
    both = [phase.path for phase in after.phases if phase.path in earlier]
    numbers = {
        path: [c.get("/".join(path), {}).get(EPOCHS_BEFORE, 0) for c in (first, second)] for path in both
    }
    return [
        (name_of(path, experiment), Difference((runs.EPOCHS_BEFORE,), str(n), str(m)))
        for path, (n, m) in numbers.items()
        if n != m
    ]


def _index(history: list[ExperimentRun], run: Run) -> int:
    """Return the place of a run in the history, which is given by that, its id or itself.

    Raises:
        UnknownNameError: If there is none.
        InvalidTypeError: If a run cannot be given so.
    """
    if isinstance(run, bool) or not isinstance(run, int | str | ExperimentRun):
        raise InvalidTypeError(f"A run is given by its index, its id or itself, got {run!r}.")
    if isinstance(run, int):
        place = run + len(history) if run < 0 else run
        if not 0 <= place < len(history):
            raise UnknownNameError(f"There is no run {run}: the history has {len(history)} runs.")
        return place
    for i, known in enumerate(history):
        if run is known or run == known.id:
            return i
    raise UnknownNameError(f"{run!r} is not in the history of this experiment.")
