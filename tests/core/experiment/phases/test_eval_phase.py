from typing import Any

import numpy as np
import pytest

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
        ModularMLWarning, match="loss 'mse' of phase 'eval' is nan since epoch 0, batch 0"
    ) as told:
        bench.exp.run_phase(bench.evaluate([bench.loss()]))
    assert len(told) == 1
