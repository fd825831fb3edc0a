"""Phases whose samples come in several roles; one behaviour of several modules, in one place."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from modularml.base.errors import InvalidValueError, LossError, UnknownNameError
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.fit_phase import FitPhase
from modularml.core.experiment.results import results_from_state
from modularml.core.training.loss import Loss
from modularml.core.training.optimizer import Optimizer
from modularml.samplers import NSampler, PairedSampler, Sampler, SimilarityCondition, TripletSampler

SAME, OTHER = {"kind": SimilarityCondition("similar")}, {"kind": SimilarityCondition("dissimilar")}
OPTIONS: dict[str, Any] = {"batch_size": 16, "shuffle": True, "seed": 2}
TRIPLETS = TripletSampler(SAME, OTHER, **OPTIONS)
PAIRS = PairedSampler(SAME, **OPTIONS)
FOURS = NSampler({"one": SAME, "two": OTHER, "three": SAME}, **OPTIONS)
# Pairs whose weights differ from sample to sample.
WEIGHTED = PairedSampler(
    {"y": SimilarityCondition("similar", tolerance=2.0, weight_mode="linear", allow_fallback=True)},
    **OPTIONS,
)
DISTANCE = ["outputs.anchor", "outputs.pair"]


def siamese(bench: Any, targets: Any = "kind") -> Any:
    """Nodes A and B behind each other."""
    torch.manual_seed(0)
    first = bench.node("A", bench.ref(targets=targets), nn.Linear(4, 8))
    second = bench.node("B", first, nn.Sequential(nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)))
    bench.graph(first, second, optimizer="adam", lr=0.01)
    return second


def forward(bench: Any, rows: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(bench.fs.table.column("features.x.raw")[rows][:, None])
    with torch.no_grad():
        return bench.ctx.get_node("B").module(bench.ctx.get_node("A").module(x)).numpy()


def test_a_triplet_network_learns(bench: Any) -> None:
    siamese(bench)
    inputs = [f"outputs.{role}" for role in TRIPLETS.role_names]
    phase = bench.train([bench.loss("B", "triplet_margin", inputs)], sampler=TRIPLETS, n_epochs=15)
    losses = bench.exp.run_phase(phase).epoch_losses()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("sampler", [PAIRS, TRIPLETS, FOURS])
def test_the_outputs_of_each_role_are_those_of_its_rows(bench: Any, sampler: Sampler) -> None:
    node = siamese(bench)
    loss = bench.loss("B", inputs=[f"outputs.{role}" for role in sampler.role_names[:2]])
    phase = EvalPhase.from_split("eval", split="train", losses=[loss], sampler=sampler)
    results = bench.exp.run_phase(phase)
    view = phase.input_sources[0].resolve_input_view()
    drawn = sampler.epoch(view, 0)
    for role in sampler.role_names:
        rows = results.stacked_tensors(node, "rows", role=role)
        assert np.array_equal(rows, view.rows[drawn.roles[role]])
        assert np.allclose(results.stacked_tensors(node, role=role), forward(bench, rows), atol=1e-6)
        targets = bench.fs.table.column("targets.kind.raw")[rows][:, None]
        assert np.array_equal(results.stacked_tensors(node, "targets", role=role), targets)
    again = bench.exp.run_phase(phase)
    assert np.array_equal(again.batch_losses(), results.batch_losses())


def test_training_by_hand_gives_the_same_weights(bench: Any) -> None:
    node = siamese(bench, targets=["y"])
    by_hand = [nn.Linear(4, 8), nn.Linear(8, 3)]
    by_hand[0].load_state_dict(bench.ctx.get_node("A").module.state_dict())
    by_hand[1].load_state_dict(node.module[2].state_dict())
    optimizer = torch.optim.Adam([p for part in by_hand for p in part.parameters()], lr=0.01)
    phase = bench.train([bench.loss("B", inputs=DISTANCE)], sampler=WEIGHTED, n_epochs=2)
    view = phase.input_sources[0].resolve_input_view()
    x = torch.from_numpy(bench.fs.table.column("features.x.raw")[view.rows])
    expected = []
    for epoch in range(2):
        index = WEIGHTED.epoch(view, epoch)
        for start, stop in zip(index.offsets[:-1], index.offsets[1:], strict=True):
            roles = [by_hand[1](torch.tanh(by_hand[0](x[r[start:stop]]))) for r in index.roles.values()]
            weights = np.mean([w[start:stop] for w in index.weights.values()], axis=0)
            loss = (((roles[0] - roles[1]) ** 2).mean(1) * torch.from_numpy(weights).float()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
    assert len(set(np.round(index.weights["pair"], 3))) > 2
    assert np.allclose(bench.exp.run_phase(phase).batch_losses(), expected, atol=1e-5)
    assert torch.allclose(node.module[2].weight, by_hand[1].weight, atol=1e-5)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_a_role_without_weights_counts_in_full(bench: Any, reduction: str) -> None:
    siamese(bench, targets=["y"])
    loss = Loss("mse", reduction=reduction)
    on_anchor = bench.loss("B", loss, ["outputs.anchor", "outputs.anchor"], label="anchor")
    whole = bench.loss("B", loss, DISTANCE, label="whole")
    phase = EvalPhase.from_split("eval", split="train", losses=[on_anchor, whole], sampler=WEIGHTED)
    results = bench.exp.run_phase(phase)
    index = WEIGHTED.epoch(phase.input_sources[0].resolve_input_view(), 0)
    anchors, pairs = (results.stacked_tensors("B", role=role) for role in ("anchor", "pair"))
    weights = (1 + index.weights["pair"]) / 2
    squares = ((anchors - pairs) ** 2) * weights[:, None]
    ends = index.offsets[1:-1]
    reduce = np.sum if reduction == "sum" else np.mean
    assert np.allclose(
        results.batch_losses("whole"), [reduce(part) for part in np.split(squares, ends)], rtol=1e-4
    )
    assert not results.batch_losses("anchor").any()


def test_callbacks_see_the_outputs_of_each_role(bench: Any) -> None:
    siamese(bench)
    scope = bench.scope(watch_batches=True)
    list(bench.train([bench.loss("B", inputs=DISTANCE)], sampler=PAIRS).execute(scope).events)
    assert set(scope.exec_ctx.outputs) == {"A", "B"}
    assert list(scope.exec_ctx.outputs["B"]) == ["anchor", "pair"]


def test_nodes_with_optimizers_of_their_own_train_on_every_role(bench: Any) -> None:
    first = bench.node("A", bench.ref(targets="kind"), nn.Linear(4, 8))
    second = bench.node("B", first, nn.Linear(8, 3), optimizer=Optimizer("sgd", opt_kwargs={"lr": 0.1}))
    first.freeze()
    bench.graph(first, second, optimizer=None)
    before = [w.copy() for node in (first, second) for w in node.model.get_weights().values()]
    bench.exp.run_phase(bench.train([bench.loss("B", inputs=DISTANCE)], sampler=PAIRS))
    after = [w for node in (first, second) for w in node.model.get_weights().values()]
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)][:3] == [True, True, False]


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (
            ["outputs", "targets.anchor"],
            r"the loss 'mse' on 'B': the input 'outputs' names no role.*'anchor', 'pair'",
        ),
        (["outputs.anchor", "outputs.par"], "Unknown column or role 'par'.*mean 'pair'"),
    ],
)
def test_a_loss_names_a_role_that_the_sampler_draws(bench: Any, inputs: list[str], match: str) -> None:
    siamese(bench)
    with pytest.raises(LossError, match=match):
        bench.train([bench.loss("B", inputs=inputs)], sampler=PAIRS)


def test_results_name_the_roles_that_there_are_also_when_they_come_from_a_file(bench: Any) -> None:
    siamese(bench)
    results = bench.exp.run_phase(bench.train([bench.loss("B", inputs=DISTANCE)], sampler=PAIRS))
    again: Any = results_from_state(results.get_state())
    for found in (results, again):
        assert (
            found.stacked_tensors("B", role="pair").shape == found.stacked_tensors("B", role="anchor").shape
        )
        with pytest.raises(UnknownNameError, match="(?i)unknown role 'default'.*anchor.*pair"):
            found.stacked_tensors("B")


def test_an_evaluation_takes_no_batch_size_beside_that_of_its_sampler(bench: Any) -> None:
    siamese(bench)
    with pytest.raises(InvalidValueError, match="the sampler says how large the batches are"):
        EvalPhase.from_split("eval", split="train", sampler=PAIRS, batch_size=3)


def test_a_fit_takes_no_roles(bench: Any) -> None:
    bench.graph(bench.node("A", model=Ridge()), optimizer=None)
    binding = InputBinding.for_training(node="A", sampler=PAIRS, split="train")
    with pytest.raises(InvalidValueError, match="the binding of 'A' has a sampler"):
        FitPhase("fit", input_sources=[binding])
