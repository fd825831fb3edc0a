"""Batches of single samples, in order or shuffled, by group or with strata in turn.

It knows no FeatureSet.
"""

from __future__ import annotations

import numpy as np

from modularml.samplers.sampler import Sampler, SampleSource


class SimpleSampler(Sampler):
    """Every sample once an epoch, in one role, ``default``; for the options see `Sampler`.

    Example:
        >>> SimpleSampler(batch_size=32, shuffle=True, seed=42)
        SimpleSampler(batch_size=32, shuffle=True, seed=42)
    """

    @property
    def role_names(self) -> tuple[str, ...]:
        """The one role, ``default``."""
        return ("default",)

    def _draw(self, source: SampleSource, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], None]:
        return {"default": np.arange(source.n_samples)}, None
