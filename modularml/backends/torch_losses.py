"""PyTorch's losses: by name, as one plain function, and the shapes that each computes with.

It knows no node and no phase: callers pass shapes, dtypes and words for messages.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn.modules import loss as _modules

from modularml.backends.torch_broadcasts import watched
from modularml.base.config import argument_names, parameters_of
from modularml.base.errors import LossError, unknown_name

LossFunction = Callable[..., torch.Tensor]

ALIASES = {"mae": "l1", "ce": "cross_entropy"}

# A deprecated double, one with weights of its own, and one that needs lengths of sequences.
_UNUSABLE = ("NLLLoss2d", "LinearCrossEntropyLoss", "CTCLoss")
_CLASSES = ("cross_entropy", "nll", "multi_margin")
_SHARES = ("bce", "bce_with_logits")
_VECTORS = ("cosine_embedding", "triplet_margin", "triplet_margin_with_distance")


def loss_name(cls: type) -> str:
    """Return the short name of a loss class: ``MSELoss`` -> ``mse``, ``L1Loss`` -> ``l1``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
    return words.removesuffix("loss").rstrip("_")


@cache
def loss_classes() -> Mapping[str, type[torch.nn.Module]]:
    """Return torch's losses by their short names."""
    classes = (getattr(_modules, name) for name in _modules.__all__ if name not in _UNUSABLE)
    return {loss_name(cls): cls for cls in classes}


def find_loss(name: str) -> tuple[str, type[torch.nn.Module]]:
    """Return the short name and the class that `name` means.

    Case, underscores, blanks, hyphens and an ending "loss" do not count.

    Raises:
        LossError: If there is none; the message has the nearest match.
    """

    def key(text: str) -> str:
        return re.sub(r"[\s_-]", "", text.lower()).removesuffix("loss")

    known = {key(short): (short, cls) for short, cls in loss_classes().items()}
    known |= {key(alias): (alias, loss_classes()[short]) for alias, short in ALIASES.items()}
    if key(name) not in known:
        raise LossError(unknown_name("loss", name, [short for short, _ in known.values()]))
    return known[key(name)]


def make_loss(cls: type, kwargs: Mapping[str, Any], reduction: str) -> Callable[..., Any]:
    """Make a loss object; sequences among the arguments (class weights) become tensors.

    Raises:
        LossError: If `cls` has no such argument, or what it says of the values.
    """
    signature = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    for name in kwargs:
        if name not in signature and not takes_any:
            allowed = [n for n in signature if n not in ("size_average", "reduce", "reduction")]
            raise LossError(unknown_name("argument", name, allowed, where=f"loss_kwargs of {cls.__name__}"))
    values = {
        name: torch.as_tensor(v, dtype=torch.float32) if isinstance(v, list | tuple | np.ndarray) else v
        for name, v in kwargs.items()
    }
    if "reduction" in signature:
        values["reduction"] = reduction
    try:
        made: Callable[..., Any] = cls(**values)
    except (TypeError, ValueError) as error:
        raise LossError(f"{cls.__name__} refuses {dict(kwargs)}: {error}") from error
    return made


