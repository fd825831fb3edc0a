"""Batches of tuples: an anchor, and for each further role a partner that is like or unlike it.

It knows no FeatureSet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    check_int,
    warn,
)
from modularml.base.rows import check_flag
from modularml.samplers.partners import Term, find_partners
from modularml.samplers.sampler import Sampler, SampleSource
from modularml.samplers.similarity import SimilarityCondition

ANCHOR = "anchor"
Conditions = Mapping[str, SimilarityCondition]


class NSampler(Sampler):
    """Tuples of samples; every sample is an anchor, and its partners are drawn anew each epoch.

    Args:
        condition_mapping: Role -> {column: condition}; a partner meets all conditions of
            its role.
        batch_size: The most tuples a batch has.
        shuffle: See `Sampler`.
        max_samples_per_anchor: The most tuples an anchor has.
        choose_best_only: Whether an anchor has one tuple only, with the partners whose
            values are nearest where a condition wants them similar.
        group_by: See `Sampler`.
        group_by_role: The role whose samples `group_by` looks at.
        stratify_by: See `Sampler`.
        stratify_by_role: The role whose samples `stratify_by` looks at.
        strict_stratification: See `Sampler`.
        drop_last: See `Sampler`.
        seed: See `Sampler`.
        show_progress: See `Sampler`.
        n_workers: 1: partners are found by array operations of one process, which more would
            only slow down. Another number is warned of.
        source: See `Sampler`.

    Raises:
        InvalidValueError, InvalidTypeError: If an option is not allowed.
    """

    def __init__(
        self,
        condition_mapping: Mapping[str, Conditions],
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
            batch_size=batch_size,
            shuffle=shuffle,
            group_by=group_by,
            stratify_by=stratify_by,
            strict_stratification=strict_stratification,
            drop_last=drop_last,
            seed=seed,
            show_progress=show_progress,
            source=source,
        )
        _check_conditions(condition_mapping, type(self).__name__)
        roles = (ANCHOR, *condition_mapping)
        self.condition_mapping = {role: dict(conditions) for role, conditions in condition_mapping.items()}
        self.max_samples_per_anchor = check_int(max_samples_per_anchor, "The most samples of an anchor")
        self.choose_best_only = check_flag(choose_best_only, "choose_best_only")
        self.group_by_role = check_choice(group_by_role, "role", roles)
        self.stratify_by_role = check_choice(stratify_by_role, "role", roles)
        self.n_workers = check_int(n_workers, "n_workers")
        if n_workers > 1:
            warn(
                f"{type(self).__name__}: n_workers={n_workers} has no effect: partners are found by array "
                "operations of one process. Leave it out."
            )

    @property
    def role_names(self) -> tuple[str, ...]:
        """The roles: ``anchor`` and those of the conditions."""
        return (ANCHOR, *self.condition_mapping)

    @property
    def _batching_role(self) -> str:
        return self.group_by_role if self.group_by else self.stratify_by_role

    def _draw(
        self, source: SampleSource, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
        n_wanted = 1 if self.choose_best_only else self.max_samples_per_anchor
        terms = {
            role: [Term(name, source.column(name), condition) for name, condition in conditions.items()]
            for role, conditions in self.condition_mapping.items()
        }
        partners = {
            role: self._partners(of_role, source.n_samples, n_wanted, rng) for role, of_role in terms.items()
        }
        counts = np.array([(rows >= 0).sum(axis=1) for rows in partners.values()])
        without = [role for role, n in zip(partners, counts, strict=True) if not n.any()]
        if without:
            raise InvalidValueError(
                f"no sample of {source.n_samples} has a partner for {without}; loosen the conditions, or "
                "let one fall back: SimilarityCondition(..., allow_fallback=True)."
            )
        # Where a role has fewer partners than another, it takes them in turn.
        n_tuples = np.where((counts > 0).all(axis=0), counts.max(axis=0), 0)
        anchors = np.repeat(np.arange(source.n_samples), n_tuples)
        number = np.arange(len(anchors)) - np.repeat(np.cumsum(n_tuples) - n_tuples, n_tuples)
        roles = {ANCHOR: anchors}
        for (role, rows), n in zip(partners.items(), counts, strict=True):
            roles[role] = rows[anchors, number % n[anchors]]
        return roles, self._weights(terms, roles)

    def _partners(
        self, terms: list[Term], n_samples: int, n_wanted: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the partners of every sample in one role, -1 where there are no more."""
        everyone = np.arange(n_samples)
        found = find_partners(terms, everyone, n_samples, n_wanted, rng, nearest=self.choose_best_only)
        strict = [term for term in terms if not term.condition.allow_fallback]
        alone = np.flatnonzero(found[:, 0] < 0)
        if alone.size and len(strict) < len(terms):
            found[alone] = find_partners(strict, alone, n_samples, n_wanted, rng, nearest=False)
        return found

    def _weights(
        self, terms: Mapping[str, list[Term]], roles: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray] | None:
        if not any(term.condition.allow_fallback for of_role in terms.values() for term in of_role):
            return None
        anchors = roles[ANCHOR]
        weights = {role: np.ones(len(anchors)) for role in roles}
        for role, of_role in terms.items():
            for term in of_role:
                weights[role] *= term.condition.score(term.values[anchors], term.values[roles[role]])
        return weights


def _check_conditions(condition_mapping: object, what: str) -> None:
    if not isinstance(condition_mapping, Mapping) or not condition_mapping:
        raise InvalidTypeError(
            f"{what} needs conditions, {{role: {{column: SimilarityCondition(...)}}}}; "
            f"got {condition_mapping!r}."
        )
    faults = Faults(what)
    for role, conditions in condition_mapping.items():
        if not isinstance(role, str) or not role or role == ANCHOR:
            faults.add(InvalidTypeError(f"a role must be text other than {ANCHOR!r}, got {role!r}"))
        if not isinstance(conditions, Mapping) or not conditions:
            faults.add(InvalidTypeError(f"{role!r} needs a dict of column -> condition, got {conditions!r}"))
        elif not all(isinstance(condition, SimilarityCondition) for condition in conditions.values()):
            faults.add(InvalidTypeError(f"a condition of {role!r} is no SimilarityCondition: {conditions!r}"))
    faults.raise_if_any()
