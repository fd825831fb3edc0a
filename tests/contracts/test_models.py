"""What every model keeps to, whatever it is made with; a new one must give an example here."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from modularml.base.config import type_registry
from modularml.models import BaseModel, ScikitModelWrapper, model_registry
from modularml.models.torch import SequentialCNN, SequentialMLP, TorchModelWrapper

N, SHAPE = 12, (1, 10)
X = np.random.default_rng(0).random((N, *SHAPE), dtype=np.float32)

EXAMPLES: dict[str, list[Callable[[], BaseModel]]] = {
    "torch::SequentialMLP": [
        lambda: SequentialMLP(output_shape=(1, 1), n_layers=2, hidden_dim=32),
        lambda: SequentialMLP(output_shape=(2, 3), dropout=0.5, activation="gelu"),
    ],
    "torch::SequentialCNN": [
        lambda: SequentialCNN(output_shape=(3,), pooling=2, dropout=0.5),
        lambda: SequentialCNN(flatten_output=False),
    ],
    "torch::TorchModelWrapper": [
        lambda: TorchModelWrapper(nn.Linear(10, 2)),
        lambda: TorchModelWrapper(
            nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
        ),
        lambda: TorchModelWrapper(model_class=nn.LazyLinear, model_kwargs={"out_features": 2}),
    ],
    "scikit::ScikitModelWrapper": [lambda: ScikitModelWrapper(Ridge())],
}
MAKERS = [
    pytest.param(make, id=f"{name}-{i}") for name, makes in EXAMPLES.items() for i, make in enumerate(makes)
]
every_model = pytest.mark.parametrize("make", MAKERS)


def ready(make: Callable[[], BaseModel]) -> BaseModel:
    """A model that is built, and fitted where it learns by fitting."""
    model = make()
    model.build(SHAPE)
    if isinstance(model, ScikitModelWrapper):
        model.fit(X, X.sum((1, 2)))
    return model


def answer(model: BaseModel) -> np.ndarray:
    """The outputs for `X`, without dropout."""
    if model.backend == "scikit":
        return np.asarray(model(X))
    module = model.module.eval()  # type: ignore[attr-defined]
    outputs: np.ndarray = module(torch.from_numpy(X)).detach().numpy()
    return outputs


def disturb(model: BaseModel) -> None:
    """Change what the model has learnt."""
    if isinstance(model, ScikitModelWrapper):
        model.fit(X, -X.sum((1, 2)))
    else:
        model.set_weights({name: w + 1 for name, w in model.get_weights().items()})


def test_every_model_has_an_example() -> None:
    assert set(EXAMPLES) == set(model_registry)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_known_to_files(name: str) -> None:
    assert type_registry[name.partition("::")[2]] is model_registry[name]
    assert model_registry[name].backend == name.partition("::")[0]


@every_model
def test_it_says_whether_it_is_built(make: Callable[[], BaseModel]) -> None:
    model = make()
    assert not model.is_built
    model.build(SHAPE)
    assert model.is_built
    assert model.input_shape == SHAPE


@every_model
def test_outputs_have_the_promised_shape(make: Callable[[], BaseModel]) -> None:
    model = ready(make)
    assert answer(model).shape == (N, *model.output_shape)


@every_model
def test_building_twice_changes_nothing(make: Callable[[], BaseModel]) -> None:
    model = ready(make)
    before = answer(model)
    model.build(SHAPE)
    np.testing.assert_array_equal(answer(model), before)


@every_model
def test_an_input_shape_is_needed_once(make: Callable[[], BaseModel]) -> None:
    with pytest.raises(ValueError, match="input_shape"):
        make().build()
    ready(make).build()


@every_model
def test_configuration_and_state_make_a_twin(make: Callable[[], BaseModel]) -> None:
    model = ready(make)
    twin = type(model).from_config(model.get_config())
    twin.set_state(model.get_state())
    np.testing.assert_array_equal(answer(twin), answer(model))
    assert (twin.input_shape, twin.output_shape) == (model.input_shape, model.output_shape)
    disturb(twin)
    assert not np.array_equal(answer(twin), answer(model))


@every_model
def test_a_state_is_a_copy_that_can_be_put_back(make: Callable[[], BaseModel]) -> None:
    model = ready(make)
    before, state = answer(model), model.get_state()
    disturb(model)
    assert not np.array_equal(answer(model), before)
    model.set_state(state)
    np.testing.assert_array_equal(answer(model), before)


@every_model
def test_the_state_of_the_unbuilt_can_be_put_back(make: Callable[[], BaseModel]) -> None:
    model = make()
    state = model.get_state()
    model.build(SHAPE)
    model.set_state(state)
    assert not model.is_built


@every_model
def test_reset_returns_to_the_beginning(make: Callable[[], BaseModel]) -> None:
    model = make()
    model.build(SHAPE)
    before = model.get_weights()
    disturb(model)
    model.reset_weights()
    after = model.get_weights()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@every_model
def test_a_deep_copy_is_independent(make: Callable[[], BaseModel]) -> None:
    model = ready(make)
    before, twin = answer(model), copy.deepcopy(model)
    disturb(twin)
    np.testing.assert_array_equal(answer(model), before)
    assert twin != model


@every_model
def test_its_repr_is_short(make: Callable[[], BaseModel]) -> None:
    text = repr(make())
    assert text == repr(make())
    assert text.startswith(type(make()).__name__)
    assert "\n" not in text
    assert len(text) < 120


@every_model
def test_the_global_randomness_of_torch_is_left_alone_by_a_state(make: Callable[[], BaseModel]) -> None:
    state, model = ready(make).get_state(), make()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    model.set_state(state)
    assert torch.equal(torch.rand(1), expected)
