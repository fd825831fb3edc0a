"""What runs change in an experiment, as a tree: weights, counters, random numbers, callbacks.

It knows no history, no checkpoint and no file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from modularml.base.errors import GraphError
from modularml.core.experiment.callback import Callback, ExperimentCallback
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.random_stream import RandomStream
from modularml.core.topology.model_graph import ModelGraph
from modularml.samplers import Sampler


class Changeable(Protocol):
    """What is asked of an experiment."""

    label: str
    epochs_done: dict[str, int]
    random_stream: RandomStream

    @property
    def model_graph(self) -> ModelGraph | None:
        """Its graph."""
        ...

    @property
    def execution_plan(self) -> Group:
        """Its phases."""
        ...

    @property
    def exp_callbacks(self) -> list[ExperimentCallback]:
        """Its callbacks."""
        ...


def take(experiment: Changeable) -> dict[str, Any]:
    """Return a copy of everything that runs change, as a tree of plain values and arrays.

    Of callbacks it has those of the experiment and of the phases of its plan; of samplers, what
    those that were given no seed drew as theirs.
    """
    graph = experiment.model_graph
    return {
        "graph": None if graph is None else graph.get_state(),
        "epochs_done": dict(experiment.epochs_done),
        "random": experiment.random_stream.get_state(),
        "callbacks": _states_of(experiment.exp_callbacks),
        "phases": phase_states(experiment.execution_plan),
    }


def put_back(experiment: Changeable, state: Mapping[str, Any]) -> None:
    """Return to what `take` returned: to all of it, or after an error to what was before.

    Raises:
        GraphError: If it is the state of another graph.
    """
    before = take(experiment)
    try:
        _put_back(experiment, state)
    except BaseException:
        _put_back(experiment, before)
        raise


@contextmanager
def restored(experiment: Changeable, phases: Sequence[ExperimentPhase]) -> Iterator[None]:
    """Put everything back at the end of a ``with`` block, the callbacks of `phases` too."""
    callbacks = [callback for phase in phases for callback in phase.callbacks]
    before, states = take(experiment), _states_of(callbacks)
    try:
        yield
    finally:
        _put_back(experiment, before)
        _set_states(callbacks, states)


def begin_anew(experiment: Changeable) -> None:
    """Return to the weights that models began with: no moments, no fits, no epochs counted."""
    if experiment.model_graph is not None:
        experiment.model_graph.reset_state()
    experiment.epochs_done = {}


def _put_back(experiment: Changeable, state: Mapping[str, Any]) -> None:
    graph = experiment.model_graph
    if state["graph"] is not None:
        if graph is None:
            raise GraphError(f"The state holds a graph, and experiment {experiment.label!r} has none.")
        graph.set_state(state["graph"])
    experiment.epochs_done = dict(state["epochs_done"])
    experiment.random_stream.set_state(state["random"])
    _set_states(experiment.exp_callbacks, state["callbacks"])
    set_phase_states(experiment.execution_plan, state["phases"])


def _paths(group: Group, above: str = "") -> Iterator[tuple[str, ExperimentPhase]]:
    for entry in group.all:
        if isinstance(entry, Group):
            yield from _paths(entry, f"{above}{entry.label}/")
        else:
            yield f"{above}{entry.label}", entry


def phase_states(entry: ExperimentPhase | Group) -> dict[str, Any]:
    """Return what runs change in the phases of an entry that may not be in the plan, by path."""
    if isinstance(entry, ExperimentPhase):
        return {entry.label: _phase_state(entry)}
    return {path: _phase_state(phase) for path, phase in _paths(entry)}


def set_phase_states(entry: ExperimentPhase | Group, states: Mapping[str, Any]) -> None:
    """Put back what `phase_states` returned."""
    phases = [(entry.label, entry)] if isinstance(entry, ExperimentPhase) else _paths(entry)
    for path, phase in phases:
        if path in states:
            _set_phase_state(phase, states[path])


def _phase_state(phase: ExperimentPhase) -> dict[str, Any]:
    unseeded = {str(i): sampler.get_state() for i, sampler in _unseeded(phase)}
    kept = None if phase.checkpointing is None else phase.checkpointing.progress
    return {"callbacks": _states_of(phase.callbacks), "samplers": unseeded, "checkpointing": kept}


def _set_phase_state(phase: ExperimentPhase, state: Mapping[str, Any]) -> None:
    _set_states(phase.callbacks, state["callbacks"])
    if phase.checkpointing is not None and state["checkpointing"] is not None:
        phase.checkpointing.progress = state["checkpointing"]
    for i, sampler in _unseeded(phase):
        if str(i) in state["samplers"]:
            sampler.set_state(state["samplers"][str(i)])


def _unseeded(phase: ExperimentPhase) -> list[tuple[int, Sampler]]:
    """The samplers of a phase that drew a seed of their own, by the index of their binding."""
    samplers = enumerate(binding.sampler for binding in phase.input_sources)
    return [(i, sampler) for i, sampler in samplers if sampler is not None and sampler.seed is None]


AnyCallback = Callback | ExperimentCallback


def _states_of(callbacks: Sequence[AnyCallback]) -> list[dict[str, Any]]:
    return [{"label": c.label, "state": copy.deepcopy(c.get_state())} for c in callbacks]


def _set_states(callbacks: Sequence[AnyCallback], saved: Sequence[Mapping[str, Any]]) -> None:
    for callback, entry in zip(callbacks, saved, strict=False):
        if callback.label == entry["label"]:
            callback.set_state(copy.deepcopy(entry["state"]))
