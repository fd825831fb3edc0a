"""A torch module -> what it can be made of again: its class and its constructor's arguments.

It knows no file; classes stay classes, weights are not part of it.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations, parametrize

from modularml.backends.torch import untouched_rng
from modularml.base.config import parameters_of
from modularml.base.errors import InvalidValueError, check_choice

_EVERY = {n: p for n, p in parameters_of(nn.RNNBase).items() if n not in ("mode", "proj_size")}
_RECURRENT: dict[type[nn.Module], dict[str, inspect.Parameter]] = {
    nn.GRU: _EVERY,
    nn.LSTM: {**_EVERY, "proj_size": parameters_of(nn.RNNBase)["proj_size"]},
    nn.RNN: {**_EVERY, "nonlinearity": inspect.Parameter("nonlinearity", inspect.Parameter.KEYWORD_ONLY)},
}
"""What they hand on to their base, and what it does not take."""

_PLAIN = (bool, int, float, str, type(None))

_verified: dict[int, tuple[weakref.ref[nn.Module], Any]] = {}
"""Modules that were made again from their description, and what both were like."""


def describe_module(module: nn.Module) -> dict[str, Any]:
    """Return a tree of plain values and classes that `make_module` makes the like of.

    Constructor arguments are read from attributes of the same name. What was made from
    the tree is compared with the module, so that a wrong guess is not taken for right.

    Raises:
        InvalidValueError: If the module cannot be made again from its attributes.
    """
    parameters = list(module.named_parameters())
    dtypes = {p.dtype for _, p in parameters if p.is_floating_point()}
    tree = {
        **_describe(module),
        "dtype": str(dtypes.pop()).removeprefix("torch.") if len(dtypes) == 1 else None,
        "fixed": [name for name, p in parameters if not p.requires_grad],
    }
    parametrized = _parametrizations(module)
    if parametrized:
        tree["parametrizations"] = parametrized
    alike = tree, _tensors(module)
    known = _verified.get(id(module))
    if known is None or known[0]() is not module or known[1] != alike:
        _verify(module, *alike)
        key = id(module)
        _verified[key] = weakref.ref(module, lambda _: _verified.pop(key, None)), alike
    return tree


def _verify(module: nn.Module, tree: Mapping[str, Any], tensors: Any) -> None:
    cls = parametrize.type_before_parametrizations(module)
    try:
        is_alike = any(_tensors(made) == tensors for made in _twins(tree))
    except Exception as error:
        raise InvalidValueError(
            f"{cls.__name__} cannot be described: made again from its attributes it raises "
            f"{type(error).__name__}: {error}. {_way_out(cls)}"
        ) from error
    if not is_alike:
        raise InvalidValueError(
            f"{cls.__name__} cannot be described: made again from its attributes it has other "
            f"weights. {_of_hooks(module) or _way_out(cls)}"
        )


def _twins(tree: Mapping[str, Any]) -> Iterator[nn.Module]:
    """Yield a module as the tree says without values, where that can be made, and then with values.

    A constructor of the user's may look at values, and some parametrizations hold others without.
    """
    made = None
    with contextlib.suppress(Exception), torch.device("meta"):
        made = make_module(tree)
    if made is not None:
        yield made
    yield make_module(tree)


def make_module(tree: Mapping[str, Any]) -> nn.Module:
    """Return a new module as `describe_module` found it; global randomness stays as it is."""
    with untouched_rng():
        module = _make(tree)
        for path, tensors in tree.get("parametrizations", {}).items():
            layer = module.get_submodule(path)
            for name, several in tensors.items():
                if not parametrize.is_parametrized(layer, name):  # as a constructor may have done
                    for one in several["each"]:
                        _register(one, layer, name, unsafe=several["unsafe"])
    if tree["dtype"] is not None:
        module.to(getattr(torch, tree["dtype"]))
    for name in tree["fixed"]:
        module.get_parameter(name).requires_grad_(False)
    return module


def _parametrizations(module: nn.Module) -> dict[str, Any]:
    """Return what layers and their tensors are parametrized by: path of the layer -> tensor -> how."""
    layers: Any = {path: one for path, one in module.named_modules() if parametrize.is_parametrized(one)}
    return {
        path: {
            name: {"unsafe": several.unsafe, "each": [_describe_parametrization(one) for one in several]}
            for name, several in layer.parametrizations.items()
        }
        for path, layer in layers.items()
    }


def _describe_parametrization(one: nn.Module) -> dict[str, Any]:
    """Return what makes a parametrization again; torch's own are told by the function that registers them."""
    cls = type(one)
    if cls.__module__ != parametrizations.__name__ or cls.__name__ not in _OF_TORCH:
        return _describe(one)
    name, read = _OF_TORCH[cls.__name__]
    return {"function": name, "arguments": read(one)}


