"""A module is described by its class and arguments: what is made again must be its like, or be refused."""

import pytest
import torch
from torch import nn

from modularml.models.torch import TorchModelWrapper
from modularml.models.torch.recipe import describe_module, make_module


class Block(nn.Module):
    """A block that keeps its arguments, one of them a module."""

    def __init__(self, inner, width=3, bias=True):
        super().__init__()
        self.inner, self.width = inner, width
        self.last = nn.Linear(width, 1, bias=bias)
        self.bias = bias

    def forward(self, x):
        return self.last(self.inner(x))


class Forgetful(nn.Module):
    """A block that keeps nothing."""

    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(2, width)


class Misleading(nn.Module):
    """A block whose default is not what it was made with."""

    def __init__(self, width=3):
        super().__init__()
        self.layer = nn.Linear(2, width)


class Tied(nn.Module):
    """A block that shares a weight only after it was made."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)


MODULES = [
    nn.Linear(3, 2),
    nn.Linear(3, 2, bias=False),
    nn.Linear(3, 2).double(),
    nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Dropout(0.25), nn.Linear(4, 1)),
    nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.GELU(), nn.MaxPool1d(2), nn.Flatten(), nn.LazyLinear(2)),
    nn.Sequential(nn.Conv2d(1, 2, (3, 5), stride=2, bias=False), nn.LeakyReLU(0.3), nn.LayerNorm(4)),
    nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True, proj_size=2),
    nn.Sequential(nn.GRU(3, 4, bias=False, batch_first=True), nn.ReLU()),
    nn.RNN(3, 4, nonlinearity="relu", dropout=0.5, num_layers=2),
    nn.ModuleList([nn.Linear(1, 2), nn.Linear(2, 3)]),
    nn.ModuleDict({"a": nn.Embedding(5, 2), "b": nn.GroupNorm(2, 4)}),
    Block(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), bias=False),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)
def test_the_twin_has_the_same_form(module: nn.Module) -> None:
    twin = make_module(describe_module(module))
    assert repr(twin) == repr(module)
    assert type(twin) is type(module)
    twin.load_state_dict(module.state_dict())


def test_fixed_parameters_stay_fixed() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    module[0].requires_grad_(False)
    twin = make_module(describe_module(module))
    assert [p.requires_grad for p in twin.parameters()] == [False, False, True, True]


def test_it_touches_no_random_stream() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    make_module(describe_module(MODULES[3]))
    assert torch.equal(torch.rand(1), expected)


def test_what_is_not_kept_is_named_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"'width' is not kept.*model_class=Forgetful"):
        describe_module(Forgetful(4))


def test_a_wrong_guess_is_found_out() -> None:
    describe_module(Misleading())
    with pytest.raises(ValueError, match="Misleading cannot be described"):
        describe_module(Misleading(4))
    tied = Tied()
    describe_module(tied)
    tied.two.weight = tied.one.weight
    with pytest.raises(ValueError, match="Tied cannot be described"):
        describe_module(tied)
    grown = nn.Linear(3, 2)
    describe_module(grown)
    grown.weight = nn.Parameter(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="Linear cannot be described"):
        describe_module(grown)


class Looking(nn.Module):
    """A block whose constructor looks at values, which a module without them does not have."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.width = int(torch.full((), width).item())
        self.layer = nn.Linear(2, self.width)


def test_a_constructor_may_look_at_values() -> None:
    assert make_module(describe_module(Looking(4))).layer.out_features == 4


class Listing(nn.Module):
    """A block that keeps a list."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.widths = widths
        self.layers = nn.ModuleList(nn.Linear(1, width) for width in widths)


def test_a_description_does_not_change_with_the_module() -> None:
    module = Listing([1, 2])
    tree = describe_module(module)
    module.widths.append(3)
    assert tree["arguments"] == {"widths": [1, 2]}
    with pytest.raises(ValueError, match="Listing cannot be described"):
        describe_module(module)


def test_a_wrapped_module_comes_back_from_configuration_and_state() -> None:
    model = TorchModelWrapper(MODULES[3])
    model.build((1, 3))
    twin = TorchModelWrapper.from_config(model.get_config())
    twin.set_state(model.get_state())
    x = torch.randn(5, 1, 3)
    assert twin.get_config() == model.get_config()
    assert torch.equal(twin.module.eval()(x), model.module.eval()(x))
