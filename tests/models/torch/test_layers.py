import pytest
import torch

from modularml.models.torch.layers import activation_class, activation_classes, check_dropout


@pytest.mark.parametrize("name", sorted(activation_classes()))
def test_every_activation_works_value_by_value(name: str) -> None:
    activation, x = activation_class(name)().eval(), torch.randn(4, 3)
    torch.testing.assert_close(activation(x)[1:2, :2], activation(x[1:2, :2]))


@pytest.mark.parametrize("spelling", ["LeakyReLU", "leaky_relu", "leakyrelu"])
def test_case_and_underscores_do_not_count(spelling: str) -> None:
    assert activation_class(spelling) is torch.nn.LeakyReLU


@pytest.mark.parametrize("name", ["softmax", "glu", "multiheadattention", "", None])
def test_what_is_no_activation_of_single_values_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Unknown activation"):
        activation_class(name)


def test_dropout_is_a_probability_below_one() -> None:
    assert check_dropout(0) == 0.0
    with pytest.raises(TypeError, match="a number"):
        check_dropout(True)
