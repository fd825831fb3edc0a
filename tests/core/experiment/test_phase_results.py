import math
from typing import Any

import numpy as np
import pytest

from modularml import AppliedLoss, EvalResults, Loss, PhaseGroup, PhaseGroupResults
from modularml.base.errors import InvalidValueError, UnknownNameError
from modularml.core.execution.recording import Recording


@pytest.fixture
def group(lab: Any) -> PhaseGroupResults:
    """train, and a group that holds eval."""
    lab.exp.execution_plan.add_phase(lab.train(n_epochs=3)).add_group(PhaseGroup("g", [lab.evaluate()]))
    return lab.exp.run()


def test_losses_of_batches_and_epochs_agree(group: PhaseGroupResults) -> None:
    train = group.get_train_result()
    assert (train.loss_labels, train.n_epochs) == (["mse"], 3)
    assert train.batch_losses("mse").shape == (9,)
    np.testing.assert_allclose(train.batch_losses().reshape(3, 3).mean(axis=1), train.epoch_losses())
    assert train.final() == {"mse": pytest.approx(train.epoch_losses()[-1])}


def test_a_loss_that_is_looked_for_among_the_metrics_is_told_where_it_is(group: PhaseGroupResults) -> None:
    with pytest.raises(UnknownNameError, match=r"Losses are apart: results.epoch_losses\('mse'\)."):
        group.get_train_result().metrics()["train_loss"]


def test_several_losses_must_be_named(lab: Any) -> None:
    losses = [lab.loss, AppliedLoss(Loss("l1"), on=lab.node, label="abs")]
    results = lab.exp.run_phase(lab.evaluate(losses=losses))
    with pytest.raises(InvalidValueError, match=r"has the losses \['mse', 'abs'\]; name one"):
        results.batch_losses()
    with pytest.raises(UnknownNameError, match="'abz'.*Did you mean 'abs'"):
        results.batch_losses("abz")
    assert results.aggregated_losses().keys() == {"mse", "abs"}
    assert lab.exp.run_phase(lab.evaluate(losses=None)).final() == {}


def test_aggregated_losses_by_node_and_reducer(lab: Any) -> None:
    results = lab.exp.run_phase(lab.evaluate(batch_size=2))
    losses = results.batch_losses()
    assert results.n_batches == len(losses) == 3
    assert results.aggregated_losses() == {"mse": pytest.approx(losses.mean())}
    assert results.aggregated_losses(lab.node, reducer="sum") == {"mse": pytest.approx(losses.sum())}
    with pytest.raises(UnknownNameError, match="'nett'.*Did you mean 'net'"):
        results.aggregated_losses("nett")
    with pytest.raises(InvalidValueError, match="'median'"):
        results.aggregated_losses(reducer="median")


def test_results_without_a_batch_say_so() -> None:
    empty = EvalResults("e", Recording({"mse": "net"}), {"net": "net"})
    assert empty.final() == {}
    assert math.isnan(empty.aggregated_losses()["mse"])
    assert empty.aggregated_losses(reducer="sum") == {"mse": 0}
    assert empty.batch_losses().shape == empty.epoch_losses().shape == (0,)
    with pytest.raises(InvalidValueError, match="holds no tensors: no batch ended"):
        empty.stacked_tensors("net")


def test_an_evaluation_is_the_same_for_every_batch_size(lab: Any) -> None:
    whole = lab.exp.run_phase(lab.evaluate(split="train")).aggregated_losses()
    for batch_size in (1, 5, 7, 18):
        parts = lab.exp.run_phase(lab.evaluate(split="train", batch_size=batch_size))
        assert parts.aggregated_losses() == pytest.approx(whole, rel=1e-5)
        assert parts.final() == pytest.approx(whole, rel=1e-5)
