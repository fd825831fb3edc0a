from typing import Any

import numpy as np
import pytest
import torch

import modularml as mml
from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.models.torch import SequentialMLP


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
        data = mml.RoleData({"default": mml.SampleData(features=torch.ones(3, 1))})
        return mml.Batch(
            3,
            data,
            {"default": data["default"].shapes},
            {"default": np.array(weights)},
            {"default": np.array(masks)},
        )

    node = mml.SumNode("C", [bench.node("L"), bench.node("R")])
    merged = node.merge([batch([1, 0, 1], [1, 0, 1]), batch([3, 1, 0], [1, 1, 0])])
    assert merged.role_weights["default"].tolist() == [2, 0.5, 0.5]
    assert merged.role_masks["default"].tolist() == [1, 0, 0]
    assert merged.batch_size == 3


@pytest.mark.parametrize(
    ("how", "targets", "match"),
    [
        ("mean", (np.array(["a", "b"]), np.array(["c", "d"])), "'C'.: targets: 'mean' averages numbers"),
        ("mean", (np.ones((2, 1)), np.ones((2, 3))), r"shapes \(1,\), \(3,\) cannot be averaged"),
        (0, (np.ones((2, 1)), np.ones((2, 1, 3))), r"shapes \(1,\), \(1, 3\) cannot be joined along axis 0"),
        (2, (torch.ones(2, 1), torch.ones(2, 1)), r"shapes \(1,\), \(1,\) cannot be joined along axis 2"),
    ],
)
def test_targets_that_cannot_be_joined_are_told(bench: Any, how: Any, targets: Any, match: str) -> None:
    node = mml.ConcatNode("C", [bench.node("L"), bench.node("R")], concat_axis_targets=how)
    samples = [mml.SampleData(features=np.ones((2, 1)), targets=of_one) for of_one in targets]
    with pytest.raises((InvalidTypeError, InvalidValueError), match=match):
        node.merge(samples)


@pytest.mark.parametrize("axis", [0, 4])
def test_targets_that_cannot_be_joined_are_told_as_the_graph_is_built(bench: Any, axis: int) -> None:
    other = bench.data("Other", y=np.ones((60, 3)))
    nodes = [bench.node("L"), bench.node("R", bench.ref(other))]
    merged = mml.ConcatNode("C", nodes, concat_axis_targets=axis)
    with pytest.raises(InvalidValueError, match=f"'T'.: its targets: .* cannot be joined along axis {axis}"):
        bench.graph(*nodes, merged, bench.node("T", merged, SequentialMLP()))
