"""A run as those who show it see it: plain facts, and curves that are read when they are asked for.

It knows no experiment and no file; both hand in a `RunView` for each of their runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from modularml.base.goals import MIN, goal_of_name
from modularml.base.trees import Difference, differences
from modularml.display.figures import counted

EPOCHS_BEFORE = "epochs before"
"""The words for how many epochs of earlier runs a train phase went on from."""

Key = tuple[str, str]
"""The phase's labels below the root of the run, joined by ``/``, and the name of the loss or metric."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveView:
    """The course of a loss or a metric.

    Attributes:
        phase: As in `Key`.
        name: The label of the loss, or the name of the metric.
        per: What `x` counts, from 1: ``"epoch"``, or ``"batch"`` in phases of one epoch.
        x: Where the values belong, rising, shape ``(n,)``.
        y: The values; of several folds their mean.
        low: The least value over the folds, where there are several.
        high: The greatest value over the folds.
    """

    phase: str
    name: str
    per: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    @property
    def key(self) -> Key:
        """Phase and name."""
        return self.phase, self.name

    @property
    def goal(self) -> str:
        """Which end is the better one: ``"max"`` for scores by their usual names, else ``"min"``."""
        return goal_of_name(self.name) or MIN


@dataclass(frozen=True, kw_only=True)
class PhaseView:
    """When a phase of a run began and how it ended; ``path`` as in `Key`."""

    path: str
    kind: str
    status: str
    duration_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RunView:
    """One run.

    Attributes:
        id: Tells runs apart.
        label: The label of what was run.
        status: ``"running"``, ``"completed"``, ``"stopped"``, ``"interrupted"`` or ``"failed"``.
        error: The text of the exception that ended it, if one did.
        started_at: Local time with zone.
        duration_s: Seconds that it took, or has taken so far.
        config: What was to be done, as `modularml.base.trees.plain` makes it; None if unknown.
        metadata: Versions, the seed and other plain facts.
        phases: The phases that it executed, in order.
        final: The last value of each loss and metric.
        read_curves: Reads the curves.
        checkpoints: Names of the checkpoints that were written meanwhile.
        children: The runs that it is made of, such as folds.
        stale: Which of its results no longer come from what there is now, and why: a sentence each.
    """

    id: str
    label: str
    status: str
    started_at: datetime
    duration_s: float
    final: Mapping[Key, float]
    read_curves: Callable[[], Iterable[CurveView]]
    error: str | None = None
    config: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    phases: tuple[PhaseView, ...] = ()
    checkpoints: tuple[str, ...] = ()
    children: tuple[RunView, ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def curves(self) -> tuple[CurveView, ...]:
        """The curves, those of folds as their mean with a band."""
        if self.children:
            return folded([child.curves for child in self.children])
        return tuple(self.read_curves())

    @property
    def facts(self) -> dict[str, str]:
        """What `metadata` holds, in words."""
        return {name: _in_words(name, value) for name, value in self.metadata.items()}

    @property
    def seed(self) -> str:
        """The seed, as text; empty if it is not known."""
        return str(self.metadata.get("seed", ""))


class RunSource(Protocol):
    """Where runs come from.

    Attributes:
        name: What tells it from other sources: the label of an experiment, the name of a file.
    """

    name: str

    def views(self) -> Sequence[RunView]:
        """Return its runs, oldest first."""
        ...

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` whenever there may be more to show; return a function that ends this."""
        ...


def changes(run: RunView, before: RunView | None) -> list[Difference] | None:
    """Return what was set otherwise than in the run before; None where that cannot be told.

    What phases before it had made of that comes last: it follows from the rest, and is told as digests.
    """
    if before is None or run.config is None or before.config is None:
        return None
    settings = [] if run.config is before.config else differences(before.config, run.config)
    told = settings + _conditions_changed(before, run)
    return sorted(told, key=lambda found: found.path[1:2] == ("upstream",))


def _conditions_changed(before: RunView, run: RunView) -> list[Difference]:
    """What runs were under, apart from their settings: not how they went."""
    found = differences(dict(before.metadata), dict(run.metadata))
    return [
        replace(one, path=(*one.path[1:-1], EPOCHS_BEFORE)) if one.path[0] == "continues" else one
        for one in found
        if one.path[0] not in ("resumed", "stopped_by")
    ]


def _in_words(name: str, value: Any) -> str:
    """A fact of a run; one that is not made as runs make it, as a file may hold it, stays as it is."""
    try:
        if name == "resumed":
            return "; ".join(f"{s['at']:%Y-%m-%d %H:%M} at {s['where']}, {s['after']} before" for s in value)
        if name == "continues":
            return "; ".join(
                f"{path} after {counted(one['epochs_before'], 'epoch')}" for path, one in value.items()
            )
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return str(value)


def changes_in_words(told: Sequence[Difference] | None) -> str:
    """Say what changed: the first change, and how many more there are; empty where it is not known."""
    if told is None:
        return ""
    if not told:
        return "nothing"
    first = f"{told[0].path[-1]} {_brief(told[0].before)} → {_brief(told[0].after)}"
    return first if len(told) == 1 else f"{first}, {len(told) - 1} more"


def _brief(text: str | None) -> str:
    """A setting as a table has room for it."""
    if text is None:
        return "–"
    try:
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text


def predecessors(runs: Sequence[RunView]) -> list[RunView | None]:
    """Return for each run the last one before it of the same label, so that like is held against like."""
    last: dict[str, RunView] = {}
    found = []
    for run in runs:
        found.append(last.get(run.label))
        last[run.label] = run
    return found


def folded(members: Sequence[Sequence[CurveView]]) -> tuple[CurveView, ...]:
    """Return the mean of the curves of several folds, with a band from the least to the greatest."""
    by_key: dict[Key, list[CurveView]] = {}
    for curves in members:
        for curve in curves:
            by_key.setdefault(curve.key, []).append(curve)
    return tuple(map(_mean_of, by_key.values()))


def _mean_of(curves: list[CurveView]) -> CurveView:
    x = np.unique(np.concatenate([curve.x for curve in curves]))
    table = np.full((len(curves), len(x)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[np.searchsorted(x, curve.x)] = curve.y
    is_known = np.isfinite(table)
    n_known = is_known.sum(0)
    with np.errstate(all="ignore"):
        mean = np.where(n_known, np.where(is_known, table, 0).sum(0) / n_known, np.nan)
    low, high = np.where(is_known, table, np.inf).min(0), np.where(is_known, table, -np.inf).max(0)
    first = curves[0]
    return CurveView(
        phase=first.phase,
        name=first.name,
        per=first.per,
        x=x,
        y=mean,
        low=np.where(n_known, low, np.nan),
        high=np.where(n_known, high, np.nan),
    )


def sampled(curve: CurveView, max_points: int) -> CurveView:
    """Return a curve of at most `max_points` points that keeps every peak and dip.

    Each bucket of neighbouring points gives its least and its greatest value, both ends stay.
    """
    n = len(curve.x)
    if n <= max_points:
        return curve
    n_buckets = max(max_points // 2 - 1, 1)
    bounds = np.linspace(1, n - 1, n_buckets + 1).astype(int)
    kept = [0, n - 1]
    is_gap = ~np.isfinite(curve.y)
    for values in (np.where(is_gap, np.inf, curve.y), np.where(is_gap, np.inf, -curve.y)):
        kept += _least_places(values, bounds)
    at = np.unique(kept)
    bands = {name: None if band is None else band[at] for name, band in _bands(curve).items()}
    return CurveView(phase=curve.phase, name=curve.name, per=curve.per, x=curve.x[at], y=curve.y[at], **bands)


def _bands(curve: CurveView) -> dict[str, np.ndarray | None]:
    return {"low": curve.low, "high": curve.high}


def _least_places(values: np.ndarray, bounds: np.ndarray) -> list[int]:
    """Return where the least value of each bucket is; buckets are as long as one another, but for one."""
    starts, ends = bounds[:-1], bounds[1:]
    size = int((ends - starts).max())
    places = starts[:, None] + np.arange(size)
    inside = places < ends[:, None]
    table = np.where(inside, values[np.minimum(places, len(values) - 1)], np.inf)
    return (starts + table.argmin(1)).tolist()


def below_root(path: Sequence[str]) -> str:
    """Return labels from the root of a run down, joined; the root itself is left out if there are more."""
    return "/".join(path[1:] or path)


def loss_curves(
    phase: str, names: Sequence[str], losses: np.ndarray, n_samples: np.ndarray, n_batches: Sequence[int]
) -> list[CurveView]:
    """Return the curves of losses: a value an epoch, or a value a batch where there is one epoch.

    Args:
        phase: As in `Key`.
        names: The labels of the losses.
        losses: A row a batch, ``(n_batches_total, n_losses)``.
        n_samples: How many samples each batch had, ``(n_batches_total,)``.
        n_batches: How many batches each epoch had.
    """
    if len(n_batches) == 1:
        per, x, values = "batch", np.arange(1.0, len(losses) + 1), losses
    else:
        epochs, values = epoch_means(losses, n_samples, n_batches)
        per, x = "epoch", epochs + 1.0
    columns = zip(names, values.T, strict=True)
    return [CurveView(phase=phase, name=name, per=per, x=x, y=y) for name, y in columns]


def metric_curve(phase: str, name: str, entries: Sequence[tuple[int, int | None, float]]) -> CurveView:
    """Return the curve of a metric, of ``(epoch, batch or None, value)`` entries."""
    epochs, values = np.array([entry[0] for entry in entries], float), [entry[2] for entry in entries]
    several = len(epochs) > len(np.unique(epochs))
    x = np.arange(1.0, len(epochs) + 1) if several else epochs + 1
    return CurveView(
        phase=phase, name=name, per="batch" if several else "epoch", x=x, y=np.array(values, float)
    )


def epoch_means(losses: np.ndarray, n_samples: np.ndarray, n_batches: Sequence[int]) -> tuple[Any, Any]:
    """Return the mean of each loss over the samples of each epoch that has any.

    Args:
        losses: A row a batch, ``(n_batches_total, n_losses)``.
        n_samples: How many samples each batch had, ``(n_batches_total,)``.
        n_batches: How many batches each epoch had.

    Returns:
        The epochs, counted from 0, ``(n_epochs,)``, and the means, ``(n_epochs, n_losses)``.
    """
    counts = np.asarray(n_batches, dtype=np.int64)
    epochs = np.flatnonzero(counts)
    if not len(epochs):
        return epochs, np.empty((0, losses.shape[1]))
    starts = (np.cumsum(counts) - counts)[epochs]
    weights = n_samples.astype(float)
    with np.errstate(all="ignore"):  # of losses that went out of bounds
        sums = np.add.reduceat(losses.astype(float) * weights[:, None], starts)
        return epochs, sums / np.add.reduceat(weights, starts)[:, None]
