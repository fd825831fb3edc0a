"""The base of torch models that build themselves when their shapes are known.

It knows no node and no training; `weights` here are all tensors of a module's state.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from modularml.backends.torch import as_tensor, copied_array, dtype_of, untouched_rng
from modularml.backends.torch_modules import first_floating, modes_kept
from modularml.base.config import to_config
from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError, ModularMLError, unknown_name
from modularml.models.model import (
    BaseModel,
    OutputShape,
    Shape,
    as_output_shape,
    as_shape,
    is_several,
    same_values,
)
from modularml.models.torch.outputs import named, per_sample, side_by_side

N_TRIED = 2
"""How many samples a module is tried with."""


class TorchBaseModel(nn.Module, BaseModel):
    """A torch module that learns its shapes from the graph.

    A subclass hands all its constructor arguments on and makes its layers in
    `build_layers`::

        class Net(TorchBaseModel):
            def __init__(self, *, input_shape=None, output_shape=None, width=8):
                super().__init__(input_shape=input_shape, output_shape=output_shape, width=width)

            def build_layers(self, input_shape, output_shape):
                self.layer = nn.Linear(input_shape[-1], self.init_args["width"])

            def forward(self, x):
                return self.layer(x)

    Layers may as well be made in the constructor; `build` then only infers the shapes. A subclass may
    have a `build` of its own instead, and properties for its shapes; it is called where layers are made.

    Args:
        **init_args: The arguments of the subclass's constructor, which are its configuration.
    """

    backend = "torch"

    def __init__(self, **init_args: Any) -> None:
        super().__init__()
        self.init_args = init_args
        shapes = [as_shape(init_args.get(name), name) for name in ("input_shape", "output_shape")]
        self._take_shapes(*shapes)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _whole(cls.build)  # type: ignore[method-assign]

    @property
    def own_output_shape(self) -> Shape | None:
        """The output shape that the model was told to have when it was made; None leaves it open."""
        return as_shape(self.init_args.get("output_shape"), "output_shape")

    @property
    def module(self) -> nn.Module:
        """The module that computes: this one."""
        return self

    @property
    def own_module(self) -> nn.Module:
        """The module that weights are of: this one."""
        return self

    def build(
        self,
        input_shape: Sequence[int] | None = None,
        output_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
        *,
        force: bool = False,
    ) -> None:
        """Make the layers for samples of a shape.

        Shapes given to the constructor must agree with those given here.

        Args:
            input_shape: Shape of one input sample.
            output_shape: Shape wanted of one output sample.
            force: Build again, with new weights, if it is built.

        Raises:
            InvalidValueError: If the input shape is unknown, or shapes disagree.
        """
        asked_input = as_shape(input_shape, "input_shape")
        asked_output = as_output_shape(output_shape, "output_shape")
        self._check_agreement(asked_input, asked_output, rebuild=force or not self.is_built)
        if self.is_built and not force:
            return
        known_input = self.init_args.get("input_shape") or asked_input or self.input_shape
        known_output = self.init_args.get("output_shape") or asked_output or self.output_shape
        if known_input is None:
            raise InvalidValueError(f"{type(self).__name__} needs an input_shape to be built.")
        built_input = as_shape(known_input, "input_shape")
        assert built_input is not None
        # Outputs that have names are the module's own.
        wanted = None if isinstance(known_output, Mapping) else as_shape(known_output, "output_shape")
        self.build_layers(built_input, wanted)
        self._learn_shapes(built_input)

    def _learn_shapes(self, input_shape: Shape) -> None:
        """Find out what the layers that are there make of samples of a shape."""
        try:
            if is_lazy_module(self):
                initialize_lazy(self, input_shape)
            made, self.takes_integers = dry_run_any(self, input_shape)
        except ModularMLError:
            raise
        except Exception as error:  # of a forward() that is the user's own
            raise InvalidValueError(raised(self, input_shape, error)) from error
        self._take_shapes(input_shape, made)
        self.changes_input = changes_input(self, input_shape, integers=self.takes_integers)
        self._built_with(self.get_weights())

    def _check_agreement(
        self, given_input: Shape | None, given_output: OutputShape | None, *, rebuild: bool
    ) -> None:
        faults = Faults(type(self).__name__)
        for name, given in (("input_shape", given_input), ("output_shape", given_output)):
            own = as_shape(self.init_args.get(name), name) if rebuild else getattr(self, name)
            if isinstance(own, Mapping) or isinstance(given, Mapping):
                continue  # outputs that have names are the module's own
            if own is not None and given is not None and not same_values(own, given):
                hint = "" if rebuild else "; build(..., force=True) builds it anew"
                faults.add(f"its {name} is {own}, it cannot be built for {given}{hint}")
        faults.raise_if_any()

    def build_layers(self, input_shape: Shape, output_shape: Shape | None) -> None:
        """Make the layers; the place for a subclass to do so.

        Args:
            input_shape: Shape of one input sample.
            output_shape: Shape wanted of one output sample, or None if nobody asked.
        """

    def get_init_args(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.init_args)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as a tree of plain values."""
        return {name: to_config(value) for name, value in self.init_args.items()}

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters and buffers by name."""
        return weights_of(self)

    def _weight_shapes(self) -> dict[str, Shape]:
        return shapes_of(self)

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Copy `weights` into the parameters and buffers.

        Raises:
            InvalidValueError: If names or shapes are not those of this model; all are told.
        """
        set_weights_of(self, weights, where=type(self).__name__)

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self)).parameters
        shown = [
            f"{name}={value!r}"
            for name, value in self.init_args.items()
            if name not in parameters or value != parameters[name].default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _whole(build: Callable[..., None]) -> Callable[..., None]:
    """Return a subclass's own `build` that keeps what is built, and learns the rest from its layers."""

    @functools.wraps(build)
    def call(self: TorchBaseModel, input_shape: Any = None, output_shape: Any = None, **options: Any) -> None:
        if type(self).build is not call:  # for the one that called it sees to it
            build(self, input_shape, output_shape, **options)
            return
        asked = as_shape(input_shape, "input_shape")
        if self._initial is not None and not options.get("force", False):
            self._check_agreement(asked, as_output_shape(output_shape, "output_shape"), rebuild=False)
            return
        build(self, input_shape, output_shape, **options)
        known = asked or self.input_shape
        if known is None:
            raise InvalidValueError(f"{type(self).__name__} needs an input_shape to be built.")
        self._learn_shapes(known)

    return call


def shapes_of(module: nn.Module) -> dict[str, Shape]:
    """Return the shapes of all tensors in the module's state by name."""
    state = module.state_dict()
    return {name: tuple(t.shape) for name, t in state.items() if isinstance(t, torch.Tensor)}


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    """Return copies of all tensors in the module's state by name."""
    state = module.state_dict()
    return {name: copied_array(t) for name, t in state.items() if isinstance(t, torch.Tensor)}


def set_weights_of(module: nn.Module, weights: Mapping[str, np.ndarray], *, where: str) -> None:
    """Copy arrays into the tensors of the module's state, in place.

    Raises:
        InvalidValueError: If names or shapes are not the module's; all are told.
    """
    own = {name: t for name, t in module.state_dict().items() if isinstance(t, torch.Tensor)}
    faults = Faults(f"Weights of {where}")
    for name in weights:
        if name not in own:
            faults.add(unknown_name("weight", name, own))
        elif tuple(own[name].shape) != tuple(np.shape(weights[name])):
            faults.add(
                f"{name!r} has shape {tuple(own[name].shape)}, but {tuple(np.shape(weights[name]))} came"
            )
    for name in own:
        if name not in weights:
            faults.add(f"{name!r} is missing")
    faults.raise_if_any()
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(as_tensor(weights[name]))


def raised(module: nn.Module, input_shape: Any, error: Exception) -> str:
    """Say what a module raised for a batch, in its own words."""
    several = input_shape if is_several(input_shape) else (input_shape,)
    batches = ", ".join(f"({', '.join(map(str, (N_TRIED, *shape)))})" for shape in several)
    what = f"batches of {batches}" if is_several(input_shape) else f"a batch {batches}"
    return f"{type(module).__name__}.forward() raised {type(error).__name__} for {what}: {error}"


def dry_run_any(module: nn.Module, input_shape: Shape) -> tuple[OutputShape, bool]:
    """Return the shape of one output sample, and whether it takes integers only; see `dry_run`."""
    try:
        return dry_run(module, input_shape), False
    except (RuntimeError, IndexError):
        with suppress(Exception):
            return dry_run(module, input_shape, integers=True), True
        raise


def is_lazy_module(module: nn.Module) -> bool:
    """Tell whether layers of a module wait for a batch to have their sizes from."""
    return any(map(is_lazy, (*module.parameters(), *module.buffers())))


def copy_of_lazy(module: nn.Module) -> nn.Module:
    """Return a copy of a module with lazy layers, of which torch copies all but the buffers."""
    make: Any = UninitializedBuffer
    lazy = [b for b in module.buffers() if is_lazy(b)]
    return copy.deepcopy(module, {id(b): make(device=b.device, dtype=b.dtype) for b in lazy})


def initialize_lazy(
    module: nn.Module,
    input_shape: Any,
    *,
    integers: bool = False,
    kinds: Sequence[str] | None = None,
    number: int = 0,
) -> None:
    """Give lazy layers their sizes, and weights of torch's generator, which goes on as for other layers.

    Weights that a look without a trace makes would be alike in all modules.
    """
    with _as_it_was(module), torch.no_grad():
        module.eval()(_batch(module, input_shape, integers, kinds, number=number))


def changes_input(
    module: nn.Module,
    input_shape: Any,
    *,
    integers: bool = False,
    kinds: Sequence[str] | None = None,
    number: int = 0,
) -> bool:
    """Tell whether a module writes into the batch that it is handed, as in-place layers do."""
    if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.inplace for m in module.modules()):
        return True  # in training only, where trying would draw random numbers
    with _as_it_was(module), untouched_rng(), torch.no_grad():
        batch = _batch(module, input_shape, integers, kinds, number=number)
        module.eval()(batch)
    return any(one._version for one in (batch if isinstance(batch, list) else [batch]))


