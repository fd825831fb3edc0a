"""A module is described by its class and arguments: what is made again must be its like, or be refused."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from modularml.io.codec import from_plain, to_plain
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


class Symmetric(nn.Module):
    """A parametrization of one's own."""

    def __init__(self, sign: int = 1) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sign * x.triu() + x.triu(1).mT


def own(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Symmetric(-1))
    return parametrize.register_parametrization(layer, "bias", nn.Softplus(beta=2.0), unsafe=True)


def later(block: Block) -> Block:
    """Parametrize a layer that a constructor made."""
    parametrizations.weight_norm(block.last)
    return block


PARAMETRIZED = {
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(3, 2), dim=1),
    "weight_norm of all": lambda: parametrizations.weight_norm(nn.Conv1d(1, 2, 3), dim=None),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 2), n_power_iterations=2, eps=1e-6),
    "spectral_norm of a bias": lambda: parametrizations.spectral_norm(nn.Linear(3, 2), "bias"),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(3, 2)),
    "cayley": lambda: parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="cayley"),
    "householder": lambda: parametrizations.orthogonal(
        nn.Linear(3, 2), orthogonal_map="householder", use_trivialization=False
    ),
    "both": lambda: parametrizations.spectral_norm(parametrizations.weight_norm(nn.Linear(3, 2))),
    "own": lambda: own(nn.Linear(3, 3)),
    "of a layer of one's own class": lambda: later(Block(nn.Linear(2, 3))),
    "inner": lambda: Block(nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 3)), nn.Tanh())),
}


@pytest.mark.parametrize("name", PARAMETRIZED)
def test_parametrizations_come_back(name: str) -> None:
    module = PARAMETRIZED[name]()
    tree = describe_module(module)
    twin = make_module(from_plain(to_plain(tree), symbols={"Symmetric": Symmetric, "Block": Block}))
    assert repr(twin) == repr(module)
    twin.load_state_dict(module.state_dict())
    for key, tensor in module.named_parameters():
        assert torch.equal(twin.get_parameter(key), tensor)
    for layer, other in zip(module.modules(), twin.modules(), strict=True):
        assert parametrize.is_parametrized(layer) == parametrize.is_parametrized(other)
        if parametrize.is_parametrized(layer):
            layer.eval(), other.eval()
            assert torch.equal(layer.weight, other.weight)
    assert describe_module(twin) == tree


class Normed(nn.Linear):
    """A layer that parametrizes itself."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        parametrizations.weight_norm(self)


def test_a_description_names_no_other_function() -> None:
    tree = describe_module(PARAMETRIZED["weight_norm"]())
    tree["parametrizations"][""]["weight"]["each"][0]["function"] = "Enum"
    with pytest.raises(ValueError, match="Unknown parametrization 'Enum'. Available: 'weight_norm'"):
        make_module(tree)


def test_what_a_constructor_parametrizes_is_not_parametrized_again() -> None:
    twin = make_module(describe_module(Normed(3, 2)))
    assert len(twin.parametrizations["weight"]) == 1


def test_the_old_weight_norm_says_what_to_do() -> None:
    with pytest.warns(FutureWarning, match="parametrizations.weight_norm"):
        module = nn.utils.weight_norm(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="use torch.nn.utils.parametrizations.weight_norm"):
        describe_module(module)


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
