"""The runs in a file as those who show runs see them.

It knows no record of a run, only the tree that one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from modularml.base.errors import FileFormatError
from modularml.display.runs import (
    CurveView,
    Key,
    PhaseView,
    RunView,
    below_root,
    epoch_means,
    loss_curves,
    metric_curve,
)
from modularml.inspection.facts import FileFacts

_UNSOUND = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


class FileRuns:
    """The runs that a file holds, oldest first; a source of runs that never has more to show.

    Args:
        facts: The file.

    Raises:
        FileFormatError: If a run in it is no whole one.
    """

    def __init__(self, facts: FileFacts) -> None:
        self.name = facts.path.name
        states: list[Any] = []
        if facts.kind == "run":
            states = [facts.tree["run"]]
        elif facts.runs:
            states = facts.tree["state"]["history"]
        try:
            self._views = [_view(state) for state in states]
        except _UNSOUND as error:
            message = f"{facts.path}: no whole history: {type(error).__name__}: {error}."
            raise FileFormatError(message) from error

    def views(self) -> list[RunView]:
        """Return the runs."""
        return self._views

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Return a function that ends nothing: a file was read once."""
        return lambda: None


def _view(state: Any) -> RunView:
    results = state["results"]
    phases = tuple(map(_phase, state["phases"]))
    children = tuple(_folds(state, results)) if results is not None and results["kind"] == "cv" else ()
    recordings = [] if results is None else list(_recordings(results))
    curves = [curve for recording in recordings for curve in _curves(*recording)]
    own = dict(final for recording in recordings for final in _finals(*recording))
    finals = [child.final for child in children] or [own]
    return RunView(
        id=state["id"],
        label=state["label"],
        status=state["status"],
        error=state["error"],
        started_at=state["started_at"],
        duration_s=_seconds(state),
        config=state.get("fingerprint") or None,
        metadata=state.get("metadata", {}),
        phases=phases,
        final={
            key: float(np.mean([of_fold[key] for of_fold in finals if key in of_fold]))
            for key in dict.fromkeys(key for of_fold in finals for key in of_fold)
        },
        read_curves=lambda: curves,
        checkpoints=tuple(state.get("checkpoints", ())),
        children=children,
    )


def _folds(state: Any, results: Any) -> Iterator[RunView]:
    for entry in results["entries"]:
        label = entry["label"]
        phases = [p | {"path": p["path"][1:]} for p in state["phases"] if list(p["path"][1:2]) == [label]]
        own = {"label": label, "id": f"{state['id']}/{label}", "results": entry, "phases": phases}
        yield _view(state | own)


def _phase(state: Any) -> PhaseView:
    return PhaseView(
        path=below_root(state["path"]), kind=state["kind"], status=state["status"], duration_s=_seconds(state)
    )


def _seconds(state: Any) -> float:
    took: float = (state["ended_at"] - state["started_at"]).total_seconds() - state.get("paused_s", 0.0)
    return took


def _recordings(results: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    path = (*above, results["label"])
    if "entries" in results:
        for entry in results["entries"]:
            yield from _recordings(entry, path)
    else:
        yield below_root(path), results["recording"]


def _curves(phase: str, recording: Any) -> Iterator[CurveView]:
    numbers = (recording["losses"], recording["n_samples"], recording["n_batches"])
    yield from loss_curves(phase, list(recording["loss_nodes"]), *numbers)
    yield from (metric_curve(phase, name, entries) for name, entries in recording["metrics"].items())


def _finals(phase: str, recording: Any) -> Iterator[tuple[Key, float]]:
    _, means = epoch_means(recording["losses"], recording["n_samples"], recording["n_batches"])
    for mean in means[-1:].tolist():
        yield from (((phase, name), value) for name, value in zip(recording["loss_nodes"], mean, strict=True))
    yield from (((phase, name), entries[-1][2]) for name, entries in recording["metrics"].items())
