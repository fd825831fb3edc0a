"""What a notebook shows of a plan and of the nodes of an experiment, as tables.

It knows no group and no experiment: it is handed entries of a plan, and nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.topology.graph_node import GraphNode
from modularml.display.card import Html, table
from modularml.display.figures import format_shape

_INDENT = "\u2003"  # an em space, which markup does not fold


def plan_table(entries: Iterable[Any]) -> Html:
    """Return phases and groups, nested ones indented, with what goes into each."""
    return table(["phase", "kind", ">epochs", "data", "losses"], _plan_rows(entries, 0))


def node_table(nodes: Iterable[Any]) -> Html:
    """Return FeatureSets and nodes with their shapes."""
    return table(["node", "kind", "input", "output"], map(_node_row, nodes))


def _plan_rows(entries: Iterable[Any], depth: int) -> Iterator[list[Any]]:
    for entry in entries:
        name, kind = _INDENT * depth + entry.label, type(entry).__name__
        if isinstance(entry, ExperimentPhase):
            yield [name, kind, entry.n_epochs, _data(entry), ", ".join(loss.label for loss in entry.losses)]
        else:
            yield [name, kind, "", "", ""]
            yield from _plan_rows(entry.all, depth + 1)


def _data(phase: ExperimentPhase) -> str:
    told = []
    for binding in phase.input_sources:
        split = "" if binding.split is None else f" {binding.split}"
        sampler = "" if binding.sampler is None else f" by {type(binding.sampler).__name__}"
        told.append(f"{binding.upstream_ref.node_label}{split}{sampler}")
    return ", ".join(dict.fromkeys(told))


def _node_row(node: Any) -> list[Any]:
    kind = type(node).__name__
    if isinstance(node, FeatureSet):
        return [node.label, kind, "", f"{node.n_samples:,} samples"]
    shapes = [getattr(node, name, None) for name in ("input_shape", "output_shape")]
    kind += " (frozen)" * (isinstance(node, GraphNode) and node.is_frozen)
    return [node.label, kind, *(format_shape(shape) or "" for shape in shapes)]
