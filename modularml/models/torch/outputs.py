"""What a torch module returns: one tensor, or several by name.

It knows no node and no shape of an input.

A dict, a named tuple and a dataclass give their outputs names; those of a plain tuple are their
positions, ``"0"``, ``"1"``. What holds no entry a sample, such as the state of a recurrent network or
a penalty, is no output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch


def named(outputs: Any) -> dict[str, Any]:
    """Return what a module returned, by name; one tensor has none, and comes back as ``{}``."""
    if isinstance(outputs, Mapping):
        return {str(name): value for name, value in outputs.items()}
    if hasattr(outputs, "_fields"):
        return dict(zip(outputs._fields, outputs, strict=True))
    if dataclasses.is_dataclass(outputs):
        return {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    if isinstance(outputs, Sequence):
        return {str(i): value for i, value in enumerate(outputs)}
    return {}


def pick(outputs: Any, name: str) -> Any:
    """Return one of the outputs that a module returned."""
    return named(outputs)[name]


def per_sample(few: Any, more: Any) -> list[str]:
    """Return the names of the outputs that hold an entry for each sample.

    Args:
        few: The number of samples, and what a module returned for them.
        more: Another number of samples, and what it returned for those.
    """
    tried = [(n, named(outputs)) for n, outputs in (few, more)]
    return [name for name in tried[0][1] if all(_has(found.get(name), n) for n, found in tried)]


def _has(value: Any, n_samples: int) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == n_samples


def side_by_side(outputs: Any, names: Sequence[str]) -> Any:
    """Return several outputs as one tensor ``(n_samples, n_values)``; a single tensor as it is."""
    found = named(outputs)
    if not found:
        return outputs
    return torch.cat([found[name].reshape(len(found[name]), -1) for name in names], 1)
