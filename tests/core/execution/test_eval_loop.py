from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import nn

from modularml.core.experiment.phases.fit_phase import FitPhase


@pytest.mark.parametrize("batch_size", [None, 5])
def test_evaluation_computes_and_changes_nothing(bench: Any, batch_size: int | None) -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    node = bench.node("A", model=module)
    graph = bench.graph(node)
    module.train()
    before = graph.get_state()
    _, results = bench.drain(bench.evaluate([bench.loss()], batch_size=batch_size))
    module.eval()
    view = bench.fs.get_split("test")
    with torch.no_grad():
        outputs = module(torch.from_numpy(np.asarray(view.column("features.x.raw"))))
    by_hand = nn.functional.mse_loss(
        outputs[:, 0], torch.from_numpy(np.asarray(view.column("targets.y.raw")))
    )
    sizes = [12] if batch_size is None else [5, 5, 2]
    assert np.average(results.batch_losses("mse"), weights=sizes) == pytest.approx(by_hand.item(), rel=1e-5)
    assert np.allclose(results.stacked_tensors("A"), outputs, atol=1e-6)
    assert np.array_equal(results.stacked_tensors("A", "rows"), view.rows)
    after = graph.get_state()["nodes"]["A"]["model"]["weights"]
    assert all(
        np.array_equal(value, after[name]) for name, value in before["nodes"]["A"]["model"]["weights"].items()
    )
    assert all(p.grad is None for p in module.parameters())


def test_evaluation_without_losses_still_gives_outputs(bench: Any) -> None:
    bench.graph(bench.node("A"))
    _, results = bench.drain(bench.evaluate(batch_size=5))
    assert results.n_batches == 3
    assert results.stacked_tensors("A").shape == (12, 1, 1)


def test_estimators_are_fitted_in_order_each_on_what_reaches_it(bench: Any) -> None:
    bench.graph(*bench.chain(PCA(2), Ridge()), optimizer=None)
    phase = FitPhase.from_split("fit", split="train", losses=[bench.loss("B")])
    _, results = bench.drain(phase)
    view = bench.fs.get_split("train")
    x, y = np.asarray(view.column("features.x.raw")), np.asarray(view.column("targets.y.raw"))
    pca = PCA(2).fit(x)
    ridge = Ridge().fit(pca.transform(x), y)
    assert np.allclose(results.stacked_tensors("B")[:, 0], ridge.predict(pca.transform(x)), atol=1e-5)
    by_hand = ((ridge.predict(pca.transform(x)) - y) ** 2).mean()
    assert results.batch_losses("mse") == pytest.approx([by_hand], rel=1e-4)


def test_a_network_in_front_of_an_estimator_stays_as_it_is(bench: Any) -> None:
    network, ridge = bench.chain(nn.Linear(4, 3), Ridge())
    bench.graph()
    before = network.model.get_weights()
    bench.drain(FitPhase.from_split("fit", split="train"))
    assert all(np.array_equal(before[name], value) for name, value in network.model.get_weights().items())
    assert ridge.model.is_fitted
    x = torch.from_numpy(np.asarray(bench.fs.get_split("train").column("features.x.raw")))
    hidden = network.module(x).detach().numpy()
    again = Ridge().fit(hidden, bench.fs.get_split("train").column("targets.y.raw"))
    assert np.allclose(ridge.model.estimator.coef_, again.coef_, atol=1e-4)
