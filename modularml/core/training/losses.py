"""What may be given as the losses of a phase, and the applied losses that are meant by it.

It knows no phase and no graph: it is told the nodes that feed no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modularml.base.errors import Faults, InvalidTypeError, LossError
from modularml.core.context import ExperimentContext
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.loss import Loss

Losses = Sequence[AppliedLoss] | AppliedLoss | Loss | str | Callable[..., Any] | Mapping[str, Any]
"""What may be given as the losses of a phase."""


def applied_losses(
    losses: Losses | None,
    tails: Sequence[Any],
    faults: Faults,
    targets_of: Callable[[str], Sequence[str]] = lambda _: (),
) -> list[AppliedLoss]:
    """Return the losses that are meant by a list of them, or by something shorter.

    Args:
        losses: An `AppliedLoss`, or for the only tail a `Loss`, its name, its class or a function
            ``(outputs, targets) -> tensor``; a list of these; or for several tails a mapping from
            labels of nodes to these; or for a node with several outputs a mapping from their names. An
            output is compared with the target of its name if there is one, else with the targets.
        tails: The nodes that feed no other.
        faults: Where everything that is wrong is noted.
        targets_of: From the label of a node to the keys of the targets that reach it.
    """
    if losses is None:
        return []
    if isinstance(losses, Mapping):
        if len(tails) == 1 and _are_outputs(losses, tails[0]):
            losses = {tails[0]: losses}
        found = [
            one
            for on, loss in losses.items()
            for one in (
                _of_outputs(loss, on, faults, targets_of)
                if isinstance(loss, Mapping)
                else [faults.attempt(AppliedLoss, loss, on)]
            )
        ]
        made = [loss for loss in found if loss is not None]
        names = [loss.label for loss in made]
        for loss in made:
            if names.count(loss.label) > 1:
                loss.label = f"{loss.label}/{loss.on}"
        return made
    listed: list[Any] = list(losses) if isinstance(losses, list | tuple) else [losses]
    read = [_on_the_tail(loss, tails, faults) for loss in listed]
    return [loss for loss in read if loss is not None]


def _are_outputs(losses: Mapping[Any, Any], tail: Any) -> bool:
    """Tell whether what losses are named by are outputs of the only tail, and no nodes."""
    context, names = ExperimentContext.get_active(), tail.output_names
    return bool(losses) and all(name in names and not context.has_node(name) for name in losses)


def _on_the_tail(loss: Any, tails: Sequence[Any], faults: Faults) -> AppliedLoss | None:
    """Return a loss as it is, or on the only tail where it names no node."""
    if isinstance(loss, AppliedLoss):
        return loss
    if not isinstance(loss, str | Loss) and not callable(loss):
        faults.add(
            InvalidTypeError(
                f"a loss is an AppliedLoss, or for the only tail a name, a class or a function, got {loss!r} "
                f"({type(loss).__name__})."
            )
        )
    elif len(tails) != 1:
        labels = [tail.label for tail in tails]
        faults.add(
            LossError(f"one loss for the tails {labels}: name its node, losses={{{labels[0]!r}: ...}}.")
        )
    else:
        return faults.attempt(AppliedLoss, loss, tails[0])
    return None


def _of_outputs(
    losses: Mapping[str, Any], on: Any, faults: Faults, targets_of: Callable[[str], Sequence[str]]
) -> list[AppliedLoss | None]:
    """Return the losses on some outputs of a node; their labels say which."""
    keys = faults.attempt(targets_of, on) or ()
    found = []
    for output, loss in losses.items():
        one = loss if isinstance(loss, Loss) else faults.attempt(Loss, loss)
        inputs = (f"outputs.{output}", f"targets.{output}" if output in keys else "targets")
        if one is not None:
            found.append(faults.attempt(AppliedLoss, one, on, inputs, label=f"{one.name}/{output}"))
    return found
