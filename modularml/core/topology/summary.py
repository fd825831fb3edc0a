"""What a graph is made of, as a table: shapes, parameters, devices, dtypes, flags.

It knows no data and no phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

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
    module = (
        node.module if isinstance(node, ModelNode) and node.backend == "torch" and node.is_built else None
    )
    parameters = [] if module is None else list(module.parameters())
    trainable = [p for p in parameters if p.requires_grad and not node.is_frozen]
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
        nodes: A row for each node, in topological order.
    """

    def __init__(self, label: str, nodes: Sequence[NodeSummary]) -> None:
        self.label, self.nodes = label, tuple(nodes)

    @property
    def n_parameters(self) -> int:
        """How many numbers all parameters are."""
        return sum(node.n_parameters or 0 for node in self.nodes)

    @property
    def n_trainable(self) -> int:
        """How many of them training changes."""
        return sum(node.n_trainable or 0 for node in self.nodes)

    def __repr__(self) -> str:
        lines = text_table(HEADS, map(_cells, self.nodes)).split("\n")
        lines.insert(1, "─" * max(map(len, lines)))
        return "\n".join([f"ModelGraph {self.label!r}: {self._total}", *lines])

    def _card(self) -> Html:
        return card("ModelGraph", self.label, table(HEADS, map(_cells, self.nodes)), note=self._total)

    @property
    def _total(self) -> str:
        return f"{self.n_parameters:,} parameters, {self.n_trainable:,} trainable"


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
