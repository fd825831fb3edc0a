"""Where a run is: an entry of its plan, how far that is, and within a phase the epoch and the batch.

It knows no experiment and no state: a position is what a runner is told to begin at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

STAGES = ("before", "begun", "started", "running", "finished", "ended")
"""How far an entry is: not begun; the experiment's hooks at its start; those of the phase; its epochs;
the hooks of the phase at its end; those of the experiment."""


class Position(NamedTuple):
    """A place in a run between two steps.

    Attributes:
        path: Labels from the run's root down to the entry.
        stage: One of `STAGES`.
        epoch: The epoch that goes on or comes next, from 0.
        batch: How many of its batches are done; None if it has not begun.
        first_epoch: How many epochs the phase had run before this run of it.
        stop_requested: Whether a callback asked to end the phase with the epoch.
        hook: The hook that is being called, or none.
        n_called: How many of its callbacks were called.
    """

    path: tuple[str, ...]
    stage: str = "before"
    epoch: int = 0
    batch: int | None = None
    first_epoch: int = 0
    stop_requested: bool = False
    hook: str = ""
    n_called: int = 0

    def __str__(self) -> str:
        name = "/".join(self.path[1:] or self.path)
        if self.stage in ("before", "begun", "started"):
            return f"{name!r}, at its start"
        if self.stage in ("finished", "ended"):
            return f"{name!r}, at its end"
        done = "" if self.batch is None else f" after batch {self.batch}"
        return f"{name!r}, epoch {self.epoch + 1}{done}"

    def stage_of(self, path: tuple[str, ...]) -> str:
        """Return the stage of the entry at `path`, of those that the position is in or that come after."""
        if self.path[: len(path)] != path:
            return "before"
        return self.stage if self.path == path else "running"

    def is_in_hook(self, other: Position) -> bool:
        """Tell whether another run is in the same hook at the same place."""
        both = (place._replace(n_called=0, stop_requested=False) for place in (self, other))
        return bool(self.hook) and next(both) == next(both)

    def get_state(self) -> dict[str, Any]:
        """Return the position as plain values."""
        return self._asdict() | {"path": list(self.path)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make a position of what `get_state` returned."""
        return cls(**{**state, "path": tuple(state["path"])})
