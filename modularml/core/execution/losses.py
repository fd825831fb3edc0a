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
from modularml.base.errors import LossError, warn
from modularml.core.data.reference import doubled_in
from modularml.core.execution.advice import done_twice
from modularml.core.execution.columns import Column, Source, Stack, column_of, dtype_in_torch, rows_of
from modularml.core.execution.entering import EnteringData
from modularml.core.execution.forward import dtype_of
from modularml.core.execution.streams import InputName, input_name, inputs_like, stream_of
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_node import ModelNode
from modularml.core.topology.origin import Joined, entries_of, origin_of
from modularml.core.training.applied_loss import AppliedLoss

LossCall = Callable[[Sequence[Any]], torch.Tensor]


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


@dataclass(frozen=True, kw_only=True)
class _Pick:
    """One of several values side by side: `index` of the first axis of `shape`."""

    shape: tuple[int, ...]
    index: int

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(tensor.shape[0], *self.shape)[:, self.index]


@dataclass(frozen=True)
class _Found:
    """What the name of an input stands for.

    Attributes:
        name: The name.
        named: What it says.
        key: The label of the node for outputs, else the key of the entry.
        source: The columns; None for outputs.
        pick: Which of the outputs are meant; None is all.
    """

    name: str
    named: InputName
    key: str
    source: Source | None
    pick: _Pick | None = None

    @property
    def stream(self) -> str:
        return stream_of(self.key, self.named.role, self.named.output)

    def as_input(self, node: GraphNode) -> LossInput:
        if self.source is not None:
            dtype = dtype_in_torch(self.source)
            shape = self.source.shape
            plain = shape[1:] if shape[:1] == (1,) else None
            return LossInput(name=self.name, shape=shape, dtype=dtype, is_output=False, plain=plain)
        if self.pick is None:
            shape, plain = tuple(node.shape_of_output(self.named.output) or ()), self._plain_output(node)
        else:
            shape, plain = self.pick.shape[1:], None
        return LossInput(name=self.name, shape=shape, dtype=dtype_of(node), is_output=True, plain=plain)

    def _plain_output(self, node: GraphNode) -> tuple[int, ...] | None:
        plain = node.model.plain_output_shape if isinstance(node, ModelNode) else None
        name = node.output_name(self.named.output)
        return plain[str(name)] if isinstance(plain, dict) else plain


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
    called = [_found(name, node, data, where) for name in loss.arguments if name != "module"]
    inputs = [one.as_input(node) for one in called]
    try:
        alignments = loss.loss.align(inputs, where=repr(node.label)) if inputs else ()
    except LossError as error:
        raise LossError(f"{error}{_advice(loss, node, data)}") from None  # which says all of it
    _check_targets(loss, called, inputs, data, where)
    twice = done_twice(loss.loss.name, getattr(getattr(node, "model", None), "model", None))
    if trains and twice is not None:
        warn(f"{where}: {twice}")
    device = data.devices.get(node.label)
    arguments: list[Argument | torch.nn.Module] = []
    for one, seen, how in zip(called, inputs, alignments, strict=True):
        if one.source is None:
            # An estimator's outputs may be of any numeric dtype.
            aligned = how if node.backend == "torch" else replace(how, dtype=seen.dtype)
            arguments.append(Argument(stream=one.stream, column=None, read=_reading(one.pick, aligned)))
        else:
            arguments.append(_argument(one.stream, column_of(one.source, how, device), columns))
    for i, name in enumerate(loss.arguments):
        if name == "module":
            if not isinstance(node, ModelNode):
                raise LossError(f"{where}: the input 'module' is the model of a node, and {node!r} has none.")
            arguments.insert(i, node.module)
    weights = []
    if trains and loss.class_weight is not None:
        of = next(one for one in called if one.named.domain == "targets")
        column = _class_weights(loss.class_weight, of, data, loss.loss.ignored_label, where)
        weights.append(_argument(of.stream, column.to(device), columns))
    if loss.sample_weight is not None:
        of = _found(loss.sample_weight, node, data, where)
        weights.append(_argument(of.stream, _sample_weights(of, data, device, where), columns))
    return Arguments(inputs=arguments, weights=weights)


