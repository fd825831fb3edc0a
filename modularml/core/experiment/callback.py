"""The two callback bases: what a user's code may hook into, and when.

They know no runner. A hook takes keywords, does nothing by default, and costs
nothing where it is not overridden.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from modularml.base.config import Configurable
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    UnknownNameError,
    check_label,
    unknown_name,
    warn,
)
from modularml.base.registry import Registry
from modularml.display.card import Shown

callback_registry: Registry[type[_Hooked]] = Registry("callback")
"""The callbacks of this package, those of phases and of experiments, by the names of their classes."""


class _Hooked(Shown, Configurable):
    """A callback's name, its order, and which of its hooks are overridden."""

    hooks: ClassVar[tuple[str, ...]] = ()

    # Also for the many subclasses whose constructor forgets this one.
    label: str
    execution_order: int = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.label = cls.__name__
        if cls.__module__.startswith("modularml.callbacks."):
            callback_registry.register(cls)

    def __init__(self, label: str | None = None, execution_order: int = 0) -> None:
        self.label = check_label(type(self).__name__ if label is None else label, "callback")
        if isinstance(execution_order, bool) or not isinstance(execution_order, int):
            raise InvalidTypeError(
                f"Callback {self.label!r}: execution_order must be an int, got {execution_order!r}."
            )
        self.execution_order = execution_order

    @classmethod
    def listens(cls, hook: str) -> bool:
        """Tell whether this class does anything in that hook."""
        base = next(c for c in cls.__mro__ if hook in vars(c))
        return base not in (Callback, ExperimentCallback)

    def get_state(self) -> dict[str, Any]:
        """What the callback must remember to go on after a restore; nothing by default."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned."""


class Callback(_Hooked):
    """Hooks within a phase; subclass it and override what you need.

    Args:
        label: Its name in results; default: the name of its class.
        execution_order: Lower ones are called first.
    """

    hooks = (
        "on_phase_start",
        "on_epoch_start",
        "on_batch_start",
        "on_batch_end",
        "on_epoch_end",
        "on_phase_end",
        "on_exception",
    )

    def on_phase_start(self, *, experiment: Any, phase: Any, results: Any) -> Any:
        """Before the first epoch of a phase."""

    def on_epoch_start(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> Any:
        """Before the first batch of an epoch."""

    def on_batch_start(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> Any:
        """Before a batch."""

    def on_batch_end(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> Any:
        """After a batch and its update."""

    def on_epoch_end(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> Any:
        """After the last batch of an epoch."""

    def on_phase_end(self, *, experiment: Any, phase: Any, results: Any) -> Any:
        """After the last epoch of a phase, also of one that was stopped."""

    def on_exception(
        self, *, experiment: Any, phase: Any, exec_ctx: Any, exception: BaseException, results: Any
    ) -> Any:
        """When the phase ends by an exception, which is raised again afterwards."""


class ExperimentCallback(_Hooked):
    """Hooks at the boundaries of phases, groups and the whole plan.

    Args:
        label: Its name; default: the name of its class.
        execution_order: Lower ones are called first.
    """

    hooks = (
        "on_experiment_start",
        "on_experiment_end",
        "on_phase_start",
        "on_phase_end",
        "on_group_start",
        "on_group_end",
        "on_exception",
    )

    def on_experiment_start(self, *, experiment: Any) -> None:
        """Before the execution plan begins."""

    def on_experiment_end(self, *, experiment: Any) -> None:
        """After the execution plan completes, or is stopped."""

    def on_phase_start(self, *, experiment: Any, phase: Any) -> None:
        """Before each phase."""

    def on_phase_end(self, *, experiment: Any, phase: Any) -> None:
        """After each phase."""

    def on_group_start(self, *, experiment: Any, group: Any) -> None:
        """Before each group."""

    def on_group_end(self, *, experiment: Any, group: Any) -> None:
        """After each group."""

    def on_exception(self, *, experiment: Any, phase: Any = None, exception: BaseException) -> None:
        """On an exception, which is raised again afterwards."""


def check_callbacks(callbacks: Any, kind: type[_Hooked], where: str) -> list[Any]:
    """Return `callbacks` as a list in order of execution.

    Raises:
        InvalidTypeError: If one of them is no callback of that kind, or they are no list.
        InvalidValueError: If one has a method ``on_...`` that is no hook, so that nobody would call it.
    """
    if callbacks is not None and not isinstance(callbacks, Sequence):
        raise InvalidTypeError(f"{where}: callbacks must be a list of {kind.__name__}, got {callbacks!r}.")
    found, faults = list(callbacks or []), Faults(where)
    for callback in found:
        if not isinstance(callback, kind):
            got = f"{callback!r} ({type(callback).__name__})"
            faults.add(InvalidTypeError(f"callbacks must be of class {kind.__name__}, got {got}."))
            continue
        for name in dir(type(callback)):
            if name.startswith("on_") and name not in kind.hooks:
                faults.add(unknown_name("hook", name, kind.hooks, where=f"callback {callback.label!r}"))
        for hook in filter(callback.listens, kind.hooks):
            faults.attempt(_check_arguments, callback, hook, getattr(kind, hook))
    faults.raise_if_any()
    _tell_shared_metrics(found, where)
    return sorted(found, key=lambda callback: callback.execution_order)


def _tell_shared_metrics(callbacks: Sequence[Any], where: str) -> None:
    """Warn of a metric that two callbacks log: of each epoch the later value would stay alone."""
    logged: dict[str, Any] = {}
    for callback in callbacks:
        names = getattr(callback, "metric_names", ())
        shared = [name for name in names if logged.setdefault(name, callback) is not callback]
        if shared:
            warn(
                f"{where}: two callbacks, {logged[shared[0]].label!r} and {callback.label!r}, log the metric "
                f"{shared[0]!r}, and the later value stays. Evaluation(prefix='test_') gives other names."
            )


def _check_arguments(callback: Any, hook: str, base: Callable[..., Any]) -> None:
    """Raise InvalidTypeError if a hook does not take what it is called with."""
    given = [p.name for p in inspect.signature(base).parameters.values() if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.signature(getattr(callback, hook)).bind(**dict.fromkeys(given))
    except TypeError as error:
        named = ", ".join(f"{name}=" for name in given)
        raise InvalidTypeError(
            f"{hook}() of callback {callback.label!r} is called with {named}, and {error}."
        ) from error


def without_callback(callbacks: Sequence[Any], callback: Any, where: str) -> list[Any]:
    """Return `callbacks` without one of them, which is meant by itself or its label.

    Raises:
        UnknownNameError: If it is not among them.
    """
    kept = [known for known in callbacks if known is not callback and known.label != callback]
    if len(kept) == len(callbacks):
        labels = [known.label for known in callbacks]
        raise UnknownNameError(
            unknown_name("callback", getattr(callback, "label", callback), labels, where=where)
        )
    return kept
