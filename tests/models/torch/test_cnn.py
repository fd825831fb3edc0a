import numpy as np
import pytest
import torch

from modularml.base.errors import ModularMLWarning
from modularml.models.torch import SequentialCNN


@pytest.mark.parametrize("input_shape", [(20,), (1, 20), (3, 20)])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"n_layers": 1, "hidden_dim": 2},
        {"kernel_size": 5, "padding": 0, "stride": 2},
        {"pooling": 2, "dropout": 0.5, "activation": "tanh"},
        {"kernel_size": 4, "padding": 3, "stride": 3, "pooling": 2},
    ],
)
def test_any_geometry(input_shape: tuple[int, ...], arguments: dict[str, object]) -> None:
    model = SequentialCNN(output_shape=(2, 3), **arguments)
    model.build(input_shape)
    assert model.output_shape == (2, 3)
    assert model(torch.zeros(4, *input_shape)).shape == (4, 2, 3)
    bare = SequentialCNN(flatten_output=False, **arguments)
    bare.build(input_shape)
    assert bare.output_shape[0] == arguments.get("hidden_dim", 16)
    assert bare(torch.zeros(4, *input_shape)).shape == (4, *bare.output_shape)


def test_one_convolution_is_a_sliding_product() -> None:
    model = SequentialCNN(n_layers=1, hidden_dim=1, padding=0, activation="leakyrelu", flatten_output=False)
    model.build((6,))
    model.set_weights(
        {"layers.0.weight": np.array([[[1.0, 2.0, 3.0]]]), "layers.0.bias": np.array([0.5])},
    )
    x = np.arange(6.0)
    expected = np.correlate(x, [1.0, 2.0, 3.0]) + 0.5
    np.testing.assert_allclose(model(torch.tensor(x[None]).float()).detach()[0, 0], expected)


def test_nobody_asks_for_an_output_shape() -> None:
    model = SequentialCNN(hidden_dim=6)
    with pytest.warns(ModularMLWarning, match=r"\(1, 6\)"):
        model.build((1, 10))
    assert model.output_shape == (1, 6)


@pytest.mark.parametrize(
    ("arguments", "input_shape", "match"),
    [
        ({"kernel_size": 9, "padding": 0}, (1, 10), "layer 2 of 2 gets samples of length 2"),
        ({"pooling": 4}, (1, 10), "too short"),
        ({}, (2, 3, 4), r"\(channels, length\)"),
        ({"flatten_output": False, "output_shape": (1, 1)}, (1, 10), r"returns \(16, 10\)"),
    ],
)
def test_samples_that_do_not_suit_are_refused(
    arguments: dict[str, object], input_shape: tuple[int, ...], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        SequentialCNN(**arguments).build(input_shape)


@pytest.mark.parametrize("name", ["n_layers", "hidden_dim", "kernel_size", "stride", "pooling"])
def test_numbers_are_at_least_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be an int of at least 1, got 0"):
        SequentialCNN(**{name: 0})
