import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml.core.execution.advice import advise, done_twice
from modularml.samplers import SimpleSampler


def test_a_batch_norm_that_gets_one_sample_is_told_what_to_do(bench: Any) -> None:
    bench.graph(bench.node("A", model=nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel") as caught:
        bench.drain(bench.train(sampler=SimpleSampler(batch_size=47)))
    assert any("drop_last=True" in note for note in caught.value.__notes__)
    bench.drain(bench.train(sampler=SimpleSampler(batch_size=47, drop_last=True)))


def test_an_embedding_that_is_too_small_is_told() -> None:
    with pytest.raises(IndexError) as caught:
        nn.Embedding(3, 2)(torch.from_numpy(np.array([5])))
    advise(caught.value)
    assert "num_embeddings" in caught.value.__notes__[0]


def test_outputs_that_are_no_probabilities_are_told(bench: Any) -> None:
    ref = bench.data("Two", kind=np.arange(60) % 2).reference(features="x", targets="kind")
    bench.graph(bench.node("A", upstream=ref, model=nn.Linear(4, 1)))
    with pytest.raises(RuntimeError, match="between 0 and 1") as caught:
        bench.drain(bench.train([bench.loss(loss="bce")]))
    assert any("'bce_with_logits'" in note for note in caught.value.__notes__)


def test_other_errors_stay_as_they_are() -> None:
    error = ValueError("something else")
    advise(error)
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize(
    ("loss", "last", "is_told"),
    [
        ("cross_entropy", nn.Softmax(-1), True),
        ("ce", nn.Softmax(-1), True),
        ("cross_entropy", nn.LogSoftmax(-1), False),
        ("nll", nn.LogSoftmax(-1), False),
        ("cross_entropy", nn.ReLU(), False),
    ],
)
def test_a_model_that_ends_with_what_its_loss_does_is_told(
    bench: Any, loss: str, last: nn.Module, is_told: bool
) -> None:
    inner = nn.Sequential(nn.Linear(4, 3), last)
    bench.graph(bench.node("A", bench.ref(targets="kind"), nn.Sequential(nn.Identity(), inner)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        bench.drain(bench.train([bench.loss(loss=loss)]))
    words = [
        str(one.message) for one in told if "takes logits and applies Softmax itself" in str(one.message)
    ]
    assert bool(words) is is_told


def test_a_sigmoid_before_bce_with_logits_is_told_and_before_bce_is_not() -> None:
    end = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    assert "ends with Sigmoid()" in str(done_twice("bce_with_logits", end))
    for loss, module in (("bce", end), ("bce_with_logits", nn.Linear(4, 1)), ("mse", end), ("bce", None)):
        assert done_twice(loss, module) is None
