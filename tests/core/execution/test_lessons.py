"""Estimators that learn batch by batch in a train phase, beside torch nodes and without any."""

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import IncrementalPCA
from sklearn.linear_model import LinearRegression, SGDClassifier, SGDRegressor
from torch import nn

from modularml import EarlyStopping, ScikitModelWrapper
from modularml.base.errors import InvalidValueError, StateError
from modularml.base.events import EpochStarted, RunStarted
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.samplers import PairedSampler, SimilarityCondition, SimpleSampler


def learner(estimator: Any) -> ScikitModelWrapper:
    return ScikitModelWrapper(estimator, training_mode="partial_fit")


def regressor() -> ScikitModelWrapper:
    return learner(SGDRegressor(random_state=0))


def test_it_learns_from_each_batch_as_by_hand(bench: Any) -> None:
    bench.graph(bench.node("A", model=regressor()), optimizer=None)
    phase = bench.train([bench.loss()], n_epochs=2)
    rows = [of for epoch in range(2) for of in bench.rows(phase, epoch)]
    _, results = bench.drain(phase)
    by_hand = SGDRegressor(random_state=0)
    x, y = bench.fs.get_features("numpy").reshape(60, -1), bench.fs.get_targets("numpy", targets="y").ravel()
    expected = []
    for of_batch in rows:
        by_hand.partial_fit(x[of_batch], y[of_batch])
        expected.append(((by_hand.predict(x[of_batch]) - y[of_batch]) ** 2).mean())
    assert results.batch_losses() == pytest.approx(expected, rel=1e-5)
    assert np.array_equal(by_hand.coef_, bench.ctx.get_node("A").model.estimator.coef_)
    assert results.epoch_losses()[1] < results.epoch_losses()[0]


def test_a_classifier_knows_all_classes_from_the_start(bench: Any) -> None:
    order = np.argsort(bench.fs.get_targets("numpy", targets="kind").ravel())
    bench.fs.clear_splits()
    bench.fs.add_split(bench.fs.take(order, label="sorted"))
    node = bench.node("A", bench.ref(targets="kind"), learner(SGDClassifier(random_state=0)))
    bench.graph(node, optimizer=None)
    binding = InputBinding.for_training(node=node, sampler=SimpleSampler(batch_size=10), split="sorted")
    _, results = bench.drain(TrainPhase("p", input_sources=[binding], n_epochs=5, metrics="accuracy"))
    assert list(node.model.estimator.classes_) == [0, 1, 2]
    assert len(results.metrics()["accuracy"]) == 5


def test_it_learns_beside_torch_nodes_and_what_follows_reads_its_outputs(bench: Any) -> None:
    pca = bench.node("A", model=learner(IncrementalPCA(2)))
    tail = bench.node("B", pca, nn.Linear(2, 1))
    bench.graph(pca, tail)
    before = tail.model.get_weights()["weight"]
    _, results = bench.drain(bench.train([bench.loss("B")], n_epochs=2))
    assert pca.model.estimator.n_samples_seen_ == 96
    assert not np.array_equal(before, tail.model.get_weights()["weight"])
    assert np.isfinite(results.batch_losses()).all()


def test_a_loss_on_its_outputs_is_recorded_and_minimized_by_nobody(bench: Any) -> None:
    bench.graph(bench.node("A"), bench.node("B", model=regressor()))
    losses = [bench.loss("A"), bench.loss("B", label="of B")]
    _, results = bench.drain(bench.train(losses, n_epochs=3))
    alone = results.batch_losses("mse")
    for label in ("mse", "of B"):
        assert results.epoch_losses(label)[-1] < results.epoch_losses(label)[0]
    bench.ctx.model_graph.reset_state()
    _, again = bench.drain(bench.train([bench.loss("A")], n_epochs=3))
    assert np.array_equal(again.batch_losses(), alone)


def test_what_is_frozen_or_fitted_at_once_stays_as_it_is(bench: Any) -> None:
    node, plain = bench.node("A", model=regressor()), bench.node("B", model=LinearRegression())
    bench.graph(node, plain, bench.node("C"))
    losses = [bench.loss("C")]
    bench.drain(bench.train(losses))
    known = node.model.estimator.coef_.copy()
    assert not plain.model.is_fitted
    node.freeze()
    bench.drain(bench.train(losses, label="again"))
    assert np.array_equal(node.model.estimator.coef_, known)


def test_early_stopping_brings_the_best_estimator_back(bench: Any) -> None:
    node = bench.node("A", model=learner(SGDRegressor(random_state=0, learning_rate="constant", eta0=0.5)))
    bench.graph(node, optimizer=None)
    stop = EarlyStopping(monitor="mse", patience=2, restore_best=True)
    phase = bench.train([bench.loss()], n_epochs=30, callbacks=[stop])
    results = bench.exp.run_phase(phase)
    assert results.n_epochs < 30
    assert stop.best_epoch == int(np.argmin(results.epoch_losses()))


def test_a_preview_leaves_it_as_it_was(bench: Any) -> None:
    node = bench.node("A", model=regressor())
    bench.graph(node, optimizer=None)
    bench.exp.preview_phase(bench.train([bench.loss()]))
    assert not node.model.is_fitted


def test_a_stopped_run_goes_on_with_equal_results(bench: Any) -> None:
    # Without a state of its own it draws from the experiment's random numbers.
    node = bench.node("A", model=learner(SGDRegressor(shuffle=True)))
    bench.graph(node, optimizer=None)
    phase, exp = bench.train([bench.loss()], n_epochs=4), bench.exp
    start = exp.get_state()
    whole = exp.run_phase(phase).batch_losses()
    exp.set_state(start)
    stops: list[Any] = []

    def stop_in_the_second_epoch(event: Any) -> None:
        if isinstance(event, RunStarted):
            stops.append(event.stop)
        if isinstance(event, EpochStarted) and event.epoch == 1:
            stops[-1]()

    unsubscribe = exp.events.subscribe(stop_in_the_second_epoch)
    assert len(exp.run_phase(phase).batch_losses()) < len(whole)
    unsubscribe()
    node.model.reset_weights()
    assert np.array_equal(exp.run_phase(phase, resume=True).batch_losses(), whole)


def test_a_phase_without_losses_needs_something_that_learns(bench: Any) -> None:
    bench.graph(bench.node("A", model=LinearRegression()), optimizer=None)
    with pytest.raises(InvalidValueError, match="at least one loss to minimize"):
        bench.train([])
    with pytest.raises((InvalidValueError, StateError)):
        bench.drain(bench.train([bench.loss()]))


def test_torch_nodes_beside_it_need_a_loss_all_the_same(bench: Any) -> None:
    bench.graph(bench.node("A", model=regressor()), bench.node("B"))
    with pytest.raises(InvalidValueError, match="no loss reaches the node 'B'"):
        bench.train([])


def test_it_learns_from_single_samples_only(bench: Any) -> None:
    bench.graph(bench.node("A", bench.ref(targets="kind"), regressor()), optimizer=None)
    pairs = PairedSampler({"kind": SimilarityCondition(mode="similar")}, batch_size=8)
    with pytest.raises(InvalidValueError, match=r"\['A'\] learn from single samples"):
        bench.train([], sampler=pairs)
