import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from modularml.base.errors import InvalidValueError, LossError, OptimizerNotSetError
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.train_loop import own_optimizer
from modularml.core.training.loss import Loss
from modularml.core.training.optimizer import Optimizer
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

mse = nn.functional.mse_loss
N_EPOCHS = 4


def by_hand(
    bench: Any, phase: Any, step: Callable[..., Sequence[torch.Tensor]], targets: str = "y"
) -> list[list[float]]:
    """Call ``step(x, y)`` with the batches of a phase; return the losses of every step."""
    x = torch.from_numpy(bench.fs.table.column("features.x.raw"))
    y = torch.from_numpy(bench.fs.table.column(f"targets.{targets}.raw"))
    batches = [rows for epoch in range(phase.n_epochs) for rows in bench.rows(phase, epoch)]
    return [[loss.item() for loss in step(x[rows], y[rows])] for rows in batches]


def stepper(optimizer: Any, losses: Callable[..., Sequence[torch.Tensor]]) -> Callable[..., Any]:
    def step(x: torch.Tensor, y: torch.Tensor) -> Sequence[torch.Tensor]:
        optimizer.zero_grad()
        found = losses(x, y)
        sum(found).backward()
        optimizer.step()
        return found

    return step


def same_weights(left: nn.Module, right: nn.Module, *, exactly: bool = True) -> bool:
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) if exactly else torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


# One optimizer for the graph.


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("adam", {"lr": 0.01}),
        ("adamw", {"lr": 0.01, "weight_decay": 0.1}),
        ("sgd", {"lr": 0.05}),
        ("sgd", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
        ("rmsprop", {"lr": 0.01}),
    ],
)
def test_training_is_the_loop_that_people_write_by_hand(bench: Any, name: str, kwargs: Any) -> None:
    module = network()
    twin = copy.deepcopy(module)
    bench.graph(bench.node("A", model=module), optimizer=Optimizer(name, opt_kwargs=kwargs))
    phase = bench.train(n_epochs=N_EPOCHS)
    _, results = bench.drain(phase)
    cls = type(bench.ctx.model_graph.optimizer.optimizer)
    optimizer = cls(twin.parameters(), **kwargs)
    losses = by_hand(bench, phase, stepper(optimizer, lambda x, y: [mse(twin(x)[:, 0], y)]))
    assert same_weights(module, twin, exactly=False)
    assert np.allclose(results.batch_losses("mse"), np.array(losses)[:, 0], atol=1e-5)


def test_with_the_same_update_it_is_the_same_bit_for_bit(bench: Any) -> None:
    module = network()
    twin = copy.deepcopy(module)
    bench.graph(bench.node("A", model=module), optimizer="adam", lr=0.01)
    phase = bench.train(n_epochs=N_EPOCHS)
    _, results = bench.drain(phase)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01, fused=True)
    losses = by_hand(bench, phase, stepper(optimizer, lambda x, y: [mse(twin(x), y[:, None])]))
    assert same_weights(module, twin)
    assert results.batch_losses("mse").tolist() == [np.float32(value) for (value,) in losses]


def test_the_weighted_sum_of_several_losses_is_minimized(bench: Any) -> None:
    module = network()
    twin = copy.deepcopy(module)
    bench.graph(bench.node("A", model=module), optimizer="adam", lr=0.01)
    phase = bench.train([bench.loss(weight=0.3), bench.loss(loss="l1", weight=2.0)], n_epochs=N_EPOCHS)
    _, results = bench.drain(phase)

    def losses(x: torch.Tensor, y: torch.Tensor) -> Sequence[torch.Tensor]:
        outputs = twin(x)[:, 0]
        return 0.3 * mse(outputs, y), 2 * nn.functional.l1_loss(outputs, y)

    found = np.array(by_hand(bench, phase, stepper(torch.optim.Adam(twin.parameters(), lr=0.01), losses)))
    assert same_weights(module, twin, exactly=False)
    assert np.allclose(np.concatenate(results.recording.losses), found, atol=1e-5)


def test_losses_on_inner_nodes_and_branches_train_together(bench: Any) -> None:
    trunk, left, right = nn.Linear(4, 1), nn.Linear(1, 1), nn.Linear(1, 1)
    twins = copy.deepcopy([trunk, left, right])
    first = bench.node("Trunk", model=trunk)
    bench.graph(
        first, bench.node("Left", first, left), bench.node("Right", first, right), optimizer="adam", lr=0.01
    )
    on = {"Trunk": 1.0, "Left": 0.5, "Right": 2.0}
    phase = bench.train(
        [bench.loss(label, weight=w, label=label) for label, w in on.items()], n_epochs=N_EPOCHS
    )
    bench.drain(phase)

    def losses(x: torch.Tensor, y: torch.Tensor) -> Sequence[torch.Tensor]:
        hidden = twins[0](x)
        outputs = hidden, twins[1](hidden), twins[2](hidden)
        return [w * mse(out[:, 0], y) for w, out in zip(on.values(), outputs, strict=True)]

    optimizer = torch.optim.Adam([p for twin in twins for p in twin.parameters()], lr=0.01)
    by_hand(bench, phase, stepper(optimizer, losses))
    for module, twin in zip((trunk, left, right), twins, strict=True):
        assert same_weights(module, twin, exactly=False)


