"""The losses of a phase as functions of the slots, all that can be aligned aligned before.

It knows no forward call and no optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from modularml.backends.torch_losses import Alignment, LossInput
from modularml.base.errors import InvalidTypeError, LossError, StateError, warn
from modularml.core.context import ExperimentContext
from modularml.core.data.reference import FeatureSetReference, doubled_in
from modularml.core.data.table import side_by_side, stack
from modularml.core.execution.advice import done_twice
from modularml.core.execution.columns import Column, JoinedStack, Source, Stack, column_of, dtype_in_torch
from modularml.core.execution.forward import dtype_of
from modularml.core.execution.streams import InputName, input_name, inputs_like, stream_of
from modularml.core.execution.units import Units
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_node import ModelNode
from modularml.core.topology.origin import Entry, Joined, Origin, columns_of, entries_of, origin_of
from modularml.core.training.applied_loss import AppliedLoss

LossCall = Callable[[Sequence[Any]], torch.Tensor]


class EnteringData:
    """The columns that reach the nodes, by where they enter the graph.

    Args:
        ctx: Where the labels of their FeatureSets are looked up.
        nodes: The nodes that run.
        roles: Key of each entry -> the roles of its samples.
        devices: Label of each node -> where it computes; the CPU where it is not named.
        rows: Key of each entry -> the rows that the phase may draw.

    Attributes:
        keys: Label of each node -> key of the data whose rows and targets belong to its outputs.
        joined: Key of data that are joined of several entries -> key of the entry whose rows count.
    """

    def __init__(
        self,
        ctx: ExperimentContext,
        nodes: Sequence[GraphNode],
        roles: Mapping[str, Sequence[str]],
        devices: Mapping[str, torch.device],
        rows: Mapping[str, np.ndarray],
    ) -> None:
        self.ctx, self._roles, self.devices, self.rows = ctx, roles, devices, rows
        self._nodes = {node.label: node for node in nodes}
        self._origins = {node.label: origin_of(node, "targets", ctx) for node in nodes}
        self.keys = {label: origin.key for label, origin in self._origins.items()}
        self.joined: dict[str, str] = {}
        for origin in self._origins.values():
            self._note(origin)

    def _note(self, origin: Origin) -> None:
        if isinstance(origin, Joined):
            self.joined[origin.key] = origin.rows.key

    def entries(self, node: str) -> list[str]:
        """Return the keys of all entries whose samples reach a node."""
        return [entry.key for entry in entries_of(self._nodes[node], self.ctx)]

    def roles(self, node: str) -> Sequence[str]:
        """Return the roles of the samples that reach a node."""
        return self._roles[self._origins[node].rows.key]

    def features(self, node: GraphNode, ref: FeatureSetReference, dtype: torch.dtype | None) -> Column:
        """Return the features that a FeatureSet brings to a node, in the dtype that they enter in."""
        source = self._stack(Entry("", ref), "features")
        if dtype is torch.int64 and source.dtype.kind not in "biu":
            raise InvalidTypeError(
                f"{node!r} takes integers, as an embedding does, and {list(ref.features)} hold "
                f"{source.dtype}. Convert the columns to integers before they enter the FeatureSet."
            )
        return column_of(source, Alignment(dtype=dtype), self.devices.get(node.label))

    def targets(self) -> dict[tuple[str, str | None], Source]:
        """Return the targets that belong to the outputs of the nodes.

        Returns:
            By their key, and where they differ in shape by the key of each target.
        """
        return {
            (origin.key, part): self._stack(origin, "targets", column)
            for origin in {origin.key: origin for origin in self._origins.values()}.values()
            if origin.columns("targets")
            for part, column in self._parts(origin)
        }

    def units(self, targets: Mapping[tuple[str, str | None], Source]) -> dict[str, Units]:
        """Return how those targets are scaled, by stream; joined ones have no units of their own."""
        entries = {origin.key: origin for origin in self._origins.values() if isinstance(origin, Entry)}
        return {
            stream_of(key, part=part): Units.of_targets(self.ctx.get_node(entries[key].ref), source)
            for (key, part), source in targets.items()
            if isinstance(source, Stack)
        }

    def _parts(self, origin: Origin) -> list[tuple[str | None, str | None]]:
        """Return key and column of each target where they differ in shape, else one entry for all."""
        if isinstance(origin, Entry):
            table = self.ctx.get_node(origin.ref).table
            names = origin.columns("targets")
            if len({table.column(name).shape[1:] for name in names}) > 1:
                return [(name.split(".")[1], name) for name in names]
        return [(None, None)]

    def taught(self, node: str) -> tuple[str, Source] | None:
        """Return the targets that reach a node, as they are, and the key of their data; None without any."""
        origin = self._origins[node]
        return (origin.key, self._stack(origin, "targets")) if origin.columns("targets") else None

    def names(self, node: str) -> dict[str, tuple[str, ...]]:
        """Return the full names of the columns that reach a node, by domain."""
        return columns_of(self._nodes[node], self.ctx)

    def of_node(self, node: str, domain: str, where: str, column: str | None = None) -> tuple[str, Source]:
        """Return the columns of a domain that reach a node, or one of them, and the key of their entry.

        Raises:
            StateError: If there are none.
            InvalidTypeError: If they hold text.
        """
        origin = origin_of(self._nodes[node], domain, self.ctx)
        if not origin.columns(domain):
            raise StateError(f"{where} needs {domain}, but the reference of {origin.key!r} names none.")
        while column is not None and isinstance(origin, Joined):
            origin = next(part for part in origin.parts if column in part.columns(domain))
        self._note(origin)
        found = self._stack(origin, domain, column)
        if found.dtype.kind not in "biufc":
            raise InvalidTypeError(f"{where}: {domain} of dtype {found.dtype} cannot enter a loss.")
        return origin.key, found

    def _stack(self, origin: Origin, domain: str, column: str | None = None) -> Source:
        if isinstance(origin, Joined):
            return JoinedStack([(part.key, self._stack(part, domain)) for part in origin.parts], origin.how)
        table = self.ctx.get_node(origin.ref).table
        names = origin.columns(domain) if column is None else (column,)
        together = side_by_side if domain == "features" else stack
        return Stack({name: table.column(name) for name in names}, together)


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One input of a loss.

    Attributes:
        stream: The stream that it is of: of the node for outputs, else of the head.
        column: The slot of its column; None for outputs.
        read: What is done with it at every step, if anything.
    """

    stream: str
    column: int | None
    read: Callable[[Any], Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What a loss reads.

    Attributes:
        inputs: What it is called with, in order: arguments, or the node's module.
        weights: The columns of weights of its samples.
    """

    inputs: Sequence[Argument | torch.nn.Module]
    weights: Sequence[Argument] = ()

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of what it compares, in order."""
        return tuple(one.stream for one in self.inputs if isinstance(one, Argument))


def arguments_of(
    loss: AppliedLoss,
    node: GraphNode,
    data: EnteringData,
    columns: list[tuple[str, Column]],
    *,
    trains: bool = False,
) -> Arguments:
    """Align the inputs of a loss, and append the columns that it needs to `columns`.

    Args:
        loss: The loss.
        node: The node that it is on.
        data: The columns that reach the nodes.
        columns: The columns that are read.
        trains: Whether the weights of classes count, which are those of training.

    Raises:
        LossError: If inputs cannot be compared, or one names a role or column that is not there, or none.
        StateError: If data are missing.
        InvalidTypeError: If they are text.
    """
    where = f"The loss {loss.label!r} on {node.label!r}"
    roles, names = data.roles(node.label), data.names(node.label)

    def found(name: str) -> tuple[InputName, str, Source | None]:
        named = input_name(name, roles, names, where, node.output_names)
        if named.domain == "outputs":
            return named, node.label, None
        return named, *data.of_node(node.label, named.domain, where, named.column)

    named = [(name, *found(name)) for name in loss.arguments if name != "module"]
    picks = [_pick(node, one, data, where) if source is None else None for _, one, _, source in named]
    inputs = [
        LossInput(
            name=name,
            shape=tuple(node.shape_of_output(one.output) or ()) if pick is None else pick.shape[1:],
            dtype=dtype_of(node),
            is_output=True,
        )
        if source is None
        else LossInput(name=name, shape=source.shape, dtype=dtype_in_torch(source), is_output=False)
        for (name, one, _, source), pick in zip(named, picks, strict=True)
    ]
    arguments: list[Argument | torch.nn.Module] = []
    device = data.devices.get(node.label)
    try:
        alignments = loss.loss.align(inputs, where=repr(node.label)) if inputs else ()
    except LossError as error:
        raise LossError(f"{error}{_advice(loss, node, data)}") from error
    if inputs and loss.loss.build().kind == "classes":
        _, _, key, source = named[-1]
        if isinstance(source, Stack) and source.dtype.kind in "iu" and key in data.rows:
            n_classes = next((n for n in inputs[0].shape if n > 1), 1)
            _check_labels(source[data.rows[key]], n_classes, loss.loss.ignored_label, where)
    if loss.loss.build().wants_shares:
        for _, one, key, source in named:
            if one.domain == "targets" and isinstance(source, Stack) and key in data.rows:
                _check_shares(source[data.rows[key]], where)
    twice = done_twice(loss.loss.name, getattr(getattr(node, "model", None), "model", None))
    if trains and twice is not None:
        warn(f"{where}: {twice}")
    for (_, one, key, source), pick, seen, how in zip(named, picks, inputs, alignments, strict=True):
        if source is None:
            # An estimator's outputs may be of any numeric dtype.
            aligned = how if node.backend == "torch" else replace(how, dtype=seen.dtype)
            read = _reading(pick, aligned)
            stream = stream_of(key, one.role, one.output)
            arguments.append(Argument(stream=stream, column=None, read=read))
        else:
            arguments.append(_argument(stream_of(key, one.role), source, how, columns, device))
    for i, name in enumerate(loss.arguments):
        if name == "module":
            if not isinstance(node, ModelNode):
                raise LossError(f"{where}: the input 'module' is the model of a node, and {node!r} has none.")
            arguments.insert(i, node.module)
    weights = []
    if trains and loss.class_weight is not None:
        one, key, source = next(of[1:] for of in named if of[1].domain == "targets")
        column = _class_weights(loss.class_weight, source, data.rows.get(key), loss.loss.ignored_label, where)
        columns.append((stream_of(key, one.role), column.to(device)))
        weights.append(Argument(stream=stream_of(key, one.role), column=len(columns) - 1))
    if loss.sample_weight is not None:
        one, key, source = found(loss.sample_weight)
        assert source is not None
        if math.prod(source.shape) != 1:
            raise LossError(f"{where}: the weights {loss.sample_weight!r} must be one number a sample.")
        if isinstance(source, Stack) and key in data.rows:
            _check_weights(source[data.rows[key]], loss.sample_weight, where)
        number = Alignment(shape=(), dtype=torch.float32)
        weights.append(_argument(stream_of(key, one.role), source, number, columns, device))
    return Arguments(inputs=arguments, weights=weights)


def _advice(loss: AppliedLoss, node: GraphNode, data: EnteringData) -> str:
    """Say what else may have been meant where outputs and targets do not fit together."""
    told = doubled_in(entry.ref for entry in entries_of(node, data.ctx))
    targets = list(dict.fromkeys(name.split(".")[1] for name in data.names(node.label)["targets"]))
    if len(targets) > 1 and "targets" in loss.arguments:
        output = next((one.partition(".")[2] for one in loss.arguments if one.startswith("outputs.")), "")
        meant = inputs_like(output, targets) if output else ["outputs", f"targets.{targets[0]}"]
        told += f" The targets are {targets}; to compare with one of them, name it: inputs={meant}."
    return told


def _check_labels(labels: np.ndarray, n_classes: int, ignored: int | None, where: str) -> None:
    """Refuse class labels that no output stands for, before torch ends on one of them."""
    if not labels.size or (labels.min() >= 0 and labels.max() < n_classes):
        return
    found = np.unique(labels)
    if any((label < 0 or label >= n_classes) and label != ignored for label in found):
        shown = f"{found[:10].tolist()}{' ...' if len(found) > 10 else ''}"
        raise LossError(
            f"{where}: the targets hold the class labels {shown}, and outputs for {n_classes} classes allow "
            f"0 to {n_classes - 1}. Give the model one output for each class, or number the classes from 0."
        )


def _check_shares(targets: np.ndarray, where: str) -> None:
    """Refuse targets of a loss over yes and no that are neither, which it would follow without an end."""
    if targets.dtype.kind in "iuf" and ((targets < 0) | (targets > 1)).any():
        few = np.unique(targets)[:10].tolist()
        raise LossError(
            f"{where}: its targets must lie between 0 and 1, and they hold {few}. For several classes use "
            "'cross_entropy'; the two of -1 and 1 are 0 and 1."
        )


def _check_weights(weights: np.ndarray, name: str, where: str) -> None:
    """Refuse weights that would turn the loss of a sample into a gain, or into nothing that counts."""
    n_wrong = np.count_nonzero(~((weights >= 0) & (weights < np.inf)))
    if n_wrong:
        raise LossError(
            f"{where}: of the weights {name!r} {n_wrong} of {weights.size} are negative, NaN or infinite; a "
            "sample that is not to count has the weight 0."
        )


def _class_weights(
    given: str | Mapping[Any, float], source: Source | None, rows: Any, ignored: int | None, where: str
) -> torch.Tensor:
    """Return the weight of each sample by its class, ``(n_rows_total,)``; other rows do not matter."""
    if not isinstance(source, Stack) or rows is None or math.prod(source.shape) != 1:
        raise LossError(f"{where}: class_weight needs one target a sample, of one FeatureSet.")
    labels = source[:].reshape(-1)
    if labels.dtype.kind == "f" and not np.array_equal(labels[rows], np.round(labels[rows]), equal_nan=True):
        raise LossError(
            f"{where}: class_weight weighs classes, and the target is a number ({labels.dtype}, e.g. "
            f"{labels[rows][0]:.6g}). Leave it out, or weigh the samples by a column: sample_weight="
            '"tags.weight".'
        )
    classes, counts = np.unique(labels[rows], return_counts=True)
    counts = counts[classes != ignored]
    classes = classes[classes != ignored]
    if isinstance(given, str):
        weights = counts.sum() / (len(classes) * counts)
    else:
        unknown = [label for label in given if label not in classes.tolist()]
        if unknown:
            raise LossError(
                f"{where}: class_weight has the label {unknown[0]!r}, and the targets that are trained on "
                f"hold {classes.tolist()} ({classes.dtype})."
            )
        weights = np.array([given.get(label, 1.0) for label in classes.tolist()], float)
    places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    of_rows = np.where(classes[places] == labels, weights[places], 1.0)
    return torch.from_numpy(of_rows.astype(np.float32))


def _argument(
    stream: str,
    source: Source,
    how: Alignment,
    columns: list[tuple[str, Column]],
    device: torch.device | None,
) -> Argument:
    columns.append((stream, column_of(source, how, device)))
    return Argument(stream=stream, column=len(columns) - 1)


@dataclass(frozen=True, kw_only=True)
class _Pick:
    """One of several values side by side: `index` of the first axis of `shape`."""

    shape: tuple[int, ...]
    index: int

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(tensor.shape[0], *self.shape)[:, self.index]


def _pick(node: GraphNode, named: InputName, data: EnteringData, where: str) -> _Pick | None:
    """Return where among the outputs those of one target are."""
    if named.column is None:
        return None
    targets = data.names(node.label)["targets"]
    shape = data.of_node(node.label, "targets", where)[1].shape
    n_outputs = math.prod(node.shape_of_output() or ())
    if n_outputs != math.prod(shape):
        raise LossError(
            f"{where}: the outputs of shape {node.output_shape} are not one for each of the targets "
            f"{list(targets)} of shape {shape}, so {named.column!r} has none of its own."
        )
    return _Pick(shape=shape, index=targets.index(named.column))


def _reading(pick: _Pick | None, how: Alignment) -> Callable[[Any], Any] | None:
    if pick is None:
        return how.apply if how.is_needed else None
    return lambda tensor: how.apply(pick.apply(tensor))


def loss_call(
    loss: AppliedLoss, arguments: Arguments, slot_of: Mapping[str, int], weights: int | None
) -> LossCall:
    """Return the function from the slots to the weighted value of a loss.

    Args:
        loss: The loss.
        arguments: Its inputs.
        slot_of: The slot of each stream's outputs.
        weights: The slot of the weights that the sampler gives; None where it gives none.
    """
    takes = [_take(one, slot_of) for one in arguments.inputs]
    forms = loss.loss.build()
    call = _call(forms.scalar, takes)
    own = [weights.column for weights in arguments.weights]
    slots_of_weights = [slot for slot in (*own, weights) if slot is not None]
    if slots_of_weights:
        call = _weighted(call, _call(forms.per_sample, takes), slots_of_weights, adds_up=forms.adds_up)
    if loss.weight == 1.0:
        return call
    factor = loss.weight
    return lambda slots: call(slots) * factor


Take = tuple[int, Callable[[Any], Any] | None]
"""The slot of an input and what is done with it; -1: what is done needs no slot."""


def _take(argument: Argument | torch.nn.Module, slot_of: Mapping[str, int]) -> Take:
    if isinstance(argument, torch.nn.Module):
        return -1, lambda _: argument
    return slot_of[argument.stream] if argument.column is None else argument.column, argument.read


def _call(form: Callable[..., torch.Tensor], takes: Sequence[Take]) -> LossCall:
    if len(takes) == 2 and takes[0][1] is None and takes[1][1] is None:
        first, second = takes[0][0], takes[1][0]
        return lambda slots: form(slots[first], slots[second])
    return lambda slots: form(*(read(slots[i]) if read else slots[i] for i, read in takes))


def _weighted(whole: LossCall, each: LossCall, weights: Sequence[int], *, adds_up: bool) -> LossCall:
    def call(slots: Sequence[Any]) -> torch.Tensor:
        factors = [slots[slot] for slot in weights if slots[slot] is not None]
        if not factors:
            return whole(slots)
        values = each(slots)
        for factor in factors:
            values = values * factor.to(values.device)
        return values.sum() if adds_up else values.mean()

    return call
