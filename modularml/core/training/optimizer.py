"""Optimizers: torch's, by name, ready before there are parameters.

They know no node and no graph: `build` takes named parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

from modularml.backends.backend import Backend, load
from modularml.base.config import Configurable, argument_names
from modularml.base.errors import InvalidTypeError, OptimizerError, StateError, unknown_name
from modularml.core.training.schedule import Schedule, as_schedule
from modularml.display.card import Shown
from modularml.io.objects import load_object, save_object

FEW_VALUES = 2**16
"""Below so many parameters an update on one thread is the fastest, and lists of them take its time."""


class Optimizer(Shown, Configurable):
    """One of torch's optimizers by name or class, built when the parameters are known.

    Args:
        opt: The lower-cased name of a torch optimizer (``"adam"``, ``"sgd"``), or a class.
        opt_kwargs: Its arguments, e.g. ``{"lr": 1e-3}``. Torch's fused update is used where
            it exists unless ``fused`` or ``foreach`` is among them.
        factory: A function ``(parameters) -> torch.optim.Optimizer``, instead of `opt`. One whose argument
            is called ``named_parameters`` is given pairs of ``"<node>.<name>"`` and a parameter (of a
            node's own optimizer, ``"<name>"``), for parts of a graph that learn at rates of their own.
        backend: The library that it belongs to; optimizers are torch's.
        schedule: How its learning rate changes: a `Schedule`, or the name, the class or a
            function ``(optimizer) -> scheduler`` of one that moves on after each epoch.

    Raises:
        OptimizerError: If the name or an argument is unknown (with the nearest match),
            or a value is not allowed.

    Example:
        >>> def slow_body(named_parameters):
        ...     body = [p for name, p in named_parameters if name.startswith("body.")]
        ...     head = [p for name, p in named_parameters if not name.startswith("body.")]
        ...     slow = {"params": body, "lr": 1e-4, "name": "body"}
        ...     return torch.optim.Adam([slow, {"params": head, "name": "head"}], lr=1e-2)
        >>> Optimizer(factory=slow_body, schedule="linear")  # recorded as "lr/body" and "lr/head"
    """

    _fixed = ("opt", "opt_kwargs", "factory", "backend")

    def __init__(
        self,
        opt: str | type | None = None,
        *,
        opt_kwargs: Mapping[str, Any] | None = None,
        factory: Callable[..., Any] | None = None,
        backend: str | None = None,
        schedule: Schedule | str | Callable[..., Any] | None = None,
    ) -> None:
        if (opt is None) == (factory is None):
            raise OptimizerError("An Optimizer needs either opt (a name or a class) or a factory.")
        _check_backend(backend)
        if factory is not None and opt_kwargs:
            raise OptimizerError("opt_kwargs go with opt; a factory passes its arguments itself.")
        self.opt = opt
        self.opt_kwargs = dict(opt_kwargs) if opt_kwargs else None
        self.factory = factory
        self.backend = str(Backend.TORCH)
        self._schedule = None if schedule is None else as_schedule(schedule)
        self._scheduler: Any = None
        self._names: tuple[str, ...] = ()
        self._parameters: tuple[Any, ...] = ()
        self._optimizer: Any = None
        self._scaler: Any = None
        self._scales_on = "cpu"
        self._is_sparse = False
        self._loaded: Mapping[str, Any] | None = None
        self._step: Callable[[Any], None] | None = None
        self._make: Callable[..., Any] = factory if factory is not None else self._find_class()

    @classmethod
    def from_factory(cls, factory: Callable[..., Any], *, backend: str | None = None) -> Self:
        """Return an optimizer that ``factory(parameters)`` makes."""
        return cls(factory=factory, backend=backend)

    def _find_class(self) -> type:
        torch = load(self.backend)
        classes = torch.optimizer_classes()
        found: Any = self.opt
        if isinstance(found, str):
            found = classes.get(found.lower().replace("_", ""))
            if found is None:
                raise OptimizerError(unknown_name("optimizer", self.opt, classes))
        if not isinstance(found, type) or not (hasattr(found, "step") and hasattr(found, "zero_grad")):
            raise InvalidTypeError(
                f'opt must be a name ("adam") or the class of an optimizer (torch.optim.Adam), got '
                f"{_told(found)}."
            )
        torch.check_optimizer_arguments(found, self.opt_kwargs or {})
        return found

    @property
    def name(self) -> str:
        """The lower-cased name of the optimizer."""
        return str(getattr(self._make, "__name__", type(self._make).__name__)).lower()

    @property
    def schedule(self) -> Schedule | None:
        """How its learning rate changes; a new one counts from the next phase on."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule | str | Callable[..., Any] | None) -> None:
        self._schedule = None if schedule is None else as_schedule(schedule)
        self._scheduler = None
        if self._schedule is not None and self.is_built:
            self._scheduler = self._schedule.build(self._optimizer)

    @property
    def is_built(self) -> bool:
        """Whether it has parameters to update."""
        return self._optimizer is not None

    @property
    def optimizer(self) -> Any:
        """The `torch.optim.Optimizer`.

        Raises:
            StateError: If it is not built.
        """
        if not self.is_built:
            self._refuse()
        return self._optimizer

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of the optimizer's groups."""
        return self._names

    def build(
        self,
        parameters: Mapping[str, Any] | Iterable[tuple[str, Any] | Any],
        *,
        backend: str | Backend | None = None,
        force_rebuild: bool = False,
        sparse: bool = False,
    ) -> None:
        """Make the torch optimizer for these parameters.

        Built again with the same parameters it stays as it is; with others it is made anew,
        and parameters that stay keep their state (moments, steps).

        Args:
            parameters: Name -> parameter, pairs as from ``module.named_parameters()``, or parameters as from
                ``module.parameters()``, which are called by their place then.
                A parameter under several names counts once, under the first.
            backend: The library that they belong to; torch.
            force_rebuild: Start without any state.
            sparse: Whether some gradients are sparse, which torch's fused updates do not take.

        Raises:
            OptimizerError: If there are none, torch refuses them, or they belong to another library.
        """
        _check_backend(backend)
        named: dict[Any, str] = {}
        for place, one in enumerate(parameters.items() if isinstance(parameters, Mapping) else parameters):
            name, parameter = one if isinstance(one, tuple) else (str(place), one)
            named.setdefault(parameter, name)
        if not named:
            raise OptimizerError(f"Optimizer {self.name!r} got no parameters: nothing here can be trained.")
        same = len(named) == len(self._parameters) and all(p in named for p in self._parameters)
        if force_rebuild:
            self._scaler = None
        if self.is_built and same and not force_rebuild:
            self._names = tuple(named[p] for p in self._parameters)
            return
        torch = load(self.backend)
        self._is_sparse = sparse
        takes_names = self.factory is not None and "named_parameters" in argument_names(self.factory)
        make = self._made_of_names(named) if takes_names else self._make
        made = torch.build_optimizer(make, self.opt_kwargs or {}, list(named), fuses=not sparse)
        self._check_own(made, named)
        scheduler = None if self.schedule is None else self.schedule.build(made)
        if self.is_built and not force_rebuild:
            made.state.update({p: kept for p, kept in self._optimizer.state.items() if p in named})
            for group, before in zip(made.param_groups, self._optimizer.param_groups, strict=False):
                group.update({key: value for key, value in before.items() if key != "params"})
            if scheduler is not None:
                torch.schedules.set_schedule_state(scheduler, torch.schedules.schedule_state(self._scheduler))
        self._optimizer, self._scheduler = made, scheduler
        self._parameters = tuple(p for group in made.param_groups for p in group["params"])
        self._names = tuple(named[p] for p in self._parameters)
        of_few = sum(p.numel() for p in self._parameters) < FEW_VALUES
        self._step = torch.fast_step(type(made), of_few=of_few)
        loaded, self._loaded = self._loaded, None
        if loaded is not None and not force_rebuild:
            self.set_state(loaded)

    def _made_of_names(self, named: Mapping[Any, str]) -> Callable[[Any], Any]:
        pairs = [(name, parameter) for parameter, name in named.items()]

        def make(_: Any) -> Any:
            return self._make(pairs)

        make.__name__ = self.name
        return make

    def _check_own(self, made: Any, named: Mapping[Any, str]) -> None:
        foreign = sum(p not in named for group in made.param_groups for p in group["params"])
        if foreign:
            raise OptimizerError(
                f"The factory of optimizer {self.name!r} took {foreign} parameters from elsewhere; it is to "
                "take those that it is given. An argument called named_parameters gets them with their "
                "names, which begin with the node's."
            )

    def _refuse(self) -> NoReturn:
        raise StateError(f"Optimizer {self.name!r} has no parameters yet: build() comes first.")

    def step(self) -> None:
        """Update the parameters by their ``.grad``.

        Raises:
            StateError: If it is not built.
        """
        if self._step is None:
            self._refuse()
        self._step(self._optimizer)

    def zero_grad(self) -> None:
        """Forget the gradients: each ``.grad`` becomes None."""
        for parameter in self._parameters:
            parameter.grad = None

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The parameters, in the order of the optimizer's groups."""
        return self._parameters

    def follow_parameters(self) -> None:
        """Bring moments to the devices that the parameters have come to."""
        if self.is_built:
            load(self.backend).follow_parameters(
                self._optimizer, self._make, self.opt_kwargs or {}, fuses=not self._is_sparse
            )

    def scaler_on(self, device: str) -> Any:
        """Return the `torch.amp.GradScaler` of its losses in fp16, whose scale goes on from phase to phase.

        Args:
            device: The type of the device that they are on.
        """
        if self._scaler is None or self._scales_on != device:
            self._scaler, self._scales_on = load(self.backend).grad_scaler(device, self._scaler), device
        return self._scaler

    @property
    def rate(self) -> float:
        """The present learning rate, of its first group of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def move_on(self, value: float | None = None) -> None:
        """Set the learning rate to the next one of its schedule.

        Args:
            value: The metric, for a schedule that needs one.

        Raises:
            StateError: If it has no schedule, or is not built.
            OptimizerError: If the schedule is over; it goes on over phases and runs.
        """
        if self._scheduler is None:
            raise StateError(f"Optimizer {self.name!r} has no schedule, or is not built.")
        try:
            load(self.backend).schedules.move_on(self._scheduler, value)
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise OptimizerError(
                f"{self.schedule!r} of optimizer {self.name!r} cannot go on: {reason}. It goes on where the "
                "phase before left it; give it more steps, or begin again: exp.run(fresh=True)."
            ) from error

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the optimizer, with its moments if it is built, to a ``.op.mml`` file and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
        """
        state = self.get_state() if self.is_built else self._loaded
        return save_object(filepath, "optimizer", self, state, overwrite=overwrite)

    @classmethod
    def load(cls, filepath: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Self:
        """Read an optimizer from a file; no code of the file is run.

        It takes its moments when it is built, for parameters of the same names.

        Args:
            filepath: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If the file is damaged, of another kind or newer.
            FileNotFoundError: If it is not there.
        """
        optimizer, state = load_object(filepath, "optimizer", cls, symbols=symbols)
        optimizer._loaded = state
        return optimizer

    def get_state(self) -> dict[str, Any]:
        """Return groups, moments, schedule and scale of losses as plain values and arrays, by parameter name.

        Raises:
            StateError: If it is not built.
        """
        torch = load(self.backend)
        state: dict[str, Any] = torch.optimizer_state(self.optimizer, self._names)
        if self._scheduler is not None:
            state["schedule"] = torch.schedules.schedule_state(self._scheduler)
        if self._scaler is not None:
            state["scaler"] = self._scaler.state_dict()
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `get_state` returned; parameters are matched by name.

        Raises:
            StateError: If it is not built.
            OptimizerError: If the state belongs to other parameters or shapes.
        """
        torch = load(self.backend)
        torch.set_optimizer_state(self.optimizer, self._names, state)
        if self._scheduler is not None and "schedule" in state:
            torch.schedules.set_schedule_state(self._scheduler, state["schedule"])
        if self._scaler is not None or "scaler" in state:
            # In place: a phase that runs holds it.
            scaler = self.scaler_on(self._scales_on)
            scaler.load_state_dict(state.get("scaler", torch.grad_scaler("cpu").state_dict()))


def as_optimizer(value: Any) -> Optimizer:
    """Return the optimizer that is meant by it, its name, its class, or a function of parameters.

    Args:
        value: An `Optimizer`, a name (``"adam"``), a class (``torch.optim.Adam``), one with
            arguments (``functools.partial(torch.optim.Adam, lr=1e-2)``), or a function
            ``(parameters) -> torch.optim.Optimizer``.

    Raises:
        OptimizerError: If the name or an argument is unknown, with the nearest match.
        InvalidTypeError: If it is nothing of these.
    """
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, str | type):
        return Optimizer(value)
    if isinstance(value, functools.partial) and isinstance(value.func, type) and not value.args:
        return Optimizer(value.func, opt_kwargs=value.keywords)
    if callable(value) and not hasattr(value, "param_groups"):
        return Optimizer.from_factory(value)
    raise InvalidTypeError(
        'An optimizer is an Optimizer, its name ("adam"), its class (torch.optim.Adam) or '
        f"functools.partial(torch.optim.Adam, lr=1e-3), got {_told(value)}."
    )


def _check_backend(backend: str | Backend | None) -> None:
    if Backend.from_value(backend or Backend.TORCH) is not Backend.TORCH:
        raise OptimizerError(f"Optimizers belong to the backend 'torch', got {str(backend)!r}.")


def _told(value: Any) -> str:
    if hasattr(value, "param_groups"):
        return f"an {type(value).__name__} of parameters; those are the graph's to hand over"
    return f"{value!r} ({type(value).__name__})"
