"""PyTorch, as the rest of the library uses it: tensors, devices, gradients, optimizers.

It knows no node, no phase and no model; its losses are in `modularml.backends.torch_losses`.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.autograd.variable import Variable

from modularml.backends import torch_losses as losses
from modularml.backends import torch_schedules as schedules
from modularml.backends.accelerator import Accelerator
from modularml.backends.torch_updates import fast_step, on_one_thread
from modularml.base.errors import OptimizerError, unknown_name

__all__ = [
    "as_array",
    "as_tensor",
    "backward",
    "build_optimizer",
    "check_optimizer_arguments",
    "copied_array",
    "dtype_of",
    "fast_step",
    "follow_parameters",
    "losses",
    "on_one_thread",
    "optimizer_classes",
    "optimizer_state",
    "schedules",
    "seed_generators",
    "seeded",
    "set_optimizer_state",
    "uncopied",
    "untouched_rng",
]

FUSED_DEVICES = ("cpu", "cuda")
FUSED_DTYPES = (torch.float32, torch.float64)


def dtype_of(kind: str, floating: torch.dtype) -> torch.dtype:
    """Return the dtype of a kind of numbers, ``"float"``, ``"int"`` or ``"bool"``.

    Args:
        kind: The kind.
        floating: The dtype that floating numbers have.
    """
    return {"int": torch.int64, "bool": torch.bool}.get(kind, floating)


# The two directions between numpy and torch.


def as_tensor(
    array: Any, *, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> torch.Tensor:
    """Return `array` as a tensor, sharing its memory where dtype and device allow.

    Args:
        array: An array, a tensor or anything that numpy can make an array of.
        dtype: The dtype to convert to, or None to keep it.
        device: The device to move to, or None to stay.
    """
    if not isinstance(array, torch.Tensor):
        array = np.asarray(array)
        array = torch.from_numpy(array) if array.flags.writeable else _of_read_only(array)
    tensor: torch.Tensor = array
    return tensor if device is None and dtype is None else tensor.to(device=device, dtype=dtype)


def _of_read_only(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # A memory-mapped column is read-only; nothing here writes into its tensor.
        warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
        return torch.from_numpy(array)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Return a numpy array of the tensor's values, sharing memory where it can.

    numpy has no bfloat16; such values become float32, which holds them exactly.
    """
    tensor = tensor.detach()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    array: np.ndarray = tensor.cpu().numpy()
    return array


_copies = ContextVar("copies", default=True)


@contextmanager
def uncopied() -> Iterator[None]:
    """Let states that are made in a ``with`` block share the memory of what they are of.

    For what is written before anything changes: to copy large weights takes as long as to write them.
    """
    token = _copies.set(False)
    try:
        yield
    finally:
        _copies.reset(token)


def copied_array(tensor: torch.Tensor) -> np.ndarray:
    """Return a numpy array of the tensor's values that shares no memory with it, but for `uncopied`."""
    return as_array(tensor.detach().to("cpu", copy=True) if _copies.get() else tensor)


# Gradients.

_run_backward = Variable._execution_engine.run_backward


