"""An experiment, as those who run, record and save it see it.

It knows no experiment: it says what is asked of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from modularml.base.events import EventBus
from modularml.core.context import ExperimentContext
from modularml.core.experiment.history import History
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.results_config import ResultsConfig
from modularml.core.experiment.state import Changeable


class Host(Changeable, Protocol):
    """What is asked of an experiment, beside what runs change in it."""

    ctx: ExperimentContext
    events: EventBus
    results_config: ResultsConfig

    @property
    def execution_plan(self) -> PhaseGroup:
        """Its phases."""
        ...

    @property
    def history(self) -> History:
        """Its runs so far."""
        ...

    @property
    def available_checkpoints(self) -> Mapping[str, Path]:
        """Name of each checkpoint -> its file."""
        ...

    @property
    def best_checkpoints(self) -> Mapping[str, str]:
        """Label of each phase that watches for it -> the name of its best checkpoint."""
        ...

    def get_config(self) -> dict[str, Any]:
        """Return its structure."""
        ...

    def get_state(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return a copy of everything that runs change, and of its runs."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Return to what `get_state` returned."""
        ...
