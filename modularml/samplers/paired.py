"""Batches of pairs: an anchor and a partner that is like or unlike it.

It knows no FeatureSet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from modularml.samplers.n_sampler import ANCHOR, Conditions, NSampler
from modularml.samplers.sampler import SampleSource


class PairedSampler(NSampler):
    """Pairs of samples, in the roles ``anchor`` and ``pair``.

    Args:
        conditions: Column -> condition; a pair meets all of them.
        max_pairs_per_anchor: The most pairs an anchor has.
        batch_size: See `NSampler`, as for all other options.

    Example:
        >>> PairedSampler({"cell": SimilarityCondition("similar")}, batch_size=32, shuffle=True)
    """

    _fixed: ClassVar[Mapping[str, str]] = {
        "condition_mapping": "it follows from conditions",
        "max_samples_per_anchor": "it follows from max_pairs_per_anchor",
    }

    def __init__(
        self,
        conditions: Conditions,
        *,
        batch_size: int = 1,
        shuffle: bool = False,
        max_pairs_per_anchor: int = 3,
        choose_best_only: bool = False,
        group_by: str | Sequence[str] | None = None,
        group_by_role: str = ANCHOR,
        stratify_by: str | Sequence[str] | None = None,
        stratify_by_role: str = ANCHOR,
        strict_stratification: bool = True,
        drop_last: bool = False,
        seed: int | None = None,
        show_progress: bool = True,
        n_workers: int = 1,
        source: SampleSource | None = None,
    ) -> None:
        super().__init__(
            {"pair": conditions},
            batch_size=batch_size,
            shuffle=shuffle,
            max_samples_per_anchor=max_pairs_per_anchor,
            choose_best_only=choose_best_only,
            group_by=group_by,
            group_by_role=group_by_role,
            stratify_by=stratify_by,
            stratify_by_role=stratify_by_role,
            strict_stratification=strict_stratification,
            drop_last=drop_last,
            seed=seed,
            show_progress=show_progress,
            n_workers=n_workers,
            source=source,
        )
        self.conditions = self.condition_mapping["pair"]
        self.max_pairs_per_anchor = self.max_samples_per_anchor
