import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from modularml.base.errors import Faults, InvalidValueError
from modularml.core.execution.updates import UpdateOptions, Window
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.loss import Loss
from modularml.core.training.optimizer import Optimizer
from modularml.core.training.schedule import Schedule
from modularml.samplers import SimpleSampler


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def trained(bench: Any, losses: Any = None, *, batch_size: int = 16, **options: Any) -> tuple[Any, Any]:
    """Train a copy of one network; return its weights and the results."""
    bench.ctx.clear()
    bench.fs = bench.data()
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = options.pop("optimizer", Optimizer("sgd", opt_kwargs={"lr": 0.05, "momentum": 0.9}))
    bench.graph(bench.node("A", model=module), optimizer=optimizer)
    sampler = SimpleSampler(batch_size=batch_size, shuffle=True, seed=5)
    found = None if losses is None else losses()
    phase = bench.train(found, sampler=sampler, **{"n_epochs": 3, **options})
    _, results = bench.drain(phase)
    return weights(module), results


@given(sizes=st.lists(st.integers(1, 9), max_size=20), n=st.integers(1, 7))
def test_shares_of_an_update_add_up_to_one(sizes: list[int], n: int) -> None:
    window = Window(n)
    window.begin(np.array(sizes, np.int32))
    seen: list[tuple[float, bool]] = []
    for _ in sizes:
        window.advance()
        seen.append((window.share, window.is_full))
    if n == 1:
        assert all(one == (1.0, True) for one in seen)
        return
    ends = [i for i, (_, is_full) in enumerate(seen) if is_full]
    assert ends == sorted({*range(n - 1, len(sizes), n), *([len(sizes) - 1] if sizes else [])})
    starts = [0, *(end + 1 for end in ends[:-1])]
    for start, end in zip(starts, ends, strict=bool(sizes)):
        own = sizes[start : end + 1]
        assert [share for share, _ in seen[start : end + 1]] == pytest.approx([s / sum(own) for s in own])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_accumulated_batches_count_as_one(bench: Any, reduction: str, n: int) -> None:
    def losses() -> list[AppliedLoss]:
        return [
            AppliedLoss(Loss("mse", reduction=reduction), "A", weight=0.01),
            AppliedLoss(Loss("huber", reduction="sum"), "A", weight=0.01),
        ]

    small, results = trained(bench, losses, batch_size=5, accumulate=n)  # 48 rows: the last batch has 3
    whole, at_once = trained(bench, losses, batch_size=5 * n)
    assert torch.allclose(small, whole, atol=1e-5)
    assert len(results.batch_losses("mse")) == 30
    if reduction == "mean":
        assert results.epoch_losses("mse") == pytest.approx(at_once.epoch_losses("mse"), rel=1e-4)


def test_one_loss_accumulates_as_several_do(bench: Any) -> None:
    assert torch.allclose(trained(bench, batch_size=8, accumulate=2)[0], trained(bench)[0], atol=1e-5)


def by_hand(bench: Any, clip: Any) -> torch.Tensor:
    torch.manual_seed(1)
    bench.data("Again")
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    x, y = (torch.from_numpy(bench.fs.table.column(n)) for n in ("features.x.raw", "targets.y.raw"))
    phase = bench.train()
    for epoch in range(3):
        for rows in bench.rows(phase, epoch):
            optimizer.zero_grad()
            nn.functional.mse_loss(module(x[rows])[:, 0], y[rows]).backward()
            clip(list(module.parameters()))
            optimizer.step()
    return weights(module)


@pytest.mark.parametrize(
    ("options", "clip"),
    [
        ({"clip_norm": 0.1}, lambda p: nn.utils.clip_grad_norm_(p, 0.1)),
        ({"clip_value": 0.01}, lambda p: nn.utils.clip_grad_value_(p, 0.01)),
        (
            {"clip_norm": 0.1, "clip_value": 0.01},
            lambda p: (nn.utils.clip_grad_norm_(p, 0.1), nn.utils.clip_grad_value_(p, 0.01)),
        ),
    ],
)
def test_gradients_are_clipped_as_torch_does_it(bench: Any, options: Any, clip: Any) -> None:
    own, _ = trained(bench, **options)
    assert torch.allclose(own, by_hand(bench, clip), atol=1e-6)
    assert not torch.allclose(own, trained(bench)[0], atol=1e-3)


