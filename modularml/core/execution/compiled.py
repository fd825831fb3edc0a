"""Training steps compiled whole: forward passes, gradients and updates of several batches by one call.

It knows no epoch and no phase. What it cannot do it leaves to the step that it stands beside, which
shares parameters and moments with it: the first batch, a last short one, and everything where the
compiler gives up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad_and_value

from modularml.backends.torch_compiler import Compiled, NotCompiledError
from modularml.backends.torch_functional import FunctionalUpdate, why_no_function
from modularml.base import errors
from modularml.core.execution.epochs import Step
from modularml.core.execution.feed import EpochFeed
from modularml.core.execution.resolution import Resolved
from modularml.core.execution.train_loop import Stage
from modularml.core.execution.updates import UpdateOptions, Window
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.optimizer import FEW_VALUES

MOST_BATCHES = 8
"""How many batches a call trains on at most."""

MOST_TENSORS = 64
"""A call of several batches is so long that it updates so many tensors; what takes the compiler a minute."""

_PLAIN = (bool, int, float, str, type(None))

Batch = Sequence[torch.Tensor | None]


def why_not(
    found: Sequence[Stage],
    resolved: Resolved,
    options: UpdateOptions,
    devices: Mapping[str, torch.device],
    *,
    watches: bool,
) -> str | None:
    """Return why training cannot be compiled, as far as that shows before its first batch; else None."""
    for node in resolved.nodes:
        if isinstance(node, ModelNode) and node.backend != "torch":
            return f"{node.label!r} is an estimator, and only torch is compiled"
        if devices[node.label].type != "cpu":
            return f"{node.label!r} computes on {devices[node.label]}, and only the CPU is compiled for"
        if isinstance(node, ModelNode) and node.has_sparse_gradients:
            return f"{node.label!r} has sparse gradients"
    if options.half is not None:
        return f"precision={options.precision!r} is not compiled"
    if options.accumulate > MOST_BATCHES:
        return f"accumulate={options.accumulate} is more than the {MOST_BATCHES} batches of a call"
    if options.accumulate > 1 and watches:
        return "a callback watches batches, and an update has several of them"
    optimizers = [stage.optimizer.optimizer for stage in found if stage.optimizer is not None]
    return next(filter(None, map(why_no_function, optimizers)), None)


class CompiledSteps:
    """Runs batches by compiled calls, where that is possible.

    Args:
        found: The stages of a step.
        resolved: What runs.
        options: What is done with gradients.
        step: Runs one batch without the compiler.
        window: The batches to an update, as `step` counts them.
        wanted: The slots that are asked for after a batch.
        watches: Whether somebody looks at every batch.
        where: The phase, for messages.
    """

    def __init__(
        self,
        found: Sequence[Stage],
        resolved: Resolved,
        options: UpdateOptions,
        step: Step,
        window: Window,
        *,
        wanted: Sequence[int],
        watches: bool,
        where: str,
    ) -> None:
        self._stages, self._resolved, self._options = found, resolved, options
        self._step, self._window, self._wanted = step, window, list(dict.fromkeys(wanted))
        self._watches, self._where = watches, where
        self._optimizers = [stage.optimizer for stage in found if stage.optimizer is not None]
        self._by_batch = [
            o for o in self._optimizers if o.schedule is not None and o.schedule.every == "batch"
        ]
        self._reached: set[torch.Tensor] = set()
        self._handles: list[Any] = []
        self._parts: list[_Part] = []
        self._calls: dict[int, Compiled] = {}
        self._unchecked: set[int] = set()
        self._regular: list[int] = []
        self._is_over = False

    def begin(self, drawn: EpochFeed) -> None:
        """Begin an epoch: only batches as large as its first one are compiled."""
        sizes = np.stack(list(drawn.sizes.values()))
        others = np.flatnonzero((sizes != sizes[:, :1]).any(axis=0))
        batches = np.arange(drawn.n_batches)
        ends = np.append(others, drawn.n_batches)
        self._regular = (ends[np.searchsorted(others, batches)] - batches).tolist()
        self._unchecked = set(self._calls)
        if not self._parts and not self._handles:
            parameters = [p for optimizer in self._optimizers for p in optimizer.parameters]
            self._handles = [
                p.register_post_accumulate_grad_hook(self._reached.add) for p in parameters if p.requires_grad
            ]

    def n_next(self, n_done: int) -> int:
        """Return how many batches the next call runs, behind so many of the epoch; 0: none can be compiled.

        The first update of a phase is not compiled: it makes the moments, and shows which
        parameters a gradient reaches.
        """
        n_regular, size = self._regular[n_done], self._options.accumulate
        if self._is_over or n_regular < size or n_done % size or not self._is_ready():
            return 0
        several = size * self._n_updates()
        return several if several <= n_regular else size

    def is_new(self, n_batches: int) -> bool:
        """Whether a call of so many batches is yet to be compiled."""
        return n_batches not in self._calls

    def __call__(self, batches: Sequence[Batch]) -> Iterator[tuple[Sequence[torch.Tensor], list[Any]]]:
        """Train on some batches; yield the losses and the slots of each when all are done."""
        done = None if self._is_over else self._run(batches)
        if done is not None:
            yield from done
            return
        for batch in batches:
            slots = [*batch, *[None] * (self._resolved.forward.n_slots - len(batch))]
            yield self._step(slots), slots

    def close(self) -> None:
        """Let go of the parameters."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _is_ready(self) -> bool:
        if self._parts:
            return True
        if not self._reached:
            return False
        self.close()
        self._parts = [_Part(stage, self._resolved, self._options, self._reached) for stage in self._stages]
        return True

    def _n_updates(self) -> int:
        """Return how many updates a call makes where nobody looks between them."""
        tensors = [p for optimizer in self._optimizers for p in optimizer.parameters]
        if self._watches or self._by_batch or sum(p.numel() for p in tensors) >= FEW_VALUES:
            return 1
        return max(1, min(MOST_BATCHES // self._options.accumulate, MOST_TENSORS // len(tensors)))

    def _run(self, batches: Sequence[Batch]) -> Iterator[tuple[Sequence[torch.Tensor], list[Any]]] | None:
        """Make a call; None where it cannot be made, and nothing is done."""
        n = len(batches)
        call = self._calls.get(n) or self._make(n)
        tensors = [tensor for batch in batches for tensor in batch]
        for part in self._parts:
            part.follow_rates()
        try:
            if n in self._unchecked or ((self._watches or self._by_batch) and self._has_changed()):
                self._check()
                found = call.checked(tensors)
            else:
                found = call(tensors)
        except NotCompiledError as error:
            self._give_up(str(error))
            return None
        self._unchecked.discard(n)
        self._window.skip(n)
        for optimizer in self._by_batch:
            optimizer.move_on()
        return self._done(found, n)

    def _check(self) -> None:
        for part in self._parts:
            part.refresh()
            if part.have_options_changed():
                raise NotCompiledError(
                    "options of the optimizer besides its learning rate change as it trains"
                )

    def _has_changed(self) -> bool:
        """Whether anything is not as it was when it was checked, by what hooks of batches or schedules do."""
        return any(part.has_changed() for part in self._parts)

    def _make(self, n_batches: int) -> Compiled:
        size, wanted, parts = self._options.accumulate, self._wanted, self._parts
        n_slots, n_losses = self._resolved.forward.n_slots, len(self._resolved.losses)

        def steps(tensors: list[Any]) -> list[torch.Tensor]:
            n_columns = len(tensors) // n_batches
            losses, outputs = [], []
            for first in range(0, n_batches, size):
                waiting: list[Any] = [None for _ in parts]
                for i in range(first, first + size):
                    batch = tensors[i * n_columns : (i + 1) * n_columns]
                    slots = [*batch, *[None] * (n_slots - n_columns)]
                    values: dict[int, torch.Tensor] = {}
                    is_full = i == first + size - 1
                    for at, part in enumerate(parts):
                        waiting[at] = part.learn(slots, values, waiting[at], is_full=is_full)
                    losses += [values[j] for j in range(n_losses)]
                    outputs += [slots[slot] for slot in wanted]
            return [torch.stack(losses), *outputs]

        trained = [p for part in self._parts for p in part.originals]
        self._calls[n_batches] = Compiled(steps, forbidden=trained)
        self._unchecked.add(n_batches)
        return self._calls[n_batches]

    def _done(
        self, found: Sequence[torch.Tensor], n_batches: int
    ) -> Iterator[tuple[Sequence[torch.Tensor], list[Any]]]:
        losses, outputs = found[0].unbind(), found[1:]
        n_losses, n_wanted = len(losses) // n_batches, len(self._wanted)
        for i in range(n_batches):
            slots: list[Any] = [None] * self._resolved.forward.n_slots
            for slot, value in zip(self._wanted, outputs[i * n_wanted : (i + 1) * n_wanted], strict=True):
                slots[slot] = value
            yield losses[i * n_losses : (i + 1) * n_losses], slots

    def _give_up(self, reason: str) -> None:
        self._is_over = True
        warn(self._where, reason)


def warn(where: str, reason: str) -> None:
    """Say that a phase is not compiled, and why."""
    errors.warn(f"{where} runs without compile=True: {reason}.")


class _Pass(torch.nn.Module):
    """All modules of a phase as one, so that their parameters can be replaced together."""

    def __init__(self, modules: Sequence[torch.nn.Module], function: Callable[..., Any]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(modules)
        self.function = function

    def forward(self, slots: list[Any]) -> Any:
        return self.function(slots)


class _Part:
    """A stage as functions of tensors.

    Args:
        stage: The stage.
        resolved: What runs.
        options: What is done with gradients.
        reached: The parameters that a gradient reaches.
    """

    def __init__(
        self, stage: Stage, resolved: Resolved, options: UpdateOptions, reached: set[torch.Tensor]
    ) -> None:
        self._stage, self._options = stage, options
        modules = [node._called_module for node in resolved.nodes if isinstance(node, ModelNode)]
        self._pass = _Pass(modules, self._forward)
        self._update: FunctionalUpdate | None = None
        if stage.optimizer is not None:
            trained = [p for p in stage.optimizer.parameters if p in reached]
            self._update = FunctionalUpdate(stage.optimizer.optimizer, trained)
        self.originals: list[torch.Tensor] = [] if self._update is None else self._update.originals
        name_of: dict[torch.Tensor, str] = {
            parameter: name for name, parameter in self._pass.named_parameters()
        }
        self._names = [name_of[parameter] for parameter in self.originals]
        self._buffer_names = [name for name, _ in self._pass.named_buffers()]
        self._buffers: list[torch.Tensor] = []
        self._modules = list(self._pass.modules())
        self._settings: list[Any] = []
        self._order = [i for i, _, _ in stage.losses] + [i for i, _ in stage.watched]

    def refresh(self) -> None:
        """Take up the tensors that everything is held in by now."""
        self._buffers[:] = [buffer for _, buffer in self._pass.named_buffers()]
        if self._update is not None:
            self._update.refresh()
        self._settings = self._present_settings()

    def follow_rates(self) -> None:
        """Take up the present learning rates."""
        if self._update is not None:
            self._update.follow_rates()

    def has_changed(self) -> bool:
        """Whether tensors were replaced, or settings of modules or the optimizer changed, since `refresh`."""
        is_stale = self._update is not None and self._update.is_stale()
        return is_stale or self.have_options_changed() or self._settings != self._present_settings()

    def _present_settings(self) -> list[Any]:
        return [value for module in self._modules for value in vars(module).values() if type(value) in _PLAIN]

    def have_options_changed(self) -> bool:
        """Whether the optimizer has other options now, besides its learning rate."""
        return self._update is not None and self._update.have_options_changed()

    # What follows is traced.

    def learn(
        self,
        slots: list[Any],
        values: dict[int, torch.Tensor],
        before: list[torch.Tensor] | None,
        *,
        is_full: bool,
    ) -> list[torch.Tensor] | None:
        """Run the stage on a batch, and update its parameters if that is due.

        Args:
            slots: The slots; those of its calls are written.
            values: Where its losses go.
            before: The gradients of the batches before that wait for the update, if there are any.
            is_full: Whether the update is due.

        Returns:
            The gradients that wait for the update.
        """
        if self._update is None:
            _, (losses, outputs) = self._forward(slots)
            gradients: Sequence[torch.Tensor] = []
        else:
            differentiate = grad_and_value(self._loss_of, has_aux=True)
            gradients, (_, (losses, outputs)) = differentiate(self._update.parameters, self._buffers, slots)
        values.update(zip(self._order, losses, strict=True))
        for (_, _, target), output in zip(self._stage.calls, outputs, strict=True):
            slots[target] = output
        if before is not None:
            gradients = [gradient + earlier for gradient, earlier in zip(gradients, before, strict=True)]
        if not is_full or self._update is None:
            return list(gradients)
        self._update(self._clipped(gradients))
        return None

    def _loss_of(self, parameters: list[torch.Tensor], buffers: list[torch.Tensor], slots: list[Any]) -> Any:
        named = {
            **dict(zip(self._names, parameters, strict=True)),
            **dict(zip(self._buffer_names, buffers, strict=True)),
        }
        return functional_call(self._pass, named, (slots,))

    def _forward(self, slots: list[Any]) -> tuple[Any, tuple[list[torch.Tensor], list[Any]]]:
        slots, stage, share = list(slots), self._stage, 1 / self._options.accumulate
        for function, source, target in stage.calls:
            slots[target] = function(slots[source])
        values = [loss(slots) for _, loss, _ in stage.losses]
        shares = [
            value if adds_up or share == 1.0 else value * share
            for value, (_, _, adds_up) in zip(values, stage.losses, strict=True)
        ]
        watched = [loss(slots) for _, loss in stage.watched]
        return sum(shares), ([*values, *watched], [slots[target] for _, _, target in stage.calls])

    def _clipped(self, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        norm, value = self._options.clip_norm, self._options.clip_value
        if norm is not None:
            found = torch.linalg.vector_norm(
                torch.stack([torch.linalg.vector_norm(one) for one in gradients])
            )
            factor = torch.clamp(norm / (found + 1e-6), max=1.0)  # as torch.nn.utils.clip_grad_norm_ does
            gradients = [one * factor for one in gradients]
        if value is not None:
            gradients = [one.clamp(-value, value) for one in gradients]
        return list(gradients)
