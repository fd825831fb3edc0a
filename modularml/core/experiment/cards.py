"""What a notebook shows of a plan and of the nodes of an experiment, as tables.

It knows no group and no experiment: it is handed entries of a plan, and nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.topology.graph_node import GraphNode
from modularml.display.card import Html, muted, table
from modularml.display.figures import counted, format_shape

_INDENT = "\u2003"  # an em space, which markup does not fold
_N_ALWAYS = 5
"""Columns that a table of phases always has; others only if a phase has something to say there."""


def plan_table(entries: Iterable[Any], results: Mapping[str, Any] | None = None) -> Html:
    """Return phases and groups, nested ones indented, with what goes into each.

    Args:
        entries: The phases and groups, in order.
        results: What the results of each phase are worth, by its path in the plan.
    """
    rows = list(_plan_rows(entries, (), results or {}))
    if not rows:
        return muted("No phases yet.")
    heads = ["phase", "kind", ">epochs", "data", "losses", "callbacks", "results"]
    kept = [i for i in range(len(heads)) if i < _N_ALWAYS or any(row[i] for row in rows)]
    return table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])


def node_table(nodes: Iterable[Any]) -> Html:
    """Return FeatureSets and nodes with their shapes."""
    rows = list(map(_node_row, nodes))
    return table(["node", "kind", "input", "output"], rows) if rows else muted("No nodes yet.")


def _plan_rows(
    entries: Iterable[Any], above: tuple[str, ...], results: Mapping[str, Any]
) -> Iterator[list[Any]]:
    for entry in entries:
        path = (*above, entry.label)
        name, kind = _INDENT * len(above) + entry.label, type(entry).__name__
        if isinstance(entry, ExperimentPhase):
            losses = ", ".join(loss.label for loss in entry.losses)
            callbacks = ", ".join(type(callback).__name__ for callback in entry.callbacks)
            worth = results.get("/".join(path), "")
            yield [
                name,
                kind,
                entry.n_epochs if entry.kind == "train" else "",
                _data(entry),
                losses,
                callbacks,
                worth,
            ]
        else:
            yield [name, kind, "", "", "", "", ""]
            yield from _plan_rows(entry.all, path, results)


def _data(phase: ExperimentPhase) -> str:
    told = []
    for binding in phase.input_sources:
        split = "" if binding.split is None else f" {binding.split}"
        sampler = "" if binding.sampler is None else f" by {type(binding.sampler).__name__}"
        told.append(f"{phase.ctx.label_of(binding.upstream_ref)}{split}{sampler}")
    return ", ".join(dict.fromkeys(told))


def _node_row(node: Any) -> list[Any]:
    kind = type(node).__name__
    if isinstance(node, FeatureSet):
        return [node.label, kind, "", counted(node.n_samples, "sample")]
    shapes = [getattr(node, name, None) for name in ("input_shape", "output_shape")]
    kind += " (frozen)" * (isinstance(node, GraphNode) and node.is_frozen)
    return [node.label, kind, *(format_shape(shape) or "" for shape in shapes)]
