"""A loss where it applies: to which node, to which of its data, with which weights.

It knows no phase, no batch and no graph: the loop hands it tensors.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from modularml.base.config import Configurable
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    LossError,
    check_choice,
    check_label,
    nearest,
    unknown_name,
)
from modularml.core import cells
from modularml.core.context import ExperimentContext
from modularml.core.training.loss import Loss
from modularml.display.card import Shown

INPUT_DOMAINS = ("outputs", "targets", "features", "tags", "module")
WEIGHT_DOMAINS = ("tags", "targets", "features")
"""Where a column of weights of samples may be."""


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
            A function of your own gets samples without the axis of a single key, ``(n, n_classes)`` and
            ``(n,)``, and data in the shape of the outputs where they hold as many values.
        weight: The factor in the sum of all losses, at least 0. What is recorded, of evaluations too, is
            the loss times it.
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
    _elsewhere: ClassVar[Mapping[str, str]] = {"compute": "A phase does that: exp.run_phase(phase)."}

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
            return _as_inputs(value, f"Loss {self.label!r}")
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

    def _refresh(self) -> None:
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
            check_input(value, INPUT_DOMAINS, faults)
        if self.sample_weight is not None:
            check_input(self.sample_weight, WEIGHT_DOMAINS, faults)
        if not isinstance(self.trainable, bool):
            faults.add(InvalidTypeError(f"trainable must be a bool, got {self.trainable!r}"))
        if self.class_weight is not None:
            self._check_class_weight(faults)
        if isinstance(self.inputs, dict):
            self._check_names(faults)
        elif named:
            why = self.loss.refused_call([str(name) for name in self.inputs])
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


def check_input(value: object, domains: Sequence[str], faults: Faults) -> None:
    """Note that something is no name of data of one of some domains, as ``"tags"`` or ``"tags.key"``."""
    domain, *parts = value.split(".") if isinstance(value, str) else (value,)
    if domain not in domains:
        named = isinstance(value, str) and nearest(value, domains) is None
        where = f" A column is named with its domain: '{domains[0]}.{value}'." if named else ""
        faults.add(LossError(unknown_name("input", value, domains) + where))
    elif not all(part.strip() for part in parts) or (domain == "module" and parts):
        form = "'module'" if domain == "module" else f"{domain!r}, '{domain}.<key>' or '{domain}.<role>'"
        faults.add(LossError(f"input {value!r} must be {form}"))


def _as_inputs(given: Any, where: str) -> dict[str, str] | list[str]:
    """Return inputs as they are used: by argument, or in the order of a call."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Mapping | Sequence):
        raise InvalidTypeError(
            f"{where}: inputs must be a list such as ['outputs', 'targets'], or argument -> one of "
            f"those, got {given!r} ({type(given).__name__})."
        )
    return dict(given) if isinstance(given, Mapping) else list(given)
