from typing import Any

import pytest
import torch

import modularml as mml
from modularml.core.execution.scope import Shared
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


def test_what_phases_of_one_run_share_is_described_once_until_something_may_have_changed_it(
    bench: Any,
) -> None:
    bench.graph(bench.node("A"))
    phases = [bench.evaluate(label=f"eval {i}") for i in range(2)]
    shared = Shared()
    first, second = (fingerprint(phase, shared) for phase in phases)
    assert first == fingerprint(phases[0])
    assert second["graph"]["nodes"]["A"] is first["graph"]["nodes"]["A"]
    bench.ctx.get_node("A").freeze()
    assert fingerprint(phases[0], shared) == first
    shared.forget()
    assert fingerprint(phases[0], shared) == fingerprint(phases[0]) != first


def test_callbacks_are_told_of_each_phase_though_all_else_is_shared(bench: Any) -> None:
    bench.graph(bench.node("A"))
    shared = Shared()
    bare, called = bench.evaluate(label="a"), bench.evaluate(label="b", callbacks=[Freezes("freezes")])
    assert [fingerprint(one, shared) for one in (bare, called)] == [fingerprint(bare), fingerprint(called)]
    assert fingerprint(bare) != fingerprint(called)


class Freezes(mml.Callback):
    """Changes the graph where it may."""

    def on_phase_end(self, *, experiment: Any, phase: Any, results: Any) -> None:
        experiment.ctx.get_node("A").freeze()


class FreezesOutside(mml.ExperimentCallback):
    """The same, as a callback of the experiment."""

    def on_phase_end(self, *, experiment: Any, phase: Any) -> None:
        experiment.ctx.get_node("A").freeze()


@pytest.mark.parametrize("outside", [False, True])
def test_a_callback_between_two_phases_of_a_run_shows_in_what_the_second_consumed(
    bench: Any, outside: bool
) -> None:
    bench.graph(bench.node("A"))
    experiment = bench.exp
    for i in range(2):
        phase = bench.evaluate(label=f"eval {i}")
        if not outside:
            phase.add_callback(Freezes("freezes"))
        experiment.execution_plan.add_phase(phase)
    if outside:
        experiment.add_callback(FreezesOutside("freezes"))
    experiment.run()
    found = [of["graph"]["nodes"]["A"]["frozen"] for of in experiment.history[-1].fingerprint.values()]
    assert found == [False, True]
