"""Batches of triplets: an anchor, a partner that is like it and one that is not.

It knows no FeatureSet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from modularml.samplers.n_sampler import ANCHOR, Conditions, NSampler
from modularml.samplers.sampler import SampleSource


class TripletSampler(NSampler):
    """Triplets of samples, in the roles ``anchor``, ``positive`` and ``negative``.

    Args:
        pos_conditions: Column -> condition; the positive sample meets all of them.
        neg_conditions: Column -> condition; the negative sample meets all of them.
        batch_size: See `NSampler`, as for all other options.

    Example:
        >>> same, other = SimilarityCondition("similar"), SimilarityCondition("dissimilar")
        >>> TripletSampler({"cell": same}, {"cell": other}, batch_size=32)
    """

    _fixed: ClassVar[Mapping[str, str]] = {
        "condition_mapping": "it follows from pos_conditions and neg_conditions"
    }

    def __init__(
        self,
        pos_conditions: Conditions,
        neg_conditions: Conditions,
        *,
        batch_size: int = 1,
        shuffle: bool = False,
        max_samples_per_anchor: int = 3,
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
            {"positive": pos_conditions, "negative": neg_conditions},
            batch_size=batch_size,
            shuffle=shuffle,
            max_samples_per_anchor=max_samples_per_anchor,
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
        self.pos_conditions = self.condition_mapping["positive"]
        self.neg_conditions = self.condition_mapping["negative"]
