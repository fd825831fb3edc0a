"""What a file is and holds, as frozen facts, and what follows from them.

It knows no file: `modularml.inspection.reading` fills these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from modularml.base.trees import digest, leaves
from modularml.display.spec import GraphSpec
from modularml.io.symbols import Symbol

Point = tuple[int, int | None, float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The values of a loss or a metric in one run of a phase.

    Attributes:
        phase: The phase's labels below the root of the run, joined by ``/``.
        name: The label of the loss, or the name of the metric.
        points: ``(epoch, batch or None, value)``; of a loss one an epoch, the mean over its batches.
    """

    phase: str
    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class PhaseFacts:
    """When a phase of a run began, ended, and how; ``path`` as in `Curve.phase`."""

    path: str
    kind: str
    status: str
    started_at: datetime
    ended_at: datetime

    @property
    def duration_s(self) -> float:
        """Seconds it took."""
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One run, as the history of a file tells it.

    Attributes:
        label: The label of what was run.
        id: Its id.
        status: ``"completed"``, ``"stopped"``, ``"interrupted"``, ``"failed"``, or ``"running"``
            if the file was written meanwhile.
        error: The text of the exception that ended it, if one did.
        started_at: Local time with zone.
        ended_at: Local time with zone.
        phases: The phases it executed, in order.
        curves: The losses and metrics of all of them.
    """

    label: str
    id: str
    status: str
    error: str | None
    started_at: datetime
    ended_at: datetime
    phases: tuple[PhaseFacts, ...]
    curves: tuple[Curve, ...]

    @property
    def duration_s(self) -> float:
        """Seconds it took."""
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def final(self) -> dict[tuple[str, str], float]:
        """The last value of each curve, by phase and name."""
        return {(curve.phase, curve.name): curve.points[-1][2] for curve in self.curves if curve.points}


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """A FeatureSet: its columns as ``{name: "float64 (3,)"}``, and how many rows its splits have.

    Where the file has a graph without its data, `n_samples` is None and the columns are those it reads.
    """

    label: str
    n_samples: int | None
    columns: Mapping[str, str]
    splits: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """A node of a graph; what a checkpoint does not tell of it is None.

    Attributes:
        label: Its name.
        model: The class of its model, or of a node that merges.
        upstreams: The labels of what feeds it.
        input_shapes: Of each input, without the samples.
        output_shape: Without the samples; by name where there are several outputs.
        n_parameters: How many numbers its weights are.
        is_frozen: Whether training leaves it as it is.
        merges: Whether it merges its inputs, and has no model.
    """

    label: str
    model: str | None
    upstreams: tuple[str, ...] | None
    input_shapes: tuple[tuple[int, ...] | None, ...]
    output_shape: tuple[int, ...] | dict[str, tuple[int, ...]] | None
    n_parameters: int | None
    is_frozen: bool
    merges: bool = False


@dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """An entry of a plan: a group with its entries, or a phase with what it is to do.

    Attributes:
        label: Its name.
        kind: The name of its class, e.g. ``"TrainPhase"``.
        details: What it was told, a line each.
        entries: Those of a group, in order; None for a phase.
    """

    label: str
    kind: str
    details: tuple[str, ...]
    entries: tuple[PlanFacts, ...] | None


@dataclass(frozen=True, kw_only=True, repr=False)
class FileFacts:
    """What a file is and holds.

    Attributes:
        path: The file.
        kind: What it holds, e.g. ``"experiment"``.
        format: The number of the format it was written in.
        versions: Versions of Python and of the packages that wrote it.
        n_bytes: Its size.
        n_members: How many members are in it; the digest of each is right.
        modified_at: When it was written or copied, as its folder says; local time with zone.
        label: The name of what it holds, if that has one.
        data: The FeatureSets in it.
        nodes: The nodes in it.
        plan: The plan of an experiment.
        runs: The history, oldest first.
        picture: The diagram of its graph.
        meta: What whoever wrote a checkpoint kept with it.
        tree: All of it; arrays are mapped from the file, classes and estimators are `Symbol`.
    """

    path: Path
    kind: str
    format: int
    versions: Mapping[str, str]
    n_bytes: int
    n_members: int
    modified_at: datetime
    label: str | None = None
    data: tuple[DataFacts, ...] = ()
    nodes: tuple[NodeFacts, ...] = ()
    plan: PlanFacts | None = None
    runs: tuple[RunFacts, ...] = ()
    picture: GraphSpec | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    tree: Any = None

    def __repr__(self) -> str:
        held = {
            "data": [data.label for data in self.data],
            "nodes": [node.label for node in self.nodes],
            "runs": [f"{run.label}: {run.status}" for run in self.runs],
        }
        told = {"path": str(self.path), "kind": self.kind, "label": self.label} | held
        return f"FileFacts({', '.join(f'{name}={value!r}' for name, value in told.items() if value)})"

    @property
    def final(self) -> dict[tuple[str, str], float]:
        """The last value of each curve by phase and name, of the newest run that has one."""
        return {key: value for run in self.runs for key, value in run.final.items()}

    @property
    def settings(self) -> dict[tuple[str, ...], str]:
        """What was set and given, path -> text; arrays and sources by a digest, ids left out."""
        tree = self.tree
        if self.kind == "experiment":
            data = {entry["config"]["label"]: entry["state"] for entry in tree["featuresets"]}
            tree = {**tree["config"], "data": data, "nodes": tree["nodes"], "graph": tree["graph"]}
        elif self.kind == "checkpoint":
            tree = {"name": tree["name"], "meta": tree["meta"]}
        elif self.kind == "model_graph":
            tree = {key: value for key, value in tree.items() if key not in ("state", "initial_weights")}
        return {("kind",): self.kind, **leaves(tree, _setting)}

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON can say it, each array as its dtype and shape."""
        named = {"file": self.path.name, "kind": self.kind, "format": self.format}
        return {**named, "versions": dict(self.versions), "tree": _plain(self.tree)}


def brief(value: Any) -> str:
    """Return a value of a tree on one line; an array as its dtype and shape."""
    if isinstance(value, Mapping):
        arguments = ", ".join(f"{key}={brief(item)}" for key, item in value.items() if key != "$type")
        return f"{type_name(value['$type'])}({arguments})" if "$type" in value else f"{{{arguments}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(brief, value))}]"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return value.full_name if isinstance(value, Symbol) else str(value)


def type_name(tag: Any) -> str:
    """Return the name of a class, as the ``$type`` of a configuration tells it."""
    return tag.short_name if isinstance(tag, Symbol) else str(tag)


def _setting(value: Any) -> str:
    if isinstance(value, Symbol) and value.source:
        return f"{value.full_name} {digest(value.source.encode('utf-8', 'surrogatepass'))}"
    return brief(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return value.full_name if isinstance(value, Symbol) else str(value)
