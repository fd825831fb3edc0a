"""Where the nodes of a phase compute, and getting everything there and back.

It knows no step: calls and losses find their inputs on the device that they compute on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from modularml.backends.accelerator import Accelerator
from modularml.backends.torch_modules import first_parameter
from modularml.base.errors import Faults
from modularml.core.execution.forward import Call, Forward
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.loss import Loss
from modularml.core.training.optimizer import Optimizer

CPU = torch.device("cpu")


def devices_of(
    nodes: Sequence[GraphNode], default: Accelerator | None, where: str
) -> dict[str, torch.device]:
    """Return the device that each node computes on, by its label.

    That of its own accelerator, else the default one, else where its parameters are.
    What has no torch module computes on the CPU.

    Raises:
        StateError: If this machine does not have one of the devices.
    """
    faults = Faults(where)
    found: dict[str, torch.device] = {}
    for node in nodes:
        if isinstance(node, ModelNode):
            found[node.label] = faults.attempt(_device_of, node, default) or CPU
        elif default is not None:
            found[node.label] = faults.attempt(default.torch_device) or CPU
        else:
            fed_by = map(node.context.label_of, node.node_refs)
            found[node.label] = next((found[label] for label in fed_by if label in found), CPU)
    faults.raise_if_any()
    return found


def _device_of(node: ModelNode, default: Accelerator | None) -> torch.device:
    if node.backend != "torch":
        return CPU
    accelerator = node.accelerator or default
    return _home(node.module) if accelerator is None else accelerator.torch_device()


def _home(module: torch.nn.Module) -> torch.device:
    found = first_parameter(module)
    return CPU if found is None else found.device


@contextmanager
def placed(
    nodes: Sequence[GraphNode],
    devices: Mapping[str, torch.device],
    losses: Sequence[tuple[Loss, torch.device]],
    optimizers: Sequence[Optimizer] = (),
) -> Iterator[None]:
    """Hold modules, optimizers and losses on their devices during a ``with`` block.

    They are where they were afterwards, so that files and previews know of no device.

    Args:
        nodes: The nodes that run.
        devices: Label of each node -> its device.
        losses: Each loss and the device of its node.
        optimizers: The optimizers of the nodes.
    """
    torch_nodes = [node for node in nodes if isinstance(node, ModelNode) and node.backend == "torch"]
    homes = [(node.module, _home(node.module), devices[node.label]) for node in torch_nodes]
    moved = [(module, home, device) for module, home, device in homes if home != device]
    weighted = [(loss, device) for loss, device in losses if device != CPU and loss.has_tensors]
    if not moved and not weighted:
        yield
        return
    try:
        for module, _, device in moved:
            module.to(device)
        for loss, device in weighted:
            loss.to(device)
        for optimizer in optimizers:
            optimizer.follow_parameters()
        yield
    finally:
        for module, home, _ in moved:
            module.to(home)
        for loss, _ in weighted:
            loss.to(CPU)
        for optimizer in optimizers:
            optimizer.zero_grad()
            optimizer.follow_parameters()


def connect(forward: Forward, nodes: Sequence[GraphNode], devices: Mapping[str, torch.device]) -> None:
    """Let calls whose input comes from another device fetch it.

    Args:
        forward: The calls; changed in place.
        nodes: The nodes that they are of.
        devices: Label of each node -> its device.
    """
    if len(set(devices.values())) < 2:
        return
    device_of_slot: dict[int, torch.device] = {}
    for node in nodes:
        device = devices[node.label]
        own = forward.calls_of[node.label]
        forward.calls_of[node.label] = [
            call if _device_of_source(call, device_of_slot, device) == device else _fetching(call, device)
            for call in own
        ]
        device_of_slot |= {target: device for _, _, target in own}
    forward.calls[:] = [call for calls in forward.calls_of.values() for call in calls]


def _device_of_source(
    call: Call, device_of_slot: Mapping[int, torch.device], device: torch.device
) -> torch.device:
    # Several slots are read at once of what the node fetched before.
    return device if isinstance(call[1], slice) else device_of_slot.get(call[1], device)


def _fetching(call: Call, device: torch.device) -> Call:
    function, source, target = call

    def fetch(batch: Any) -> Any:
        return function(batch.to(device) if isinstance(batch, torch.Tensor) else batch)

    return fetch, source, target


def on_one_device(
    losses: Sequence[Callable[[Sequence[Any]], torch.Tensor]],
    devices: Sequence[torch.device],
) -> list[Callable[[Sequence[Any]], torch.Tensor]]:
    """Return the losses so that their values are on one device and can be added up."""
    if len(set(devices)) < 2:
        return list(losses)
    return [lambda slots, loss=loss: loss(slots).to(devices[0]) for loss in losses]  # type: ignore[misc]
