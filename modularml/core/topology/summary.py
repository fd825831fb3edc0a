"""What a graph is made of, as a table: shapes, parameters, devices, dtypes, flags.

It knows no data and no phase.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import compress

import torch

from modularml.core.data.reference import GraphNodeReference
from modularml.core.topology.graph_node import GraphNode, OutputShape, UpstreamReference
from modularml.core.topology.model_node import ModelNode
from modularml.display.card import Html, Shown, card, table
from modularml.display.figures import format_shape
from modularml.display.text_table import text_table

HEADS = (
    "node",
    "kind",
    "fed by",
    "input",
    "output",
    ">parameters",
    ">trainable",
    "device",
    "dtype",
    "frozen",
)
UNKNOWN = "–"


@dataclass(frozen=True, kw_only=True)
class NodeSummary:
    """A row of the summary.

    Attributes:
        label: The node.
        kind: The class of its model, or of the node where it has none.
        fed_by: The labels of what feeds it.
        input_shapes: Shape of a sample of each input; None before the build.
        output_shape: Shape of an output sample, by name where there are several outputs; None before the
            build.
        n_parameters: How many numbers its parameters are; None where it has no torch module.
        n_trainable: How many of them training changes.
        device: Where its parameters are.
        dtype: What they are.
        is_frozen: Whether training leaves it as it is.
    """

    label: str
    kind: str
    fed_by: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...] | None, ...]
    output_shape: OutputShape | None
    n_parameters: int | None
    n_trainable: int | None
    device: str | None
    dtype: str | None
    is_frozen: bool


def summary_of(node: GraphNode) -> NodeSummary:
    """Return the row of a node."""
    module = _module(node)
    parameters = [] if module is None else list(module.parameters())
    trainable = _trainable(node)
    return NodeSummary(
        label=node.label,
        kind=_kind(node),
        fed_by=tuple(_source(node.context.label_of(ref), ref) for ref in node.upstream_refs),
        input_shapes=node.input_shapes,
        output_shape=node.output_shape,
        n_parameters=None if module is None else sum(p.numel() for p in parameters),
        n_trainable=None if module is None else sum(p.numel() for p in trainable),
        device=", ".join(sorted({str(p.device) for p in parameters})) or None,
        dtype=", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in parameters})) or None,
        is_frozen=node.is_frozen,
    )


def _module(node: GraphNode) -> torch.nn.Module | None:
    is_there = isinstance(node, ModelNode) and node.backend == "torch" and node.is_built
    return node.module if is_there else None  # type: ignore[attr-defined]


def _trainable(node: GraphNode) -> list[torch.nn.Parameter]:
    module = None if node.is_frozen else _module(node)
    return [] if module is None else [p for p in module.parameters() if p.requires_grad]


def _n_of(parameters: Iterable[torch.nn.Parameter]) -> int:
    """Return how many numbers these are; what nodes share counts once."""
    return sum(p.numel() for p in {id(p): p for p in parameters}.values())


def _source(label: str, ref: UpstreamReference) -> str:
    output = ref.output if isinstance(ref, GraphNodeReference) else None
    return label if output is None else f"{label}.{output}"


def _kind(node: GraphNode) -> str:
    if not isinstance(node, ModelNode):
        return type(node).__name__
    # Of what a wrapper wraps; containers of modules and estimators may count as false.
    wrapped = (getattr(node.model, name, None) for name in ("estimator", "model_class", "model"))
    inner = next((found for found in wrapped if found is not None), node.model)
    return inner.__name__ if isinstance(inner, type) else type(inner).__name__


class GraphSummary(Shown):
    """The nodes of a graph, one a row; notebooks show it as a table, everything else as text.

    Args:
        label: The label of the graph.
        nodes: Its nodes, in topological order.

    Attributes:
        nodes: A row for each node.
        n_parameters: How many numbers all parameters are; those that nodes share count once.
        n_trainable: How many of them training changes.
    """

    def __init__(self, label: str, nodes: Sequence[GraphNode]) -> None:
        self.label, self.nodes = label, tuple(map(summary_of, nodes))
        modules = [module for module in map(_module, nodes) if module is not None]
        self.n_parameters = _n_of(p for module in modules for p in module.parameters())
        self.n_trainable = _n_of(p for node in nodes for p in _trainable(node))

    def __repr__(self) -> str:
        lines = text_table(*self._columns()).split("\n")
        lines.insert(1, "─" * max(map(len, lines)))
        return "\n".join([f"ModelGraph {self.label!r}: {self._total}", *lines])

    def _card(self) -> Html:
        return card("ModelGraph", self.label, table(*self._columns()), note=self._total)

    def _columns(self) -> tuple[list[str], list[list[str]]]:
        """Return heads and rows, without what is said once of all nodes in the line above them."""
        said = set() if any(node.is_frozen for node in self.nodes) else {"frozen"}
        if all(node.n_trainable == node.n_parameters for node in self.nodes):
            said.add(">trainable")
        said |= {name for name in ("device", "dtype") if len(self._of_all(name)) < 2}
        kept = [head not in said for head in HEADS]
        return list(compress(HEADS, kept)), [list(compress(_cells(node), kept)) for node in self.nodes]

    def _of_all(self, name: str) -> set[str]:
        return {value for node in self.nodes if (value := getattr(node, name)) is not None}

    @property
    def _total(self) -> str:
        told = [f"{self.n_parameters:,} parameters", f"{self.n_trainable:,} trainable"]
        told += [
            one for name in ("dtype", "device") if len(self._of_all(name)) == 1 for one in self._of_all(name)
        ]
        return ", ".join(told)


def _cells(node: NodeSummary) -> list[str]:
    values = {field.name: getattr(node, field.name) for field in fields(node)}
    values["fed_by"] = ", ".join(node.fed_by)
    values["input_shapes"] = " + ".join(
        UNKNOWN if shape is None else str(shape) for shape in node.input_shapes
    )
    values["output_shape"] = format_shape(node.output_shape)
    values["is_frozen"] = "frozen" if node.is_frozen else ""
    for name in ("n_parameters", "n_trainable"):
        values[name] = UNKNOWN if values[name] is None else f"{values[name]:,}"
    return [UNKNOWN if value is None else str(value) for value in values.values()]