@cache
def _one(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.ones((), dtype=dtype, device=device)


def backward(loss: torch.Tensor) -> None:
    """Add the gradients of a scalar loss to the leaves' ``.grad``, as ``loss.backward()`` does.

    It calls the engine that ``loss.backward()`` ends in: the checks on the way there
    take longer than the gradients of a small network.
    """
    one = _one(loss.dtype, loss.device)
    _run_backward((loss,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True)


@contextmanager
def untouched_rng() -> Iterator[None]:
    """Run a ``with`` block that leaves torch's random generators as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from a stream of its own within a ``with`` block; None draws from the one that is there."""
    if seed is None:
        yield
        return
    with untouched_rng():
        seed_generators(seed)
        yield


@cache
def _has_gpu() -> bool:
    return Accelerator("auto").torch_device_str() != "cpu"


def seed_generators(seed: int) -> None:
    """Seed the generators of all devices that are there, as ``torch.manual_seed`` does.

    That notes a seed for each kind of device that may come up later, too, with a traceback of whoever asked,
    which takes as long as several steps of a small network.
    """
    if _has_gpu():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


# Optimizers.


@cache
def optimizer_classes() -> Mapping[str, type[torch.optim.Optimizer]]:
    """Return torch's optimizers by their lower-cased class names.

    LBFGS is not among them: it evaluates the loss several times a step.
    """
    return {
        name.lower(): cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls not in _UNUSABLE
    }


_UNUSABLE = (torch.optim.Optimizer, torch.optim.LBFGS)


def check_optimizer_arguments(cls: type[torch.optim.Optimizer], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that `cls` does not have, or values that it does not take.

    Raises:
        OptimizerError: Naming the argument and the nearest match, or what torch says.
    """
    allowed = list(inspect.signature(cls).parameters)[1:]
    for name in kwargs:
        if name not in allowed:
            where = f"opt_kwargs of {cls.__name__}"
            raise OptimizerError(unknown_name("argument", name, allowed, where=where))
    build_optimizer(cls, kwargs, [torch.nn.Parameter(torch.zeros(1, 1))])


def build_optimizer(
    cls: Callable[..., torch.optim.Optimizer],
    kwargs: Mapping[str, Any],
    parameters: Sequence[torch.Tensor],
    *,
    fuses: bool = True,
) -> torch.optim.Optimizer:
    """Make the torch optimizer, with torch's fused update where there is one and `fuses` allows it.

    Raises:
        OptimizerError: What torch says of the arguments or the parameters.
    """
    kwargs = dict(kwargs)
    if fuses and _can_fuse(cls, kwargs, parameters):
        kwargs["fused"] = True
    name = getattr(cls, "__name__", repr(cls))
    try:
        with _without_compiler():
            made = cls(parameters, **kwargs)
    except (ValueError, TypeError, RuntimeError) as error:
        raise OptimizerError(f"{name} refuses {kwargs or 'its parameters'}: {error}") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise OptimizerError(f"{name} must make a torch.optim.Optimizer, it made a {type(made).__name__}.")
    closure = inspect.signature(type(made).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise OptimizerError(
            f"{name} evaluates the loss several times a step, which a training phase does not."
        )
    return made


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Keep torch from loading its compiler only to learn that a method is not to be compiled.

    That takes longer than loading torch, and happens when the first optimizer is made.
    Where the compiler is loaded already, nothing is changed.
    """
    names = () if "torch._dynamo" in sys.modules else ("add_param_group", "state_dict", "load_state_dict")
    methods = [inspect.unwrap(getattr(torch.optim.Optimizer, name)) for name in names]
    for method in methods:
        vars(method)["__dynamo_disable"] = method
    try:
        yield
    finally:
        for method in methods:
            vars(method).pop("__dynamo_disable", None)


def _can_fuse(cls: Any, kwargs: Mapping[str, Any], parameters: Iterable[torch.Tensor]) -> bool:
    """Tell whether torch has a fused update here and the user left the choice open."""
    if not {"fused", "foreach", "differentiable"}.isdisjoint(kwargs):
        return False
    if kwargs.get("dampening"):
        return False  # see `complete_momentum` in `torch_updates`
    if not inspect.isclass(cls) or "fused" not in inspect.signature(cls).parameters:
        return False
    on_cpu = cls is torch.optim.Adagrad  # its fused update exists for the CPU alone
    devices = ("cpu",) if on_cpu else FUSED_DEVICES
    return all(p.device.type in devices and p.dtype in FUSED_DTYPES for p in parameters)


def optimizer_state(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Any]:
    """Return the optimizer's state as plain values and copied arrays, by parameter name.

    Args:
        optimizer: The optimizer.
        names: The names of its parameters, in the order of its groups.

    Returns:
        ``{"groups": [{"parameters": [name, ...], "lr": 0.001, ...}], "state": {name: {...}}}``, and
        ``"gradients"`` by name where some wait for an update.
    """
    with _without_compiler():
        packed = optimizer.state_dict()
    groups = [
        {"parameters": [names[i] for i in group["params"]], **_plain(group, skip=_NOT_STATE)}
        for group in packed["param_groups"]
    ]
    tree = {"groups": groups, "state": {names[i]: _plain(entry) for i, entry in packed["state"].items()}}
    waiting = zip(names, _parameters(optimizer), strict=True)
    gradients = {name: copied_array(p.grad) for name, p in waiting if p.grad is not None}
    return tree | ({"gradients": gradients} if gradients else {})


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def set_optimizer_state(
    optimizer: torch.optim.Optimizer, names: Sequence[str], tree: Mapping[str, Any]
) -> None:
    """Put back what `optimizer_state` returned; parameters are matched by name.

    Raises:
        OptimizerError: If the state belongs to other parameters or to other shapes.
    """
    saved_groups = {frozenset(group["parameters"]): group for group in tree["groups"]}
    saved = frozenset().union(*saved_groups)
    if saved != set(names):
        missing, extra = sorted(set(names) - saved), sorted(saved - set(names))
        raise OptimizerError(
            f"The optimizer state belongs to other parameters: it lacks {missing or 'none'} "
            f"and holds {extra or 'none'} that are not here."
        )
    with _without_compiler():
        packed = optimizer.state_dict()
    for group in packed["param_groups"]:
        own = frozenset(names[i] for i in group["params"])
        if own not in saved_groups:
            there, here = ([sorted(g) for g in groups] for groups in (saved_groups, _groups(packed, names)))
            raise OptimizerError(
                f"The optimizer state groups the parameters as {there}, the optimizer as {here}."
            )
        group.update(_tensors(saved_groups[own], skip=_NOT_STATE))
    parameters = _parameters(optimizer)
    gradients = tree.get("gradients", {})
    index = {name: i for i, name in enumerate(names)}
    for name, entry in tree["state"].items():
        _check_shapes(name, entry, tuple(parameters[index[name]].shape))
    for name, gradient in gradients.items():
        _check_shapes(name, {"gradient": gradient}, tuple(parameters[index[name]].shape))
    packed["state"] = {index[name]: _tensors(entry) for name, entry in tree["state"].items()}
    with _without_compiler():
        optimizer.load_state_dict(packed)
    for name, parameter in zip(names, parameters, strict=True):
        waiting = gradients.get(name)
        parameter.grad = None if waiting is None else torch.from_numpy(np.array(waiting)).to(parameter)


def _groups(packed: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    return [[names[i] for i in group["params"]] for group in packed["param_groups"]]


def grad_scaler(device: str, former: torch.amp.GradScaler | None = None) -> torch.amp.GradScaler:
    """Make what scales losses in fp16 on a type of device, with the scale of the former one."""
    made = torch.amp.GradScaler(device)
    if former is not None:
        made.load_state_dict(former.state_dict())
    return made


def follow_parameters(
    optimizer: torch.optim.Optimizer,
    make: Callable[..., torch.optim.Optimizer],
    kwargs: Mapping[str, Any],
    *,
    fuses: bool = True,
) -> None:
    """Bring moments to the devices of the parameters, with torch's fused update as in `build_optimizer`."""
    with _without_compiler():
        packed = optimizer.state_dict()
    parameters = _parameters(optimizer)
    if inspect.isclass(make) and {"fused", "foreach", "differentiable"}.isdisjoint(kwargs):
        for group in packed["param_groups"]:
            if "fused" in group:
                group["fused"] = (fuses and _can_fuse(make, kwargs, parameters)) or None
    with _without_compiler():
        optimizer.load_state_dict(packed)  # moves what belongs to a parameter to its device


# Which parameters, and which of torch's implementations: properties of the live object.
_NOT_STATE = ("params", "param_names", "parameters", "fused", "foreach", "capturable", "differentiable")
_SHAPED_AS_PARAMETER = ("gradient", "exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg", "sum")


def _check_shapes(name: str, entry: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    for key, value in entry.items():
        if key in _SHAPED_AS_PARAMETER and value is not None and tuple(value.shape) != shape:
            raise OptimizerError(
                f"{key!r} of parameter {name!r} has shape {tuple(value.shape)} in the optimizer state, "
                f"but the parameter has {shape}."
            )


def _plain(entry: Mapping[str, Any], skip: Sequence[str] = ()) -> dict[str, Any]:
    return {
        key: copied_array(value) if isinstance(value, torch.Tensor) else value
        for key, value in entry.items()
        if key not in skip
    }


def _tensors(entry: Mapping[str, Any], skip: Sequence[str] = ()) -> dict[str, Any]:
    return {
        key: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        for key, value in entry.items()
        if key not in skip
    }
