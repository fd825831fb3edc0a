"""What is run: a phase or a group, as it is by now, that can be run in an experiment.

It knows no run and no record.
"""

from __future__ import annotations

from typing import Any

from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError
from modularml.core import cells
from modularml.core.experiment.host import Host
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup

Entry = ExperimentPhase | Group


def own_plan(experiment: Host, method: str) -> PhaseGroup:
    """Return the plan of an experiment, if it can be run.

    Raises:
        StateError: If there is no phase in it.
        InvalidValueError: If a phase was defined in another experiment.
    """
    if not experiment.execution_plan.flatten():
        raise StateError(
            f"The execution plan of experiment {experiment.label!r} is empty; add phases to "
            "exp.execution_plan first."
        )
    plan: PhaseGroup = own(experiment, experiment.execution_plan, PhaseGroup, method)
    return plan


def own(experiment: Host, entry: Any, kind: Any, method: str) -> Any:
    """Return what `entry` is by now, if it is of a kind (None: any) and can be run in this experiment.

    Raises:
        InvalidTypeError: If it is of another kind.
        StateError: If there is no phase in it.
        InvalidValueError: If a phase was defined in another experiment.
    """
    entry = refreshed(experiment, entry)
    if not isinstance(entry, kind or ExperimentPhase | Group):
        what = {ExperimentPhase: "phase", Group: "PhaseGroup", PhaseGroup: "PhaseGroup"}.get(
            kind, "phase or a group"
        )
        known = [part.label for part in experiment.execution_plan.all]
        hint = f" That of the plan is exp.execution_plan[{entry!r}]." if entry in known else ""
        raise InvalidTypeError(f"{method} takes a {what}, got {entry!r} ({type(entry).__name__}).{hint}")
    if not phases_of(entry):
        raise StateError(f"{entry!r} holds no phase to run; add one to it, or to exp.execution_plan.")
    for phase in phases_of(entry):
        if phase.ctx is not experiment.ctx:
            raise InvalidValueError(
                f"{phase!r} was defined in another experiment than {experiment.label!r}; run it there, "
                "or define it again after making this one."
            )
    return entry


def refreshed(experiment: Host, entry: Any) -> Any:
    """Let what cells defined anew meet what named it before; return what `entry` is by now."""
    cells.settle()
    if experiment.model_graph is not None:
        experiment.model_graph._refresh()
    if isinstance(entry, ExperimentPhase | Group):
        entry = cells.present(entry)
        entry._refresh()
    return entry


def phases_of(entry: Entry) -> list[ExperimentPhase]:
    """Return the phases in an entry, in the order they run."""
    return entry.flatten() if isinstance(entry, Group) else [entry]
