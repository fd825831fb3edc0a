"""A graph on new data, without an experiment: one pass, no gradients, nothing recorded.

It knows no phase and no batch of one; data come as arrays, tensors or FeatureSets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modularml.backends.torch import as_array, as_tensor
from modularml.backends.torch_modules import first_floating, modes_kept, set_mode
from modularml.base.errors import (
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    told_of,
    unknown_name,
)
from modularml.core.context import ExperimentContext
from modularml.core.data.batch import Batch, RoleData, SampleData
from modularml.core.data.columns import RAW, TRANSFORMED, Column
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.new_samples import as_raw, named
from modularml.core.data.reference import FeatureSetReference
from modularml.core.data.table import side_by_side, stack
from modularml.core.data.values import as_column
from modularml.core.topology.graph_node import GraphNode, Shape
from modularml.core.topology.merge_node import MergeNode
from modularml.core.topology.model_node import ModelNode
from modularml.core.topology.origin import Entry, origin_of
from modularml.models.torch.outputs import pick


class GraphModule(torch.nn.Module):
    """The torch nodes and merges of a graph as one module, which shares their weights.

    `forward` takes a tensor for each FeatureSet that feeds a node, in the order of
    `input_names`, and returns the outputs of the tails: one tensor, or a dict by label. Of a tail
    with several outputs it is a dict by their names.

    Args:
        nodes: The nodes, in topological order; all are built, and none holds an estimator.
        wanted: What is returned.
    """

    def __init__(self, nodes: Sequence[GraphNode], wanted: Sequence[Wanted]) -> None:
        super().__init__()
        # Labels may hold dots, which names of modules may not.
        self.models = torch.nn.ModuleList(
            node._called_module for node in nodes if isinstance(node, ModelNode)
        )
        self.labels, self.tails = [node.label for node in nodes], [one.label for one in wanted]
        self.input_names: list[str] = []
        self._steps: list[tuple[Any, list[tuple[int, str | None]], bool]] = []
        slot_of: dict[str, int] = {}
        n_inputs = sum(len(node.featureset_refs) for node in nodes)
        models = iter(range(len(self.models)))
        for i, node in enumerate(nodes):
            read: list[tuple[int, str | None]] = []
            for ref in node.upstream_refs:
                if isinstance(ref, FeatureSetReference):
                    several = len(node.featureset_refs) > 1
                    read.append((len(self.input_names), None))
                    self.input_names.append(f"{node.label} <- {ref.node_label}" if several else node.label)
                else:
                    upstream = node.context.get_node(ref, GraphNode)
                    read.append((slot_of[upstream.label], upstream.output_name(ref.output)))
            slot_of[node.label] = n_inputs + i
            takes_list = isinstance(node, ModelNode) and node.takes_list
            self._steps.append((node if isinstance(node, MergeNode) else next(models), read, takes_list))
        self._wanted = [(slot_of[one.label], one) for one in wanted]

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Return the outputs for a tensor ``(n_samples, *input_shape)`` an input."""
        if len(inputs) != len(self.input_names):
            raise InvalidValueError(
                f"The module takes the inputs {self.input_names}, one tensor each, got {len(inputs)}."
            )
        slots: list[Any] = list(inputs)
        for step, read, takes_list in self._steps:
            values = [slots[i] if output is None else pick(slots[i], output) for i, output in read]
            if isinstance(step, MergeNode):
                slots.append(step.forward(values))
            else:
                slots.append(self.models[step](values if takes_list else values[0]))
        return only_or_all([(one, one.of(slots[i])) for i, one in self._wanted])


@dataclass(frozen=True)
class Wanted:
    """What is asked of a node: its outputs, or one of them.

    Attributes:
        label: The node.
        names: The names of its outputs that are returned; none where its one output has no name.
        is_one: Whether one output is returned by itself.
    """

    label: str
    names: tuple[str, ...] = ()
    is_one: bool = True

    @classmethod
    def of_node(cls, node: GraphNode, output: str | None = None) -> Wanted:
        """Return all outputs of a node, or one; raises GraphError if there is no such output."""
        if output is None and len(node.output_names) > 1:
            return cls(node.label, node.output_names, is_one=False)
        name = node.output_name(output)
        return cls(node.label, () if name is None else (name,))

    def of(self, outputs: Any) -> Any:
        """Return what is wanted of that which the node put out."""
        found = {name: pick(outputs, name) for name in self.names}
        if not self.names:
            return outputs
        return found[self.names[0]] if self.is_one else found


def only_or_all(found: Sequence[tuple[Wanted, Any]]) -> Any:
    """Return the only thing that was wanted, or all by the labels of their nodes.

    Of a node of which several outputs were asked for one by one they stand in a dict by name.
    """
    if len(found) == 1:
        return found[0][1]
    several = {one.label for one, _ in found if [other.label for other, _ in found].count(one.label) > 1}
    by_label: dict[str, Any] = {}
    for one, values in found:
        if one.label in several:
            by_label.setdefault(one.label, {})[one.names[0]] = values
        else:
            by_label[one.label] = values
    return by_label


