"""A loss of one's own in which samples meet other samples is warned of, others are not."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from modularml import Loss
from modularml.base.errors import ModularMLWarning

N = 6
MIXED_UP: dict[str, tuple[Callable[..., torch.Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "a squeeze": (lambda o, t: ((o.squeeze() - t) ** 2).mean(), (1,), (1,)),
    "the other one": (lambda o, t: (o - t.squeeze()) ** 2, (1, 1), (1, 1)),
    "quantiles": (lambda o, t: torch.maximum(t - o, o - t).mean(-1), (1, 3), (1,)),
}
MEANT: dict[str, tuple[Callable[..., torch.Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "of one shape": (lambda o, t: (o - t).square().mean(), (1,), (1,)),
    "quantiles": (lambda o, t: torch.maximum(t - o, o - t).mean(-1), (3,), (1,)),
    "a bias": (lambda o, t: (o - torch.zeros(4)).sum() + t.sum(), (3, 4), (1,)),
    "pairs": (lambda o, t: (o.flatten()[None] - t.flatten()[:, None]).mean(), (1,), (1,)),
    "products": (lambda o, t: F.cross_entropy(o @ t.T, torch.arange(N)), (4,), (4,)),
    "distances": (lambda o, t: torch.cdist(o, t).mean(), (4,), (4,)),
}


@pytest.mark.parametrize("case", MIXED_UP)
def test_samples_that_meet_all_the_others_are_warned_of_once(case: str) -> None:
    function, outputs, targets = MIXED_UP[case]
    forms = Loss(function).build()
    a, b = torch.randn(N, *outputs), torch.randn(N, *targets)
    forms.scalar(a[:1], b[:1])  # one sample alone meets itself
    with pytest.warns(
        ModularMLWarning, match=rf"^Loss 'loss' broadcasts \({N},.* to \({N},.* x.reshape\(-1, 1.*x\[None\]"
    ):
        forms.scalar(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forms.scalar(a, b)


@pytest.mark.parametrize("case", MEANT)
def test_samples_that_meet_their_own_are_not_spoken_of(case: str) -> None:
    function, outputs, targets = MEANT[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Loss(function).build().scalar(torch.randn(N, *outputs), torch.randn(N, *targets))


def test_samples_of_losses_that_read_a_module_first_are_weighted() -> None:
    forms = Loss(lambda m, o: m(o).square()).build()
    assert forms.per_sample(torch.nn.Identity(), torch.ones(N, 1)).shape == (N,)


def test_gradients_are_those_of_the_function() -> None:
    outputs, targets = torch.randn(N, 1, requires_grad=True), torch.randn(N, 1)
    Loss(lambda o, t: ((o - t) ** 2).mean()).build().scalar(outputs, targets).backward()
    torch.testing.assert_close(outputs.grad, 2 * (outputs.detach() - targets) / N)