def weights_of_fit(name: str, node: GraphNode, data: EnteringData, where: str) -> np.ndarray:
    """Return the weights of the samples that an estimator is fitted on, ``(n_samples,)``.

    Args:
        name: Their column, e.g. ``"tags.w"``.
        node: The node of the estimator.
        data: The columns that reach the nodes.
        where: The phase and the node, for messages.

    Raises:
        LossError: If the column is not there, or holds no weights.
        StateError: If there is none.
        InvalidTypeError: If it is text.
    """
    of = _found(name, node, data, where)
    weights = rows_of(_one_number(of, where), data.rows, of.key)
    _check_weights(name, weights, where)
    return weights.reshape(-1).astype(np.float64)


def _found(name: str, node: GraphNode, data: EnteringData, where: str) -> _Found:
    named = input_name(name, data.roles(node.label), data.names(node.label), where, node.output_names)
    if named.domain == "outputs":
        return _Found(name, named, node.label, None, _pick(node, named, data, where))
    return _Found(name, named, *data.of_node(node.label, named.domain, where, named.column))


def _advice(loss: AppliedLoss, node: GraphNode, data: EnteringData) -> str:
    """Say what else may have been meant where outputs and targets do not fit together."""
    told = doubled_in(entry.ref for entry in entries_of(node, data.ctx))
    targets = list(dict.fromkeys(name.split(".")[1] for name in data.names(node.label)["targets"]))
    if len(targets) > 1 and "targets" in loss.arguments:
        output = next((one.partition(".")[2] for one in loss.arguments if one.startswith("outputs.")), "")
        meant = inputs_like(output, targets) if output else ["outputs", f"targets.{targets[0]}"]
        told += f" The targets are {targets}; to compare with one of them, name it: inputs={meant}."
    origin = origin_of(node, "targets", data.ctx)
    if isinstance(origin, Joined) and "targets" in loss.arguments:
        labels = [data.ctx.label_of(part.rows.ref) for part in origin.parts]
        told += (
            f" Those of {labels} are joined on the way; a merge that is told target_strategy or "
            "concat_axis_targets 'first' keeps those of one."
        )
    return told


def _check_targets(
    loss: AppliedLoss, called: Sequence[_Found], inputs: Sequence[LossInput], data: EnteringData, where: str
) -> None:
    """Refuse targets that the loss cannot mean anything by."""
    forms = loss.loss.build()
    last = called[-1].source if called else None
    if forms.kind == "classes" and last is not None and last.dtype.kind in "iu":
        labels = data.values(called[-1].key, last)
        if labels is not None:
            n_classes = next((n for n in inputs[0].shape if n > 1), 1)
            _check_labels(labels, n_classes, loss.loss.ignored_label, where)
    for one in called if forms.wants_shares else ():
        shares = data.values(one.key, one.source) if one.named.domain == "targets" else None
        if shares is not None:
            _check_shares(shares, where)


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


def _sample_weights(of: _Found, data: EnteringData, device: torch.device | None, where: str) -> Column:
    """Return a column of weights."""
    source = _one_number(of, where)
    weights = data.values(of.key, source)
    if weights is not None:
        _check_weights(of.name, weights, where)
    return column_of(source, Alignment(shape=(), dtype=torch.float32), device)


def _one_number(of: _Found, where: str) -> Source:
    assert of.source is not None
    if math.prod(of.source.shape) != 1:
        raise LossError(f"{where}: the weights {of.name!r} must be one number a sample.")
    return of.source


def _check_weights(name: str, weights: np.ndarray, where: str) -> None:
    """Refuse such as turn a loss into a gain, or into nothing that counts."""
    n_wrong = np.count_nonzero(~((weights >= 0) & (weights < np.inf)))
    if n_wrong:
        raise LossError(
            f"{where}: of the weights {name!r} {n_wrong} of {weights.size} are negative, NaN or infinite; "
            "a sample that is not to count has the weight 0."
        )


def _class_weights(
    given: str | Mapping[Any, float], of: _Found, data: EnteringData, ignored: int | None, where: str
) -> torch.Tensor:
    """Return the weight of each sample by its class, ``(n_rows_total,)``; other rows do not matter."""
    source, rows = of.source, data.rows.get(of.key)
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


def _argument(stream: str, column: Column, columns: list[tuple[str, Column]]) -> Argument:
    columns.append((stream, column))
    return Argument(stream=stream, column=len(columns) - 1)


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
