"""The torch backend: conversions, gradients and optimizers, each against torch's own long way."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from modularml.backends import torch as backend
from modularml.base.errors import OptimizerError


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def test_as_tensor_shares_memory_when_it_can() -> None:
    array = np.zeros(3, dtype=np.float32)
    backend.as_tensor(array)[0] = 7
    assert array[0] == 7


def test_as_tensor_takes_read_only_arrays_quietly() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    assert backend.as_tensor(array, dtype=torch.float32).tolist() == [0, 1, 2]


def test_as_array_holds_bfloat16_exactly() -> None:
    tensor = torch.tensor([1.5, -2.25], dtype=torch.bfloat16)
    assert backend.as_array(tensor).tolist() == [1.5, -2.25]


def test_generators_are_seeded_as_torch_seeds_them() -> None:
    torch.manual_seed(2**40 + 1)
    drawn = torch.rand(3), torch.randn(3)
    backend.seed_generators(2**40 + 1)
    assert torch.equal(torch.rand(3), drawn[0]) and torch.equal(torch.randn(3), drawn[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backward_gives_the_gradients_of_loss_backward(dtype: torch.dtype) -> None:
    net, x = small_net().to(dtype), torch.randn(5, 4, dtype=dtype)
    twin = copy.deepcopy(net)
    for _ in range(2):  # twice: gradients add up
        backend.backward(net(x).square().mean())
        twin(x).square().mean().backward()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_backward_of_a_leaf_does_not_share_its_seed() -> None:
    for _ in range(2):
        leaf = torch.zeros((), requires_grad=True)
        backend.backward(leaf)
        leaf.grad.add_(1)
        assert leaf.grad == 2


def test_untouched_rng_restores_the_stream() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with backend.untouched_rng():
        torch.rand(100)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "adagrad"])
@pytest.mark.parametrize(
    ("kwargs", "dtype", "fused"),
    [
        ({}, torch.float32, True),
        ({}, torch.float64, True),
        ({}, torch.complex64, False),
        ({"fused": False}, torch.float32, False),
        ({"foreach": True}, torch.float32, False),
    ],
)
def test_the_fused_update_is_taken_where_it_exists_and_nobody_chose(
    name: str, kwargs: dict[str, bool], dtype: torch.dtype, fused: bool
) -> None:
    parameters = [nn.Parameter(torch.zeros(2, dtype=dtype))]
    made = backend.build_optimizer(backend.optimizer_classes()[name], kwargs, parameters)
    assert bool(made.defaults["fused"]) is fused


def test_an_optimizer_that_needs_a_closure_is_refused() -> None:
    with pytest.raises(OptimizerError, match="LBFGS evaluates the loss several times"):
        backend.build_optimizer(torch.optim.LBFGS, {}, list(small_net().parameters()))


def test_using_an_optimizer_loads_no_compiler_and_leaves_torch_as_it_was() -> None:
    program = """
import sys, torch
from modularml.core.training.optimizer import Optimizer
net = torch.nn.Linear(2, 1)
methods = [m.__wrapped__ for m in vars(torch.optim.Optimizer).values() if hasattr(m, "__wrapped__")]
before = [dict(vars(m)) for m in methods]
optimizer = Optimizer("adam")
optimizer.build(net.named_parameters())
net(torch.zeros(3, 2)).mean().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.set_state(optimizer.get_state())
assert "torch._dynamo" not in sys.modules
assert [dict(vars(m)) for m in methods] == before
torch.optim.SGD(net.parameters()).step()
assert "torch._dynamo" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_optimizer_of_torch_is_offered_or_refused_on_purpose() -> None:
    theirs = {n.lower() for n in torch.optim.__all__ if isinstance(getattr(torch.optim, n), type)}
    assert set(backend.optimizer_classes()) == theirs - {"optimizer", "lbfgs"}


def test_arrays_of_tensors_are_copies_unless_they_are_asked_to_share_memory() -> None:
    tensor = torch.zeros(3)
    copied = backend.copied_array(tensor)
    with backend.uncopied():
        shared = backend.copied_array(tensor)
    again = backend.copied_array(tensor)
    tensor.fill_(1)
    assert shared.tolist() == [1, 1, 1]
    assert copied.tolist() == again.tolist() == [0, 0, 0]
