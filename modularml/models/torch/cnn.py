"""A stack of one-dimensional convolutions.

It knows only its shapes.
"""

from __future__ import annotations

import torch
from torch import nn

from modularml.base.errors import InvalidValueError, check_int, warn
from modularml.models.model import Shape, n_values, padded, same_values
from modularml.models.torch.layers import activation_class, check_dropout
from modularml.models.torch.module import TorchBaseModel


class SequentialCNN(TorchBaseModel):
    """Convolutions along the last dimension, with activations between them, and a linear layer at the end.

    Inputs are ``(channels, length)``; ``(length,)`` counts as one channel.

    Args:
        input_shape: Shape of one input sample; None takes what the graph brings.
        output_shape: Shape of one output sample; None takes what the graph asks for.
        n_layers: Number of convolutions.
        hidden_dim: Channels of each convolution.
        kernel_size: Length of the kernels, in steps of the input.
        padding: Zeros added at both ends before each convolution.
        stride: Steps between two positions of a kernel.
        activation: Name of a torch activation, e.g. ``"relu"``, ``"tanh"``, ``"gelu"``.
        dropout: Probability of dropping a value while training, in ``[0, 1)``.
        pooling: Length of the windows of which each layer keeps the maximum; 1 keeps all.
        flatten_output: End in a linear layer to the output shape. Without it the output is
            ``(hidden_dim, length)`` of the last convolution.

    Raises:
        InvalidValueError: If an argument is out of range or the activation is unknown.
    """

    def __init__(
        self,
        *,
        input_shape: Shape | None = None,
        output_shape: Shape | None = None,
        n_layers: int = 2,
        hidden_dim: int = 16,
        kernel_size: int = 3,
        padding: int = 1,
        stride: int = 1,
        activation: str = "relu",
        dropout: float = 0.0,
        pooling: int = 1,
        flatten_output: bool = True,
    ) -> None:
        super().__init__(
            input_shape=input_shape,
            output_shape=output_shape,
            n_layers=check_int(n_layers, "n_layers"),
            hidden_dim=check_int(hidden_dim, "hidden_dim"),
            kernel_size=check_int(kernel_size, "kernel_size"),
            padding=check_int(padding, "padding", minimum=0),
            stride=check_int(stride, "stride"),
            activation=activation,
            dropout=check_dropout(dropout),
            pooling=check_int(pooling, "pooling"),
            flatten_output=flatten_output,
        )
        self._activation = activation_class(activation)

    def build_layers(self, input_shape: Shape, output_shape: Shape | None) -> None:
        """Make the layers; without an output shape they end in ``(1, hidden_dim)``.

        Raises:
            InvalidValueError: If samples are not ``(channels, length)``, are too short for
                the layers, or the output shape is not that of the last convolution.
        """
        if len(input_shape) > 2:
            raise InvalidValueError(f"SequentialCNN takes samples (channels, length), got {input_shape}.")
        channels, length = padded(input_shape)
        self.layers = nn.Sequential()
        for i in range(self.init_args["n_layers"]):
            length = self._add_layer(channels, length, i)
            channels = self.init_args["hidden_dim"]
        if self.init_args["flatten_output"]:
            self._add_head(channels * length, output_shape)
        elif output_shape is not None and not same_values(output_shape, (channels, length)):
            raise InvalidValueError(
                f"SequentialCNN without flatten_output returns {(channels, length)}, "
                f"but output_shape is {output_shape}."
            )

    def _add_layer(self, channels: int, length: int, i: int) -> int:
        args = self.init_args
        after = (length + 2 * args["padding"] - args["kernel_size"]) // args["stride"] + 1
        after //= args["pooling"]
        if after < 1:
            raise InvalidValueError(
                f"SequentialCNN: layer {i + 1} of {args['n_layers']} gets samples of length {length}, "
                f"too short for kernel_size={args['kernel_size']} and pooling={args['pooling']}."
            )
        geometry = {name: args[name] for name in ("kernel_size", "stride", "padding")}
        self.layers.append(nn.Conv1d(channels, args["hidden_dim"], **geometry))
        self.layers.append(self._activation())
        if args["dropout"]:
            self.layers.append(nn.Dropout(args["dropout"]))
        if args["pooling"] > 1:
            self.layers.append(nn.MaxPool1d(args["pooling"]))
        return int(after)

    def _add_head(self, n_in: int, output_shape: Shape | None) -> None:
        if output_shape is None:
            output_shape = (1, self.init_args["hidden_dim"])
            warn(f"SequentialCNN has no output_shape; it takes {output_shape}.")
        self.layers.append(nn.Flatten())
        self.layers.append(nn.Linear(n_in, n_values(output_shape)))
        self.layers.append(nn.Unflatten(1, padded(output_shape)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs ``(n_samples, *output_shape)`` for inputs ``(n_samples, *input_shape)``."""
        outputs: torch.Tensor = self.layers(x if x.ndim == 3 else x.unsqueeze(1))
        return outputs