@pytest.mark.parametrize("frozen", ["A", "B"])
def test_a_frozen_node_keeps_its_weights_and_lets_gradients_through(bench: Any, frozen: str) -> None:
    modules = {"A": nn.Linear(4, 3), "B": nn.Linear(3, 1)}
    twins = copy.deepcopy(modules)
    graph = bench.graph(*bench.chain(*modules.values()), optimizer="adam", lr=0.01)
    graph.freeze([frozen])
    phase = bench.train([bench.loss("B")], n_epochs=N_EPOCHS)
    bench.drain(phase)
    trained = next(label for label in "AB" if label != frozen)
    optimizer = torch.optim.Adam(twins[trained].parameters(), lr=0.01)
    by_hand(bench, phase, stepper(optimizer, lambda x, y: [mse(twins["B"](twins["A"](x))[:, 0], y)]))
    assert same_weights(modules[frozen], twins[frozen])
    assert same_weights(modules[trained], twins[trained], exactly=False)
    assert all(p.grad is None for module in modules.values() for p in module.parameters())


def test_a_frozen_node_keeps_its_running_statistics_too(bench: Any) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    before = copy.deepcopy(module)
    graph = bench.graph(*bench.chain(module, nn.Linear(3, 1)))
    graph.freeze(["A"])
    bench.drain(bench.train([bench.loss("B")]))
    assert same_weights(module, before)
    graph.unfreeze()
    bench.drain(bench.train([bench.loss("B")]))
    assert not same_weights(module, before)


def test_an_estimator_on_the_way_stops_the_gradients(bench: Any) -> None:
    x = bench.fs.table.column("features.x.raw")
    pca, first, last = PCA(2).fit(x[:, :3]), nn.Linear(4, 3), nn.Linear(2, 1)
    kept, twin = copy.deepcopy(first), copy.deepcopy(last)
    graph = bench.graph(*bench.chain(first, pca, last))
    with pytest.raises(InvalidValueError, match="no loss reaches the node 'A'.*freeze it"):
        bench.train([bench.loss("C")])
    graph.freeze(["A"])
    phase = bench.train([bench.loss("C")], n_epochs=N_EPOCHS)
    bench.drain(phase)

    def losses(x: torch.Tensor, y: torch.Tensor) -> Sequence[torch.Tensor]:
        hidden = torch.from_numpy(pca.transform(kept(x).detach().numpy()))
        return [mse(twin(hidden)[:, 0], y)]

    by_hand(bench, phase, stepper(torch.optim.SGD(twin.parameters(), lr=0.1), losses))
    assert same_weights(first, kept)
    assert same_weights(last, twin, exactly=False)


def test_gradients_from_before_do_not_count(bench: Any) -> None:
    module = network()
    twin = copy.deepcopy(module)
    bench.graph(bench.node("A", model=module))
    module(torch.ones(1, 4)).sum().backward()
    phase = bench.train()
    bench.drain(phase)
    by_hand(
        bench,
        phase,
        stepper(torch.optim.SGD(twin.parameters(), lr=0.1), lambda x, y: [mse(twin(x)[:, 0], y)]),
    )
    assert same_weights(module, twin, exactly=False)


def test_parameters_that_their_owner_fixed_stay_fixed(bench: Any) -> None:
    module = network()
    module[0].requires_grad_(False)
    before = copy.deepcopy(module)
    bench.graph(bench.node("A", model=module), optimizer="adam")
    bench.drain(bench.train())
    assert same_weights(module[0], before[0])
    assert not same_weights(module[2], before[2])
    assert not module[0].weight.requires_grad


# An optimizer for each node.


