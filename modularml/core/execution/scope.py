"""What a phase is handed when it runs, and what its callbacks may look at.

It knows no runner: the stop flag is a function, the path is a tuple of labels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from modularml.backends.accelerator import Accelerator
from modularml.base.errors import StateError
from modularml.base.events import Event
from modularml.core.context import ExperimentContext
from modularml.core.execution.recording import DEFAULT_BUDGET_BYTES, Recording
from modularml.core.topology.model_graph import ModelGraph

FoundT = TypeVar("FoundT")


class Shared:
    """What the phases of a run found out about data and graph, for those that come after them.

    Whoever lets something run that may change data or graph says so by `forget`: phases that learn,
    callbacks, the stage of a fold. Models that answer, losses, metrics and listeners are trusted not to.
    """

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}

    def once(self, key: Hashable, find: Callable[..., FoundT], *arguments: Any) -> FoundT:
        """Return what `find` returns, or returned for this key before."""
        if key not in self._found:
            self._found[key] = find(*arguments)
        found: FoundT = self._found[key]
        return found

    def again(
        self, key: Hashable, question: Hashable, find: Callable[..., FoundT], *arguments: Any
    ) -> FoundT:
        """Return what `find` returns, or returned before if the last question under this key was the same.

        Only one answer is kept, as it may hold whole columns; it is gone before another one is found.

        Args:
            key: What it is about.
            question: What is asked; an answer to None is not kept.
            find: Finds the answer.
            *arguments: What it is called with.
        """
        asked, found = self._found.pop(key, (None, None))
        if question is None or asked != question:
            del found
            found = find(*arguments)
        if question is not None:
            self._found[key] = question, found
        answer: FoundT = found
        return answer

    def forget(self) -> None:
        """Find everything anew from here on."""
        self._found.clear()


@dataclass(eq=False)
class ExecutionContext:
    """Where a phase is and what the present batch gave; handed to phase callbacks.

    One run of a phase has one of them, so whatever belongs to that run may be kept by it.

    Attributes:
        phase_label: The phase.
        epoch_idx: The epoch, from 0 within this run of the phase.
        batch_idx: The batch, from 0 within the epoch; the last one that ran when the epoch ends.
        n_batches: How many batches the epoch has; 0 until they are drawn, when it begins.
        outputs: Node label -> outputs of the batch; where samples have roles, role -> outputs; where a
            node has several outputs, name -> outputs.
        losses: Loss label -> its value for the batch, a tensor without shape.
        stop_requested: Whether the phase is to end with the present epoch.
        best_epoch: The best epoch by now, where a callback watches for it.
        run_id: The run, as events name it.
        path: Labels from the run's root down to the phase, as events name it.
        checkpointing: The `Checkpointing` of the phase, if it keeps any in this run.
    """

    phase_label: str
    epoch_idx: int = 0
    batch_idx: int = 0
    n_batches: int = 0
    outputs: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, Any] = field(default_factory=dict)
    stop_requested: bool = False
    best_epoch: int | None = None
    run_id: str = ""
    path: tuple[str, ...] = ()
    checkpointing: Any = None

    def is_epoch_end(self) -> bool:
        """Tell whether the present batch is the last one of its epoch."""
        return self.batch_idx == self.n_batches - 1

    def request_stop(self) -> None:
        """End the phase, as completed, after the present epoch."""
        self.stop_requested = True


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where the epochs of a phase begin: at the first batch, or where an earlier part of the run ended.

    Attributes:
        epoch: The epoch, from 0 within the run of the phase.
        batch: How many of its batches are done; None if it has not begun.
        recorded: What the earlier part recorded, as `Recording.get_state` tells it.
        is_at_end: Whether callbacks were already told that the epoch ended.
    """

    epoch: int = 0
    batch: int | None = None
    recorded: Mapping[str, Any] | None = None
    is_at_end: bool = False


@dataclass(kw_only=True)
class PhaseScope:
    """The surroundings of one run of a phase.

    Attributes:
        run_id: The run it belongs to.
        path: Labels from the run's root down to the phase.
        ctx: Where labels are looked up.
        should_stop: Asked after each batch; True ends the phase there.
        first_epoch: How many epochs this phase has run before; shuffles count on from it.
        watch_batches: Whether a callback wants to be called at every batch.
        exec_ctx: Kept up to date for callbacks.
        budget_bytes: How much memory the recorded outputs may take.
        start: Where the epochs begin.
        tell: Tells listeners what happens within a step, which the phase's own events cannot.
        shared: What is known of data and graph already.
    """

    run_id: str
    path: tuple[str, ...]
    ctx: ExperimentContext
    should_stop: Callable[[], bool]
    exec_ctx: ExecutionContext
    first_epoch: int = 0
    watch_batches: bool = False
    budget_bytes: int = DEFAULT_BUDGET_BYTES
    start: Start = Start()
    tell: Callable[[Event], None] = field(default=lambda event: None)
    shared: Shared = field(default_factory=Shared)

    def recording(self, loss_nodes: Mapping[str, str], keeps: str = "all") -> Recording:
        """Return the recording that the phase writes to: a new one, or that of the earlier part.

        Args:
            loss_nodes: Label of each loss -> label of the node it is applied on.
            keeps: Which epochs' outputs are kept.

        Raises:
            StateError: If the earlier part had other losses.
        """
        if self.start.recorded is None:
            return Recording(loss_nodes, self.budget_bytes, keeps)
        earlier = Recording.from_state(self.start.recorded)
        if earlier.loss_nodes != loss_nodes:
            raise StateError(
                f"The phase {'/'.join(self.path)!r} cannot go on: it had the losses "
                f"{dict(earlier.loss_nodes)}, and has {dict(loss_nodes)} now."
            )
        earlier.keeps = keeps
        return earlier

    @property
    def accelerator(self) -> Accelerator | None:
        """Where the experiment computes, if it says so."""
        found: Accelerator | None = getattr(self.ctx.experiment, "accelerator", None)
        return found

    @property
    def graph(self) -> ModelGraph:
        """The model graph that the phase runs on.

        Raises:
            StateError: If there is none any more.
        """
        graph: ModelGraph | None = self.ctx.model_graph
        if graph is None:
            where = "/".join(self.path)
            raise StateError(f"{where!r} has no ModelGraph to run on any more; make one first.")
        return graph
