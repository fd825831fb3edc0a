import pytest
from sklearn.linear_model import Ridge
from torch import nn

from modularml.models import ScikitModelWrapper, wrap_model
from modularml.models.torch import SequentialMLP, TorchModelWrapper


def test_a_model_stays_what_it_is() -> None:
    model = SequentialMLP()
    assert wrap_model(model) is model


@pytest.mark.parametrize("obj", [nn.Linear(2, 1), nn.Linear])
def test_modules_and_their_classes_are_wrapped(obj: object) -> None:
    assert isinstance(wrap_model(obj), TorchModelWrapper)


def test_estimators_are_wrapped_and_reachable() -> None:
    estimator = Ridge()
    model = wrap_model(estimator)
    assert isinstance(model, ScikitModelWrapper)
    assert model.estimator is estimator


@pytest.mark.parametrize("obj", [None, "SequentialMLP", 3, {}, len])
def test_other_things_are_refused_by_what_they_are(obj: object) -> None:
    with pytest.raises(TypeError, match=f"got .*{type(obj).__name__}"):
        wrap_model(obj)


@pytest.mark.parametrize("cls", [SequentialMLP, Ridge])
def test_classes_that_need_arguments_are_refused_with_the_way_out(cls: type) -> None:
    with pytest.raises(TypeError, match=rf"instance: {cls.__name__}\("):
        wrap_model(cls)