def test_a_schedule_of_batches_moves_on_with_updates(bench: Any) -> None:
    schedule = Schedule("exponential", schedule_kwargs={"gamma": 0.5}, every="batch")
    optimizer = Optimizer("sgd", opt_kwargs={"lr": 0.1}, schedule=schedule)
    trained(bench, optimizer=optimizer, batch_size=8, accumulate=4)
    assert optimizer.rate == pytest.approx(0.1 * 0.5**6)  # six batches are two updates an epoch


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip_norm": 1.0}])
def test_half_precision_is_near_the_whole_one(bench: Any, precision: str, options: Any) -> None:
    optimizer = Optimizer("adam", opt_kwargs={"lr": 0.01})
    half, results = trained(bench, precision=precision, optimizer=copy.deepcopy(optimizer), **options)
    whole, other = trained(bench, optimizer=copy.deepcopy(optimizer), **options)
    assert half.dtype == torch.float32
    # In fp16 the first updates are left out, until the scale of the gradients is found.
    assert torch.allclose(half, whole, atol=0.05 if precision == "bf16" else 0.2)
    assert not torch.equal(half, whole)
    assert results.epoch_losses() == pytest.approx(
        other.epoch_losses(), rel=0.05 if precision == "bf16" else 0.3
    )


def test_each_optimizer_scales_its_losses_in_fp16_by_itself_and_goes_on_in_the_next_phase(bench: Any) -> None:
    a = bench.node("A", optimizer=Optimizer("sgd", opt_kwargs={"lr": 1e-8}))
    b = bench.node("B", a, nn.Linear(1, 1), optimizer="sgd")
    bench.graph(a, b, optimizer=None)
    losses = [bench.loss("A", weight=100.0), bench.loss("B", label="b")]
    scales = []
    for _ in range(2):
        bench.drain(bench.train(losses, precision="fp16", accumulate=2, n_epochs=20))
        scales.append([node.optimizer.get_state()["scaler"] for node in (a, b)])
    first, second = scales
    assert first[0]["scale"] == second[0]["scale"] < first[1]["scale"]
    assert second[1]["_growth_tracker"] > first[1]["_growth_tracker"]


def test_stages_are_clipped_one_by_one(bench: Any) -> None:
    a = bench.node("A", optimizer=Optimizer("sgd", opt_kwargs={"lr": 1.0}))
    b = bench.node("B", a, nn.Linear(1, 1), optimizer=Optimizer("sgd", opt_kwargs={"lr": 1.0}))
    bench.graph(a, b, optimizer=None)
    before = [weights(node.module) for node in (a, b)]
    losses = [bench.loss("A"), bench.loss("B", label="b")]
    bench.drain(bench.train(losses, sampler=SimpleSampler(batch_size=48), clip_norm=0.25))
    for node, start in zip((a, b), before, strict=True):
        assert (weights(node.module) - start).norm().item() == pytest.approx(0.25, rel=1e-3)


def test_options_with_faults_are_told_together() -> None:
    faults = Faults("P")
    UpdateOptions(clip_norm=-1, clip_value="1", accumulate=0, precision="bf-16").check(faults)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="(?s)4 faults.*clip_norm.*clip_value.*accumulate.*mean 'bf16'"):
        faults.raise_if_any()


@pytest.mark.parametrize(
    ("given", "meant"), [("bfloat16", "bf16"), (torch.bfloat16, "bf16"), ("float16", "fp16"), ("bf-16", None)]
)
def test_a_precision_by_its_name_in_torch_is_told_with_the_one_here(given: Any, meant: str | None) -> None:
    faults = Faults("options")
    UpdateOptions(precision=given).check(faults)
    told = rf"{str(given).removeprefix('torch.')} is '{meant}' here\.$" if meant else "Did you mean 'bf16'"
    with pytest.raises(InvalidValueError, match=told):
        faults.raise_if_any()
