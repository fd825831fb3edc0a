from typing import Any

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from modularml.base.errors import GraphError, InvalidTypeError, InvalidValueError, StateError
from modularml.core.training.optimizer import Optimizer
from modularml.models.torch import SequentialMLP


def test_any_module_or_estimator_is_wrapped(bench: Any) -> None:
    mlp = SequentialMLP(output_shape=(1,))
    assert bench.node("A", model=mlp).model is mlp
    assert [bench.node(label, model=m).backend for label, m in (("B", nn.Linear(4, 1)), ("C", Ridge()))] == [
        "torch",
        "scikit",
    ]


@pytest.mark.parametrize("model", [None, "mlp", 3])
def test_what_is_no_model_is_refused_with_the_label(bench: Any, model: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match="ModelNode 'A'"):
        type(bench.node("X"))("A", model, bench.ref())
    assert not bench.ctx.has_node("A")


def test_several_faults_are_told_together(bench: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"(?s)3 faults.*exactly one upstream.*An optimizer.*model"):
        type(bench.node("X"))("A", None, [bench.ref()], 3)


def test_shapes_are_known_after_the_build(bench: Any) -> None:
    node = bench.node("A", model=SequentialMLP(output_shape=(1, 2)))
    assert (node.is_built, node.input_shape, node.output_shape) == (False, None, (1, 2))
    node.build((1, 4))
    assert (node.is_built, node.input_shape, node.output_shape) == (True, (1, 4), (1, 2))
    assert node.module is node.model


def test_a_shape_that_the_model_does_not_take_is_told_with_the_label(bench: Any) -> None:
    with pytest.raises(GraphError, match=r"ModelNode\('A'\) cannot be built for inputs of shape \(1, 5\)"):
        bench.node("A").build((1, 5))


def test_an_estimator_has_no_module(bench: Any) -> None:
    with pytest.raises(StateError, match="holds no torch module but a ScikitModelWrapper"):
        _ = bench.node("A", model=Ridge()).module


def test_weights_return_to_those_of_the_build(bench: Any) -> None:
    node = bench.node("A", optimizer=Optimizer("sgd"))
    node.build((1, 4))
    before = node.model.get_weights()
    with torch.no_grad():
        node.module.get_parameter("weight").add_(1)
    node.reset_weights()
    assert all((before[name] == value).all() for name, value in node.model.get_weights().items())
