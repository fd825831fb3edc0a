"""A loss: what to compute of outputs and targets, by name, class or function.

It knows no node and no batch: the loop hands it tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from modularml.backends.backend import Backend, load
from modularml.base.config import Configurable
from modularml.base.errors import InvalidTypeError, LossError, check_choice, warn
from modularml.display.card import Shown
from modularml.io.objects import load_object, save_object

REDUCTIONS = ("none", "mean", "sum")


class Loss(Shown, Configurable):
    """A loss function: one of torch's by name or class, or any function of tensors.

    Names are those of torch's loss classes; case, underscores and an ending "loss"
    do not count: ``"mse"``, ``"cross_entropy"``, ``"CrossEntropyLoss"``.

    Args:
        loss: A name, a class, or a function ``(outputs, targets) -> tensor`` that returns
            one number or one value per sample.
        loss_kwargs: Arguments for a name or a class, e.g. ``{"delta": 0.5}``. Class weights
            may be lists.
        backend: The library that computes it; losses are torch's.
        reduction: What a call returns: ``"none"`` values as they are, ``"mean"`` or ``"sum"``
            one number. Training minimizes the sum over a batch for ``"sum"``, else the mean.
        factory: A function without arguments that returns the loss, instead of `loss`.

    Raises:
        LossError: If the name or an argument is unknown, with the nearest match.
        InvalidTypeError: If `loss` can be none of these.
    """

    _fixed = ("loss", "loss_kwargs", "backend", "reduction", "factory")

    def __init__(
        self,
        loss: str | type | Callable[..., Any] | None = None,
        *,
        loss_kwargs: Mapping[str, Any] | None = None,
        backend: str | None = None,
        reduction: str = "none",
        factory: Callable[[], Callable[..., Any]] | None = None,
    ) -> None:
        if (loss is None) == (factory is None):
            raise LossError("A Loss needs either a loss (a name, a class or a function) or a factory.")
        if Backend.from_value(backend or Backend.TORCH) is not Backend.TORCH:
            raise LossError(f"Losses are computed by the backend 'torch', got {str(backend)!r}.")
        if loss is not None and not isinstance(loss, str) and not callable(loss):
            raise InvalidTypeError(
                f"loss must be a name, a class or a function, got {loss!r} ({type(loss).__name__})."
            )
        if loss_kwargs and not isinstance(loss, str | type):
            raise LossError("loss_kwargs go with the name or the class of a loss, not with a function.")
        if "reduction" in (loss_kwargs or {}):
            raise LossError("Give reduction= to Loss itself, not inside loss_kwargs.")
        self.loss = loss
        self.loss_kwargs = dict(loss_kwargs) if loss_kwargs else None
        self.backend = str(Backend.TORCH)
        self.reduction = check_choice(reduction, "reduction", REDUCTIONS)
        self.factory = factory
        self.name = self._find_name()
        self._made = None if factory is not None else self._make()
        self._forms: Any = None

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; a module as its class and the arguments that it keeps."""
        config = super().get_config()
        if hasattr(self.loss, "parameters") and not isinstance(self.loss, type):
            config["loss"] = load(self.backend).losses.describe_loss(self.loss) or self.loss
        if self.loss_kwargs:  # of tensors the numbers, as they may be given
            config["loss_kwargs"] = {
                name: value.tolist() if hasattr(value, "detach") else value
                for name, value in self.loss_kwargs.items()
            }
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a loss from what `get_config` returned."""
        described = config.get("loss")
        if isinstance(described, Mapping):
            described = load(Backend.TORCH).losses.loss_described(described)
        return super().from_config({**config, "loss": described})

    def _find_name(self) -> str:
        losses = load(self.backend).losses
        if isinstance(self.loss, str):
            return str(losses.find_loss(self.loss)[0])
        source = self.factory if self.loss is None else self.loss
        if isinstance(source, type):
            return str(losses.loss_name(source))
        name = getattr(source, "__name__", None) or losses.loss_name(type(source))
        return "loss" if name == "<lambda>" else str(name)

    def _make(self) -> Callable[..., Any]:
        losses = load(self.backend).losses
        source = losses.find_loss(self.loss)[1] if isinstance(self.loss, str) else self.loss
        if self.factory is not None:
            source = self.factory()
        elif isinstance(source, type):
            source = losses.make_loss(source, self.loss_kwargs or {}, self.reduction)
        if not callable(source):
            raise LossError(f"The factory of loss {self.name!r} returned {source!r}, which cannot be called.")
        if any(p.requires_grad for p in getattr(source, "parameters", tuple)()):
            warn(
                f"Loss {self.name!r} has parameters that ask for gradients, and no optimizer trains those of "
                "a loss. Put what is learnt in the node's module, inputs=['outputs', 'targets', 'module'], "
                "or let them ask for none: requires_grad_(False)."
            )
        made: Callable[..., Any] = source
        return made

    @property
    def ignored_label(self) -> int | None:
        """The class label whose samples do not count, where it has one."""
        return getattr(self._made, "ignore_index", None)

    @property
    def is_built(self) -> bool:
        """Whether `build` was called."""
        return self._forms is not None

    @property
    def has_tensors(self) -> bool:
        """Whether it holds tensors, such as weights of classes, which must be where its inputs are."""
        return any(True for part in ("buffers", "parameters") for _ in getattr(self._made, part, tuple)())

    def to(self, device: Any) -> None:
        """Move the tensors that it holds to a device."""
        self._made.to(device)  # type: ignore[union-attr]

    def build(self) -> Any:
        """Return the functions it is computed with, made once.

        Returns:
            `modularml.backends.torch_losses.LossForms`: ``scalar(*inputs)`` over a batch,
            ``per_sample(*inputs) -> (n_samples,)``, the ``kind`` for `align`, and the
            names of its ``arguments``.
        """
        if self._forms is None:
            if self._made is None:
                self._made = self._make()
            self._forms = load(self.backend).losses.loss_forms(self._made, self.name, self.reduction)
        return self._forms

    @property
    def allowed_keywords(self) -> tuple[str, ...]:
        """The names of the loss's inputs, in the order of a call."""
        return tuple(self.build().arguments)

    def refused_call(self, inputs: Sequence[str]) -> str | None:
        """Return why it cannot be called with these inputs; None where it can, or cannot tell yet."""
        if self._made is None:
            return None
        why: str | None = load(self.backend).losses.refused_call(self._made, inputs)
        return why

    def align(self, inputs: Sequence[Any], *, where: str = "") -> tuple[Any, ...]:
        """Decide how each input is brought to the shape and dtype that the loss computes with.

        Args:
            inputs: A `modularml.backends.torch_losses.LossInput` for each input, in order.
            where: The label of the place, for messages.

        Returns:
            One `modularml.backends.torch_losses.Alignment` for each input.

        Raises:
            LossError: If the shapes cannot mean the same.
        """
        place = f"Loss {self.name!r}" + (f" on {where}" if where else "")
        aligned: tuple[Any, ...] = load(self.backend).losses.align(self.build().kind, inputs, where=place)
        return aligned

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Compute the loss of tensors, reduced as `reduction` says."""
        self.build()
        assert self._made is not None
        values = self._made(*inputs, **named)
        return getattr(values, self.reduction)() if self.reduction != "none" and values.ndim else values

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the loss to a ``.ls.mml`` file and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
        """
        return save_object(filepath, "loss", self, overwrite=overwrite)

    @classmethod
    def load(cls, filepath: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Self:
        """Read a loss from a file; no code of the file is run.

        Args:
            filepath: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If the file is damaged, of another kind or newer.
            FileNotFoundError: If it is not there.
        """
        loss, _ = load_object(filepath, "loss", cls, symbols=symbols)
        return loss