def describe_loss(loss: torch.nn.Module) -> dict[str, Any] | None:
    """Return the class and the arguments of a loss object, as far as its attributes keep them.

    Returns:
        ``class`` and ``arguments``, tensors as numbers and dtype; None where an argument is not kept or no
        plain value, or where the loss has weights of its own.
    """
    if any(True for _ in loss.parameters()):
        return None
    arguments: dict[str, Any] = {}
    for name, parameter in parameters_of(type(loss)).items():
        value = getattr(loss, name, parameter.empty)
        if isinstance(value, torch.Tensor):
            arguments[name] = {"values": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
        elif value is None or isinstance(value, bool | int | float | str):
            arguments[name] = value
        elif name not in ("size_average", "reduce"):  # former ways to say the reduction
            return None
    return {"class": type(loss), "arguments": arguments}


def loss_described(tree: Mapping[str, Any]) -> torch.nn.Module:
    """Return a loss object as `describe_loss` found it."""
    arguments = {
        name: torch.tensor(value["values"], dtype=getattr(torch, value["dtype"]))
        if isinstance(value, Mapping)
        else value
        for name, value in tree["arguments"].items()
    }
    made: torch.nn.Module = tree["class"](**arguments)
    return made


@dataclass(frozen=True, kw_only=True)
class LossForms:
    """The functions that a loss is computed with.

    Attributes:
        scalar: ``(*inputs) -> scalar``, over the whole batch.
        per_sample: ``(*inputs) -> (n_samples,)``.
        adds_up: Whether `scalar` is the sum of the samples' values; it is their mean otherwise.
        kind: What the loss compares: ``"values" | "classes" | "labels" | "vectors" | "free"``.
        arguments: The names of its inputs, in order.
        wants_shares: Whether its targets must lie between 0 and 1.
    """

    scalar: LossFunction
    per_sample: LossFunction
    adds_up: bool
    kind: str
    arguments: tuple[str, ...]
    wants_shares: bool = False


def loss_forms(loss: Callable[..., Any], name: str, reduction: str) -> LossForms:
    """Return the functions of a loss; torch's own are called without the module's overhead.

    Args:
        loss: An object of one of torch's loss classes, or any callable.
        name: The label for messages.
        reduction: ``"sum"`` to add the values of a batch up; they are averaged otherwise.
    """
    short = loss_name(type(loss))
    arguments = argument_names(loss.forward if isinstance(loss, torch.nn.Module) else loss)
    if loss_classes().get(short) is not type(loss):
        scalar, per_sample = _custom_forms(loss, name, reduction)
        return LossForms(
            scalar=scalar,
            per_sample=per_sample,
            adds_up=reduction == "sum",
            kind="free",
            arguments=arguments,
        )
    kind = "classes" if short in _CLASSES else "vectors" if short in _VECTORS else "values"
    kind = "labels" if short == "multi_label_margin" else kind
    scalar, per_sample = _torch_forms(loss, short, reduction)
    adds_up = "sum" in (reduction, loss.reduction)
    return LossForms(
        scalar=scalar,
        per_sample=per_sample,
        adds_up=adds_up,
        kind=kind,
        arguments=arguments,
        wants_shares=short in _SHARES,
    )


def refused_call(loss: Callable[..., Any], inputs: Sequence[str]) -> str | None:
    """Return why a loss cannot be called with these inputs, in order; None where it can, or is silent."""
    function = loss.forward if isinstance(loss, torch.nn.Module) else loss
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C says nothing of itself
        return None
    try:
        signature.bind(*inputs)
    except TypeError as error:
        return f"it takes {', '.join(argument_names(function)) or 'nothing'}: {error}"
    if argument_names(function)[:1] == ("y_true",) and inputs[0].startswith("outputs"):
        return (
            f"it takes y_true first, which are the targets: inputs={[*inputs[1:2], inputs[0], *inputs[2:]]}"
        )
    return None


_MEAN: Any = 1  # torch's number for it; its stubs say str


def _torch_forms(loss: Any, short: str, reduction: str) -> tuple[LossFunction, LossFunction]:
    whole, each = copy.copy(loss), copy.copy(loss)
    adds_up = "sum" in (reduction, loss.reduction)
    # By torch's own advice: the "mean" of a divergence would divide by the classes too.
    whole.reduction = "sum" if adds_up else "batchmean" if short == "kl_div" else "mean"
    each.reduction = "none"
    collapse = torch.sum if adds_up or short == "kl_div" else torch.mean

    def per_sample(*inputs: torch.Tensor) -> torch.Tensor:
        values = each.forward(*inputs)
        return values if values.ndim == 1 else collapse(values.flatten(1), 1)

    fast = {"mse": torch._C._nn.mse_loss, "l1": torch._C._nn.l1_loss}.get(short)
    if fast is not None and whole.reduction == "mean":
        # The functional form broadcasts first, which costs as much as the loss; shapes are equal here.
        return (lambda outputs, targets: fast(outputs, targets, _MEAN)), per_sample
    return whole.forward, per_sample


def _custom_forms(loss: Callable[..., Any], name: str, reduction: str) -> tuple[LossFunction, LossFunction]:
    seen = False

    def called(*inputs: torch.Tensor) -> Any:
        nonlocal seen
        if torch.compiler.is_compiling() or seen or (n := _n_samples(inputs)) < 2:
            return loss(*inputs)
        seen = True  # once, for it takes time
        return watched(loss, inputs, n, f"Loss {name!r}")

    def checked(*inputs: torch.Tensor) -> torch.Tensor:
        try:
            values = called(*inputs)
        except Exception as error:  # of the user's own code, which may expect other shapes
            came = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in inputs if isinstance(x, torch.Tensor))
            error.add_note(f"Loss {name!r} was called with {came}; the first axis of each is the samples.")
            raise
        if not isinstance(values, torch.Tensor):
            raise LossError(f"Loss {name!r} must return a tensor, it returned a {type(values).__name__}.")
        return values

    def scalar(*inputs: torch.Tensor) -> torch.Tensor:
        values = checked(*inputs)
        return values if values.ndim == 0 else values.sum() if reduction == "sum" else values.mean()

    def per_sample(*inputs: torch.Tensor) -> torch.Tensor:
        values = checked(*inputs)
        if values.ndim == 0 or len(values) != _n_samples(inputs):
            raise LossError(
                f"Loss {name!r} returned shape {tuple(values.shape)} for {_n_samples(inputs)} samples, so "
                "samples cannot be weighted. Return one value per sample."
            )
        if values.ndim == 1:
            return values
        return values.flatten(1).sum(1) if reduction == "sum" else values.flatten(1).mean(1)

    return scalar, per_sample