def outputs_of(nodes: Sequence[GraphNode], data: Any, wanted: Sequence[Wanted]) -> list[tuple[Wanted, Any]]:
    """Return the outputs of some nodes for new data as arrays, in dicts by name where there are several.

    Args:
        nodes: The nodes to run, in topological order.
        data: The inputs; see `ModelGraph.predict`.
        wanted: What is returned.
    """
    found: dict[str, Any] = {}
    n_of: dict[str, int] = {}
    with _evaluating(nodes), torch.no_grad():
        for node in nodes:
            values = []
            for ref, shape in zip(node.upstream_refs, node.input_shapes, strict=True):
                if isinstance(ref, FeatureSetReference):
                    value = _entering(node, ref, shape, _for_node(node, data, nodes))
                    n_of[node.label] = len(value)
                else:
                    upstream = node.context.get_node(ref, GraphNode)
                    value = Wanted.of_node(upstream, ref.output).of(found[upstream.label])
                values.append(value)
            if len(set(n_of.values())) > 1:
                raise InvalidValueError(f"The inputs have different numbers of samples: {n_of}.")
            found[node.label] = _run(node, values)
    return [(one, _arrays(one.of(found[one.label]))) for one in wanted]


def unscaled(wanted: Wanted, values: Any, ctx: ExperimentContext) -> Any:
    """Return outputs of a node in the units that its targets had before they were scaled.

    Args:
        wanted: Whose outputs they are.
        values: Shape ``(n_samples, *output_shape)``, or a dict of such by the names of outputs.
        ctx: Where the FeatureSet is that has the scalers.

    Raises:
        StateError: If that is not there.
        InvalidValueError: If the outputs belong to no targets, or those were not scaled.
    """
    if isinstance(values, dict):
        return {name: _unscaled_output(wanted.label, one, name, ctx) for name, one in values.items()}
    return _unscaled_output(wanted.label, values, wanted.names[0] if wanted.names else None, ctx)


def _unscaled_output(
    label: str, values: np.ndarray, output: str | None, ctx: ExperimentContext
) -> np.ndarray:
    origin = origin_of(ctx.get_node(label), "targets", ctx)
    if not isinstance(origin, Entry) or not origin.columns("targets"):
        raise InvalidValueError(f"The outputs of {label!r} belong to no targets of one FeatureSet.")
    if not ctx.has_node(origin.ref):
        raise StateError(
            f"FeatureSet {origin.ref.node_label!r}, which has the scalers of the targets of {label!r}, "
            "is not here; load it, or leave out unscale."
        )
    own = [name for name in origin.columns("targets") if name.split(".")[1] == output]
    columns = own or list(origin.columns("targets"))
    if all(Column.parse(name).rep == RAW for name in columns):
        raise InvalidValueError(
            f"The targets {columns} of {label!r} are not scaled, so there is nothing to undo; leave out "
            "unscale."
        )
    featureset = ctx.get_node(origin.ref, FeatureSet)
    shape = stack({name: featureset.table.column(name)[:1] for name in columns}).shape[1:]
    if values.dtype.kind not in "biuf" or values[0].size != math.prod(shape):
        raise InvalidValueError(
            f"The outputs of {label!r} of shape {values.shape[1:]} do not hold the targets "
            f"{columns} of shape {shape}. The FeatureSet restores what holds one of them: "
            f"fs.unscale_data_for_cols(data=..., domain='targets', columns={columns[-1]!r})."
        )
    beside = values.reshape(len(values), *shape)
    restored: np.ndarray = featureset.unscale_data_for_cols(data=beside, domain="targets", columns=columns)
    return restored.reshape(values.shape)


def as_batch(outputs: Any) -> Batch:
    """Return outputs, or a dict of them by name, as a batch of samples that all count alike."""
    data = SampleData(features=outputs, kind="output")
    ones = np.ones(data.n_samples)
    return Batch(
        batch_size=data.n_samples,
        role_data=RoleData({"default": data}),
        shapes={"default": data.shapes},
        role_weights={"default": ones},
        role_masks={"default": ones},
    )


def _arrays(value: Any) -> Any:
    return {name: _array(one) for name, one in value.items()} if isinstance(value, dict) else _array(value)


def _array(value: Any) -> np.ndarray:
    return as_array(value) if isinstance(value, torch.Tensor) else np.asarray(value)


