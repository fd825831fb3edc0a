import numpy as np
import pytest
import torch

from modularml.base.errors import ModularMLWarning
from modularml.models.torch import SequentialMLP


def test_the_seed_form() -> None:
    model = SequentialMLP(output_shape=(1, 1), n_layers=2, hidden_dim=32)
    assert not model.is_built
    model.build(input_shape=(1, 10))
    assert (model.input_shape, model.output_shape, model.is_built) == ((1, 10), (1, 1), True)
    assert model(torch.zeros(7, 1, 10)).shape == (7, 1, 1)
    assert {n: w.shape for n, w in model.get_weights().items()} == {
        "layers.0.weight": (32, 10),
        "layers.0.bias": (32,),
        "layers.2.weight": (1, 32),
        "layers.2.bias": (1,),
    }


@pytest.mark.parametrize("input_shape", [(10,), (1, 10), (2, 5), (3, 4, 2)])
@pytest.mark.parametrize("output_shape", [(1,), (3,), (2, 3)])
def test_any_shapes(input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> None:
    model = SequentialMLP()
    model.build(input_shape, output_shape)
    assert model.output_shape == (output_shape if len(output_shape) > 1 else (1, *output_shape))
    assert model(torch.zeros(4, *input_shape)).shape == (4, *model.output_shape)


@pytest.mark.parametrize("n_layers", [1, 2, 5])
def test_n_layers_counts_linear_layers(n_layers: int) -> None:
    model = SequentialMLP(n_layers=n_layers, output_shape=(1,), dropout=0.5)
    model.build((4,))
    assert sum(w.endswith("weight") for w in model.get_weights()) == n_layers


def test_nobody_asks_for_an_output_shape() -> None:
    model = SequentialMLP(hidden_dim=6)
    with pytest.warns(ModularMLWarning, match=r"\(1, 6\)"):
        model.build((1, 4))
    assert model.output_shape == (1, 6)


def test_it_computes_what_its_layers_say() -> None:
    model = SequentialMLP(output_shape=(2,), activation="tanh")
    model.build((3,))
    w = model.get_weights()
    x = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    hidden = np.tanh(x @ w["layers.0.weight"].T + w["layers.0.bias"])
    expected = hidden @ w["layers.2.weight"].T + w["layers.2.bias"]
    np.testing.assert_allclose(model(torch.from_numpy(x)).detach().numpy()[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"n_layers": 0}, "n_layers must be an int of at least 1"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"activation": "rellu"}, "Did you mean 'relu'"),
        ({"activation": "multiheadattention"}, "Unknown activation"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"dropout": float("nan")}, "dropout must be in"),
        ({"output_shape": (0, 1)}, "at least 1"),
    ],
)
def test_mistakes_are_refused_where_they_are_made(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SequentialMLP(**arguments)


@pytest.mark.parametrize("arguments", [{"n_layers": 2.0}, {"dropout": "0.1"}, {"input_shape": "10"}])
def test_other_types_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="must be"):
        SequentialMLP(**arguments)


def test_torchs_compiler_can_trace_a_model_in_a_set() -> None:
    mlp = SequentialMLP(input_shape=(1, 3), output_shape=(1, 1))
    mlp.build()

    @torch.compile(backend="eager", fullgraph=True)
    def run(x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(mlp, dict(mlp.named_parameters()), (x,))

    x = torch.ones(2, 1, 3)
    torch.testing.assert_close(run(x), mlp(x))
    assert hash(mlp) == id(mlp) and {mlp} == {mlp}
