"""Models: the one protocol that every model of a graph fulfils, whatever it is made with.

It knows neither torch nor scikit-learn, and no node.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from modularml.backends.backend import Backend, load
from modularml.base.config import Configurable, parameters_of, same_tree
from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError
from modularml.base.registry import Registry
from modularml.base.trees import digest
from modularml.display.card import Shown
from modularml.io.digests import digests
from modularml.io.objects import load_object, save_object

Shape = tuple[int, ...]
OutputShape = Shape | dict[str, Shape]
"""The shape of one output sample; of a model with several outputs, that of each by its name."""

model_registry: Registry[type[BaseModel]] = Registry("model")
"""The models of this package by backend and name, e.g. ``"torch::SequentialMLP"``."""


class BaseModel(Shown, Configurable, ABC):
    """Something that turns samples into outputs, and can be trained or fitted to do so.

    Shapes are those of one sample, without the batch dimension; they are None until
    they are known.

    Attributes:
        backend: The library it is made with: ``"torch"`` or ``"scikit"``.
        input_shape: Shape of one input sample.
        output_shape: Shape of one output sample; a dict of such by name where it has several outputs.
        plain_output_shape: The one that it would have for samples without the axis of a single key, where
            it takes those as well; None where that is no other.
    """

    backend: ClassVar[str] = str(Backend.NONE)
    input_shape: Shape | None
    output_shape: OutputShape | None
    plain_output_shape: OutputShape | None = None
    takes_integers: bool = False  # as an embedding does; features reach it as they are
    input_kinds: Sequence[str] | None = None  # of each of several inputs: "float", "int" or "bool"
    changes_input: bool = False  # works in place, and so must not be handed the data themselves
    _initial: Any = None  # what `reset_weights` returns to
    _digested: tuple[Any, str] | None = None  # and its digest, of what it was taken
    _may_begin: bool = False  # built, and not trained yet: `begin` may take other weights

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("modularml.models.") and not cls.__name__.endswith("BaseModel"):
            model_registry.register(cls, f"{cls.backend}::{cls.__qualname__}")

    @property
    def is_built(self) -> bool:
        """Whether the shapes are known and the model can take samples."""
        return self._initial is not None

    @property
    def takes_output_shape(self) -> bool:
        """Whether `build` can be asked for an output shape."""
        return True

    @property
    def own_output_shape(self) -> Shape | None:
        """The output shape that the model was told to have when it was made; None leaves it open."""
        return None

    def get_init_args(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {name: getattr(self, name) for name in parameters_of(type(self))}

    def _take_shapes(self, input_shape: Shape | None, output_shape: OutputShape | None) -> None:
        """Note the shapes, but for one that a subclass tells by a property of its own."""
        for name, shape in (("input_shape", input_shape), ("output_shape", output_shape)):
            own = getattr(type(self), name, None)
            if not isinstance(own, property) or own.fset is not None:
                setattr(self, name, shape)

    @abstractmethod
    def build(
        self,
        input_shape: Sequence[int] | None = None,
        output_shape: Any = None,
        *,
        force: bool = False,
    ) -> None:
        """Make the model ready for samples of a shape.

        Args:
            input_shape: Shape of one input sample.
            output_shape: Shape wanted of one output sample; a model that has its own keeps it.
            force: Build again, with new weights, if it is built.
        """

    @abstractmethod
    def forward(self, x: Any) -> Any:
        """Return the outputs for a batch ``(n_samples, *input_shape)``."""

    def __call__(self, x: Any) -> Any:
        """Return `forward` of a batch."""
        return self.forward(x)

    @abstractmethod
    def get_weights(self) -> dict[str, np.ndarray]:
        """Return copies of all weights and buffers by name."""

    @abstractmethod
    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Put back what `get_weights` returned."""

    def _built_with(self, weights: dict[str, np.ndarray]) -> None:
        """Note the weights of a build."""
        self._initial, self._may_begin = weights, True

    def begin(self) -> None:
        """Let `reset_weights` return to the present weights, if it was not trained since its build.

        They are not those of the build where pretrained ones were loaded after it.
        """
        if self._may_begin:
            present, built = self.get_weights(), self.initial_weights or {}
            if shapes_in(present) == shapes_in(built) and not same_tree(present, built):
                self._initial, self._digested = present, None
        self._may_begin = False

    def reset_weights(self) -> None:
        """Return to the weights that it began with: of its build, or loaded before it was trained.

        Raises:
            StateError: If it is not built.
        """
        self._require_built()
        self.set_weights(self._initial or {})
        self._digested = None

    @property
    def initial_weights(self) -> Mapping[str, np.ndarray] | None:
        """What `reset_weights` returns to; None before a build, and for what has no weights then.

        Setting it, as loading does, takes weights of the names and shapes of this model.
        """
        return self._initial if isinstance(self._initial, Mapping) else None

    @initial_weights.setter
    def initial_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        present, given = shapes_in(self.initial_weights or {}), shapes_in(weights)
        if given != present:
            raise InvalidValueError(f"{self!r} begins with weights of {present}, got {given}.")
        self._initial, self._digested, self._may_begin = dict(weights), None, False

    @property
    def is_as_built(self) -> bool:
        """Whether its weights have the names and shapes that they were built with."""
        before = self.initial_weights
        return before is None or shapes_in(before) == self._weight_shapes()

    def _weight_shapes(self) -> dict[str, Shape]:
        return shapes_in(self.get_weights())

    def check_made_again(self) -> None:
        """Refuse to be written to a file that nothing could be read from: it says how layers are made.

        Raises:
            InvalidValueError: If they were changed since they were.
        """
        if not self.is_as_built:
            raise InvalidValueError(
                f"{self!r} cannot be written to a file: its layers are not those that it was built with. "
                "Make them so where they are made, or hand over a module that has them: ModelNode('a', net)."
            )

    @property
    def initial_digest(self) -> str | None:
        """A digest of the weights that it began with; None before its build.

        A model that came from a file has the digest of the build that the file tells of.
        """
        if self._initial is None:
            return None
        if self._digested is None or self._digested[0] is not self._initial:
            codes = digests(self._initial[name] for name in sorted(self._initial))
            self._digested = self._initial, digest("".join(codes).encode())
        return str(self._digested[1])

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model, with its weights, to a ``.md.mml`` file and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
            InvalidValueError: If layers were changed after they were built, so that none could be made again.
        """
        self.check_made_again()
        return save_object(filepath, "model", self, self.get_state(), overwrite=overwrite)

    @classmethod
    def load(cls, filepath: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Self:
        """Read a model from a file; no code of the file is run.

        Args:
            filepath: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If the file is damaged, of another kind or newer.
            FileNotFoundError: If it is not there.
        """
        model, state = load_object(filepath, "model", cls, symbols=symbols)
        model.set_state(state)
        return model

    def get_state(self) -> dict[str, Any]:
        """Return shapes and copies of all weights; the weights are None before the build."""
        return {
            "input_shape": self.input_shape,
            "output_shape": self.output_shape,
            "weights": self.get_weights() if self.is_built else None,
            "initial": self.initial_digest,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `get_state` returned; builds the model where needed, or unbuilds it."""
        shapes = (
            as_shapes(state["input_shape"], "input_shape"),
            as_output_shape(state["output_shape"], "output_shape"),
        )
        if state["weights"] is None:
            self._initial = None
            self._take_shapes(*shapes)
            return
        with load(self.backend).untouched_rng():
            self.build(*shapes, force=(self.input_shape, self.output_shape) != shapes)
        self.set_weights(state["weights"])
        if state.get("initial") is not None:  # files of before have none
            self._digested = self._initial, state["initial"]

    # A model is more than its configuration: two are the same only if they are one object.
    __eq__ = object.__eq__

    def __hash__(self) -> int:
        return id(self)  # as object does, in a form that torch's compiler can trace

    def _require_built(self) -> None:
        if not self.is_built:
            raise StateError(
                f"{type(self).__name__} is not built: its shapes are unknown. Call build() first."
            )


