import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional as F

from modularml.base.errors import LossError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment.experiment import Experiment
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.loss import Loss
from modularml.samplers import SimpleSampler


@pytest.fixture
def two(bench: Any) -> Any:
    """The bench with a graph of one node on data with two targets and two kinds of weights."""
    rng = np.random.default_rng(0)
    data = {name: rng.random((40, 1)).astype(np.float32) for name in ("a", "b", "w")}
    data |= {"x": rng.random((40, 4)).astype(np.float32), "odd": rng.random((40, 2))}
    bench.two = FeatureSet.from_dict("Two", data, ["x"], ["a", "b"], ["w", "odd"])
    bench.two.split_random({"train": 0.8, "test": 0.2}, seed=3)
    bench.module = nn.Linear(4, 2)
    bench.graph(bench.node("A", bench.two.reference(), bench.module))
    return bench


def whole(bench: Any) -> tuple[torch.Tensor, ...]:
    """The rows of the split: features, both targets, weights."""
    view = bench.two.get_split("test")
    names = ("features.x.raw", "targets.a.raw", "targets.b.raw", "tags.w.raw")
    return tuple(torch.from_numpy(bench.two.table.column(name)[view.rows]) for name in names)


def evaluated(bench: Any, *losses: AppliedLoss) -> dict[str, float]:
    _, results = bench.drain(bench.evaluate(losses))
    return dict(results.aggregated_losses())


def test_one_target_is_compared_with_its_own_output(two: Any) -> None:
    x, a, b, _ = whole(two)
    outputs = two.module(x)
    found = evaluated(
        two,
        AppliedLoss("mse", "A", label="both"),
        AppliedLoss("mse", "A", ["outputs.a", "targets.a"], label="a"),
        AppliedLoss("mae", "A", {"input": "outputs.b", "target": "targets.b.raw"}, label="b"),
    )
    assert found["a"] == pytest.approx(F.mse_loss(outputs[:, :1], a.reshape(-1, 1)).item())
    assert found["b"] == pytest.approx(F.l1_loss(outputs[:, 1:], b.reshape(-1, 1)).item())
    assert found["both"] == pytest.approx(
        F.mse_loss(outputs, torch.stack([a.flatten(), b.flatten()], 1)).item()
    )


def test_outputs_that_belong_to_no_one_target_are_refused(bench: Any, two: Any) -> None:
    bench.ctx.remove_model_graph()
    bench.graph(bench.node("B", two.two.reference(), nn.Linear(4, 3)))
    losses = [AppliedLoss("mse", "B", ["outputs.a", "targets.a"])]
    with pytest.raises(LossError, match=r"outputs of shape \(.*3\) are not one for each of the targets"):
        bench.drain(bench.evaluate(losses))


def test_a_column_weighs_the_samples(two: Any) -> None:
    x, a, _, w = whole(two)
    each = F.mse_loss(two.module(x)[:, :1], a.reshape(-1, 1), reduction="none")
    inputs = ["outputs.a", "targets.a"]
    found = evaluated(
        two,
        AppliedLoss("mse", "A", inputs, sample_weight="tags.w"),
        AppliedLoss(Loss("mse", reduction="sum"), "A", inputs, sample_weight="tags.w", label="sum", weight=2),
    )
    assert found["mse"] == pytest.approx((each * w.reshape(-1, 1)).mean().item())
    assert found["sum"] == pytest.approx(2 * (each * w.reshape(-1, 1)).sum().item(), rel=1e-5)


def test_weights_are_one_number_a_sample(two: Any) -> None:
    with pytest.raises(LossError, match="weights 'tags.odd' must be one number a sample"):
        evaluated(two, AppliedLoss("mse", "A", sample_weight="tags.odd"))
    with pytest.raises(LossError, match="Unknown column or role 'ww'.*mean 'w'"):
        evaluated(two, AppliedLoss("mse", "A", sample_weight="tags.ww"))


@pytest.mark.parametrize("wrong", [-0.5, np.nan, np.inf])
def test_weights_that_are_none_are_told_where_their_rows_count(bench: Any, wrong: float) -> None:
    rows = bench.fs.get_split("train").rows  # of as many rows, split by the same seed
    weights = np.ones(60)
    weights[rows[:2]] = wrong
    data = {"x": np.ones((60, 4), np.float32), "y": np.ones(60), "w": weights}
    fs = FeatureSet.from_dict("Weighed", data, "x", "y", "w")
    fs.split_random({"train": 0.8, "test": 0.2}, seed=3)
    bench.graph(bench.node("A", fs.reference()))
    losses = [AppliedLoss("mse", "A", sample_weight="tags.w")]
    with pytest.raises(LossError, match="of the weights 'tags.w' 2 of 48 are negative, NaN or infinite"):
        bench.drain(bench.train(losses))
    evaluated(bench, *losses)