_OF_TORCH: Mapping[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "_WeightNorm": ("weight_norm", lambda one: {"dim": one.dim}),
    "_SpectralNorm": (
        "spectral_norm",
        # Of a vector there is nothing to iterate.
        lambda one: {
            "n_power_iterations": getattr(one, "n_power_iterations", 1),
            "eps": one.eps,
            "dim": one.dim,
        },
    ),
    "_Orthogonal": (
        "orthogonal",
        lambda one: {
            "orthogonal_map": one.orthogonal_map.name,
            "use_trivialization": hasattr(one, "base"),
        },
    ),
}


def _describe(module: nn.Module) -> dict[str, Any]:
    # The class that torch makes for a parametrized module has no name that it could be found by.
    cls = parametrize.type_before_parametrizations(module)
    if cls in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        return {"class": cls, "children": {name: _describe(child) for name, child in module.named_children()}}
    arguments: dict[str, Any] = {}
    for name, parameter in _arguments_of(cls).items():
        value = getattr(module, name, parameter.empty)
        if name == "bias" and (value is None or isinstance(value, torch.Tensor)):
            value = value is not None
        if isinstance(value, nn.Module):
            arguments[name] = _describe(value)
        elif _is_plain(value):
            arguments[name] = value if isinstance(value, _PLAIN) else copy.deepcopy(value)
        elif parameter.default is parameter.empty:
            raise InvalidValueError(
                f"{cls.__name__} cannot be described: its argument {name!r} is not kept in an attribute "
                f"of that name. {_way_out(cls)}"
            )
    return {"class": cls, "arguments": arguments}


def _arguments_of(cls: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """Return the constructor's parameters by name; torch's recurrent ones hand theirs on unnamed."""
    given = next((one for one in _RECURRENT if cls.__init__ is one.__init__), None)
    return parameters_of(cls) if given is None else _RECURRENT[given]


def _of_hooks(module: nn.Module) -> str:
    """Say what to use instead of the weight_norm and spectral_norm that torch keeps for old programs."""
    hooks = (hook for layer in module.modules() for hook in layer._forward_pre_hooks.values())
    old = {type(hook).__module__ for hook in hooks} & {
        nn.utils.weight_norm.__module__,
        nn.utils.spectral_norm.__module__,
    }
    names = [name.rpartition(".")[2] for name in sorted(old)]
    return "".join(
        f"Instead of torch.nn.utils.{name} use torch.nn.utils.parametrizations.{name}." for name in names
    )


def _way_out(cls: type) -> str:
    return (
        "Keep each constructor argument in an attribute of its name, or hand over the class: "
        f"TorchModelWrapper(model_class={cls.__name__}, model_kwargs={{...}})."
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple | list) and all(map(_is_plain, value)))


def _register(one: Mapping[str, Any], module: nn.Module, name: str, *, unsafe: bool) -> None:
    if "function" not in one:
        parametrize.register_parametrization(module, name, _make(one), unsafe=unsafe)
        return
    known = [function for function, _ in _OF_TORCH.values()]
    register = getattr(parametrizations, check_choice(one["function"], "parametrization", known))
    register(module, name, **one["arguments"])


def _make(tree: Mapping[str, Any]) -> nn.Module:
    cls = tree["class"]
    if "children" not in tree:
        arguments = {n: _make(v) if isinstance(v, Mapping) else v for n, v in tree["arguments"].items()}
        made: nn.Module = cls(**arguments)
        return made
    children = OrderedDict((name, _make(child)) for name, child in tree["children"].items())
    return nn.ModuleList(children.values()) if cls is nn.ModuleList else cls(children)


def _tensors(module: nn.Module) -> list[tuple[Any, ...]]:
    """Name, shape, dtype of each tensor of the state, and which are one and the same."""
    state = module.state_dict(keep_vars=True)
    first: dict[int, str] = {}
    return [
        (
            name,
            None if is_lazy(t) else tuple(t.shape),
            t.dtype,
            t.requires_grad,
            first.setdefault(id(t), name),
        )
        for name, t in state.items()
        if isinstance(t, torch.Tensor)
    ]
