from collections.abc import Callable

import pytest
import torch
from torch import nn

from modularml.backends.torch_modules import first_floating, layers, modes_kept, parameters, set_mode


def tied() -> nn.Module:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), nn.Sequential(second, first), nn.Dropout())


def with_gaps() -> nn.Module:
    module = nn.Linear(2, 2, bias=False)
    module.register_module("none", None)
    module.register_parameter("counts", nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False))
    return nn.ModuleDict({"a": module, "b": nn.BatchNorm1d(2)})


class KeepsNorm(nn.Module):
    """As people write it to keep statistics as they are while the rest is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(2), nn.Linear(2, 2)

    def train(self, mode: bool = True) -> "KeepsNorm":
        super().train(mode)
        self.norm.eval()
        return self


MAKERS = [tied, with_gaps, KeepsNorm, nn.ReLU, lambda: nn.LSTM(2, 3, num_layers=2)]


@pytest.fixture(params=MAKERS, ids=["tied", "gaps", "own train", "nothing", "recurrent"])
def module(request: pytest.FixtureRequest) -> nn.Module:
    make: Callable[[], nn.Module] = request.param
    return make()


def modes(module: nn.Module) -> list[bool]:
    return [layer.training for layer in module.modules()]


def test_layers_and_parameters_are_those_of_torch_in_its_order(module: nn.Module) -> None:
    assert list(map(id, layers(module))) == list(map(id, module.modules()))
    assert list(map(id, parameters(module))) == list(map(id, module.parameters()))
    floating = next((p for p in module.parameters() if p.is_floating_point()), None)
    assert first_floating(module) is floating


@pytest.mark.parametrize("mode", [True, False])
def test_a_mode_is_set_as_the_module_sets_it_and_as_before_afterwards(module: nn.Module, mode: bool) -> None:
    module.train(mode)
    wanted = modes(module)
    module.train(not mode)
    layers(module)[-1].train(mode)
    before = modes(module)
    with modes_kept([module]):
        set_mode(module, mode)
        assert modes(module) == wanted
    assert modes(module) == before


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_script_has_its_modes_elsewhere() -> None:
    script = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    with modes_kept([script]):
        set_mode(script, False)
        assert not any(modes(script))
        assert torch.equal(script(torch.ones(1, 2)), script(torch.ones(1, 2)))
    assert all(modes(script))
