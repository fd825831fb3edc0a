"""A context for each test, and a set of samples."""

from collections.abc import Iterator

import numpy as np
import pytest

from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet

N = 60


@pytest.fixture(autouse=True)
def context() -> Iterator[ExperimentContext]:
    context = ExperimentContext(registration_policy="raise")
    with context.temporary():
        yield context


@pytest.fixture
def fs() -> FeatureSet:
    """60 samples of voltage (10,), current (10,) and temperature (), with two targets and three tags."""
    rng = np.random.default_rng(0)
    return FeatureSet.from_dict(
        "Sensor",
        {
            "voltage": rng.normal(3, 1, (N, 10)),
            "current": rng.normal(0, 2, (N, 10)),
            "temperature": rng.integers(10, 40, N),
            "soh": rng.random((N, 1)),
            "rul": rng.random(N) * 100,
            "cell": [f"cell {i % 6}" for i in range(N)],
            "day": np.datetime64("2024-01-01") + np.arange(N),
            "ok": rng.random(N) > 0.2,
        },
        feature_keys=["voltage", "current", "temperature"],
        target_keys=["soh", "rul"],
        tag_keys=["cell", "day", "ok"],
    )
