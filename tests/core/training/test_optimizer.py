import copy
import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from modularml.backends.torch import optimizer_classes
from modularml.base.errors import InvalidTypeError, OptimizerError
from modularml.core.training.optimizer import Optimizer, as_optimizer


def small_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def train(net: nn.Module, optimizer: Optimizer, n_steps: int) -> None:
    x = torch.linspace(-1, 1, 20).reshape(5, 4)
    for _ in range(n_steps):
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def values(net: nn.Module) -> list[list[float]]:
    return [p.flatten().tolist() for p in net.parameters()]


@pytest.fixture
def net() -> Iterator[nn.Sequential]:
    return small_net()


def test_the_seed_form() -> None:
    optimizer = Optimizer("adam", opt_kwargs={"lr": 1e-3}, backend="torch")
    assert optimizer.name == "adam"
    assert not optimizer.is_built


def test_it_is_a_plain_torch_optimizer_when_built(net: nn.Sequential) -> None:
    optimizer = Optimizer("adam", opt_kwargs={"lr": 0.5})
    optimizer.build(net.named_parameters())
    assert type(optimizer.optimizer) is torch.optim.Adam
    assert optimizer.optimizer.defaults["lr"] == 0.5
    assert optimizer.parameter_names == ("0.weight", "0.bias", "2.weight", "2.bias")


@pytest.mark.parametrize("name", sorted(set(optimizer_classes()) - {"sparseadam", "muon"}))
def test_every_optimizer_continues_exactly_from_its_state(name: str) -> None:
    whole, first = small_net(), small_net()
    one, two = Optimizer(name), Optimizer(name)
    one.build(whole.named_parameters())
    train(whole, one, 6)
    two.build(first.named_parameters())
    train(first, two, 3)
    second = copy.deepcopy(first)
    third = Optimizer(name)
    third.build(second.named_parameters())
    third.set_state(two.get_state())
    train(second, third, 3)
    assert values(second) == values(whole)


@pytest.mark.parametrize("name", sorted(optimizer_classes()))
def test_every_optimizer_describes_itself(name: str) -> None:
    optimizer = Optimizer(name)
    assert Optimizer.from_config(optimizer.get_config()) == optimizer
    assert optimizer.name == name


def test_the_state_is_plain_values_and_copies(net: nn.Sequential) -> None:
    optimizer = Optimizer("adam")
    optimizer.build(net.named_parameters())
    train(net, optimizer, 1)
    state = optimizer.get_state()
    before = state["state"]["0.weight"]["exp_avg"].copy()
    train(net, optimizer, 1)
    assert set(state["state"]) == set(optimizer.parameter_names)
    assert np.array_equal(state["state"]["0.weight"]["exp_avg"], before)
    assert state["groups"][0]["parameters"] == list(optimizer.parameter_names)
    assert all(isinstance(v, int | float | bool | tuple | list | None) for v in state["groups"][0].values())


def test_the_state_is_matched_by_name_not_by_order(net: nn.Sequential) -> None:
    optimizer, other = Optimizer("adam"), Optimizer("adam")
    optimizer.build(net.named_parameters())
    train(net, optimizer, 2)
    other.build(dict(reversed(list(net.named_parameters()))))
    other.set_state(optimizer.get_state())
    for p in net.parameters():
        assert torch.equal(other.optimizer.state[p]["exp_avg"], optimizer.optimizer.state[p]["exp_avg"])


def test_a_state_of_other_parameters_is_refused(net: nn.Sequential) -> None:
    optimizer = Optimizer("adam")
    optimizer.build(net.named_parameters())
    train(net, optimizer, 1)
    other = Optimizer("adam")
    other.build(nn.Linear(3, 3).named_parameters())
    with pytest.raises(OptimizerError, match=r"0\.bias"):
        other.set_state(optimizer.get_state())


def test_a_state_of_other_shapes_is_refused(net: nn.Sequential) -> None:
    optimizer, other = Optimizer("adam"), Optimizer("adam")
    optimizer.build(net.named_parameters())
    train(net, optimizer, 1)
    wider = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 1))
    other.build(wider.named_parameters())
    with pytest.raises(OptimizerError, match=r"'0.weight' has shape \(8, 4\).*\(9, 4\)"):
        other.set_state(optimizer.get_state())


