"""The fast updates of optimizers, each against torch's own step, to the last bit."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from modularml.backends import torch as backend
from modularml.backends.torch_updates import complete_momentum


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


@pytest.mark.parametrize("of_few", [False, True])
@pytest.mark.parametrize("name", sorted(set(backend.optimizer_classes()) - {"sparseadam", "muon"}))
def test_a_fast_step_is_torchs_own_step(name: str, of_few: bool) -> None:
    cls = backend.optimizer_classes()[name]
    net, x = small_net(), torch.randn(5, 4)
    twin = copy.deepcopy(net)
    ours = backend.build_optimizer(cls, {}, list(net.parameters()))
    theirs = cls(twin.parameters(), **({"fused": True} if ours.defaults.get("fused") else {}))
    step = backend.fast_step(cls, of_few=of_few)
    for _ in range(3):
        for module in (net, twin):
            module.zero_grad()
            module(x).square().mean().backward()
        step(ours)
        theirs.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("kwargs", [{}, {"nesterov": True, "weight_decay": 0.1}, {"dampening": 0.5}], ids=str)
def test_parameters_that_are_trained_later_begin_with_a_momentum_of_their_own(
    kwargs: dict[str, Any], scales: bool
) -> None:
    net = small_net()
    twin, x = copy.deepcopy(net), torch.randn(5, 4)
    kwargs = {"lr": 0.1, "momentum": 0.9, **kwargs}
    ours = backend.build_optimizer(torch.optim.SGD, kwargs, list(net.parameters()))
    theirs = torch.optim.SGD(twin.parameters(), **kwargs, foreach=False)
    step = backend.fast_step(torch.optim.SGD)
    if scales:
        scaler = backend.grad_scaler("cpu")

        def step(optimizer: Any) -> None:
            complete_momentum(optimizer)
            scaler.step(optimizer)

    for trained in (net[2], net, net):
        for module, optimizer in ((net, ours), (twin, theirs)):
            module.zero_grad()
            loss = module(x).square().mean()
            (scaler.scale(loss) if scales and module is net else loss).backward()
            if trained is not net:
                module[0].zero_grad()
            if optimizer is ours and scales:
                scaler.unscale_(ours)
        step(ours)
        theirs.step()
        if scales:
            scaler.update()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_hooks_of_the_optimizer_are_called() -> None:
    net, called = small_net(), []
    optimizer = torch.optim.SGD(net.parameters())
    step = backend.fast_step(torch.optim.SGD)
    optimizer.register_step_post_hook(lambda *_: called.append("hook"))
    step(optimizer)
    assert called == ["hook"]


def test_a_patched_step_is_called() -> None:
    optimizer = torch.optim.SGD(small_net().parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    backend.fast_step(torch.optim.SGD)(optimizer)
    scheduler.step()  # warns when no step was seen before it


def test_an_optimizer_of_the_users_own_keeps_its_step() -> None:
    class Shrink(torch.optim.SGD):
        def step(self, closure: object = None) -> None:
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p.zero_()

    net = small_net()
    backend.fast_step(Shrink)(Shrink(net.parameters()))
    assert all((p == 0).all() for p in net.parameters())


def no_change(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    pass


def another_rate(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    optimizer.param_groups[0].update(lr=0.1, weight_decay=0.5, betas=(0.5, 0.6), maximize=True)


def rate_as_tensor(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1)


def loaded(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    state = copy.deepcopy(optimizer.state_dict())
    for entry in state["state"].values():
        entry["exp_avg"].add_(1)
    optimizer.load_state_dict(state)


def other_moments(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    for entry in optimizer.state.values():
        entry["exp_avg"] = torch.ones_like(entry["exp_avg"])


def other_entries(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    for parameter in list(optimizer.state):
        optimizer.state[parameter] = {k: v + 1 for k, v in optimizer.state[parameter].items()}


def forgotten(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    optimizer.state.clear()


def another_group(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    net.append(nn.Linear(1, 1))
    optimizer.add_param_group({"params": list(net[-1].parameters()), "lr": 0.2})


def another_parameter(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    net[0].weight = nn.Parameter(net[0].weight.detach() + 1)
    optimizer.param_groups[0]["params"][0] = net[0].weight


def frozen(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    net[0].weight.requires_grad_(False)


def unfused(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    optimizer.param_groups[0]["fused"] = False


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize(
    "change",
    [
        no_change,
        another_rate,
        rate_as_tensor,
        loaded,
        other_moments,
        other_entries,
        forgotten,
        another_group,
        another_parameter,
        frozen,
        unfused,
    ],
)
def test_kept_lists_follow_whatever_is_done_to_an_optimizer(
    cls: type[torch.optim.Optimizer], change: Callable[[Any, Any], None]
) -> None:
    nets = (net := small_net(), copy.deepcopy(net))
    ours, theirs = (cls(one.parameters(), fused=True) for one in nets)
    update, x = backend.fast_step(cls, of_few=True), torch.randn(5, 4)
    for i in range(6):
        for one in nets:
            one.zero_grad()
            one(x).square().mean().backward()
        update(ours)
        theirs.step()
        if i == 2:
            torch.manual_seed(1)
            change(ours, nets[0])
            torch.manual_seed(1)
            change(theirs, nets[1])
    for p, q in zip(*(one.parameters() for one in nets), strict=True):
        assert torch.equal(p, q)


def test_one_update_serves_two_optimizers() -> None:
    """As that of an optimizer and its copy in another thread."""
    nets = [small_net() for _ in range(4)]
    optimizers = [
        torch.optim.Adam(one.parameters(), lr=rate, fused=True)
        for one, rate in zip(nets, (0.1, 0.2, 0.1, 0.2), strict=True)
    ]
    update, x = backend.fast_step(torch.optim.Adam, of_few=True), torch.randn(5, 4)
    for _ in range(3):
        for one in nets:
            one.zero_grad()
            one(x).square().mean().backward()
        for optimizer in optimizers[:2]:
            update(optimizer)
        for optimizer in optimizers[2:]:
            optimizer.step()
    for first, second in ((0, 2), (1, 3)):
        for p, q in zip(nets[first].parameters(), nets[second].parameters(), strict=True):
            assert torch.equal(p, q)


def test_a_step_on_one_thread_is_the_same_step_and_gives_the_threads_back() -> None:
    n_threads = torch.get_num_threads()
    seen = []
    torch.set_num_threads(3)
    try:
        backend.on_one_thread(lambda optimizer: seen.append(torch.get_num_threads()))(None)
        assert (seen, torch.get_num_threads()) == ([1], 3)
        with pytest.raises(ZeroDivisionError):
            backend.on_one_thread(lambda optimizer: 1 // optimizer)(0)  # type: ignore[arg-type]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)