def as_shape(shape: Sequence[int] | int | None, name: str) -> Shape | None:
    """Return a shape as a tuple of ints.

    Raises:
        InvalidTypeError: If it is no sequence of ints.
        InvalidValueError: If a dimension is below 1.
    """
    if shape is None:
        return None
    dims = (shape,) if isinstance(shape, int) else shape
    if isinstance(dims, str) or not all(hasattr(n, "__index__") and not isinstance(n, bool) for n in dims):
        raise InvalidTypeError(f"{name} must be a tuple of ints without the batch dimension, got {shape!r}.")
    if any(n < 1 for n in dims):
        raise InvalidValueError(f"{name} must have dimensions of at least 1, got {shape!r}.")
    return tuple(int(n) for n in dims)


def is_several(shape: Any) -> bool:
    """Tell whether these are the shapes of several inputs, and not that of one."""
    return isinstance(shape, list | tuple) and bool(shape) and all(isinstance(n, list | tuple) for n in shape)


def as_shapes(shape: Any, name: str) -> Any:
    """Return the shape of one input, or a tuple of those of several; raises as `as_shape`."""
    return tuple(as_shape(one, name) for one in shape) if is_several(shape) else as_shape(shape, name)


def as_output_shape(shape: Any, name: str) -> OutputShape | None:
    """Return the shape of one output, or a dict of those of several; raises as `as_shape`."""
    if not isinstance(shape, Mapping):
        return as_shape(shape, name)
    return {str(output): as_shape(one, name) or () for output, one in shape.items()}


def padded(shape: Shape) -> Shape:
    """Return the shape with at least two dimensions: ``(5,)`` becomes ``(1, 5)``."""
    return (1,) * (2 - len(shape)) + shape


def same_values(a: Shape, b: Shape) -> bool:
    """Tell whether two shapes differ in dimensions of length 1 alone."""
    return [n for n in a if n != 1] == [n for n in b if n != 1]


def n_values(shape: Shape) -> int:
    """Return how many values a sample of that shape has."""
    return math.prod(shape)


def shapes_in(weights: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """Return the shape of each weight by its name."""
    return {name: array.shape for name, array in weights.items()}
