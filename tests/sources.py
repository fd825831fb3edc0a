"""A source of samples: arrays by name."""

from collections.abc import Callable

import numpy as np
import pytest


class Source:
    def __init__(self, **columns: np.ndarray) -> None:
        self.columns = columns

    @property
    def n_samples(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> np.ndarray:
        return self.columns[name]


@pytest.fixture
def make_source() -> Callable[..., Source]:
    return Source


@pytest.fixture
def cells() -> Source:
    """240 samples of 24 cells; a cell has one of 3 kinds, and each sample a grade."""
    rng = np.random.default_rng(0)
    cell = rng.permutation(np.repeat(np.arange(24), 10))
    return Source(cell=cell, kind=cell % 3, grade=rng.integers(0, 2, 240))
