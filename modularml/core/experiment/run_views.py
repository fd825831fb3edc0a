"""A record of a run -> what there is to show of it.

It knows no table, no curve on a screen and no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from modularml.core.execution.recording import Recording
from modularml.core.experiment.results import PhaseGroupResults
from modularml.display.runs import (
    CurveView,
    Key,
    PhaseView,
    RunView,
    below_root,
    loss_curves,
    metric_curve,
)


def view_of(run: Any) -> RunView:
    """Return what there is to show of a run; that of one that ended is made once."""
    ended_at, made = vars(run).get("_view", (None, None))
    if made is None or run.ended_at is None or ended_at != run.ended_at:
        children = tuple(map(view_of, run.children))
        made = RunView(
            id=run.id,
            label=run.label,
            status=run.status,
            error=run.error,
            started_at=run.started_at,
            duration_s=run.duration_seconds,
            config=run.fingerprint or None,
            metadata=run.metadata,
            phases=tuple(
                PhaseView(
                    path=below_root(phase.path),
                    kind=phase.kind,
                    status=phase.status,
                    duration_s=phase.duration_s,
                )
                for phase in run.phases
            ),
            final=_finals(run, children),
            read_curves=lambda: [
                c for phase, recording in _recordings(run) for c in _curves(phase, recording)
            ],
            checkpoints=tuple(run.checkpoints),
            children=children,
        )
        vars(run)["_view"] = run.ended_at, made
    view: RunView = made
    return view


def _finals(run: Any, children: tuple[RunView, ...]) -> dict[Key, float]:
    """The last value of each loss and metric; of several folds their mean."""
    if not children:
        return dict(pair for phase, recording in _recordings(run) for pair in _final(phase, recording))
    values: dict[Key, list[float]] = {}
    for child in children:
        for key, value in child.final.items():
            values.setdefault(key, []).append(value)
    return {key: sum(of_folds) / len(of_folds) for key, of_folds in values.items()}


def _recordings(run: Any) -> list[tuple[str, Recording]]:
    return list(_of_entry(run.results, ())) if run.results is not None else []


def _of_entry(results: Any, above: tuple[str, ...]) -> Iterator[tuple[str, Recording]]:
    path = (*above, results.label)
    if isinstance(results, PhaseGroupResults):
        for _, entry in results.items():
            yield from _of_entry(entry, path)
    else:
        yield below_root(path), results.recording


def _final(phase: str, recording: Recording) -> Iterator[tuple[Key, float]]:
    filled = [epoch for epoch, losses in enumerate(recording.losses) if len(losses)][-1:]
    for epoch in filled:
        yield from (((phase, name), value) for name, value in recording.epoch_means(epoch).items())
    yield from (((phase, name), entries[-1][2]) for name, entries in recording.metrics.items())


def _curves(phase: str, recording: Recording) -> Iterator[CurveView]:
    losses, n_samples = list(recording.losses), list(recording.n_samples)
    yield from loss_curves(
        phase,
        list(recording.loss_nodes),
        np.concatenate(losses) if losses else np.empty((0, len(recording.loss_nodes))),
        np.concatenate(n_samples) if n_samples else np.empty(0),
        [len(epoch) for epoch in losses],
    )
    yield from (metric_curve(phase, name, entries) for name, entries in recording.metrics.items())
