from typing import Any

import pytest
import torch
from torch.nn import functional as F

import modularml as mml
from modularml.base.errors import GraphError


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_is_torchs(bench: Any, mode: str) -> None:
    node = mml.ConcatNode(
        "C", [bench.node("L"), bench.node("R")], 0, pad_inputs=True, pad_mode=mode, pad_value=2.5
    )
    short, long = torch.rand(3, 2, 4), torch.rand(3, 1, 6)
    by_hand = F.pad(short, (0, 2), mode=mode, **({"value": 2.5} if mode == "constant" else {}))
    assert torch.equal(node.apply_merge([short, long]), torch.cat([by_hand, long], 1))


@pytest.mark.parametrize(("mode", "most"), [("reflect", 3), ("circular", 4)])
def test_more_than_there_is_to_pad_with_is_refused(bench: Any, mode: str, most: int) -> None:
    node = mml.ConcatNode("C", [bench.node("L"), bench.node("R")], 0, pad_inputs=True, pad_mode=mode)
    assert node.build([(1, 4), (1, 4 + most)]).output_shape == (2, 4 + most)
    with pytest.raises(GraphError, match=f"no more than {most} to give"):
        node.build([(1, 4), (1, 5 + most)])


def test_axes_are_counted_without_the_samples(bench: Any) -> None:
    upstreams = [bench.node("L"), bench.node("R")]
    for axis, shape in ((0, (2, 16)), (1, (1, 32)), (-1, (1, 32)), (-2, (2, 16))):
        node = mml.ConcatNode("C", upstreams, axis, register=False)
        assert node.build([(1, 16), (1, 16)]).output_shape == shape
        assert node.build([(4, 1, 16)] * 2, includes_batch_dim=True).output_shape == shape


def test_an_input_of_fewer_axes_counts_as_one_with_axes_of_length_1_before(bench: Any) -> None:
    flat, row, rows = torch.rand(3, 5), torch.rand(3, 1, 2), torch.rand(3, 2, 5)
    node = mml.ConcatNode("C", [bench.node("L"), bench.node("R")], -1)
    assert torch.equal(node.apply_merge([flat, row]), torch.cat([flat[:, None], row], -1))
    assert torch.equal(node.apply_merge([row[0], flat[0]], includes_batch_dim=False)[0, 2:], flat[0])
    below = mml.ConcatNode("B", [bench.node("T"), bench.node("U")], 0)
    assert torch.equal(below.apply_merge([rows, flat]), torch.cat([rows, flat[:, None]], 1))
    with pytest.raises(
        GraphError, match=r"'T' \(5,\), 'U' \(1, 2\): they differ along axis 1, .* another concat_axis"
    ):
        below.build([(5,), (1, 2)])
