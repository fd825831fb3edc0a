"""Stretches of features, each with a scaler of its own."""

import numpy as np
import pytest

from modularml.base.errors import InvalidValueError
from modularml.scalers import SegmentedScaler


def test_segments_are_scaled_apart() -> None:
    X = np.random.default_rng(0).normal(3, 2, (40, 6)) * [100, 100, 1, 1, 1, 1]
    scaled = SegmentedScaler((2,), "MinMaxScaler").fit(X).transform(X)
    assert np.array_equal(scaled, SegmentedScaler((0, 2, 6), "MinMaxScaler").fit(X).transform(X))
    np.testing.assert_allclose([scaled.min(axis=0), scaled.max(axis=0)], [[0] * 6, [1] * 6], atol=1e-12)
    for wrong in ((), (3, 2), (2, 2)):
        with pytest.raises(InvalidValueError, match="ascending"):
            SegmentedScaler(wrong, "MinMaxScaler")
    with pytest.raises(InvalidValueError, match="beyond the 6"):
        SegmentedScaler((9,), "MinMaxScaler").fit(X)
    with pytest.raises(InvalidValueError, match="6 features, got 5"):
        SegmentedScaler((2,), "MinMaxScaler").fit(X).transform(X[:, :5])
