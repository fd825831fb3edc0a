from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml.base.errors import InvalidValueError
from modularml.models.torch import SequentialMLP, TorchModelWrapper


class Shaped(nn.Module):
    """A class that wants to be told its shapes."""

    def __init__(self, input_shape, output_shape=(1,), bias=True):
        super().__init__()
        self.layer = nn.Linear(input_shape[-1], output_shape[-1], bias=bias)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize(
    ("module", "input_shape", "output_shape"),
    [
        (nn.Linear(10, 1), (1, 10), (1, 1)),
        (nn.Linear(10, 3), (10,), (3,)),
        (nn.Linear(30, 1), (3, 10), (1,)),
        (nn.Linear(10, 1), (3, 10), (3, 1)),
        (nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)), (1, 10), (1,)),
        (nn.Conv1d(1, 4, 3), (1, 10), (4, 8)),
        (nn.Conv1d(1, 4, 3), (10,), (4, 8)),
        (nn.Conv2d(1, 2, 3), (1, 8, 8), (2, 6, 6)),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (3, 4), (2,)),
        (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), (4,), ()),
        (nn.LazyLinear(5), (1, 10), (1, 5)),
        (nn.Sequential(nn.LazyConv1d(4, 3), nn.LazyBatchNorm1d()), (1, 10), (4, 8)),
        (nn.Sequential(nn.LazyBatchNorm1d(), nn.LazyLinear(3)), (1, 10), (3,)),
        (nn.Identity(), (3, 4), (3, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_the_rank_is_found(
    module: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> None:
    model = TorchModelWrapper(module)
    model.build(input_shape)
    assert (model.input_shape, model.output_shape) == (input_shape, output_shape)
    assert model(torch.zeros(6, *input_shape)).shape == (6, *output_shape)


def test_a_module_that_fits_is_called_itself() -> None:
    module = nn.Linear(10, 1)
    model = TorchModelWrapper(module)
    model.build((1, 10))
    assert model.module is module


def test_names_of_weights_are_the_modules_own_after_a_reshape_too() -> None:
    module = nn.Linear(30, 1)
    model = TorchModelWrapper(module)
    model.build((3, 10))
    assert list(model.get_weights()) == ["weight", "bias"]
    assert set(model.module.parameters()) == set(module.parameters())


def test_what_does_not_fit_says_what_was_tried_and_wanted() -> None:
    with pytest.raises(ValueError, match="does not take samples") as told:
        TorchModelWrapper(nn.Sequential(nn.Linear(12, 1))).build((1, 10))
    for words in ("(1, 10) (10 values each)", "Linear wants in_features=12", "as (n, 1, 10)", "as (n, 10)"):
        assert words in str(told.value)


def test_the_build_leaves_no_trace() -> None:
    module = nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(1), nn.Dropout())
    module[2].eval()
    state, modes = (
        {n: t.clone() for n, t in module.state_dict().items()},
        [m.training for m in module.modules()],
    )
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    TorchModelWrapper(module).build((1, 10))
    assert torch.equal(torch.rand(1), expected)
    assert [m.training for m in module.modules()] == modes
    assert all(torch.equal(t, state[n]) for n, t in module.state_dict().items())


def test_the_modules_output_counts_not_the_wish() -> None:
    model = TorchModelWrapper(nn.Linear(10, 3))
    model.build((1, 10), (1,))
    assert model.output_shape == (1, 3)


@pytest.mark.parametrize("input_shape", [(1, 10), ((1, 10),)])
def test_lazy_layers_have_weights_of_their_own(input_shape: Any) -> None:
    torch.manual_seed(5)
    modules = [nn.LazyLinear(3) for _ in range(2)]
    for module in modules:
        TorchModelWrapper(module).build(input_shape)
    torch.manual_seed(5)
    for module in modules:
        assert torch.equal(module.weight, nn.Linear(10, 3).weight)


def test_a_class_gets_its_shapes() -> None:
    model = TorchModelWrapper(model_class=Shaped, model_kwargs={"bias": False})
    assert not model.is_built
    with pytest.raises(RuntimeError, match="not built"):
        model.module  # noqa: B018
    model.build((1, 10), (1, 3))
    assert (model.output_shape, list(model.get_weights())) == ((1, 3), ["layer.weight"])
    twin = TorchModelWrapper.from_config(model.get_config())
    assert (twin.get_config(), repr(twin)) == (model.get_config(), "TorchModelWrapper(Shaped)")


def test_a_class_that_builds_itself_is_built() -> None:
    model = TorchModelWrapper(model_class=SequentialMLP, model_kwargs={"hidden_dim": 3})
    model.build((1, 10), (1, 2))
    assert (model.output_shape, model.module(torch.zeros(4, 1, 10)).shape) == ((1, 2), (4, 1, 2))
    assert model.get_init_args()["model_kwargs"] == {"hidden_dim": 3}


def test_a_class_that_cannot_be_made_says_with_what() -> None:
    model = TorchModelWrapper(model_class=nn.Linear, model_kwargs={"in_features": 3})
    with pytest.raises(
        ValueError, match=r"Linear cannot be made with .*out_features.*an object of the class"
    ):
        model.build((3,))


def test_force_makes_a_class_anew_and_a_module_as_it_came() -> None:
    lazy, module = TorchModelWrapper(model_class=Shaped), nn.Linear(10, 1)
    lazy.build((10,))
    first = lazy.module
    lazy.build((10,), force=True)
    assert lazy.module is not first
    model = TorchModelWrapper(module)
    model.build((10,))
    before = model.get_weights()
    model.set_weights({n: w + 1 for n, w in before.items()})
    model.build((10,), force=True)
    assert model.module is module
    assert all(np.array_equal(w, before[n]) for n, w in model.get_weights().items())


def test_another_shape_needs_force() -> None:
    model = TorchModelWrapper(nn.Identity())
    model.build((10,))
    with pytest.raises(ValueError, match="force=True"):
        model.build((11,))
    model.build((11,), force=True)
    assert model.output_shape == (11,)


def test_the_state_makes_a_twin() -> None:
    model = TorchModelWrapper(model_class=Shaped)
    model.build((10,), (2,))
    twin = TorchModelWrapper(model_class=Shaped)
    twin.set_state(model.get_state())
    x = torch.randn(3, 10)
    assert torch.equal(twin(x), model(x))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ValueError, "either a model"),
        ({"model": nn.Identity(), "model_class": nn.Identity}, ValueError, "either a model"),
        ({"model": "mlp"}, TypeError, "torch.nn.Module"),
        ({"model": nn.Identity}, TypeError, "torch.nn.Module"),
        ({"model_class": int}, TypeError, "class of torch.nn.Module"),
        ({"model_class": nn.Identity()}, TypeError, "class of torch.nn.Module"),
        ({"model": nn.Identity(), "model_kwargs": {"a": 1}}, ValueError, "model_kwargs"),
    ],
)
def test_mistakes_are_refused(arguments: dict[str, object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        TorchModelWrapper(**arguments)


class FirstTwo(nn.Module):
    """Reads its samples as vectors."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2]


class LastState(nn.Module):
    """A recurrent module, which would also take a batch of vectors for one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(5, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.cells(x)[0]
        return states


@pytest.mark.parametrize(
    ("module", "input_shape", "taken"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)), (1, 4), (4,)),
        (FirstTwo(), (1, 4), (4,)),
        (nn.Linear(4, 3), (1, 4), (1, 4)),
        (LastState(), (1, 5), (1, 5)),
        (LastState(), (1, 7, 5), (7, 5)),
        (nn.TransformerEncoderLayer(4, 2, batch_first=True), (1, 4), (1, 4)),
        (nn.Conv1d(1, 6, 3), (1, 16), (1, 16)),
        (nn.Conv1d(4, 6, 3), (1, 4, 16), (4, 16)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_the_axis_of_a_single_key_is_left_out_where_that_makes_a_difference(
    module: nn.Module, input_shape: tuple[int, ...], taken: tuple[int, ...]
) -> None:
    wrapped = TorchModelWrapper(model=module)
    wrapped.build(input_shape)
    batch = torch.rand(3, *input_shape)
    module.eval()
    assert torch.allclose(wrapped(batch), module(batch.reshape(3, *taken)))
    assert tuple(wrapped(batch).shape[1:]) == wrapped.output_shape


def test_what_a_module_raises_of_its_own_is_told_in_its_words() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("my own mistake")

    with pytest.raises(
        InvalidValueError, match=r"Broken.forward\(\) raised KeyError .*: 'my own mistake'"
    ) as told:
        TorchModelWrapper(Broken()).build((1, 4))
    assert isinstance(told.value.__cause__, KeyError)


def test_one_of_several_outputs_is_passed_on() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.layer(x), "twice": 2 * x}

    both = TorchModelWrapper(Both())
    both.build((4,))
    assert both.output_shape == {"logits": (3,), "twice": (4,)}
    wrapper = TorchModelWrapper(Both(), output="logits")
    wrapper.build((4,))
    assert wrapper.output_shape == (3,)
