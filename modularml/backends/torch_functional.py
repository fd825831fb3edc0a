"""PyTorch's optimizers as functions of lists of tensors, as a compiler takes them.

It knows no step: whoever has gradients calls. Moments and counts stay those of the optimizer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.adadelta import adadelta
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.adamax import adamax
from torch.optim.adamw import adamw
from torch.optim.nadam import nadam
from torch.optim.optimizer import Optimizer
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd


@dataclass(frozen=True)
class _Form:
    """The function of an optimizer, and what it takes of a parameter's state, in the order of its lists."""

    function: Callable[..., None]
    keys: tuple[str, ...]
    given: frozenset[str]


def _form(function: Callable[..., None], *keys: str) -> _Form:
    return _Form(function, keys, frozenset(inspect.signature(function).parameters))


_FORMS: Mapping[type[Optimizer], _Form] = {
    torch.optim.Adadelta: _form(adadelta, "square_avg", "acc_delta", "step"),
    torch.optim.Adagrad: _form(adagrad, "sum", "step"),
    torch.optim.Adam: _form(adam, "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"),
    torch.optim.AdamW: _form(adamw, "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"),
    torch.optim.Adamax: _form(adamax, "exp_avg", "exp_inf", "step"),
    torch.optim.NAdam: _form(nadam, "exp_avg", "exp_avg_sq", "mu_product", "step"),
    torch.optim.RMSprop: _form(rmsprop, "square_avg", "grad_avg", "momentum_buffer", "step"),
    torch.optim.SGD: _form(sgd, "momentum_buffer"),
}
_NOT_GIVEN = ("params", "lr", "foreach", "fused", "capturable", "differentiable")


def why_no_function(optimizer: Optimizer) -> str | None:
    """Return why an optimizer's update is no function of tensors alone; None where it is."""
    name = type(optimizer).__name__
    if type(optimizer) not in _FORMS:
        return f"the optimizer {name} is none of {sorted(cls.__name__ for cls in _FORMS)}"
    hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    if any(hooks) or ("step" in vars(optimizer) and not hasattr(optimizer.step, "_wrapped_by_lr_sched")):
        return f"the step of the optimizer {name} has hooks, or is one of your own"
    if any(isinstance(group["lr"], torch.Tensor) for group in optimizer.param_groups):
        return f"the learning rate of the optimizer {name} is a tensor"
    return None


def _options_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return what each group says besides its parameters and its learning rate."""
    return [
        {key: value for key, value in group.items() if key not in _NOT_GIVEN and key != "initial_lr"}
        for group in optimizer.param_groups
    ]


class FunctionalUpdate:
    """The update of an optimizer for gradients that are handed over, by tensors that it shares.

    Args:
        optimizer: The optimizer; the moments of the parameters must be there.
        parameters: Those of its parameters that get a gradient.

    Attributes:
        parameters: Tensors that share the memory of the parameters and ask for no gradient, group by group.
        rates: The learning rate of each group, as a tensor.
    """

    def __init__(self, optimizer: Optimizer, parameters: Sequence[torch.Tensor]) -> None:
        self._optimizer, self._form = optimizer, _FORMS[type(optimizer)]
        wanted = set(parameters)
        self._groups = [[p for p in group["params"] if p in wanted] for group in optimizer.param_groups]
        self.originals = [p for group in self._groups for p in group]
        self.parameters: list[torch.Tensor] = []
        self._lists: list[list[list[Any]]] = [[[] for _ in self._form.keys] for _ in self._groups]
        self.rates = [torch.zeros((), dtype=torch.float64) for _ in self._groups]
        self._known_rates: list[float | None] = [None for _ in self._groups]
        self._options = _options_of(optimizer)
        self._given = [_given(self._form, options) for options in self._options]

    def refresh(self) -> None:
        """Take up the tensors that the parameters and their moments are by now."""
        self.parameters[:] = [p.detach() for p in self.originals]
        for group, lists in zip(self._groups, self._lists, strict=True):
            states = [self._optimizer.state[p] for p in group]
            for key, tensors in zip(self._form.keys, lists, strict=True):
                is_there = self._form.function is sgd or all(key in state for state in states)
                tensors[:] = [state.get(key) for state in states] if is_there else []

    def is_stale(self) -> bool:
        """Whether parameters or moments are held in other tensors now."""
        own = zip(self.originals, self.parameters, strict=True)
        if any(p.data_ptr() != shared.data_ptr() for p, shared in own):
            return True
        return any(
            self._optimizer.state[p].get(key) is not tensor
            for group, lists in zip(self._groups, self._lists, strict=True)
            for key, tensors in zip(self._form.keys, lists, strict=True)
            for p, tensor in zip(group, tensors, strict=False)
        )

    def have_options_changed(self) -> bool:
        """Whether the optimizer has other options now, besides its learning rate."""
        return _options_of(self._optimizer) != self._options

    def follow_rates(self) -> None:
        """Take up the present learning rates."""
        for i, group in enumerate(self._optimizer.param_groups):
            if group["lr"] != self._known_rates[i]:
                self._known_rates[i] = group["lr"]
                self.rates[i].fill_(group["lr"])

    def __call__(self, gradients: Sequence[torch.Tensor]) -> None:
        """Change the parameters and their moments by a gradient each, in the order of `parameters`."""
        start = 0
        for group, lists, rate, given in zip(self._groups, self._lists, self.rates, self._given, strict=True):
            stop = start + len(group)
            if stop > start:
                own, of_own = self.parameters[start:stop], list(gradients[start:stop])
                # Powers of a count that is a tensor are as exact as its dtype, and float32 is not enough.
                exact = [
                    [count.double() for count in tensors] if key == "step" else tensors
                    for key, tensors in zip(self._form.keys, lists, strict=True)
                ]
                self._form.function(own, of_own, *exact, lr=rate, **given)
                for key, tensors, found in zip(self._form.keys, lists, exact, strict=True):
                    if key == "step":
                        for count, counted in zip(tensors, found, strict=True):
                            count.copy_(counted)
            start = stop


def _given(form: _Form, options: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in options.items() if key in form.given}
    if "betas" in options:
        given["beta1"], given["beta2"] = options["betas"]
    one_by_one = {"foreach": False, "fused": False, "capturable": False, "differentiable": False}
    return given | {key: value for key, value in one_by_one.items() if key in form.given}