def test_stages_train_as_if_each_were_trained_alone(bench: Any) -> None:
    first, second = nn.Linear(4, 1), nn.Linear(1, 1)
    twins = copy.deepcopy([first, second])
    a = bench.node("A", model=first, optimizer=Optimizer("adam", opt_kwargs={"lr": 0.01}))
    b = bench.node("B", a, second, optimizer=Optimizer("sgd", opt_kwargs={"lr": 0.05}))
    bench.graph(a, b, optimizer=None)
    phase = bench.train([bench.loss("B", label="b"), bench.loss("A", label="a")], n_epochs=N_EPOCHS)
    _, results = bench.drain(phase)
    optimizers = (
        torch.optim.Adam(twins[0].parameters(), lr=0.01),
        torch.optim.SGD(twins[1].parameters(), lr=0.05),
    )

    def step(x: torch.Tensor, y: torch.Tensor) -> Sequence[torch.Tensor]:
        for optimizer in optimizers:
            optimizer.zero_grad()
        hidden = twins[0](x)
        losses = mse(twins[1](hidden.detach())[:, 0], y), mse(hidden[:, 0], y)
        for loss in losses:
            loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return losses

    found = by_hand(bench, phase, step)
    assert same_weights(first, twins[0], exactly=False)
    assert same_weights(second, twins[1], exactly=False)
    assert np.allclose(np.concatenate(results.recording.losses), np.array(found), atol=1e-5)


def test_between_stages_a_frozen_node_passes_on(bench: Any) -> None:
    modules = [nn.Linear(4, 1), nn.Linear(1, 1), nn.Linear(1, 1)]
    before = copy.deepcopy(modules)
    nodes = bench.chain(*modules)
    for node in nodes[::2]:
        node.optimizer = Optimizer("sgd", opt_kwargs={"lr": 0.05})
    nodes[1].freeze()
    bench.graph(*nodes, optimizer=None)
    bench.drain(bench.train([bench.loss("A", label="a"), bench.loss("C", label="c")]))
    changed = [not same_weights(module, was) for module, was in zip(modules, before, strict=True)]
    assert changed == [True, False, True]


def test_a_node_to_be_trained_needs_an_optimizer(bench: Any) -> None:
    node = bench.node("A")
    bench.graph(node, optimizer=None)
    with pytest.raises(
        OptimizerNotSetError, match=r"ModelNode\('A'\) is to be trained.*neither it nor the graph"
    ):
        bench.train()
    with pytest.raises(OptimizerNotSetError):
        own_optimizer(node)
    node.optimizer = Optimizer("sgd")
    assert own_optimizer(node) is node.optimizer


def test_without_a_graph_optimizer_a_loss_on_a_node_that_is_not_trained_is_refused(bench: Any) -> None:
    nodes = bench.chain(nn.Linear(4, 1), nn.Linear(1, 1))
    for node in nodes:
        node.optimizer = Optimizer("sgd")
    bench.graph(*nodes, optimizer=None)
    nodes[1].freeze()
    phase = bench.train([bench.loss("A", label="a"), bench.loss("B", label="b")])
    with pytest.raises(InvalidValueError, match="The loss 'b' is on 'B', which is not trained"):
        bench.drain(phase)


def detached(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.detach() - targets) ** 2


def test_a_loss_that_no_gradient_leads_from_is_named(bench: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(LossError, match="the loss 'mse' takes no outputs, so nothing can learn from it"):
        bench.train([bench.loss(inputs=["features", "targets"])])
    lonely = bench.loss(loss=Loss(detached))
    with pytest.raises(
        LossError, match=r"No gradient leads from the losses \['detached'\] to a trained node"
    ):
        bench.drain(bench.train([lonely]))
    with pytest.raises(LossError, match=r"from the losses \['detached', 'd2'\]"):
        bench.drain(bench.train([lonely, bench.loss(loss=Loss(detached), label="d2")]))
    bench.drain(bench.train([lonely, bench.loss()]))


# Flags.


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.armed = nn.Linear(4, 3), False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.armed:
            raise ArithmeticError("armed")
        return self.layer(x)


@pytest.mark.parametrize("ending", ["success", "failure", "early close"])
def test_the_flags_of_every_module_are_as_before_however_it_ends(bench: Any, ending: str) -> None:
    first, second = Fails(), nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.Linear(3, 1))
    graph = bench.graph(*bench.chain(first, second))
    graph.freeze(["A"])
    second[0].requires_grad_(False)
    second.eval()
    second[1].train()

    def flags() -> list[bool]:
        modules = [first, second]
        return [m.training for root in modules for m in root.modules()] + [
            p.requires_grad for root in modules for p in root.parameters()
        ]

    before = flags()
    events = bench.train([bench.loss("B")], n_epochs=2).execute(bench.scope()).events
    assert flags() == before
    next(events)
    assert flags() != before
    if ending == "success":
        list(events)
    elif ending == "failure":
        first.armed = True
        with pytest.raises(ArithmeticError):
            list(events)
    else:
        events.close()
    assert flags() == before


# Learning.


