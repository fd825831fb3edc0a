"""A shape whose axes lie another way than a layer takes them is told with what to do, and that works."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from modularml.models.torch import TorchModelWrapper
from modularml.models.torch.demands import axes_meant, first_demand


def lstm(**options: Any) -> nn.Module:
    return nn.LSTM(3, 4, batch_first=True, **options)


def conv(cls: Any) -> nn.Module:
    return nn.Sequential(cls(3, 4, 3), nn.Flatten(), nn.LazyLinear(1))


@pytest.mark.parametrize(
    ("make", "key_shape", "says"),
    [
        (lstm, (3, 20), r"LSTM takes samples of shape \(steps, 3\): (.+)\. Tried"),
        (
            lambda: nn.GRU(1, 4, batch_first=True),
            (20,),
            r"GRU takes samples of shape \(steps, 1\): (.+)\. Tried",
        ),
        (lambda: conv(nn.Conv1d), (20, 3), r"Conv1d takes .* channels first: (.+)\. Tried"),
        (lambda: conv(nn.Conv2d), (8, 9, 3), r"Conv2d takes .* channels first: (.+)\. Tried"),
    ],
)
def test_what_it_says_to_do_works(
    make: Callable[[], nn.Module], key_shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ValueError, match="does not take samples") as told:
        TorchModelWrapper(make()).build((1, *key_shape))
    found = re.search(says, str(told.value))
    assert found is not None
    x = eval(found[1], {"np": np, "x": np.zeros((5, *key_shape))})
    TorchModelWrapper(make()).build((1, *x.shape[1:]))


def test_a_module_that_takes_steps_first_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"^LSTM does not .* LSTM\(..., batch_first=True\)\. Tried"):
        TorchModelWrapper(nn.LSTM(3, 4)).build((1, 20, 3))


def test_columns_that_would_be_steps_are_to_be_stacked() -> None:
    with pytest.raises(ValueError, match=r"np.stack\(columns, axis=-1\) as one column"):
        TorchModelWrapper(lstm()).build((3, 20))


@pytest.mark.parametrize("module", [nn.Linear(20, 1), nn.ReLU(), lstm(), conv(nn.Conv1d)])
def test_nothing_is_said_where_no_axis_explains_it(module: nn.Module) -> None:
    assert axes_meant(module, (1, 7, 8)) == ""


def test_what_the_first_layer_wants() -> None:
    assert (
        first_demand(nn.Sequential(nn.ReLU(), nn.Linear(20, 1))) == ": its first Linear wants in_features=20"
    )
    assert first_demand(nn.ReLU()) == ""
