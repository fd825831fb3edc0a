"""What may be tuned in the definitions of an experiment, each under a name as scikit-learn has them.

It knows no data and no estimator: it reads and writes the tree that a file would hold.

The names: ``n_epochs`` and ``batch_size`` of all training; ``optimizer__lr`` and what else an optimizer
takes; ``<node>__<argument>`` of the model or the estimator of a node.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modularml.backends.backend import Backend, load
from modularml.base.errors import Faults, InvalidValueError, unknown_name

Tree = Mapping[str, Any]


@dataclass
class _Setting:
    """A value, and everything that is to have it."""

    value: Any
    setters: list[Callable[[Any], None]] = field(default_factory=list)


def settings_of(tree: Tree) -> dict[str, Any]:
    """Return what may be tuned, by name, with the present values."""
    return {name: setting.value for name, setting in _settings(tree).items()}


def tune(tree: Tree, values: Mapping[str, Any]) -> None:
    """Set values in a tree, in place.

    Raises:
        InvalidValueError: If a name is unknown, with the nearest one there is.
    """
    found, faults = _settings(tree), Faults("Settings")
    for name, value in values.items():
        if name not in found:
            faults.add(InvalidValueError(unknown_name("setting", name, found)))
            continue
        for setter in found[name].setters:
            setter(value)
    faults.raise_if_any()


def _settings(tree: Tree) -> dict[str, _Setting]:
    found: dict[str, _Setting] = {}

    def note(name: str, value: Any, setter: Callable[[Any], None]) -> None:
        found.setdefault(name, _Setting(value)).setters.append(setter)

    for phase in _train_phases(tree["config"]["plan"]):
        note("n_epochs", phase["n_epochs"], _item_setter(phase, "n_epochs"))
        for binding in phase["input_sources"]:
            sampler = binding["sampler"]
            if "batch_size" in sampler:
                note("batch_size", sampler["batch_size"], _item_setter(sampler, "batch_size"))
    nodes = [entry for entry in tree["nodes"] if "model" in entry]
    for owner in [tree["graph"], *nodes]:
        if owner["optimizer"] is not None:
            for name, value in _optimizer_arguments(owner["optimizer"]):
                note(f"optimizer__{name}", value, _argument_setter(owner["optimizer"], "opt_kwargs", name))
    for entry in nodes:
        for name, value, setter in _model_arguments(entry["model"]):
            note(f"{entry['label']}__{name}", value, setter)
    return found


def _train_phases(plan: Tree) -> Iterator[dict[str, Any]]:
    for entry in plan["phases"]:
        if "phases" in entry:
            yield from _train_phases(entry)
        elif entry["$type"] == "TrainPhase":
            yield entry


def _item_setter(owner: dict[str, Any], key: str) -> Callable[[Any], None]:
    return lambda value: owner.__setitem__(key, value)


def _argument_setter(owner: dict[str, Any], key: str, name: str) -> Callable[[Any], None]:
    def setter(value: Any) -> None:
        owner[key] = {**(owner[key] or {}), name: value}

    return setter


def _optimizer_arguments(config: Tree) -> Iterator[tuple[str, Any]]:
    given, cls = config["opt_kwargs"] or {}, config["opt"]
    if isinstance(cls, str):
        cls = load(Backend.TORCH).optimizer_classes()[cls.lower().replace("_", "")]
    if isinstance(cls, type):
        yield from _arguments(cls, given, leaves_out=("params",))


def _model_arguments(config: dict[str, Any]) -> Iterator[tuple[str, Any, Callable[[Any], None]]]:
    kind = config["$type"]
    if kind == "ScikitModelWrapper":
        estimator = config["model"]
        for name, value in estimator.get_params().items():
            yield name, value, _parameter_setter(estimator, name)
    elif kind == "TorchModelWrapper":
        described = config["model"]
        if isinstance(described, Mapping):
            for name, value in described.get("arguments", {}).items():  # containers have children alone
                yield name, value, _argument_setter(described, "arguments", name)  # type: ignore[arg-type]
        elif config["model_class"] is not None:
            for name, value in _arguments(config["model_class"], config["model_kwargs"] or {}):
                yield name, value, _argument_setter(config, "model_kwargs", name)
    else:
        for name, value in config.items():
            if name not in ("$type", "input_shape", "output_shape"):
                yield name, value, _item_setter(config, name)


def _parameter_setter(estimator: Any, name: str) -> Callable[[Any], None]:
    return lambda value: estimator.set_params(**{name: value})


def _arguments(cls: type, given: Tree, leaves_out: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the arguments of a class by keyword, with the value that is given or their default."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in kinds and name not in leaves_out:
            yield name, given.get(name, None if parameter.default is parameter.empty else parameter.default)
