"""A multi-layer perceptron.

It knows only its shapes.
"""

from __future__ import annotations

import torch
from torch import nn

from modularml.base.errors import check_int, warn
from modularml.models.model import Shape, n_values, padded
from modularml.models.torch.layers import activation_class, check_dropout
from modularml.models.torch.module import TorchBaseModel


class SequentialMLP(TorchBaseModel):
    """A stack of linear layers with activations between them.

    Inputs are flattened, outputs take the output shape; both have at least two
    dimensions, so ``(5,)`` counts as ``(1, 5)``.

    Args:
        input_shape: Shape of one input sample; None takes what the graph brings.
        output_shape: Shape of one output sample; None takes what the graph asks for.
        n_layers: Number of linear layers, the last one included.
        hidden_dim: Width of the layers before the last.
        activation: Name of a torch activation, e.g. ``"relu"``, ``"tanh"``, ``"gelu"``.
        dropout: Probability of dropping a hidden value while training, in ``[0, 1)``.

    Raises:
        InvalidValueError: If an argument is out of range or the activation is unknown.
    """

    def __init__(
        self,
        *,
        input_shape: Shape | None = None,
        output_shape: Shape | None = None,
        n_layers: int = 2,
        hidden_dim: int = 32,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            input_shape=input_shape,
            output_shape=output_shape,
            n_layers=check_int(n_layers, "n_layers"),
            hidden_dim=check_int(hidden_dim, "hidden_dim"),
            activation=activation,
            dropout=check_dropout(dropout),
        )
        self._activation = activation_class(activation)

    def build_layers(self, input_shape: Shape, output_shape: Shape | None) -> None:
        """Make the layers; without an output shape they end in ``(1, hidden_dim)``."""
        n_layers, width, dropout = (self.init_args[k] for k in ("n_layers", "hidden_dim", "dropout"))
        if output_shape is None:
            output_shape = (1, width)
            warn(f"SequentialMLP has no output_shape; it takes {output_shape}.")
        self._shape = padded(output_shape)
        layers: list[nn.Module] = []
        n_in = n_values(input_shape)
        for _ in range(n_layers - 1):
            layers += [nn.Linear(n_in, width), self._activation()]
            layers += [nn.Dropout(dropout)] if dropout else []
            n_in = width
        layers.append(nn.Linear(n_in, n_values(output_shape)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs ``(n_samples, *output_shape)`` for inputs ``(n_samples, *input_shape)``."""
        outputs: torch.Tensor = self.layers(x.flatten(1))
        return outputs.view(x.shape[0], *self._shape)
