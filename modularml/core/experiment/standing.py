"""What the results of an experiment are worth now, and what a run of it is to do again.

It knows plans, histories and fingerprints; how they are compared is in `staleness`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from modularml.base.errors import InvalidTypeError, ModularMLError, UnknownNameError
from modularml.core.experiment.comparison import Diff, compare
from modularml.core.experiment.fingerprint import Tree, fingerprint
from modularml.core.experiment.history import ExperimentRun
from modularml.core.experiment.outdated import outdated
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.staleness import STALE, Status, resolve, status

Run = int | str | ExperimentRun


@dataclass(frozen=True)
class Standing:
    """What a phase, or a cross-validation as a whole, would consume now."""

    kind: str
    tree: Tree
    phases: list[ExperimentPhase]


def standings_of(group: Group, above: str = "") -> Iterator[tuple[str, Standing]]:
    """Iterate over the phases and cross-validations of a group by name; the latter each as a whole."""
    for entry in group.all:
        name = f"{above}{entry.label}"
        if isinstance(entry, ExperimentPhase):
            yield name, Standing(entry.kind, fingerprint(entry), [entry])
        elif (whole := entry.consumed()) is not None:
            yield name, Standing("group", whole, entry.flatten())
        else:
            yield from standings_of(entry, f"{name}/")


def status_of(experiment: Any, group: Group) -> Status:
    """Compare what the entries of a group consumed when they ran last with what they would consume now."""
    standings = dict(standings_of(group))
    present = {name: (standing.kind, standing.tree) for name, standing in standings.items()}
    found = status(experiment.label, present, experiment.history)
    told = {name: tuple(outdated(standing.phases)) for name, standing in standings.items()}
    return Status(replace(entry, outdated=told[entry.phase]) for entry in found)


def alone(entry: ExperimentPhase | Group) -> PhaseGroup:
    """Return a group of this entry, which is recorded under its own label where it runs by itself."""
    around = PhaseGroup(entry.label)
    around.replace_items([entry])
    return around


def stale_runs(experiment: Any) -> dict[int, tuple[str, ...]]:
    """Return for each run by its index, if it holds stale results, what is stale in it, and why."""
    told: dict[int, tuple[str, ...]] = {}
    for entry in status_to_show(experiment):
        if entry.run is not None and entry.state == STALE:
            told[entry.run] = (*told.get(entry.run, ()), str(entry))
    return told


def status_to_show(experiment: Any) -> Status:
    """Return the status to stand beside something: empty before the first run, and if nothing could run."""
    try:
        return status_of(experiment, experiment.execution_plan) if experiment.history else Status()
    except ModularMLError:
        return Status()


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
    with_only.replace_items(kept)
    return with_only


def diff_of(experiment: Any, before: Run | None, after: Run | None) -> Diff:
    """Compare what two runs consumed; None is the last run, and for `after` what there is now."""
    history: list[ExperimentRun] = experiment.history
    first = _index(history, len(history) - 1 if before is None else before)
    name = f"run {first}"
    if after is not None:
        second = _index(history, after)
        return compare(history[first].fingerprint, history[second].fingerprint, (name, f"run {second}"))
    recorded = history[first].fingerprint
    plan = {name: standing.tree for name, standing in standings_of(experiment.execution_plan)}
    met = {phase: found for phase in recorded if (found := resolve(phase, plan)) is not None}
    present = {phase: plan[found] for phase, found in met.items()}
    return compare(recorded, present, (name, "now"))


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
