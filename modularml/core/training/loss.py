"""Losses: what to minimize, and to which node and which of its data it applies.

They know no phase, no batch and no graph: the loop hands them tensors.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from modularml.backends.backend import Backend, load
from modularml.base.config import Configurable
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    LossError,
    ModularMLWarning,
    check_choice,
    check_label,
    unknown_name,
)
from modularml.core import cells
from modularml.core.context import ExperimentContext
from modularml.display.card import Shown
from modularml.io.objects import load_object, save_object

REDUCTIONS = ("none", "mean", "sum")
INPUT_DOMAINS = ("outputs", "targets", "features", "tags", "module")


class Loss(Shown, Configurable):
    """A loss function: one of torch's by name or class, or any function of tensors.

    Names are those of torch's loss classes; case, underscores and an ending "loss"
    do not count: ``"mse"``, ``"cross_entropy"``, ``"CrossEntropyLoss"``.

    Args:
        loss: A name, a class, or a function ``(outputs, targets) -> tensor`` that returns
            one number or one value per sample.
        loss_kwargs: Arguments for a name or a class, e.g. ``{"delta": 0.5}``. Class weights
            may be lists.
        backend: The library that computes it; losses are torch's.
        reduction: What a call returns: ``"none"`` values as they are, ``"mean"`` or ``"sum"``
            one number. Training minimizes the sum over a batch for ``"sum"``, else the mean.
        factory: A function without arguments that returns the loss, instead of `loss`.

    Raises:
        LossError: If the name or an argument is unknown, with the nearest match.
        InvalidTypeError: If `loss` can be none of these.
    """

    _fixed = ("loss", "loss_kwargs", "backend", "reduction", "factory")

    def __init__(
        self,
        loss: str | type | Callable[..., Any] | None = None,
        *,
        loss_kwargs: Mapping[str, Any] | None = None,
        backend: str | None = None,
        reduction: str = "none",
        factory: Callable[[], Callable[..., Any]] | None = None,
    ) -> None:
        if (loss is None) == (factory is None):
            raise LossError("A Loss needs either a loss (a name, a class or a function) or a factory.")
        if Backend.from_value(backend or Backend.TORCH) is not Backend.TORCH:
            raise LossError(f"Losses are computed by the backend 'torch', got {str(backend)!r}.")
        if loss is not None and not isinstance(loss, str) and not callable(loss):
            raise InvalidTypeError(
                f"loss must be a name, a class or a function, got {loss!r} ({type(loss).__name__})."
            )
        if loss_kwargs and not isinstance(loss, str | type):
            raise LossError("loss_kwargs go with the name or the class of a loss, not with a function.")
        if "reduction" in (loss_kwargs or {}):
            raise LossError("Give reduction= to Loss itself, not inside loss_kwargs.")
        self.loss = loss
        self.loss_kwargs = dict(loss_kwargs) if loss_kwargs else None
        self.backend = str(Backend.TORCH)
        self.reduction = check_choice(reduction, "reduction", REDUCTIONS)
        self.factory = factory
        self.name = self._find_name()
        self._made = None if factory is not None else self._make()
        self._forms: Any = None

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; a module as its class and the arguments that it keeps."""
        config = super().get_config()
        if hasattr(self.loss, "parameters") and not isinstance(self.loss, type):
            config["loss"] = load(self.backend).losses.describe_loss(self.loss) or self.loss
        if self.loss_kwargs:  # of tensors the numbers, as they may be given
            config["loss_kwargs"] = {
                name: value.tolist() if hasattr(value, "detach") else value
                for name, value in self.loss_kwargs.items()
            }
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a loss from what `get_config` returned."""
        described = config.get("loss")
        if isinstance(described, Mapping):
            described = load(Backend.TORCH).losses.loss_described(described)
        return super().from_config({**config, "loss": described})

    def _find_name(self) -> str:
        losses = load(self.backend).losses
        if isinstance(self.loss, str):
            return str(losses.find_loss(self.loss)[0])
        source = self.factory if self.loss is None else self.loss
        if isinstance(source, type):
            return str(losses.loss_name(source))
        name = getattr(source, "__name__", None) or losses.loss_name(type(source))
        return "loss" if name == "<lambda>" else str(name)

    def _make(self) -> Callable[..., Any]:
        losses = load(self.backend).losses
        source = losses.find_loss(self.loss)[1] if isinstance(self.loss, str) else self.loss
        if self.factory is not None:
            source = self.factory()
        elif isinstance(source, type):
            source = losses.make_loss(source, self.loss_kwargs or {}, self.reduction)
        if not callable(source):
            raise LossError(f"The factory of loss {self.name!r} returned {source!r}, which cannot be called.")
        if any(p.requires_grad for p in getattr(source, "parameters", tuple)()):
            warnings.warn(
                f"Loss {self.name!r} has parameters that ask for gradients, and no optimizer trains those of "
                "a loss. Put what is learnt in a node, or let them ask for none: requires_grad_(False).",
                ModularMLWarning,
                stacklevel=4,
            )
        made: Callable[..., Any] = source
        return made

    @property
    def ignored_label(self) -> int | None:
        """The class label whose samples do not count, where it has one."""
        return getattr(self._made, "ignore_index", None)

    @property
    def is_built(self) -> bool:
        """Whether `build` was called."""
        return self._forms is not None

    @property
    def has_tensors(self) -> bool:
        """Whether it holds tensors, such as weights of classes, which must be where its inputs are."""
        return any(True for part in ("buffers", "parameters") for _ in getattr(self._made, part, tuple)())

    def to(self, device: Any) -> None:
        """Move the tensors that it holds to a device."""
        self._made.to(device)  # type: ignore[union-attr]

    def build(self) -> Any:
        """Return the functions it is computed with, made once.

        Returns:
            `modularml.backends.torch_losses.LossForms`: ``scalar(*inputs)`` over a batch,
            ``per_sample(*inputs) -> (n_samples,)``, the ``kind`` for `align`, and the
            names of its ``arguments``.
        """
        if self._forms is None:
            if self._made is None:
                self._made = self._make()
            self._forms = load(self.backend).losses.loss_forms(self._made, self.name, self.reduction)
        return self._forms

    @property
    def allowed_keywords(self) -> tuple[str, ...]:
        """The names of the loss's inputs, in the order of a call."""
        return tuple(self.build().arguments)

    def refused_call(self, n_inputs: int) -> str | None:
        """Return why it cannot be called with so many inputs; None where it can, or cannot tell yet."""
        if self._made is None:
            return None
        why: str | None = load(self.backend).losses.refused_call(self._made, n_inputs)
        return why

    def align(self, inputs: Sequence[Any], *, where: str = "") -> tuple[Any, ...]:
        """Decide how each input is brought to the shape and dtype that the loss computes with.

        Args:
            inputs: A `modularml.backends.torch_losses.LossInput` for each input, in order.
            where: The label of the place, for messages.

        Returns:
            One `modularml.backends.torch_losses.Alignment` for each input.

        Raises:
            LossError: If the shapes cannot mean the same.
        """
        place = f"Loss {self.name!r}" + (f" on {where}" if where else "")
        aligned: tuple[Any, ...] = load(self.backend).losses.align(self.build().kind, inputs, where=place)
        return aligned

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Compute the loss of tensors, reduced as `reduction` says."""
        self.build()
        assert self._made is not None
        values = self._made(*inputs, **named)
        return getattr(values, self.reduction)() if self.reduction != "none" and values.ndim else values

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the loss to a ``.ls.mml`` file and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
        """
        return save_object(filepath, "loss", self, overwrite=overwrite)

    @classmethod
    def load(cls, filepath: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Self:
        """Read a loss from a file; no code of the file is run.

        Args:
            filepath: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If the file is damaged, of another kind or newer.
            FileNotFoundError: If it is not there.
        """
        loss, _ = load_object(filepath, "loss", cls, symbols=symbols)
        return loss


class AppliedLoss(Shown, Configurable):
    """A loss, the node it applies to, and the data it takes.

    Args:
        loss: The loss, its name, its class or a function of the inputs.
        on: The node, its label or its id.
        inputs: What the loss is called with, in order, or by the names of its arguments:
            ``"outputs"`` and ``"targets"``, also ``"features"`` and ``"tags"``. With ``.key``
            it is one column of them, for outputs that of the target with this key; with
            ``.role`` that of one role where samples have roles, e.g. ``"outputs.anchor"``.
            ``"module"`` is the node's torch module, after its forward pass: for penalties on
            its parameters, and for terms that it keeps in an attribute.
        weight: The factor in the sum of all losses, at least 0.
        label: The name in records and pictures (default: the loss's name).
        sample_weight: A column whose values multiply the losses of the samples, before
            their mean, e.g. ``"tags.importance"``.
        trainable: False for a loss that is recorded and not minimized.
        class_weight: ``"balanced"``, or label -> weight (1 for those that are not named): multiplies the
            losses of the samples in training, by the class that is their target. Balanced weights are
            those of scikit-learn, ``n_samples / (n_classes * count)``, counted in the rows that the
            phase trains on, and so in each fold anew. Evaluations count every sample alike.

    Raises:
        LossError: If an input, the weight or an argument's name is not allowed.
        UnknownNameError: If no node of the active context answers to `on`.
    """

    _fixed = ("node_id", "node_label", "context")

    def __init__(
        self,
        loss: Loss | str | Callable[..., Any],
        on: Any,
        inputs: Sequence[str] | Mapping[str, str] = ("outputs", "targets"),
        *,
        weight: float = 1.0,
        label: str | None = None,
        sample_weight: str | None = None,
        trainable: bool = True,
        class_weight: str | Mapping[Any, float] | Sequence[tuple[Any, float]] | None = None,
    ) -> None:
        self.loss: Loss = self._meant("loss", loss)
        self.label: str = self._meant("label", self.loss.name if label is None else label)
        node = ExperimentContext.get_active().get_node(on) if isinstance(on, str) else on
        if not hasattr(node, "node_id") or not hasattr(node, "label"):
            raise InvalidTypeError(
                f"Loss {self.label!r}: on must be a node, its label or its id, got {type(on).__name__}."
            )
        self.context: ExperimentContext | None = getattr(node, "context", None)
        self.node_id: str = node.node_id
        self.node_label: str = node.label
        self.inputs: dict[str, str] | list[str] = self._meant("inputs", inputs)
        self.weight = weight
        self.sample_weight = sample_weight
        self.trainable = trainable
        self.class_weight: str | dict[Any, float] | None = self._meant("class_weight", class_weight)
        self._check()
        cells.define(self, "loss", f"{self.label} on {self.node_label}", self.context)

    def _meant(self, name: str, value: Any) -> Any:
        """Return what is meant by the value of an argument."""
        if name == "loss":
            return value if isinstance(value, Loss) else Loss(value)
        if name == "label":
            return check_label(value, "loss")
        if name == "inputs":
            return dict(value) if isinstance(value, Mapping) else _as_list(value)
        if name == "class_weight":
            return _as_class_weight(value, f"Loss {self.label!r} on {self.node_label!r}")
        return value

    def _assigned(self, name: str, value: Any) -> Any:
        probe = copy.copy(self)
        vars(probe)[name] = self._meant(name, value)
        probe._check()
        return vars(probe)[name]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; weights of classes as pairs, for labels need not be text."""
        config = super().get_config()
        if isinstance(self.class_weight, dict):
            pairs = [(getattr(k, "item", lambda k=k: k)(), w) for k, w in self.class_weight.items()]
            config["class_weight"] = [list(pair) for pair in pairs]
        return config

    def refresh(self) -> None:
        """Take the loss function that came in the place of its own as a cell ran again."""
        self.loss = cells.present(self.loss)

    @property
    def on(self) -> str:
        """The label of the node."""
        return self.node_label

    @property
    def backend(self) -> str:
        """The numeric library that computes it."""
        return self.loss.backend

    @property
    def arguments(self) -> tuple[str, ...]:
        """The inputs in the order in which the loss takes them."""
        if not isinstance(self.inputs, dict):
            return tuple(self.inputs)
        return tuple(self.inputs[name] for name in self.loss.allowed_keywords if name in self.inputs)

    @property
    def data(self) -> tuple[str, ...]:
        """The names of everything that it reads: its arguments, and the column of weights."""
        return self.arguments if self.sample_weight is None else (*self.arguments, self.sample_weight)

    def _check(self) -> None:
        faults = Faults(f"Loss {self.label!r} on {self.node_label!r}")
        number = self.weight
        if isinstance(number, bool) or not isinstance(number, int | float):
            faults.add(LossError(f"weight must be a number of at least 0, got {number!r}"))
        elif not math.isfinite(number) or number < 0:
            faults.add(LossError(f"weight must be a finite number of at least 0, got {number}"))
        named = self.inputs if isinstance(self.inputs, dict) else dict(enumerate(self.inputs))
        if not named:
            faults.add(LossError("inputs is empty; the usual ones are ['outputs', 'targets']"))
        for value in named.values():
            _check_input(value, INPUT_DOMAINS, faults)
        if self.sample_weight is not None:
            _check_input(self.sample_weight, ("tags", "targets", "features"), faults)
        if not isinstance(self.trainable, bool):
            faults.add(InvalidTypeError(f"trainable must be a bool, got {self.trainable!r}"))
        if self.class_weight is not None:
            self._check_class_weight(faults)
        if isinstance(self.inputs, dict):
            self._check_names(faults)
        elif named:
            why = self.loss.refused_call(len(self.inputs))
            if why is not None:
                faults.add(LossError(f"it cannot be called with inputs={self.inputs}; {why}"))
        faults.raise_if_any()

    def _check_class_weight(self, faults: Faults) -> None:
        if not isinstance(self.class_weight, dict):
            faults.attempt(check_choice, self.class_weight, "class_weight", ("balanced",))
        else:
            wrong = {k: w for k, w in self.class_weight.items() if not isinstance(w, int | float) or w < 0}
            if wrong:
                faults.add(LossError(f"class_weight must hold numbers of at least 0, got {wrong}"))
        if not any(isinstance(name, str) and name.partition(".")[0] == "targets" for name in self.arguments):
            faults.add(LossError("class_weight needs targets among the inputs, by which classes are told"))

    def _check_names(self, faults: Faults) -> None:
        allowed = self.loss.allowed_keywords
        for name in self.inputs:
            if name not in allowed:
                faults.add(LossError(unknown_name("argument", name, allowed, where=self.loss.name)))
        present = [name in self.inputs for name in allowed]
        if False in present and any(present[present.index(False) :]):
            missing = allowed[present.index(False)]
            faults.add(LossError(f"inputs lacks {missing!r}, which stands before others that are given"))


def _as_class_weight(given: Any, where: str) -> str | dict[Any, float] | None:
    """Return weights of classes as they are used; a file has them as pairs."""
    if isinstance(given, str | None):
        return given
    try:
        return dict(given)
    except (TypeError, ValueError):
        listed = isinstance(given, Iterable) and all(isinstance(one, int | float) for one in given)
        meant = dict(enumerate(given)) if listed else "{0: 1.0, 1: 2.5}"
        raise LossError(
            f"{where}: class_weight must be 'balanced' or label -> weight, e.g. {meant}, got {given!r}."
        ) from None


def _check_input(value: object, domains: Sequence[str], faults: Faults) -> None:
    domain, *parts = value.split(".") if isinstance(value, str) else (value,)
    if domain not in domains:
        faults.add(LossError(unknown_name("input", value, domains)))
    elif not all(part.strip() for part in parts) or (domain == "module" and parts):
        form = "'module'" if domain == "module" else f"{domain!r}, '{domain}.<key>' or '{domain}.<role>'"
        faults.add(LossError(f"input {value!r} must be {form}"))


def _as_list(inputs: Sequence[str]) -> list[str]:
    return [inputs] if isinstance(inputs, str) else list(inputs)


Losses = Sequence[AppliedLoss] | AppliedLoss | Loss | str | Callable[..., Any] | Mapping[str, Any]
"""What may be given as the losses of a phase."""


def applied_losses(
    losses: Losses | None,
    tails: Sequence[Any],
    faults: Faults,
    targets_of: Callable[[str], Sequence[str]] = lambda _: (),
) -> list[AppliedLoss]:
    """Return the losses that are meant by a list of them, or by something shorter.

    Args:
        losses: An `AppliedLoss`, or for the only tail a `Loss`, its name, its class or a function
            ``(outputs, targets) -> tensor``; a list of these; or for several tails a mapping from
            labels of nodes to these; or for a node with several outputs a mapping from their names. An
            output is compared with the target of its name if there is one, else with the targets.
        tails: The nodes that feed no other.
        faults: Where everything that is wrong is noted.
        targets_of: From the label of a node to the keys of the targets that reach it.
    """
    if losses is None:
        return []
    if isinstance(losses, Mapping):
        if len(tails) == 1 and _are_outputs(losses, tails[0]):
            losses = {tails[0]: losses}
        found = [
            one
            for on, loss in losses.items()
            for one in (
                _of_outputs(loss, on, faults, targets_of)
                if isinstance(loss, Mapping)
                else [faults.attempt(AppliedLoss, loss, on)]
            )
        ]
        made = [loss for loss in found if loss is not None]
        names = [loss.label for loss in made]
        for loss in made:
            if names.count(loss.label) > 1:
                loss.label = f"{loss.label}/{loss.on}"
        return made
    listed: list[Any] = list(losses) if isinstance(losses, list | tuple) else [losses]
    read = [_on_the_tail(loss, tails, faults) for loss in listed]
    return [loss for loss in read if loss is not None]


def _are_outputs(losses: Mapping[Any, Any], tail: Any) -> bool:
    """Tell whether what losses are named by are outputs of the only tail, and no nodes."""
    context, names = ExperimentContext.get_active(), tail.output_names
    return bool(losses) and all(name in names and not context.has_node(name) for name in losses)


def _on_the_tail(loss: Any, tails: Sequence[Any], faults: Faults) -> AppliedLoss | None:
    """Return a loss as it is, or on the only tail where it names no node."""
    if isinstance(loss, AppliedLoss):
        return loss
    if not isinstance(loss, str | Loss) and not callable(loss):
        faults.add(
            InvalidTypeError(
                f"a loss is an AppliedLoss, or for the only tail a name, a class or a function, got {loss!r} "
                f"({type(loss).__name__})."
            )
        )
    elif len(tails) != 1:
        labels = [tail.label for tail in tails]
        faults.add(
            LossError(f"one loss for the tails {labels}: name its node, losses={{{labels[0]!r}: ...}}.")
        )
    else:
        return faults.attempt(AppliedLoss, loss, tails[0])
    return None


def _of_outputs(
    losses: Mapping[str, Any], on: Any, faults: Faults, targets_of: Callable[[str], Sequence[str]]
) -> list[AppliedLoss | None]:
    """Return the losses on some outputs of a node; their labels say which."""
    keys = faults.attempt(targets_of, on) or ()
    found = []
    for output, loss in losses.items():
        one = loss if isinstance(loss, Loss) else faults.attempt(Loss, loss)
        inputs = (f"outputs.{output}", f"targets.{output}" if output in keys else "targets")
        if one is not None:
            found.append(faults.attempt(AppliedLoss, one, on, inputs, label=f"{one.name}/{output}"))
    return found
