from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml.core.execution.advice import advise
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
