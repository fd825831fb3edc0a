"""The device that models compute on, by name, and what is moved there.

It knows no node and no phase.
"""

from __future__ import annotations

import re
from typing import Any, Self

import torch

from modularml.base.config import Configurable
from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError, unknown_name

KINDS = ("auto", "cpu", "cuda", "gpu", "mps")


class Accelerator(Configurable):
    """A device by name.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"`` (also ``"gpu:1"``), ``"mps"``, or
            ``"auto"``: the first GPU where there is one, else the CPU. A ``torch.device`` means its name.
        pin_memory: Copy data to a GPU by way of memory that the system does not move.

    Raises:
        InvalidValueError: If there is no such kind of device. Whether the device is there
            is asked when something is to be computed on it.
        InvalidTypeError: If an argument is of a wrong type.
    """

    def __init__(self, device: str | torch.device = "cpu", *, pin_memory: bool = False) -> None:
        if isinstance(device, torch.device):
            device = "cpu" if device.type == "cpu" else str(device)
        if not isinstance(device, str):
            raise InvalidTypeError(
                f"The device of an Accelerator must be a string or a torch.device, got {device!r}."
            )
        kind, colon, index = device.lower().partition(":")
        if kind not in KINDS:
            raise InvalidValueError(unknown_name("device", device, KINDS))
        if colon and (kind in ("auto", "cpu", "mps") or not re.fullmatch(r"\d+", index)):
            raise InvalidValueError(
                f"A device is 'cpu', 'mps', 'auto', 'cuda' or 'cuda:<n>', got {device!r}."
            )
        if not isinstance(pin_memory, bool):
            raise InvalidTypeError(f"Accelerator: pin_memory must be a bool, got {pin_memory!r}.")
        self.device = device.lower().replace("gpu", "cuda")
        self.pin_memory = pin_memory

    @classmethod
    def cpu(cls) -> Self:
        """Return the CPU."""
        return cls("cpu")

    @classmethod
    def cuda(cls, index: int = 0) -> Self:
        """Return a CUDA device."""
        return cls(f"cuda:{index}")

    gpu = cuda

    @classmethod
    def mps(cls) -> Self:
        """Return the GPU of an Apple machine."""
        return cls("mps")

    def torch_device_str(self) -> str:
        """Return torch's name of the device; for ``"auto"`` that of the one that is there."""
        if self.device != "auto":
            return "cuda:0" if self.device == "cuda" else self.device
        return next((name for name in ("cuda:0", "mps") if _is_there(name)), "cpu")

    def is_available(self) -> bool:
        """Tell whether this machine has the device."""
        return _is_there(self.torch_device_str())

    def torch_device(self) -> torch.device:
        """Return the device.

        Raises:
            StateError: If this machine does not have it; the message says what there is.
        """
        name = self.torch_device_str()
        if not _is_there(name):
            n_cuda = torch.cuda.device_count()
            there = ["cpu", *(f"cuda:{i}" for i in range(n_cuda)), *(["mps"] if _is_there("mps") else [])]
            raise StateError(f"The device {self.device!r} is not available here. Available: {there}.")
        return torch.device(name)

    def move_torch_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor on the device."""
        device = self.torch_device()
        if self.pin_memory and device.type == "cuda" and tensor.device.type == "cpu":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)

    def setup_torch_model(self, module: torch.nn.Module) -> torch.nn.Module:
        """Move a module to the device, in place, and return it."""
        return module.to(self.torch_device())


def _is_there(name: str) -> bool:
    kind, _, index = name.partition(":")
    if kind == "cuda":
        return int(index or 0) < torch.cuda.device_count()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def as_accelerator(value: Any) -> Accelerator | None:
    """Return the accelerator that is meant by it, or by the name of its device; None for None.

    Raises:
        InvalidTypeError: If it is neither.
        InvalidValueError: If there is no such kind of device.
    """
    if value is None or isinstance(value, Accelerator):
        return value
    if isinstance(value, str | torch.device):
        return Accelerator(value)
    raise InvalidTypeError(f"An accelerator is an Accelerator or the name of a device, got {value!r}.")
