"""The layers of a module, their parameters and modes, looked through and set in one go.

It knows no node. `nn.Module` can do all of it, by generators within generators, and looks for parameters
before it sets any attribute: around a small network that takes longer than its forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import nn


def layers(module: nn.Module) -> list[nn.Module]:
    """Return a module and all within it, each once, in the order of ``module.modules()``."""
    found: dict[nn.Module, None] = {}
    _collect(module, found)
    return list(found)


def _collect(module: nn.Module, found: dict[nn.Module, None]) -> None:
    if module not in found:
        found[module] = None
        for child in module._modules.values():
            if child is not None:
                _collect(child, found)


def parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of a module, each once, in the order of ``module.parameters()``."""
    seen = set()
    for layer in layers(module):
        for parameter in layer._parameters.values():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


def first_parameter(module: nn.Module) -> nn.Parameter | None:
    """Return the first parameter, which is where a module computes."""
    return _first(module, lambda parameter: True)


def first_floating(module: nn.Module) -> nn.Parameter | None:
    """Return the first parameter that is a floating-point one, whose dtype a module computes in."""
    return _first(module, nn.Parameter.is_floating_point)


def _first(module: nn.Module, is_meant: Callable[[nn.Parameter], bool]) -> nn.Parameter | None:
    for parameter in module._parameters.values():
        if parameter is not None and is_meant(parameter):
            return parameter
    for child in module._modules.values():
        found = None if child is None else _first(child, is_meant)
        if found is not None:
            return found
    return None


def set_mode(module: nn.Module, training: bool) -> None:
    """Put a module in training or evaluation mode, in its own way if it has one."""
    inside = layers(module)
    if {type(layer).train for layer in inside} == {nn.Module.train}:
        _set_modes(dict.fromkeys(inside, training).items())
    else:
        module.train(training)


@contextmanager
def modes_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let every layer be in the mode in which it was, after a ``with`` block."""
    modes = [(layer, layer.training) for module in modules for layer in layers(module)]
    try:
        yield
    finally:
        _set_modes(modes)


def _set_modes(modes: Iterable[tuple[nn.Module, bool]]) -> None:
    for layer, training in modes:
        if "training" in vars(layer):
            vars(layer)["training"] = training
        else:  # of modules that are scripts of TorchScript, it is elsewhere
            layer.training = training
