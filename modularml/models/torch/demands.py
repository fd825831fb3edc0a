"""What the first layer of a module wants of its inputs, in the words of an error.

It knows no data and tries nothing: it reads the layer, and the shape that came.
"""

from __future__ import annotations

from torch import nn

from modularml.models.model import Shape

_WORDS = ("in_features", "in_channels", "input_size", "num_features")


def first_demand(module: nn.Module) -> str:
    """Return ``": its first Linear wants in_features=3"``; nothing where no layer wants a number."""
    found = _first(module)
    return "" if found is None else f": its first {type(found[0]).__name__} wants {found[1]}={found[2]}"


def axes_meant(module: nn.Module, input_shape: Shape) -> str:
    """Say what to do where the axes of samples lie another way than the first layer takes them; else nothing.

    Args:
        module: The module.
        input_shape: The shape of a sample, ``(n_keys, *key_shape)``.
    """
    found = _first(module)
    layer, wanted = (None, 0) if found is None else (found[0], found[2])
    name, has_keys = type(layer).__name__, input_shape[:1] > (1,)
    shape = input_shape if has_keys else input_shape[1:]
    if isinstance(layer, nn.RNNBase):
        if len(shape) == 2 and shape[1] == wanted and not layer.batch_first:
            return f" Its samples would be its steps: {name}(..., batch_first=True)."
        if len(shape) == 1 and wanted == 1:
            return f" {name} takes samples of shape (steps, 1): x[..., None]."
        if len(shape) == 2 and shape[0] == wanted:
            how = "np.stack(columns, axis=-1) as one column" if has_keys else "x.swapaxes(1, 2)"
            return f" {name} takes samples of shape (steps, {wanted}): {how}."
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and len(shape) > 1 and shape[-1] == wanted:
        return f" {name} takes samples of shape ({wanted}, ...), channels first: np.moveaxis(x, -1, 1)."
    return ""


def _first(module: nn.Module) -> tuple[nn.Module, str, int] | None:
    """Return the first layer that wants a number of values, what it calls that, and the number."""
    for layer in module.modules():
        for word in _WORDS:
            if isinstance(getattr(layer, word, None), int):
                return layer, word, getattr(layer, word)
    return None