def _n_samples(inputs: Sequence[Any]) -> int:
    return next((len(x) for x in inputs if isinstance(x, torch.Tensor)), 0)  # others are modules


# Shapes.


@dataclass(frozen=True, kw_only=True)
class LossInput:
    """What is known of one input of a loss before anything is computed.

    Attributes:
        name: The word for messages, e.g. ``"targets"``.
        shape: Its shape without the batch dimension.
        dtype: Its dtype.
        is_output: Whether a model computes it anew each step (it keeps its dtype).
        plain: The shape that a function of the user's own means: without the axis of a single key.
            None: as `shape`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    is_output: bool
    plain: tuple[int, ...] | None = None

    @property
    def meant(self) -> tuple[int, ...]:
        """The shape that a function of the user's own means."""
        return self.shape if self.plain is None else self.plain


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How an input is brought to the shape and dtype that its loss computes with.

    Attributes:
        shape: The shape to view it in, without the batch dimension; None: as it is.
        dtype: The dtype to convert it to; None: as it is.
    """

    shape: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None

    @property
    def is_needed(self) -> bool:
        """Whether `apply` does anything."""
        return self.shape is not None or self.dtype is not None

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor in that shape and dtype; a view where only the shape differs."""
        if self.shape is not None:
            tensor = tensor.reshape(tensor.shape[0], *self.shape)
        return tensor if self.dtype is None else tensor.to(self.dtype)


def align(kind: str, inputs: Sequence[LossInput], *, where: str) -> tuple[Alignment, ...]:
    """Decide once how all inputs of a loss are aligned, so that nothing broadcasts by accident.

    Args:
        kind: `LossForms.kind`.
        inputs: The inputs in the order of the call.
        where: The label for messages, e.g. ``"Loss 'mse' on 'MLP'"``.

    Returns:
        One alignment for each input. Data are reshaped rather than outputs, where there is a choice.

    Raises:
        LossError: If the shapes cannot mean the same; it names both and the way out.
    """
    if not inputs:
        raise LossError(f"{where}: a loss needs at least one input.")
    return _RULES[kind](inputs, where)


def _to(one: LossInput, shape: tuple[int, ...], dtype: torch.dtype | None) -> Alignment:
    return Alignment(
        shape=None if one.shape == shape else shape,
        dtype=None if one.is_output or dtype in (None, one.dtype) else dtype,
    )


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _reference(inputs: Sequence[LossInput]) -> LossInput:
    return next((one for one in inputs if one.is_output), inputs[0])


