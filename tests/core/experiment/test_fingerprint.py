from typing import Any

import pytest
import torch

import modularml as mml
from modularml.core.experiment.fingerprint import fingerprint


def first(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left


def second(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return right


MERGES = [
    lambda ups: mml.ConcatNode("C", ups, 0),
    lambda ups: mml.ConcatNode("C", ups, -1),
    lambda ups: mml.ConcatNode("C", ups, 0, pad_inputs=True),
    lambda ups: mml.ConcatNode("C", ups, 0, concat_axis_targets="mean"),
    lambda ups: mml.ConcatNode("C", ups, 0, concat_axis_targets=ups[0]),
    lambda ups: mml.ConcatNode("C", ups, 0, concat_axis_targets=ups[1]),
    lambda ups: mml.ConcatNode("C", ups[::-1], 0),
    lambda ups: mml.SumNode("C", ups),
    lambda ups: mml.FunctionNode("C", ups, first),
    lambda ups: mml.FunctionNode("C", ups, second),
]


@pytest.mark.parametrize("other", range(len(MERGES)))
@pytest.mark.parametrize("one", range(len(MERGES)))
def test_it_tells_merges_apart_that_compute_or_keep_something_else(bench: Any, one: int, other: int) -> None:
    ups = [bench.node("L"), bench.node("R")]

    def of(merge: Any) -> Any:
        with bench.ctx.use_policy("overwrite"):
            mml.ModelGraph([*ups, merge(ups)]).build()
            return fingerprint(bench.evaluate())["graph"]

    assert (of(MERGES[one]) == of(MERGES[other])) == (one == other)


def test_how_fast_a_phase_runs_is_no_part_of_it(bench: Any) -> None:
    bench.graph(bench.node("A"))
    assert fingerprint(bench.train(compile=True)) == fingerprint(bench.train())
