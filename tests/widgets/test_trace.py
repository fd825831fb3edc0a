from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modularml.widgets.trace import TRACE_POINTS, Trace


@given(sizes=st.lists(st.integers(0, 700), max_size=8))
def test_a_trace_is_bounded_and_keeps_the_means(sizes: list[int]) -> None:
    trace = Trace("mse", "step")
    values = np.arange(sum(sizes), dtype=float)
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        trace.extend(values[end - size : end], 2 * values[end - size : end])
    n_full = len(values) // trace.stride
    expected = 2 * values[: n_full * trace.stride].reshape(n_full, trace.stride).mean(axis=1)
    assert len(trace.values) == n_full <= TRACE_POINTS
    np.testing.assert_allclose(trace.values, expected)


def test_a_trace_hands_out_each_point_once_and_all_anew_when_it_got_coarser() -> None:
    trace = Trace("mse", "step")
    trace.extend(np.ones(1), np.ones(1))
    assert trace.take() == {"name": "mse", "per": "step", "start": 0, "x": [1.0], "y": [1.0]}
    assert trace.take() is None
    trace.extend(np.ones(1), np.ones(1))
    assert (trace.take() or {})["start"] == 1
    trace.extend(np.ones(TRACE_POINTS), np.ones(TRACE_POINTS))
    assert (trace.take() or {})["start"] == 0