def _batch(
    module: nn.Module,
    input_shape: Any,
    integers: bool,
    kinds: Sequence[str] | None = None,
    n: int = N_TRIED,
    number: int = 0,
) -> Any:
    """Return a batch of a few samples of zeros; a list of batches for the shapes of several inputs.

    Those of integers hold `number`.
    """
    parameter = first_floating(module)
    dtype, device = (parameter.dtype, parameter.device) if parameter is not None else (torch.float32, None)
    if is_several(input_shape):
        tried = zip(input_shape, kinds or ["float"] * len(input_shape), strict=True)
        return [
            torch.full(
                (n, *shape), number if kind == "int" else 0, dtype=dtype_of(kind, dtype), device=device
            )
            for shape, kind in tried
        ]
    return torch.zeros(n, *input_shape, dtype=torch.int64 if integers else dtype, device=device)


def dry_run(
    module: nn.Module,
    input_shape: Any,
    *,
    integers: bool = False,
    kinds: Sequence[str] | None = None,
    number: int = 0,
) -> OutputShape:
    """Return the shape of one output sample, found with a batch of zeros that leaves no trace.

    Modes, buffers and random generators are as before afterwards.

    Args:
        module: The module.
        input_shape: The shape of one sample; those of several inputs as a tuple of shapes.
        integers: Try it with integers.
        kinds: Of each of several inputs: ``"float"``, ``"int"`` or ``"bool"``; None: all float.
        number: The integer to try those of integers with.

    Returns:
        The shape; where the module returns several outputs, that of each by its name.

    Raises:
        InvalidTypeError: If the module returns no tensor with an entry a sample.
        InvalidValueError: If the first dimension of the outputs is not the batch.
    """
    n = N_TRIED
    with _as_it_was(module), untouched_rng(), torch.no_grad():
        outputs = module.eval()(_batch(module, input_shape, integers, kinds, number=number))
        if not isinstance(outputs, torch.Tensor):
            several = _batch(module, input_shape, integers, kinds, n + 1, number)
            more = module(several) if named(outputs) else outputs
            names = per_sample((n, outputs), (n + 1, more))
            if not names:
                name, kind = type(module).__name__, type(outputs).__name__
                raise InvalidTypeError(
                    f"{name} returns a {kind}{_keys(outputs)}, and none of it is a tensor with an entry for "
                    "each sample of a batch."
                )
            return {name: tuple(named(outputs)[name].shape[1:]) for name in names}
    name = type(module).__name__
    if outputs.ndim == 0 or outputs.shape[0] != n:
        raise InvalidValueError(
            f"{name} turns {n} samples into outputs of shape {tuple(outputs.shape)}; "
            "the first dimension must stay the batch."
        )
    return tuple(outputs.shape[1:])


