import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

import modularml as mml
from modularml.base.config import same_tree
from modularml.base.errors import InvalidTypeError, InvalidValueError, ModularMLWarning
from modularml.core.experiment.phases.eval_phase import EvalPhase


@pytest.mark.parametrize(
    ("batch_size", "error"), [(0, InvalidValueError), (-1, InvalidValueError), (2.0, InvalidTypeError)]
)
def test_a_batch_size_is_a_positive_int(bench: Any, batch_size: Any, error: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(error, match="EvalPhase 'eval': batch_size must be an int of at least 1"):
        bench.evaluate(batch_size=batch_size)


def test_a_sampler_is_refused_for_it_would_leave_rows_out(bench: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(
        InvalidValueError, match=r"EvalPhase 'e': the binding of 'A' has a sampler.*for_evaluation"
    ):
        EvalPhase("e", input_sources=bench.train().input_sources)


@pytest.mark.parametrize("batch_size", [None, 1, 5, 12, 100])
def test_every_row_is_evaluated_once_in_its_order(bench: Any, batch_size: int | None) -> None:
    bench.graph(bench.node("A"))
    results = bench.exp.run_phase(bench.evaluate([bench.loss()], batch_size=batch_size))
    assert np.array_equal(results.stacked_tensors("A", "rows"), bench.fs.get_split("test").rows)
    assert results.n_batches == -(-12 // (batch_size or 12))


def test_evaluation_leaves_no_trace_in_the_graph(bench: Any) -> None:
    graph = bench.graph(bench.node("A"), optimizer="adam")
    bench.exp.run_phase(bench.train())
    before = graph.get_state()
    bench.exp.run_phase(bench.evaluate([bench.loss()]))
    assert same_tree(graph.get_state(), before)


def test_a_frozen_graph_is_evaluated_all_the_same(bench: Any) -> None:
    graph = bench.graph(bench.node("A"))
    graph.freeze()
    assert bench.exp.run_phase(bench.evaluate([bench.loss()])).n_batches == 1
    assert [node.label for node in graph.frozen_nodes] == ["A"]


def test_values_that_are_not_finite_end_in_one_warning(bench: Any) -> None:
    fs = bench.data("Bad")
    fs.table.column("features.x.raw")[fs.get_split("test").rows[0]] = np.nan
    bench.graph(bench.node("A", bench.ref(fs)))
    with pytest.warns(
        ModularMLWarning, match="loss 'mse' of phase 'eval' is nan since epoch 1, batch 1"
    ) as told:
        bench.exp.run_phase(bench.evaluate([bench.loss()]))
    assert len(told) == 1


class Doubles(mml.Callback):
    """Doubles the weights, and every feature of the data, after a phase."""

    def on_phase_end(self, *, experiment: Any, phase: Any, results: Any) -> None:
        module = experiment.ctx.get_node("A").module
        with torch.no_grad():
            module.weight *= 2
        column = experiment.ctx.get_node("Sensor").table.column("features.x.raw")
        column *= 2


class Resolved:
    """The labels of the evaluations that were resolved, in order, and what they were resolved to."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.found: list[weakref.ref[Any]] = []
        self.n_there: list[int] = []  # of those before, while one was resolved


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Resolved:
    seen = Resolved()
    ready = EvalPhase._ready

    def watched(self: EvalPhase, scope: Any) -> Any:
        seen.labels.append(self.label)
        seen.n_there.append(sum(one() is not None for one in seen.found))
        found = ready(self, scope)
        seen.found.append(weakref.ref(found))
        return found

    monkeypatch.setattr(EvalPhase, "_ready", watched)
    return seen


def outputs(results: Any) -> list[np.ndarray]:
    return [results[label].stacked_tensors("A") for label in results.labels]


def test_evaluations_of_the_same_one_after_the_other_are_resolved_once(
    bench: Any, resolved: Resolved
) -> None:
    bench.graph(bench.node("A"))
    for label in "abc":
        bench.exp.execution_plan.add_phase(bench.evaluate(label=label))
    results = bench.exp.run()
    assert resolved.labels == ["a"]
    assert results.labels == ["a", "b", "c"]
    assert all(np.array_equal(one, outputs(results)[0]) for one in outputs(results))
    bench.exp.run()
    assert resolved.labels == ["a", "a"]


def test_an_estimator_that_works_in_place_changes_neither_data_nor_the_next_evaluation(bench: Any) -> None:
    x = np.random.default_rng(0).standard_normal((60, 4)) + 3
    fs = bench.data("Raw", x=x.copy())
    bench.graph(bench.node("A", bench.ref(fs), StandardScaler(copy=False)))
    sources = [mml.InputBinding.for_evaluation(node="A")]
    plan = bench.exp.execution_plan
    plan.add_phase(mml.FitPhase("fit", input_sources=sources))
    for label in "ab":
        plan.add_phase(EvalPhase(label, input_sources=sources))
    fitted, *evaluated = outputs(bench.exp.run())
    assert np.array_equal(fs.table.column("features.x.raw"), x)
    assert np.allclose(fitted, StandardScaler().fit_transform(x))
    assert all(np.array_equal(one, fitted) for one in evaluated)


OTHERS: list[Callable[[Any], dict[str, Any]]] = [
    lambda bench: {"split": "train"},
    lambda bench: {"batch_size": 5},
    lambda bench: {"losses": [bench.loss()]},
    lambda bench: {"metrics": "r2"},
    lambda bench: {"active_nodes": ["A"]},
    lambda bench: {"accelerator": "cpu"},
]


@pytest.mark.parametrize("other", OTHERS, ids=["split", "batch", "loss", "metric", "nodes", "device"])
def test_evaluations_of_something_else_are_resolved_by_themselves(
    bench: Any, resolved: Resolved, other: Callable[[Any], dict[str, Any]]
) -> None:
    bench.graph(bench.node("A"))
    bench.exp.execution_plan.add_phase(bench.evaluate(label="a"))
    bench.exp.execution_plan.add_phase(bench.evaluate(label="b", **other(bench)))
    bench.exp.run()
    assert resolved.labels == ["a", "b"]


def test_what_may_have_changed_is_resolved_again(bench: Any, resolved: Resolved) -> None:
    bench.graph(bench.node("A"))
    plan = bench.exp.execution_plan
    plan.add_phase(bench.evaluate(label="a"))
    plan.add_phase(bench.train())
    plan.add_phase(bench.evaluate(label="b", callbacks=[Doubles()]))
    plan.add_phase(bench.evaluate(label="c"))
    found = bench.exp.run()
    assert resolved.labels == ["a", "b", "c"]
    trained = found["b"].stacked_tensors("A")
    assert not np.allclose(found["a"].stacked_tensors("A"), trained)
    bias = bench.ctx.get_node("A").module.bias.item()
    assert np.allclose(found["c"].stacked_tensors("A") - bias, 4 * (trained - bias), atol=1e-5)


class FirstNodes(EvalPhase):
    """Evaluates the first `n` nodes alone."""

    def __init__(self, label: str, *, n: int, **options: Any) -> None:
        self.n = n
        super().__init__(label, **options)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"n": self.n}

    def nodes(self, graph: Any) -> Any:
        return super().nodes(graph)[: self.n]


def test_evaluations_of_a_class_of_the_users_own_are_resolved_by_themselves(bench: Any) -> None:
    bench.graph(*bench.chain(nn.Linear(4, 3), nn.Linear(3, 1)))
    sources = bench.evaluate().input_sources
    for label, n in [("a", 1), ("b", 2)]:
        bench.exp.execution_plan.add_phase(FirstNodes(label, n=n, input_sources=sources))
    results = bench.exp.run()
    assert [results[label].stacked_tensors(node).shape[-1] for label, node in ["aA", "bB"]] == [3, 1]
    consumed = bench.exp.history[-1].fingerprint
    assert [consumed[label]["phase"]["n"] for label in "ab"] == [1, 2]


def test_columns_of_one_evaluation_are_gone_before_those_of_another_are_made(
    bench: Any, resolved: Resolved, no_collector: None
) -> None:
    bench.graph(bench.node("A"))
    for label, split in [("a", "test"), ("b", "train"), ("c", "test")]:
        bench.exp.execution_plan.add_phase(bench.evaluate(label=label, split=split))
    bench.exp.run()
    assert resolved.labels == ["a", "b", "c"]
    assert resolved.n_there == [0, 0, 0]


def test_a_run_that_is_over_holds_no_column(bench: Any, resolved: Resolved, no_collector: None) -> None:
    bench.graph(bench.node("A"))
    events = bench.heard()  # which hold what stops the run
    bench.exp.run_phase(bench.evaluate())
    assert events
    assert [one() for one in resolved.found] == [None]
