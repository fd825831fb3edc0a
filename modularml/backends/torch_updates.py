"""An optimizer's step, as fast as torch can do it: no decorators, no lists made anew, no other threads.

It knows torch's optimizers only; what they compute stays theirs, to the last bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import is_
from typing import Any, NamedTuple

import torch
from torch.optim import optimizer as _hooks

Update = Callable[[Any], None]

_KERNELS: dict[type, Callable[..., Any]] = {
    torch.optim.Adam: torch._fused_adam_,
    torch.optim.AdamW: torch._fused_adamw_,
}


def fast_step(cls: type[torch.optim.Optimizer], *, of_few: bool = False) -> Update:
    """Return the function that does what ``optimizer.step()`` does, as fast as it can.

    For torch's own optimizers this is the undecorated method: torch wraps each step
    in a profiler record and graph breaks that take as long as a small fused update.
    Of few parameters, a fused Adam is called with lists that are kept from step to step.
    An optimizer with hooks, or whose ``step`` is patched (other than by a scheduler, to
    count calls), gets the decorated one.

    Args:
        cls: The class of the optimizer.
        of_few: Whether it has few parameters; then it keeps lists of them and runs on one thread.
    """
    step = _undecorated(cls, of_few)
    return on_one_thread(step) if of_few else step


def _undecorated(cls: type[torch.optim.Optimizer], of_few: bool) -> Update:
    plain = inspect.unwrap(cls.step)
    if plain is cls.step or not plain.__module__.startswith("torch.optim."):
        return lambda optimizer: optimizer.step()
    set_grad_enabled = torch._C._set_grad_enabled
    update = _FusedAdam(plain, _KERNELS[cls]) if of_few and cls in _KERNELS else plain

    def step(optimizer: Any) -> None:
        if (
            optimizer._optimizer_step_pre_hooks
            or optimizer._optimizer_step_post_hooks
            or _hooks._global_optimizer_pre_hooks
            or _hooks._global_optimizer_post_hooks
            or ("step" in vars(optimizer) and not hasattr(optimizer.step, "_wrapped_by_lr_sched"))
            or optimizer.defaults.get("differentiable", False)
        ):
            optimizer.step()
            return
        optimizer._opt_called = True
        before = torch.is_grad_enabled()
        set_grad_enabled(False)
        try:
            update(optimizer)
        finally:
            set_grad_enabled(before)

    def step_of_sgd(optimizer: Any) -> None:
        complete_momentum(optimizer)
        step(optimizer)

    return step_of_sgd if cls is torch.optim.SGD else step


def complete_momentum(optimizer: Any) -> None:
    """Give parameters that a gradient reaches for the first time the momentum that they begin with.

    Torch's fused SGD makes it for all or for none, and raises where some have been trained before, as
    behind a body that was frozen.
    """
    if not isinstance(optimizer, torch.optim.SGD) or len(optimizer.state) in (0, _n_parameters(optimizer)):
        return
    for group in optimizer.param_groups:
        if group["momentum"] and group["fused"] and not group["dampening"]:
            for parameter in group["params"]:
                if parameter.grad is not None and "momentum_buffer" not in optimizer.state[parameter]:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _n_parameters(optimizer: Any) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)


class _Lists(NamedTuple):
    """What an optimizer holds, in the lists that a kernel takes."""

    groups: list[dict[str, Any]]
    state: dict[torch.Tensor, dict[str, torch.Tensor]]
    entries: list[dict[str, torch.Tensor]]
    parameters: list[torch.Tensor]
    moments: list[dict[str, torch.Tensor]]

    def are_of(self, optimizer: Any) -> bool:
        """Tell whether the optimizer holds the very same objects."""
        state, groups = optimizer.state, optimizer.param_groups
        return (
            state is self.state
            and groups is self.groups
            and len(groups) == 1
            and len(state) == len(self.entries) == len(groups[0]["params"])
            and all(map(is_, state.values(), self.entries))
            and all(map(is_, groups[0]["params"], self.parameters))
        )


class _FusedAdam:
    """The update of a fused Adam of one group of parameters on one device.

    Torch sorts parameters and moments into lists at every step, which takes longer than the update
    of a small network. These are kept while the optimizer holds the very same objects; numbers such
    as the learning rate are read at every step. Whatever is out of the ordinary is torch's to do.

    Args:
        plain: Torch's own update.
        kernel: The function that it ends in.
    """

    def __init__(self, plain: Update, kernel: Callable[..., Any]) -> None:
        self._plain, self._kernel = plain, kernel
        self._lists: _Lists | None = None

    def __call__(self, optimizer: Any) -> None:
        lists = self._lists  # once, as copies of an optimizer may run in other threads
        if lists is None or not lists.are_of(optimizer):
            self._plain(optimizer)
            self._lists = _lists_of(optimizer)
            return
        group, moments = lists.groups[0], lists.moments
        gradients = [parameter.grad for parameter in lists.parameters]
        if any(gradient is None or gradient.is_sparse for gradient in gradients) or _is_unusual(group):
            self._plain(optimizer)
            return
        steps = [entry["step"] for entry in moments]
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        self._kernel(
            lists.parameters,
            gradients,
            [entry["exp_avg"] for entry in moments],
            [entry["exp_avg_sq"] for entry in moments],
            [],
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
            grad_scale=None,
            found_inf=None,
        )


def _lists_of(optimizer: Any) -> _Lists | None:
    """Return the lists of an optimizer; None where it has no moments yet, or is of several kinds."""
    state, groups = optimizer.state, optimizer.param_groups
    parameters = list(groups[0]["params"])
    kinds = {(parameter.device, parameter.dtype) for parameter in parameters}
    if len(groups) > 1 or len(kinds) > 1 or not all(parameter in state for parameter in parameters):
        return None
    return _Lists(groups, state, list(state.values()), parameters, [state[p] for p in parameters])


def _is_unusual(group: Any) -> bool:
    """Tell whether a group asks for more than the plain fused update with numbers for its rates."""
    numbers = (group["lr"], *group["betas"])
    return (
        not group["fused"]
        or group["amsgrad"]
        or group["capturable"]
        or not all(type(number) is float for number in numbers)
    )


def on_one_thread(step: Update) -> Update:
    """Return the step for few parameters, which does not wait for other threads.

    Torch shares even a tiny update out to all its threads. Where the cores are busy
    with something else, the waiting takes many times as long as the update.
    """

    def alone(optimizer: Any) -> None:
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            step(optimizer)
        finally:
            torch.set_num_threads(n_threads)

    return alone