def _keys(outputs: Any) -> str:
    return f" of {list(outputs)}" if isinstance(outputs, Mapping) else ""


def mixes_samples(
    module: nn.Module,
    input_shape: Any,
    *,
    integers: bool = False,
    kinds: Sequence[str] | None = None,
    number: int = 0,
    names: Sequence[str] = (),
) -> bool:
    """Tell whether the output for one sample depends on another sample of its batch.

    So a module shows that it took the batch for something else, as those do that also
    take a single sample without a batch. Nothing is changed by the look.
    """
    with _as_it_was(module), untouched_rng(), torch.no_grad():
        one, two, other = (_probe(module, input_shape, seed, integers, kinds, number) for seed in range(3))
        module.eval()
        batches = [_stacked(pair) for pair in ((one, two), (one, other), (other, two))]
        # Both ways, as a recurrent module looks back only.
        outputs, kept_first, kept_last = (side_by_side(module(batch), names) for batch in batches)
    return not (torch.equal(outputs[0], kept_first[0]) and torch.equal(outputs[1], kept_last[1]))


def depends_on_rank(
    module: nn.Module, shape: Shape, other: Shape, *, integers: bool = False, names: Sequence[str] = ()
) -> bool:
    """Tell whether a module gives other values for the same samples in another shape.

    Both shapes must be ones that it takes. Nothing is changed by the look.
    """
    with _as_it_was(module), untouched_rng(), torch.no_grad():
        batch = torch.stack([_probe(module, shape, seed, integers) for seed in range(2)])
        module.eval()
        outputs, others = (side_by_side(module(one), names) for one in (batch, batch.reshape(2, *other)))
    return outputs.numel() != others.numel() or not torch.allclose(outputs.flatten(), others.flatten())