def test_building_again_keeps_what_is_the_same(net: nn.Sequential) -> None:
    optimizer = Optimizer("adam")
    optimizer.build(net.named_parameters())
    train(net, optimizer, 2)
    built = optimizer.optimizer
    optimizer.build(net.named_parameters())
    assert optimizer.optimizer is built
    built.param_groups[0]["lr"] = 0.5
    head = dict(net[2].named_parameters())
    optimizer.build(head)
    assert optimizer.optimizer is not built
    assert set(optimizer.optimizer.state) == set(head.values())
    assert optimizer.optimizer.param_groups[0]["lr"] == 0.5
    optimizer.build(parameters=head, backend="torch", force_rebuild=True)
    assert not optimizer.optimizer.state
    with pytest.raises(OptimizerError, match="belong to the backend 'torch', got 'scikit'"):
        optimizer.build(head, backend="scikit")


def test_a_parameter_of_two_nodes_counts_once(net: nn.Sequential) -> None:
    optimizer = Optimizer("sgd")
    optimizer.build([("a", net[0].weight), ("b", net[0].weight)])
    assert optimizer.parameter_names == ("a",)


def test_a_deep_copy_steps_its_own_parameters(net: nn.Sequential) -> None:
    optimizer = Optimizer("adam")
    optimizer.build(net.named_parameters())
    before = values(net)
    twin_net, twin = copy.deepcopy((net, optimizer))
    train(twin_net, twin, 1)
    assert values(net) == before
    assert values(twin_net) != before


def test_factories_and_classes_make_optimizers_too(net: nn.Sequential) -> None:
    made = Optimizer.from_factory(lambda parameters: torch.optim.SGD(parameters, lr=0.25))
    made.build(net.named_parameters())
    assert made.optimizer.defaults["lr"] == 0.25
    assert Optimizer(torch.optim.RMSprop).name == "rmsprop"


