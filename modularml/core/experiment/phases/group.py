"""What every group of an experiment is: entries that run in order, on a stage that the group sets.

It knows no runner and no results by kind; `PhaseGroup` and `CrossValidation` are groups.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from modularml.base.config import Configurable
from modularml.core.experiment.history import ExperimentRun
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.results import PhaseGroupResults
from modularml.io.objects import InYaml


class Group(InYaml, Configurable, ABC):
    """Phases and groups under one label."""

    keeps_weights: ClassVar[bool] = False
    """Whether a run of it leaves weights as they were."""
    is_fold: ClassVar[bool] = False
    """Whether the group that it is a part of runs its entries several times, and it is one of those."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Its name, by which a group that holds it knows it."""

    @property
    @abstractmethod
    def all(self) -> list[ExperimentPhase | Group]:
        """Every entry that it holds, in order."""

    def flatten(self) -> list[ExperimentPhase]:
        """Return all phases, those of nested groups included, in the order they run."""
        flat: list[ExperimentPhase] = []
        for entry in self.all:
            flat.extend(entry.flatten() if isinstance(entry, Group) else [entry])
        return flat

    def _refresh(self) -> None:
        """Put what was defined anew, as cells ran again, in the place of what it follows."""
        for entry in self.all:
            entry._refresh()

    def _holds(self, group: Group) -> bool:
        """Tell whether it is this group, or has it somewhere within."""
        return self is group or any(entry._holds(group) for entry in self.all if isinstance(entry, Group))

    # -- what the runner asks ----------------------------------------------------------

    def _consumed(self) -> dict[str, Any] | None:
        """Return what it would consume as a whole if it ran now; None where its parts say so one by one."""
        return None

    def parts(self) -> Sequence[ExperimentPhase | Group]:
        """Return what runs, in order; of a cross-validation its folds, of all else its entries."""
        return self.all

    def _new_results(self) -> PhaseGroupResults:
        """Return empty results for one run of it."""
        return PhaseGroupResults(self.label)

    def _stage(self, experiment: Any) -> contextlib.AbstractContextManager[None]:
        """Return what surrounds a run of its parts: data and weights of its own, put back afterwards."""
        return contextlib.nullcontext()

    def _runs_elsewhere(
        self, experiment: Any, should_stop: Callable[[], bool]
    ) -> Iterator[ExperimentRun] | None:
        """Return the runs of its parts as other processes end them; None where they run here."""
        return None