def _stacked(samples: Sequence[Any]) -> Any:
    if isinstance(samples[0], list):
        return [torch.stack(of_input) for of_input in zip(*samples, strict=True)]
    return torch.stack(list(samples))


def _probe(
    module: nn.Module,
    input_shape: Any,
    seed: int,
    integers: bool,
    kinds: Sequence[str] | None = None,
    number: int = 0,
) -> Any:
    """Return a sample of random numbers; of several inputs a list, where integers and bools are as tried."""
    if is_several(input_shape):
        constant = _batch(module, input_shape, integers, kinds, 1, number)
        return [
            _probe(module, shape, seed, integers=False) if tried.dtype.is_floating_point else tried[0]
            for shape, tried in zip(input_shape, constant, strict=True)
        ]
    if integers:  # the smallest vocabulary has the number 0 alone
        return torch.zeros(input_shape, dtype=torch.int64)
    values = torch.rand(input_shape, generator=torch.Generator().manual_seed(seed))
    parameter = first_floating(module)
    return values if parameter is None else values.to(dtype=parameter.dtype, device=parameter.device)


@contextmanager
def _as_it_was(module: nn.Module) -> Iterator[None]:
    buffers = [(b, b.clone()) for b in module.buffers() if not is_lazy(b)]
    with modes_kept([module]):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