def test_classes_are_weighted_as_torch_does_it(bench: Any) -> None:
    module, weights = nn.Linear(4, 3), [0.2, 1.0, 3.0]
    bench.graph(bench.node("A", bench.ref(targets="kind"), module))
    found = evaluated(bench, bench.loss(loss=Loss("cross_entropy", loss_kwargs={"weight": weights})))
    rows = bench.fs.get_split("test").rows
    x = torch.from_numpy(bench.fs.table.column("features.x.raw")[rows])
    kinds = torch.from_numpy(bench.fs.table.column("targets.kind.raw")[rows])
    own = F.cross_entropy(module(x), kinds, weight=torch.tensor(weights)).item()
    assert found["cross_entropy"] == pytest.approx(own)


def penalty(module: nn.Module) -> torch.Tensor:
    return sum(p.square().sum() for p in module.parameters())  # type: ignore[return-value]


class Bottleneck(nn.Module):
    """A module that keeps a term of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 2), nn.Linear(2, 1)
        self.extra = torch.zeros(())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = self.inner(x)
        self.extra = code.square().mean()
        return self.outer(code)


@pytest.mark.parametrize("term", [penalty, lambda module: module.extra])
def test_a_term_of_the_module_is_minimized_with_the_others(bench: Any, term: Any) -> None:
    module = Bottleneck()
    twin = copy.deepcopy(module)
    bench.graph(bench.node("A", model=module), lr=0.05)
    losses = [bench.loss(), AppliedLoss(term, "A", "module", weight=0.1, label="term")]
    phase = bench.train(losses, sampler=SimpleSampler(batch_size=48))
    _, results = bench.drain(phase)
    x, y = (torch.from_numpy(bench.fs.table.column(n)) for n in ("features.x.raw", "targets.y.raw"))
    rows = bench.rows(phase)[0]
    outputs = twin(x[rows])
    (F.mse_loss(outputs[:, 0], y[rows]) + 0.1 * term(twin)).backward()
    torch.optim.SGD(twin.parameters(), lr=0.05).step()
    for own, other in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-6)
    assert results.batch_losses("term")[0] > 0


def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (1 - logits.softmax(1).gather(1, labels[:, None])[:, 0]) * F.cross_entropy(
        logits, labels, reduction="none"
    )


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.size, self.kind = nn.Linear(4, 1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"kind": self.kind(x), "size": self.size(x)[..., 0]}


def both(kind: torch.Tensor, size: torch.Tensor, label: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return focal(kind, label) + (size - y).square()


def test_a_function_gets_outputs_and_data_without_the_axis_of_a_single_key(bench: Any) -> None:
    """Over dimension 1 of (n, 1, 3) a softmax is 1 everywhere, and the loss 0."""
    net, heads = nn.Linear(4, 3), TwoHeads()
    bench.graph(
        bench.node("A", bench.ref(targets="kind"), net),
        bench.node("B", bench.ref(targets=["y", "kind"]), heads),
    )
    assert net(torch.ones(2, 1, 4)).shape == (2, 1, 3)
    data = ["outputs.kind", "outputs.size", "targets.kind", "targets.y"]
    losses = [bench.loss(loss=focal), bench.loss("B", both, data, label="both")]
    _, results = bench.drain(bench.evaluate(losses))
    view = bench.fs.get_split("test")
    x, y, kind = (
        torch.from_numpy(bench.fs.table.column(name)[view.rows])
        for name in ("features.x.raw", "targets.y.raw", "targets.kind.raw")
    )
    expected = {"focal": focal(net(x), kind), "both": both(*heads(x).values(), kind, y)}
    means = {label: values.mean().item() for label, values in expected.items()}
    assert results.aggregated_losses() == pytest.approx(means, rel=1e-5)


def test_class_labels_that_no_output_stands_for_are_told_before_the_first_batch(bench: Any) -> None:
    bench.graph(bench.node("A", bench.ref(targets="kind"), nn.Linear(4, 2)))
    loss = bench.loss("A", "cross_entropy")
    with pytest.raises(LossError, match=r"class labels \[0, 1, 2\].*for 2 classes allow 0 to 1"):
        bench.drain(bench.train([loss]))
    ignoring = AppliedLoss(Loss("cross_entropy", loss_kwargs={"ignore_index": 2}), "A")
    bench.drain(bench.train([ignoring]))


@pytest.mark.parametrize(
    ("class_weight", "weights"),
    [("balanced", None), ({0: 2.0, 2: 0.5}, [2.0, 1.0, 0.5]), ({}, [1.0, 1.0, 1.0])],
)
def test_class_weights_multiply_the_losses_of_training(
    bench: Any, class_weight: Any, weights: list[float] | None
) -> None:
    bench.graph(bench.node("A", bench.ref(targets="kind"), nn.Linear(4, 3)), lr=1e-30)
    loss = bench.loss(loss="cross_entropy", class_weight=class_weight)
    whole = SimpleSampler(batch_size=1000)
    _, results = bench.drain(bench.train([loss], sampler=whole))
    rows = bench.fs.get_split("train").rows
    labels = bench.fs.get_targets("numpy", targets="kind").ravel()[rows]
    if weights is None:
        weights = compute_class_weight("balanced", classes=np.arange(3), y=labels).tolist()
    outputs = torch.tensor(results.stacked_tensors("A")).reshape(len(rows), 3)
    values = nn.functional.cross_entropy(outputs, torch.tensor(labels), reduction="none")
    assert results.batch_losses()[0] == pytest.approx(
        (values.numpy() * np.array(weights)[labels]).mean(), rel=1e-5
    )
    _, evaluated = bench.drain(bench.evaluate([loss], split="train"))
    assert evaluated.batch_losses()[0] == pytest.approx(values.mean().item(), rel=1e-5)


def test_class_weights_are_those_of_the_rows_that_are_trained_on(bench: Any) -> None:
    labels = bench.fs.get_targets("numpy", targets="kind").ravel()
    bench.fs.clear_splits()
    two = np.concatenate([np.flatnonzero(labels == 0)[:3], np.flatnonzero(labels == 1)[:9]])
    bench.fs.add_split(bench.fs.take(two, label="train"))
    bench.graph(bench.node("A", bench.ref(targets="kind"), nn.Linear(4, 3)))
    loss = bench.loss(loss="cross_entropy", class_weight="balanced", label="w")
    plain = bench.loss(loss="cross_entropy", trainable=False)
    phase = bench.train([loss, plain], sampler=SimpleSampler(batch_size=3))
    _, results = bench.drain(phase)
    ratios = results.batch_losses("w") / results.batch_losses("cross_entropy")
    assert ratios == pytest.approx([2.0] + [2 / 3] * 3, rel=1e-5)  # 12 / (2 * 3), 12 / (2 * 9)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"class_weight": "balance"}, "class_weight.*'balanced'"),
        ({"class_weight": {0: -1.0}}, "at least 0"),
        (
            {"class_weight": [1, 2.5]},
            r"on 'A': class_weight .* label -> weight, e.g. \{0: 1, 1: 2.5\}",
        ),
        ({"class_weight": 3}, "must be 'balanced' or label -> weight.*got 3"),
        ({"class_weight": "balanced", "inputs": ["outputs", "features"]}, "needs targets"),
    ],
)
def test_class_weights_that_cannot_be_are_refused(bench: Any, options: Any, match: str) -> None:
    bench.node("A")
    with pytest.raises(ValueError, match=match):
        bench.loss(**options)


def test_a_class_that_is_not_there_is_told(bench: Any) -> None:
    bench.graph(bench.node("A", bench.ref(targets="kind"), nn.Linear(4, 3)))
    loss = bench.loss(loss="cross_entropy", class_weight={7: 2.0})
    with pytest.raises(LossError, match=r"label 7, and the targets .* hold \[0, 1, 2\] \(int64\)"):
        bench.drain(bench.train([loss]))


@pytest.mark.parametrize("class_weight", ["balanced", {0: 2.0}])
def test_weights_of_classes_where_there_are_none_are_told(bench: Any, class_weight: Any) -> None:
    bench.graph(bench.node())
    with pytest.raises(LossError, match=r"'mse' on 'A': class_weight .* number \(float32, e.g. .*sample_w"):
        bench.drain(bench.train([bench.loss(class_weight=class_weight)]))


def test_labels_of_class_weights_are_told_by_their_type(bench: Any) -> None:
    bench.graph(bench.node("A", bench.ref(targets="kind"), nn.Linear(4, 3)))
    loss = bench.loss(loss="cross_entropy", class_weight={"0": 2.0})
    with pytest.raises(LossError, match=r"label '0', and the targets .* hold \[0, 1, 2\]"):
        bench.drain(bench.train([loss]))


def test_files_hold_class_weights(bench: Any, tmp_path: Path) -> None:
    bench.graph(bench.node("A", bench.ref(targets="kind"), nn.Linear(4, 3)))
    loss = bench.loss(loss="cross_entropy", class_weight={0: 2.0, 1: 0.5})
    bench.exp.execution_plan.add_phase(bench.train([loss]))
    path = bench.exp.save(tmp_path / "weighted")
    with ExperimentContext().temporary():
        again = Experiment.load(path)
        assert again.execution_plan["train"].losses[0].class_weight == {0: 2.0, 1: 0.5}


@pytest.mark.parametrize("name", ["bce", "bce_with_logits"])
def test_targets_that_are_neither_yes_nor_no_are_told(bench: Any, name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    bench.graph(bench.node("A", bench.ref(targets="kind"), model))
    with pytest.raises(LossError, match=rf"'{name}' on 'A': .* between 0 and 1, and they hold \[0, 1, 2\]"):
        bench.drain(bench.train([bench.loss(loss=name)]))
