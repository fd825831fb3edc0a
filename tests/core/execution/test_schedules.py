from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml import Evaluation
from modularml.base.errors import InvalidValueError
from modularml.core.training.optimizer import Optimizer
from modularml.core.training.schedule import Schedule


def sgd(name: str, every: str = "epoch", monitor: str = "val_loss", **kwargs: Any) -> Optimizer:
    schedule = Schedule(name, schedule_kwargs=kwargs, every=every, monitor=monitor)
    return Optimizer("sgd", opt_kwargs={"lr": 0.1}, schedule=schedule)


def halving() -> Schedule:
    return Schedule("exponential", schedule_kwargs={"gamma": 0.5})


def test_a_schedule_of_epochs_is_recorded_and_counts_on(bench: Any) -> None:
    bench.graph(bench.node("A"), optimizer=sgd("exponential", gamma=0.5))
    phase = bench.train(n_epochs=2)
    _, results = bench.drain(phase)
    assert results.metrics()["lr"].tolist() == [0.1, 0.05]
    _, results = bench.drain(phase)
    assert results.metrics()["lr"].tolist() == [0.025, 0.0125]


def test_a_schedule_of_batches_moves_on_with_each_update(bench: Any) -> None:
    optimizer = sgd("exponential", "batch", gamma=0.5)
    bench.graph(bench.node("A"), optimizer=optimizer)
    _, results = bench.drain(bench.train(n_epochs=2))
    assert len(results.batch_losses()) == 6
    assert results.metrics()["lr"] == pytest.approx([0.1 * 0.5**3, 0.1 * 0.5**6])
    assert optimizer.rate == pytest.approx(0.1 * 0.5**6)


def test_each_node_has_a_rate_of_its_own(bench: Any) -> None:
    a = bench.node("A", optimizer=sgd("exponential", gamma=0.5))
    b = bench.node("B", a, nn.Linear(1, 1), optimizer=sgd("constant", "batch", factor=0.5, total_iters=1))
    bench.graph(a, b, optimizer=None)
    _, results = bench.drain(bench.train([bench.loss("A"), bench.loss("B", label="b")], n_epochs=2))
    assert results.metrics()["lr/A"].tolist() == [0.1, 0.05]
    assert results.metrics()["lr/B"].tolist() == [0.1, 0.1]


@pytest.mark.parametrize(
    ("names", "metrics"),
    [
        (("slow", "fast"), ["lr/fast", "lr/slow"]),
        (("fast", "fast"), ["lr/0", "lr/1"]),
        ((), ["lr/0", "lr/1"]),
    ],
    ids=["named", "alike", "unnamed"],
)
def test_each_group_of_parameters_has_a_rate_of_its_own(
    bench: Any, names: tuple[str, ...], metrics: list[str]
) -> None:
    def two(parameters: Any) -> torch.optim.Optimizer:
        groups = [{"params": [parameter]} for parameter in parameters]
        groups[0]["lr"] = 0.01
        for group, name in zip(groups, names, strict=False):
            group["name"] = name
        return torch.optim.SGD(groups, lr=0.1)

    bench.graph(bench.node("A"), optimizer=Optimizer(factory=two, schedule=halving()))
    _, results = bench.drain(bench.train(n_epochs=2))
    assert sorted(results.metric_names()) == metrics
    slow, fast = ("lr/slow", "lr/fast") if names[:1] == ("slow",) else ("lr/0", "lr/1")
    assert results.metrics()[slow].tolist() == [0.01, 0.005]
    assert results.metrics()[fast].tolist() == [0.1, 0.05]


def test_rates_without_a_schedule_are_no_metric(bench: Any) -> None:
    bench.graph(bench.node("A"))
    _, results = bench.drain(bench.train())
    assert results.metric_names() == []


@pytest.mark.parametrize("monitor", ["val_loss", "mse"])
def test_a_plateau_is_one_of_the_monitored_metric(bench: Any, monitor: str) -> None:
    bench.graph(
        bench.node("A"), optimizer=sgd("reduce_on_plateau", monitor=monitor, patience=0, threshold=10.0)
    )
    callbacks = [Evaluation.from_split(split="test", losses="mse", every_n_epochs=2)]
    phase = bench.train(n_epochs=5, callbacks=callbacks)
    rates = bench.exp.run_phase(phase).metrics()["lr"]
    every = 2 if monitor == "val_loss" else 1
    changes = np.flatnonzero(np.diff(rates)) + 1
    assert changes.tolist() == list(range(every, 5, every))


def test_a_metric_that_never_comes_is_told_after_the_first_epoch(bench: Any) -> None:
    bench.graph(bench.node("A"), optimizer=sgd("reduce_on_plateau", monitor="val_los"))
    with pytest.raises(InvalidValueError, match=r"Unknown metric 'val_los'. Available: 'lr', 'mse'"):
        bench.drain(bench.train(n_epochs=5))


def test_previews_and_checkpoints_bring_the_schedule_back(bench: Any, tmp_path: Any) -> None:
    optimizer = sgd("cosine_annealing", T_max=4)
    bench.graph(bench.node("A"), optimizer=optimizer)
    phase = bench.train(n_epochs=2)
    whole = [0.1, 0.1 * 0.8535534, 0.05, 0.1 * 0.1464466]
    assert bench.exp.preview_phase(phase).metrics()["lr"] == pytest.approx(whole[:2])
    assert bench.exp.run_phase(phase).metrics()["lr"] == pytest.approx(whole[:2])
    bench.exp.set_checkpoint_dir(tmp_path)
    bench.exp.save_checkpoint("half")
    for _ in range(2):
        assert bench.exp.run_phase(phase).metrics()["lr"] == pytest.approx(whole[2:])
        bench.exp.restore_checkpoint("half")
    path = bench.exp.save(tmp_path / "e")
    loaded = type(bench.exp).load(path, overwrite=True)
    assert loaded.model_graph.optimizer == optimizer
    assert loaded.model_graph.optimizer.rate == pytest.approx(0.05)
