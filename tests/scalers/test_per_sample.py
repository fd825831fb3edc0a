"""Each sample by itself: its own range, its own beginning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError
from modularml.scalers import PerSampleMinMaxScaler, PerSampleZeroStart

SAMPLES = hnp.arrays(np.float64, (4, 5), elements=st.floats(-100, 100))


@given(SAMPLES)
def test_each_sample_fills_the_range(X: np.ndarray) -> None:
    scaler = PerSampleMinMaxScaler((-1, 1))
    scaled = scaler.transform(X)
    constant = X.max(axis=1) == X.min(axis=1)
    assert (scaled[constant] == -1).all()
    np.testing.assert_allclose(scaled[~constant].min(axis=1), -1)
    np.testing.assert_allclose(scaled[~constant].max(axis=1), 1)
    np.testing.assert_allclose(scaler.inverse_transform(scaled), X, atol=1e-9)


@given(SAMPLES)
def test_each_sample_begins_at_zero(X: np.ndarray) -> None:
    scaler = PerSampleZeroStart()
    scaled = scaler.transform(X)
    assert (scaled[:, 0] == 0).all()
    np.testing.assert_allclose(scaler.inverse_transform(scaled), X, atol=1e-9)


def test_only_what_was_transformed_last_can_be_inverted() -> None:
    for scaler in (PerSampleMinMaxScaler(), PerSampleZeroStart()):
        with pytest.raises(StateError):
            scaler.inverse_transform(np.ones((2, 3)))
        scaler.transform(np.ones((2, 3)))
        with pytest.raises(InvalidValueError, match="2 samples"):
            scaler.inverse_transform(np.ones((3, 3)))


def test_a_range_ascends() -> None:
    with pytest.raises(InvalidValueError, match="low < high"):
        PerSampleMinMaxScaler((1, 0))
    for wrong in ("ab", 3, (0,), (0, "b"), None):
        with pytest.raises(InvalidTypeError, match="two numbers"):
            PerSampleMinMaxScaler(wrong)  # type: ignore[arg-type]
