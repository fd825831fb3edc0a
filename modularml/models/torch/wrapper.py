"""Any `torch.nn.Module` as a model of a graph.

It knows no node; the module is used as it is, and called directly.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.models.model import (
    BaseModel,
    OutputShape,
    Shape,
    as_output_shape,
    as_shapes,
    is_several,
    same_values,
)
from modularml.models.torch.demands import axes_meant, first_demand
from modularml.models.torch.module import (
    changes_input,
    copy_of_lazy,
    depends_on_rank,
    dry_run,
    dry_run_any,
    initialize_lazy,
    is_lazy_module,
    mixes_samples,
    raised,
    set_weights_of,
    shapes_of,
    weights_of,
)
from modularml.models.torch.recipe import describe_module, make_module


class TorchModelWrapper(BaseModel):
    """Wraps a module, or a class of modules that is instantiated when the shapes are known.

    The rank that the module takes is found by trying: the input as it is, without the axis
    of a single key, without dimensions of length 1, flattened, and with a channel dimension
    in front.

    Args:
        model: A module.
        model_class: A class of modules, instead of `model`.
        model_kwargs: Arguments for `model_class`.
        inject_input_shape_as: The argument of `model_class` that gets the input shape, if it has it.
        inject_output_shape_as: The argument that gets the output shape, if it has it.
        output: Which one of its outputs a module that returns several passes on: a key of a dict, or the
            position in a tuple. None passes on all of them, each by its name: the key of a dict, the
            field of a named tuple, the position in a tuple (``"0"``, ``"1"``); of torch's own recurrent
            modules the first.
        input_names: The arguments of ``forward()`` that several inputs go to, in their order; None hands
            them over by position.

    Raises:
        InvalidTypeError: If what is given is no module and no class of modules.
        InvalidValueError: If both or neither of `model` and `model_class` are given.
    """

    backend = "torch"
    _fixed = (
        "model",
        "model_class",
        "model_kwargs",
        "inject_input_shape_as",
        "inject_output_shape_as",
        "output",
        "input_names",
    )

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        model_class: type[nn.Module] | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        inject_input_shape_as: str = "input_shape",
        inject_output_shape_as: str = "output_shape",
        output: str | int | None = None,
        input_names: Sequence[str] | None = None,
    ) -> None:
        if (model is None) == (model_class is None):
            raise InvalidValueError("A TorchModelWrapper needs either a model or a model_class.")
        if model is not None and not isinstance(model, nn.Module):
            raise InvalidTypeError(
                f"model must be a torch.nn.Module, got {model!r} ({type(model).__name__})."
            )
        if model_class is not None and not (
            isinstance(model_class, type) and issubclass(model_class, nn.Module)
        ):
            raise InvalidTypeError(f"model_class must be a class of torch.nn.Module, got {model_class!r}.")
        if model is not None and model_kwargs:
            raise InvalidValueError("model_kwargs go with model_class; a model has its arguments already.")
        self.model = model
        self.model_class = model_class
        self.model_kwargs = dict(model_kwargs) if model_kwargs else None
        self.inject_input_shape_as = inject_input_shape_as
        self.inject_output_shape_as = inject_output_shape_as
        self.output = output
        self.input_names = None if input_names is None else list(input_names)
        self.input_shape = self.output_shape = None
        self._wrapped = model
        self._module = model

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; a module as the class and arguments it can be made of.

        Raises:
            InvalidValueError: If the module cannot be made again from its attributes.
        """
        described = None if self.model is None else describe_module(self.model)
        return {**super().get_config(), "model": described}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a wrapper from what `get_config` returned; a module gets new weights."""
        described = config.get("model")
        made = make_module(described) if isinstance(described, Mapping) else described
        return super().from_config({**config, "model": made})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @property
    def takes_output_shape(self) -> bool:
        """Whether `build` can be asked for an output shape: a class, and no module that is made already."""
        return self.model is None

    @property
    def name(self) -> str:
        """The name of the wrapped class."""
        return (self.model_class or type(self.model)).__name__

    @property
    def module(self) -> nn.Module:
        """The module that computes: the wrapped one, after a reshape where it needs one.

        Raises:
            StateError: If a class was given that is not yet instantiated.
        """
        if self._module is None:
            self._require_built()
        assert self._module is not None
        return self._module

    @property
    def own_module(self) -> nn.Module:
        """The wrapped module.

        Raises:
            StateError: If a class was given that is not yet instantiated.
        """
        return self._existing()

    def build(
        self,
        input_shape: Sequence[int] | None = None,
        output_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
        *,
        force: bool = False,
        input_kinds: Sequence[str] | None = None,
    ) -> None:
        """Find the rank that the module takes and the shape that it returns.

        Args:
            input_shape: Shape of one input sample.
            output_shape: Shape wanted of one output sample: handed to a class that takes it,
                otherwise the module's own output counts.
            force: Instantiate a class anew, or go back to the weights a module came with.
            input_kinds: What comes on each of several inputs, ``"float"``, ``"int"`` or ``"bool"``. The
                module gets it so where it takes it: token ids as integers, masks as bools.

        Raises:
            InvalidValueError: If the module takes the input in no rank, with what was tried.
        """
        asked = as_shapes(input_shape, "input_shape") or self.input_shape
        if asked is None:
            raise InvalidValueError(f"{self.name} needs an input_shape to be built.")
        if self.is_built and not force:
            if self.input_shape is not None and not _same_inputs(asked, self.input_shape):
                raise InvalidValueError(
                    f"{self.name} is built for input_shape {self.input_shape}, not for {asked}; "
                    "build(..., force=True) builds it anew."
                )
            return
        if self.model is None:
            wanted = as_output_shape(output_shape, "output_shape") or self.output_shape
            # Outputs that have names are the module's own.
            self._wrapped = self._instantiate(asked, None if isinstance(wanted, Mapping) else wanted)
        elif self.is_built:
            self.reset_weights()
        assert self._wrapped is not None
        if is_several(asked):
            came = list(input_kinds or self.input_kinds or ["float"] * len(asked))
            self._module, self.output_shape, self.input_kinds, number = fit_ranks(
                self._wrapped, asked, self.input_names, self.output, came
            )
            self.changes_input = changes_input(self._module, asked, kinds=self.input_kinds, number=number)
            self.input_shape = asked
            self._built_with(self.get_weights())
            return
        picked = picking(self._wrapped, self.output)
        fitted = fit_rank(picked, asked)
        self._module, self.output_shape, self.takes_integers, self.plain_output_shape = fitted
        self.changes_input = changes_input(self._module, asked, integers=self.takes_integers)
        self.input_shape = asked
        self._built_with(self.get_weights())

    def _instantiate(self, input_shape: Shape, output_shape: Shape | None) -> nn.Module:
        assert self.model_class is not None
        kwargs = dict(self.model_kwargs or {})
        taken = inspect.signature(self.model_class).parameters
        injected = {self.inject_input_shape_as: input_shape, self.inject_output_shape_as: output_shape}
        kwargs.update({k: v for k, v in injected.items() if k in taken and k not in kwargs and v is not None})
        try:
            made = self.model_class(**kwargs)
        except TypeError as error:
            raise InvalidValueError(
                f"{self.name} cannot be made with {kwargs}: {error}. Hand over an object of the class, or "
                f"its arguments: TorchModelWrapper(model_class={self.name}, model_kwargs={{...}})."
            ) from error
        if isinstance(made, BaseModel):
            made.build(input_shape, output_shape)
        return made

    def forward(self, x: torch.Tensor) -> Any:
        """Return the module's outputs for a batch ``(n_samples, *input_shape)``."""
        return self.module(x)

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters and buffers by name.

        Raises:
            StateError: If the module does not exist yet.
        """
        return weights_of(self._existing())

    def _weight_shapes(self) -> dict[str, Shape]:
        return shapes_of(self._existing())

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Copy `weights` into the parameters and buffers.

        Raises:
            InvalidValueError: If names or shapes are not those of the module; all are told.
            StateError: If the module does not exist yet.
        """
        set_weights_of(self._existing(), weights, where=self.name)

    def get_state(self) -> dict[str, Any]:
        """Return shapes and copies of all weights; of several inputs also what each is handed over as."""
        state = super().get_state()
        return state if self.input_kinds is None else {**state, "input_kinds": list(self.input_kinds)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `get_state` returned; builds the model where needed, or unbuilds it."""
        self.input_kinds = state.get("input_kinds")
        super().set_state(state)

    def check_made_again(self) -> None:
        """Refuse to be written where a class would make other layers; a module is described as it is."""
        if self.model is None:
            super().check_made_again()

    def _existing(self) -> nn.Module:
        if self._wrapped is None:
            self._require_built()
        assert self._wrapped is not None
        return self._wrapped


class Reshaped(nn.Module):
    """A module whose input samples are brought into another shape first.

    Args:
        module: The module.
        shape: The shape of one sample that it takes.
    """

    def __init__(self, module: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.module = module
        self.shape = shape

    def forward(self, x: torch.Tensor) -> Any:
        """Return the module's outputs for the reshaped batch."""
        return self.module(x.reshape(x.shape[0], *self.shape))


class Spread(nn.Module):
    """A module that is handed several inputs as one list.

    Args:
        module: The module.
        shapes: The shape of one sample of each input that it takes.
        names: The arguments that they go to; None: by position.
    """

    def __init__(self, module: nn.Module, shapes: Sequence[Shape], names: Sequence[str] | None) -> None:
        super().__init__()
        self.module = module
        self.shapes = list(shapes)
        self.names = names

    def forward(self, inputs: Sequence[torch.Tensor]) -> Any:
        """Return the module's outputs for a batch of each input."""
        shaped = [x.reshape(x.shape[0], *shape) for x, shape in zip(inputs, self.shapes, strict=True)]
        if self.names is None:
            return self.module(*shaped)
        return self.module(**dict(zip(self.names, shaped, strict=True)))


def fit_ranks(
    module: nn.Module,
    shapes: Sequence[Any],
    names: Sequence[str] | None,
    output: str | int | None,
    came: Sequence[str],
) -> tuple[nn.Module, OutputShape, list[str], int]:
    """Return a module that takes a list of inputs of these shapes, and how.

    They are tried without the axis of a single key first, as whoever writes a module means samples, and
    as what they came, before some of them are taken for floats or integers. One value a sample is handed
    over as ``(n, 1)`` unless the module refuses it, or mixes samples by it, and takes it as ``(n,)``.

    Returns:
        The module, its output shape, what each input is, and the integer that it takes: lengths of
        sequences may not be 0, the tokens of the smallest vocabulary must be.

    Raises:
        InvalidValueError: If the module takes them neither so nor as they are, in its own words.
    """
    if is_lazy_module(module):
        fitted, _, kinds, number = _fit_ranks(copy_of_lazy(module), shapes, names, output, came)
        spread = fitted.module if isinstance(fitted, Picked) else fitted
        assert isinstance(spread, Spread)
        initialize_lazy(Spread(module, spread.shapes, names), tuple(shapes), kinds=kinds, number=number)
    return _fit_ranks(module, shapes, names, output, came)


def _fit_ranks(
    module: nn.Module,
    shapes: Sequence[Any],
    names: Sequence[str] | None,
    output: str | int | None,
    came: Sequence[str],
) -> tuple[nn.Module, OutputShape, list[str], int]:
    bare = [shape[1:] if len(shape) > 1 and shape[0] == 1 else shape for shape in shapes]
    numbers = [() if shape == (1,) else shape for shape in bare]
    ranks = [bare, list(shapes), *([numbers] if numbers != bare else [])]
    first: Exception | None = None
    for number, kinds in itertools.product((1, 0), _kinds_to_try(came)):
        if number == 0 and "int" not in kinds:
            continue
        found: list[tuple[nn.Module, OutputShape]] = []
        for tried in ranks:
            fitted = picking(Spread(module, tried, names), output)
            try:
                found.append((fitted, dry_run(fitted, tuple(shapes), kinds=kinds, number=number)))
            except Exception as error:  # of a forward() that is the user's own
                if isinstance(error, InvalidTypeError):
                    raise
                first = first or error
                continue
            outputs = list(found[-1][1]) if isinstance(found[-1][1], Mapping) else ()
            if numbers == bare or not mixes_samples(
                fitted, shapes, kinds=kinds, number=number, names=outputs
            ):
                return *found[-1], kinds, number
        if found:
            return *found[0], kinds, number
    assert first is not None
    raise InvalidValueError(raised(module, tuple(bare), first)) from first


def _make_lazy(module: nn.Module, shapes: Iterable[Shape]) -> None:
    """Give lazy layers the sizes for samples of the first of some shapes that the module takes as such."""
    for shape in shapes:
        tried = copy_of_lazy(module)  # what fails has given sizes to some of its layers
        with suppress(Exception):  # of a forward() that is the user's own; the look that follows tells it
            output_shape, integers = dry_run_any(tried, shape)
            names = list(output_shape) if isinstance(output_shape, Mapping) else ()
            if not mixes_samples(tried, shape, integers=integers, names=names):
                initialize_lazy(module, shape, integers=integers)
                return


_OTHERS = {"float": ("float", "int"), "int": ("int", "float"), "bool": ("bool", "float", "int")}
"""What an input of each kind may be handed over as, the nearest first."""

_MAX_TRIED = 32
"""How many ways to hand inputs over are tried."""


def _kinds_to_try(came: Sequence[str]) -> list[list[str]]:
    """Return what inputs may be handed over as: as they came, then with one of them as something else ..."""
    ways = itertools.islice(itertools.product(*(_OTHERS[kind] for kind in came)), _MAX_TRIED**2)
    differ = sorted(map(list, ways), key=lambda way: sum(map(str.__ne__, way, came)))
    return differ[:_MAX_TRIED]


def _same_inputs(left: Any, right: Any) -> bool:
    if is_several(left) != is_several(right):
        return False
    return all(map(same_values, left, right)) if is_several(left) else same_values(left, right)


class Picked(nn.Module):
    """A module of whose outputs one is passed on.

    Args:
        module: The module.
        output: The key of the output, or its position.
    """

    def __init__(self, module: nn.Module, output: str | int) -> None:
        super().__init__()
        self.module = module
        self.output = output

    def forward(self, x: Any) -> torch.Tensor:
        """Return the one output."""
        outputs: torch.Tensor = self.module(x)[self.output]
        return outputs


def picking(module: nn.Module, output: str | int | None) -> nn.Module:
    """Return a module that passes on one output, where it is known which."""
    if output is None and isinstance(module, nn.RNNBase):
        output = 0
    return module if output is None else Picked(module, output)


def fit_rank(
    module: nn.Module, input_shape: Shape
) -> tuple[nn.Module, OutputShape, bool, OutputShape | None]:
    """Return a module that takes samples of `input_shape`, and what it makes of them.

    The axis of a single key is left out where that makes a difference: whoever writes a
    module for samples of ten values means ``(n, 10)``, and a softmax over its dimension 1
    would otherwise be one over a single key.

    Returns:
        The module, its output shape, whether it takes integers, and the output shape for samples without
        that axis, where it takes those as well.

    Raises:
        InvalidValueError: If no reshaping of the input suits the module.
    """
    squeezed = tuple(n for n in input_shape if n != 1)
    flat = (math.prod(input_shape),)
    tried: dict[Shape, Exception] = {}
    bare = input_shape[1:] if len(input_shape) > 1 and input_shape[0] == 1 else input_shape
    found: dict[Shape, OutputShape] = {}
    names: Sequence[str] = ()
    integers, plain = False, None
    shapes = tuple(dict.fromkeys((input_shape, bare, squeezed, flat, (1, *input_shape), (1, *squeezed))))
    if is_lazy_module(module):
        _make_lazy(module, dict.fromkeys((bare, *shapes)))
    for shape in shapes:
        if found and shape != bare:
            break
        try:
            output_shape, integers = dry_run_any(module, shape)
            names = list(output_shape) if isinstance(output_shape, Mapping) else ()
            if shape != input_shape and mixes_samples(module, shape, integers=integers, names=names):
                raise InvalidValueError("its outputs mix the samples of a batch")
        except InvalidTypeError:
            raise
        except Exception as error:  # also of a forward() that is the user's own
            if isinstance(error, InvalidValueError) and shape == input_shape == bare:
                raise
            tried[shape] = error
            continue
        found[shape] = output_shape
    if len(found) == 2 and not depends_on_rank(module, input_shape, bare, integers=integers, names=names):
        plain = found.pop(bare)
    if found:
        shape, output_shape = found.popitem()
        return (module if shape == input_shape else Reshaped(module, shape)), output_shape, integers, plain
    first = next(iter(tried.values()))
    told = {(type(error), str(error)) for error in tried.values()}
    if not isinstance(first, _OF_SHAPES) or (len(told) == 1 and type(first) is not RuntimeError):
        raise InvalidValueError(raised(module, input_shape, first)) from first
    listed = "\n".join(f"  - as (n, {', '.join(map(str, s))}): {_said(error)}" for s, error in tried.items())
    named = type(module.module if isinstance(module, Picked) else module).__name__
    raise InvalidValueError(
        f"{named} does not take samples of shape {input_shape} ({flat[0]} values each)"
        f"{first_demand(module)}.{axes_meant(module, input_shape)} Tried:\n{listed}"
    ) from first


_OF_SHAPES = (RuntimeError, ValueError, IndexError, AssertionError)
"""What modules raise for a batch of another shape than they take."""


def _said(error: Exception) -> str:
    kind = "" if type(error) in (RuntimeError, InvalidValueError) else f"{type(error).__name__}: "
    return kind + str(error).partition("\n")[0]