def _align_values(inputs: Sequence[LossInput], where: str) -> tuple[Alignment, ...]:
    reference = _reference(inputs)
    for one in inputs:
        if _squeezed(one.shape) != _squeezed(reference.shape):
            raise LossError(_mismatch(reference, one, where))
    return tuple(_to(one, reference.shape, reference.dtype) for one in inputs)


def _mismatch(reference: LossInput, one: LossInput, where: str) -> str:
    fix = f"Give the model output_shape={one.shape}, or choose targets of shape {reference.shape}."
    if math.prod(one.shape) == 1 and not one.dtype.is_floating_point and not one.is_output:
        fix += " For class labels use a classification loss, e.g. 'cross_entropy'."
    return (
        f"{where}: {reference.name} of shape (n, {_numbers(reference.shape)}) and {one.name} of shape "
        f"(n, {_numbers(one.shape)}) cannot be compared value by value. {fix}"
    )


def _numbers(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _align_labels(inputs: Sequence[LossInput], where: str) -> tuple[Alignment, ...]:
    _align_values(inputs, where)
    _check_integers(inputs[1:], where)
    vector = (math.prod(inputs[0].shape),)
    return tuple(_to(one, vector, torch.int64) for one in inputs)


def _check_integers(inputs: Sequence[LossInput], where: str) -> None:
    for one in inputs:
        if one.dtype.is_floating_point or one.dtype.is_complex:
            dtype = str(one.dtype).removeprefix("torch.")
            raise LossError(
                f"{where}: {one.name} must be integer class labels, got {dtype}. "
                "Convert the column to integers before it enters the FeatureSet, or encode it with "
                "OrdinalEncoder(dtype=int)."
            )


def _align_classes(inputs: Sequence[LossInput], where: str) -> tuple[Alignment, ...]:
    if len(inputs) != 2:
        raise LossError(f"{where}: it takes outputs and targets, got {len(inputs)} inputs.")
    outputs, targets = inputs
    scores = _squeezed(outputs.shape)
    if not scores:
        raise LossError(
            f"{where}: outputs of shape (n, {_numbers(outputs.shape)}) hold one value, but a classification "
            "needs one per class. Give the model output_shape=(n_classes,), or for two classes use the loss "
            "'bce_with_logits'."
        )
    if targets.dtype.is_floating_point and _squeezed(targets.shape) == scores:
        return _to(outputs, scores, None), _to(targets, scores, outputs.dtype)  # one probability per class
    if _squeezed(targets.shape) != scores[1:]:
        raise LossError(
            f"{where}: outputs of shape (n, {_numbers(outputs.shape)}) hold {scores[0]} classes, so targets "
            f"must be one integer label each, shape (n, {_numbers(scores[1:]) or 1}), got "
            f"(n, {_numbers(targets.shape)})."
        )
    _check_integers([targets], where)
    return _to(outputs, scores, None), _to(targets, scores[1:], torch.int64)


def _align_vectors(inputs: Sequence[LossInput], where: str) -> tuple[Alignment, ...]:
    reference = _reference(inputs)
    vector = (math.prod(reference.shape),)
    aligned = []
    for one in inputs:
        is_sign = not one.is_output and math.prod(one.shape) == 1  # the +1 or -1 of a pair
        if not is_sign and math.prod(one.shape) != vector[0]:
            raise LossError(_mismatch(reference, one, where))
        aligned.append(_to(one, () if is_sign else vector, reference.dtype))
    return tuple(aligned)


def _align_free(inputs: Sequence[LossInput], where: str) -> tuple[Alignment, ...]:
    references = [_reference(inputs), *(one for one in inputs if one.is_output)]

    def aligned(one: LossInput) -> Alignment:
        alike = (other for other in references if _squeezed(other.shape) == _squeezed(one.shape))
        reference = next(alike, None)
        if reference is None:
            return _to(one, one.meant, None)
        return _to(one, reference.meant, reference.dtype if one.dtype.is_floating_point else None)

    return tuple(map(aligned, inputs))


_RULES: Mapping[str, Callable[[Sequence[LossInput], str], tuple[Alignment, ...]]] = {
    "values": _align_values,
    "labels": _align_labels,
    "classes": _align_classes,
    "vectors": _align_vectors,
    "free": _align_free,
}
