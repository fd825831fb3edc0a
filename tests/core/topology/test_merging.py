from typing import Any

import numpy as np
import pytest
import torch

import modularml as mml
from modularml.base.errors import InvalidTypeError, InvalidValueError


@pytest.mark.parametrize("as_torch", [True, False])
def test_samples_are_merged_outside_of_a_graph_too(bench: Any, as_torch: bool) -> None:
    make, ids = (torch.from_numpy if as_torch else np.asarray), list("abc")
    one, two = (
        mml.SampleData(
            features=make(np.full((3, 1, 2), i)), targets=make(np.full((3, 1), i)), sample_uuids=ids
        )
        for i in (1.0, 3.0)
    )
    upstreams = [bench.node("L"), bench.node("R")]
    merged = mml.MeanNode("C", upstreams, target_strategy="mean", register=False)(one, two)
    assert isinstance(merged.features, torch.Tensor if as_torch else np.ndarray)
    assert np.all(np.asarray(merged.features) == 2)
    assert np.all(np.asarray(merged.targets) == 2)
    assert list(merged.sample_uuids) == ids
    kept = mml.SumNode("C", upstreams, target_strategy=upstreams[1], register=False)([one, two])
    assert np.all(np.asarray(kept.targets) == 3)
    roles = mml.SumNode("C", upstreams, register=False)
    with pytest.raises(InvalidValueError, match="different roles"):
        roles(mml.RoleData({"default": one}), mml.RoleData({"anchor": two}))
    with pytest.raises(InvalidTypeError, match="all of one type"):
        roles(one, 3)
    with pytest.raises(InvalidValueError, match="merges 2 inputs, got 3"):
        roles(one, two, two)


def test_batches_average_weights_and_count_where_all_count(bench: Any) -> None:
    def batch(weights: list[float], masks: list[float]) -> mml.Batch:
        data = mml.RoleData({"default": mml.SampleData(features=torch.ones(2, 1))})
        return mml.Batch(
            2,
            data,
            {"default": data["default"].shapes},
            {"default": np.array(weights)},
            {"default": np.array(masks)},
        )

    node = mml.SumNode("C", [bench.node("L"), bench.node("R")])
    merged = node.merge([batch([1, 0], [1, 0]), batch([3, 1], [1, 1])])
    assert merged.role_weights["default"].tolist() == [2, 0.5]
    assert merged.role_masks["default"].tolist() == [1, 0]
    assert merged.batch_size == 2