def first_is_slow(named_parameters: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    first = [p for name, p in named_parameters if name.startswith("0.")]
    others = [p for name, p in named_parameters if not name.startswith("0.")]
    return torch.optim.Adam([{"params": first, "lr": 0.001}, {"params": others}], lr=0.1)


def test_a_factory_of_names_gives_parts_rates_of_their_own(net: nn.Sequential) -> None:
    by_hand, copied = copy.deepcopy(net), copy.deepcopy(net)
    optimizer = Optimizer(factory=first_is_slow)
    optimizer.build(net.named_parameters())
    slow, fast = (
        torch.optim.Adam(by_hand[0].parameters(), 0.001),
        torch.optim.Adam(by_hand[1:].parameters(), 0.1),
    )
    for _ in range(3):
        for module in (net, by_hand):
            module.zero_grad()
            module(torch.ones(4, net[0].in_features)).square().sum().backward()
        optimizer.step()
        slow.step()
        fast.step()
    assert values(net) == values(by_hand)
    again = Optimizer(factory=first_is_slow)
    again.build(copied.named_parameters())
    again.set_state(optimizer.get_state())
    assert [group["lr"] for group in again.optimizer.param_groups] == [0.001, 0.1]


def test_a_factory_that_takes_other_parameters_than_it_is_given_is_refused(net: nn.Sequential) -> None:
    elsewhere = copy.deepcopy(net)
    optimizer = Optimizer(factory=lambda parameters: torch.optim.SGD(elsewhere.parameters(), lr=0.1))
    with pytest.raises(OptimizerError, match=r"took 4 parameters from elsewhere.*named_parameters"):
        optimizer.build(net.named_parameters())


def test_a_state_of_other_groups_is_told_with_both(net: nn.Sequential) -> None:
    grouped, plain = Optimizer(factory=first_is_slow), Optimizer("adam")
    for optimizer in (grouped, plain):
        optimizer.build(net.named_parameters())
    with pytest.raises(
        OptimizerError, match=r"groups the parameters as \[\['0.*\]\], the optimizer as \[\['0"
    ):
        grouped.set_state(plain.get_state())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"opt": "adamm"}, "Did you mean 'adam'"),
        ({"opt": "lbfgs"}, "Unknown optimizer 'lbfgs'"),
        ({}, "either opt"),
        ({"opt": "adam", "factory": torch.optim.SGD}, "either opt"),
        ({"opt": "adam", "opt_kwargs": {"lrr": 1}}, "Did you mean 'lr'"),
        ({"opt": "adam", "opt_kwargs": {"lr": -1.0}}, "Invalid learning rate: -1"),
        ({"opt": "adam", "backend": "scikit"}, "'scikit'"),
        ({"opt": torch.optim.LBFGS}, "evaluates the loss several times"),
        ({"factory": torch.optim.SGD, "opt_kwargs": {"lr": 1}}, "a factory passes its arguments itself"),
    ],
)
def test_mistakes_are_refused_where_they_are_made(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(OptimizerError, match=match):
        Optimizer(**arguments)


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(ValueError, match="Unknown backend 'jax'"):
        Optimizer("adam", backend="jax")


@pytest.mark.parametrize("opt", [3, torch.nn.Linear(1, 1), torch.nn.Linear, dict])
def test_other_types_are_refused(opt: object) -> None:
    with pytest.raises(TypeError, match="opt must be"):
        Optimizer(opt)


def test_an_optimizer_that_has_its_parameters_is_refused_in_a_line(net: nn.Sequential) -> None:
    with pytest.raises(TypeError, match="^opt must be .*, got an SGD of parameters; those are the graph's"):
        Optimizer(torch.optim.SGD(net.parameters(), lr=0.1))


def test_no_parameters_and_no_build_are_told(net: nn.Sequential) -> None:
    optimizer = Optimizer("adam")
    with pytest.raises(RuntimeError, match="build"):
        optimizer.step()
    with pytest.raises(RuntimeError, match="build"):
        optimizer.get_state()
    with pytest.raises(OptimizerError, match="no parameters"):
        optimizer.build({})


@pytest.mark.parametrize(
    "short",
    [
        "adam",
        torch.optim.Adam,
        functools.partial(torch.optim.Adam, lr=1e-3),
        lambda parameters: torch.optim.Adam(parameters),
        Optimizer("adam"),
    ],
)
def test_whatever_means_an_optimizer_becomes_one(net: nn.Sequential, short: object) -> None:
    optimizer = as_optimizer(short)
    optimizer.build(net.named_parameters())
    assert isinstance(optimizer.optimizer, torch.optim.Adam)
    assert optimizer.optimizer.param_groups[0]["lr"] == 1e-3


def test_arguments_of_a_partial_class_can_be_kept_in_files() -> None:
    short = functools.partial(torch.optim.SGD, lr=0.5)
    assert as_optimizer(short) == Optimizer(torch.optim.SGD, opt_kwargs={"lr": 0.5})


def test_what_is_no_optimizer_is_refused(net: nn.Sequential) -> None:
    with pytest.raises(OptimizerError, match="mean 'adam'"):
        as_optimizer("adma")
    for wrong in (3, torch.optim.Adam(net.parameters())):
        with pytest.raises(InvalidTypeError, match="An optimizer is an Optimizer, its name"):
            as_optimizer(wrong)


def test_the_scale_of_losses_in_fp16_is_put_back_to_what_it_was(net: nn.Sequential) -> None:
    optimizer = Optimizer("sgd")
    optimizer.build(net.named_parameters())
    before = optimizer.get_state()
    scaler = optimizer.scaler_on("cpu")
    scaler.load_state_dict(scaler.state_dict() | {"scale": 8.0, "_growth_tracker": 3})
    after = optimizer.get_state()
    optimizer.set_state(before)
    assert optimizer.scaler_on("cpu") is scaler  # a phase that runs holds it
    assert (scaler.get_scale(), scaler.state_dict()["_growth_tracker"]) == (2.0**16, 0)
    optimizer.set_state(after)
    assert scaler.state_dict() == after["scaler"]
    optimizer.build(net.named_parameters(), force_rebuild=True)
    assert "scaler" not in optimizer.get_state()


def test_parameters_may_come_without_names(net: nn.Sequential) -> None:
    optimizer = Optimizer("sgd")
    optimizer.build(net.parameters())
    assert optimizer.parameter_names == tuple(str(i) for i in range(len(list(net.parameters()))))


def test_no_fused_update_is_taken_where_gradients_are_sparse() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = Optimizer("sgd", opt_kwargs={"lr": 0.1})
    optimizer.build(table.named_parameters(), sparse=True)
    optimizer.follow_parameters()
    table(torch.tensor([1, 1, 3])).sum().backward()
    before = table.weight.detach().clone()
    optimizer.step()
    assert (table.weight != before).any(dim=1).tolist() == [False, True, False, True, False]


def test_an_optimizer_of_parameters_is_told_in_a_line() -> None:
    made = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(InvalidTypeError, match=r"got an SGD of parameters; those are the graph's .*over\.$"):
        as_optimizer(made)