def test_integer_labels_are_learnt_with_cross_entropy(bench: Any) -> None:
    node = bench.node("A", bench.ref(targets="kind"), SequentialMLP(output_shape=(3,), hidden_dim=16))
    bench.graph(node, optimizer="adam", lr=0.02)
    _, results = bench.drain(bench.train([bench.loss(loss="cross_entropy")], n_epochs=40))
    losses = results.epoch_losses()
    assert losses[-1] < losses[0] / 3
    rows = results.recording.tensors[-1]
    guessed = rows.outputs["A"].reshape(-1, 3).argmax(axis=1)
    assert (guessed == rows.targets["A"][:, 0]).mean() > 0.9


def test_several_targets_are_learnt_at_once(bench: Any) -> None:
    node = bench.node("A", bench.ref(targets=["y", "kind"]), SequentialMLP())
    bench.graph(node, optimizer="adam", lr=0.02)
    _, results = bench.drain(bench.train(n_epochs=30))
    assert results.recording.tensors[-1].outputs["A"].size == 48 * 2
    assert results.epoch_losses()[-1] < results.epoch_losses()[0] / 3


def test_two_heads_train_side_by_side_on_the_same_rows(bench: Any) -> None:
    bench.graph(bench.node("A"), bench.node("B"), optimizer="adam", lr=0.05)
    losses = [bench.loss("A", label="a"), bench.loss("B", label="b")]
    _, results = bench.drain(
        bench.train(losses, n_epochs=2, sampler=SimpleSampler(batch_size=8, shuffle=True))
    )
    for record in results.recording.tensors:
        assert np.array_equal(record.rows["A"], record.rows["B"])
        assert np.array_equal(record.targets["A"], record.targets["B"])


# Losses that are watched only.


@pytest.mark.parametrize("own_optimizers", [False, True])
def test_a_loss_that_is_not_minimized_changes_nothing(bench: Any, own_optimizers: bool) -> None:
    weights, watched = [], []
    for losses in ([], [bench_loss_on("A"), bench_loss_on("B", "huber")]):
        bench.ctx.clear()
        bench.fs = bench.data()
        torch.manual_seed(0)
        a = bench.node("A", optimizer="sgd" if own_optimizers else None)
        b = bench.node("B", a, nn.Linear(1, 1), optimizer="sgd" if own_optimizers else None)
        bench.graph(a, b, optimizer=None if own_optimizers else "sgd")
        made = [make(bench) for make in losses]
        if own_optimizers:
            b.freeze()
        minimized = bench.loss("A" if own_optimizers else "B", label="main")
        _, results = bench.drain(bench.train([minimized, *made]))
        weights.append([p.tolist() for p in (*a.module.parameters(), *b.module.parameters())])
        watched.append(results.loss_labels)
    assert weights[0] == weights[1]
    assert watched == [["main"], ["main", "mse", "huber"]]
    assert np.isfinite(results.batch_losses("huber")).all()


def bench_loss_on(on: str, loss: str = "mse") -> Callable[[Any], Any]:
    return lambda bench: bench.loss(on, loss, trainable=False)


def test_sparse_gradients_train_as_dense_ones(bench: Any) -> None:
    fs = FeatureSet.from_dict(
        "codes", {"code": np.arange(60).reshape(60, 1) % 7, "y": np.arange(60.0)}, "code", "y"
    )
    fs.split_random({"train": 0.8, "test": 0.2}, seed=3)
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(7, 4, sparse=sparse), nn.Flatten(), nn.Linear(4, 1))
        node = bench.node(f"net {sparse}", fs.reference(), model)
        bench.ctx.remove_model_graph()
        bench.graph(node)
        _, results = bench.drain(bench.train([bench.loss(node)], n_epochs=2))
        found.append(results.batch_losses())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    with pytest.raises(InvalidValueError, match="the gradients of 'net True' are sparse"):
        bench.train([bench.loss(node)], clip_norm=1.0)


@pytest.mark.parametrize("own_optimizers", [False, True])
def test_a_node_without_parameters_is_in_training_and_asks_for_no_optimizer(
    bench: Any, own_optimizers: bool
) -> None:
    drop = bench.node("drop", model=nn.Dropout(0.5))
    net = bench.node("net", drop, nn.Linear(4, 1), optimizer="sgd" if own_optimizers else None)
    bench.graph(drop, net, optimizer=None if own_optimizers else "sgd")
    seen = []
    drop.module.register_forward_hook(lambda module, inputs, outputs: seen.append(module.training))
    bench.drain(bench.train([bench.loss("net")]))
    assert seen and all(seen)


def test_a_model_whose_parameters_ask_for_no_gradients_is_told(bench: Any) -> None:
    bench.graph(bench.node("A", model=nn.Linear(4, 1).requires_grad_(False)))
    with pytest.raises(InvalidValueError, match="nothing to train; .*no parameters that ask for gradients"):
        bench.drain(bench.train())