def _run(node: GraphNode, values: Sequence[Any]) -> Any:
    if isinstance(node, ModelNode) and node.backend != "torch":
        return node.model.forward(_array(values[0]))
    tensors = [value if isinstance(value, torch.Tensor) else as_tensor(value) for value in values]
    if isinstance(node, MergeNode):
        dtype = torch.get_default_dtype()
        for tensor in tensors:
            dtype = torch.promote_types(dtype, tensor.dtype)
        return node.forward([tensor.to(dtype) for tensor in tensors])
    assert isinstance(node, ModelNode)
    home = first_floating(node.module)
    device = None if home is None else home.device
    if node.takes_list:
        pairs = zip(tensors, node.input_dtypes, strict=True)
        return node._called_module(
            [tensor.to(device=device, dtype=dtype, copy=True) for tensor, dtype in pairs]
        )
    batch = tensors[0].to(device=device, dtype=node.input_dtypes[0])
    return node._called_module(batch.clone() if node.model.changes_input else batch)


@contextmanager
def _evaluating(nodes: Sequence[GraphNode]) -> Iterator[None]:
    modules = [n._called_module for n in nodes if isinstance(n, ModelNode) and n.backend == "torch"]
    with modes_kept(modules):
        for module in modules:
            set_mode(module, False)
        yield


def _for_node(node: GraphNode, data: Any, nodes: Sequence[GraphNode]) -> Any:
    """Return what is given for a head: by its label, or one thing for all heads."""
    heads = [other.label for other in nodes if other.featureset_refs]
    if not isinstance(data, Mapping) or isinstance(data, RoleData):
        return data
    if not any(key in heads for key in data):
        return data  # columns by their keys
    if node.label not in data:
        raise InvalidValueError(unknown_name("input", node.label, data, where="the new data"))
    return data[node.label]


def _entering(node: GraphNode, ref: FeatureSetReference, shape: Shape | None, data: Any) -> Any:
    if isinstance(data, Batch):
        data = data.role_data
    if isinstance(data, RoleData):
        data = data["default"]
    given = type(data).__name__
    data = data.features if isinstance(data, SampleData) else _of_columns(node, ref, data)
    if not hasattr(data, "shape"):
        data = np.asarray(data)
    if isinstance(data, np.ndarray) and data.dtype.kind not in "biufc":
        got = f"a {given}; an array or tensor of all samples is taken, a frame, or columns by their keys"
        raise InvalidTypeError(f"Data for {node!r} must be numbers, got {data.dtype if data.ndim else got}.")
    n_values = int(np.prod(shape or ()))
    if data.ndim and not len(data):
        raise GraphError(f"There are no samples for {node!r}: its data have the shape {tuple(data.shape)}.")
    if data.ndim == 0 or int(np.prod(data.shape[1:])) != n_values:
        raise GraphError(
            f"{node!r} takes samples of shape {shape}, so data for it must have the shape "
            f"(n, {', '.join(map(str, shape or ()))}), got {tuple(data.shape)}."
        )
    return data.reshape(len(data), *(shape or ()))


def _of_columns(node: GraphNode, ref: FeatureSetReference, data: Any) -> Any:
    """Return what a reference names of new samples, scaled where it names scaled columns."""
    columns, where = named(data), f"data for {node!r}"
    names = {} if columns is None else {one: columns.find(Column.parse(one)) for one in ref.features}
    if columns is not None and None not in names.values():
        with told_of(where):
            return side_by_side({one: as_column(columns.get(str(name))) for one, name in names.items()})
    scaled = [one for one in ref.features if Column.parse(one).rep == TRANSFORMED]
    if not scaled and columns is None:
        return data
    raw = list(dict.fromkeys(str(Column.parse(one)._replace(rep=RAW)) for one in ref.features))
    if columns is not None:
        lacking = [one for one in raw if columns.find(Column.parse(one)) is None]
        if lacking:
            told = unknown_name("column", lacking[0], columns.names, where=where)
            hint = (
                " What holds all features side by side is an array: df.to_numpy()." if len(raw) == 1 else ""
            )
            raise InvalidValueError(told + (hint if hasattr(data, "to_numpy") else ""))
    if not node.context.has_node(ref):
        raise StateError(
            f"{node!r} is fed the scaled columns {scaled}, and FeatureSet {ref.node_label!r}, which has the "
            f"scalers, is not here. Load it, or hand over what is scaled by its full name: "
            f"{{{scaled[0]!r}: ...}}."
        )
    featureset = node.context.get_node(ref, FeatureSet)
    made = featureset.scale(as_raw(data, featureset.table.select(features="*"), raw, repr(node)))
    return side_by_side({one: made.column(one) for one in ref.features})


def refuse_estimators(nodes: Sequence[GraphNode]) -> None:
    """Raise StateError for nodes that no torch module can hold; all are named."""
    labels = [n.label for n in nodes if isinstance(n, ModelNode) and n.backend != "torch"]
    if labels:
        raise StateError(
            f"The estimators of {labels} are no torch modules, so the graph cannot become one; leave them "
            "out: to_torch_module(nodes=[...])."
        )
