"""Random splits by ratio, with groups kept whole, strata kept in proportion, or both.

It knows no FeatureSet. All work is done on whole arrays; only groups that have to be
balanced over strata are placed one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError, ModularMLError
from modularml.base.rows import SampleSource, as_names, check_flag, check_seed, group_codes, new_seed
from modularml.splitters.splitter import Splitter


class RandomSplitter(Splitter):
    """Divides samples at random; the same seed gives the same parts.

    Each part keeps the order that the samples have.

    Args:
        ratios: Name of each part -> its share; the shares add up to 1.
        group_by: Columns; samples that agree in them stay together.
        stratify_by: Columns; each part gets its share of every combination of values.
            With `group_by`, as nearly as whole groups allow.
        strict_stratification: Whether larger strata are cut down to the smallest one,
            at random, so that all weigh the same.
        seed: Decides the order; None draws a seed and keeps it.

    Raises:
        InvalidValueError: If the ratios are not shares that add up to 1.
        InvalidTypeError: If a ratio or a name is of a wrong type.
    """

    def __init__(
        self,
        ratios: Mapping[str, float],
        *,
        group_by: str | Sequence[str] | None = None,
        stratify_by: str | Sequence[str] | None = None,
        strict_stratification: bool = False,
        seed: int | None = 13,
    ) -> None:
        faults = Faults(type(self).__name__)
        _check_ratios(ratios, faults)
        faults.attempt(as_names, group_by, "group_by")
        faults.attempt(as_names, stratify_by, "stratify_by")
        is_strict = faults.attempt(check_flag, strict_stratification, "strict_stratification")
        if is_strict and stratify_by is None:
            faults.add("strict_stratification needs stratify_by, which names no column")
        faults.attempt(check_seed, seed)
        faults.raise_if_any()
        self.ratios = dict(ratios)
        self.group_by = group_by
        self.stratify_by = stratify_by
        self.strict_stratification = strict_stratification
        self.seed = new_seed() if seed is None else seed

    @property
    def _groups(self) -> tuple[str, ...]:
        return as_names(self.group_by, "group_by")

    @property
    def _strata(self) -> tuple[str, ...]:
        return as_names(self.stratify_by, "stratify_by")

    def _indices(self, source: SampleSource) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        shares = np.array(list(self.ratios.values()), float)
        rows: np.ndarray | None = None
        strata, n_strata = group_codes(source, self._strata, "stratify_by")
        if self.strict_stratification:
            rows = _smallest_of_each(strata, rng)
            strata = strata[rows]
        if self._groups:
            groups, n_groups = group_codes(source, self._groups, "group_by")
            groups = groups if rows is None else groups[rows]
            part = self._place_groups(groups, n_groups, strata, n_strata, shares, rng)
        else:
            part = self._place_rows(strata, n_strata, shares, rng)
        chosen = {name: np.flatnonzero(part == i) for i, name in enumerate(self.ratios)}
        return chosen if rows is None else {name: rows[places] for name, places in chosen.items()}

    def _place_rows(
        self, strata: np.ndarray, n_strata: int, shares: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Give each row a part, stratum by stratum."""
        sizes = np.bincount(strata, minlength=n_strata) if n_strata > 1 else np.array([len(strata)])
        counts = _largest_remainder(sizes, shares)
        if n_strata > 1 and (counts == 0).any():
            stratum, part = np.argwhere(counts == 0)[0]
            n_small = int((counts == 0).any(axis=1).sum())
            raise InvalidValueError(
                f"{n_small} of the {n_strata} strata of {list(self._strata)} are too small to give each "
                f"split a sample: {list(self.ratios)[part]!r} gets {shares[part]:.4g} of the "
                f"{counts[stratum].sum()} of one. Merge small strata, or leave out stratify_by."
            )
        order = rng.permutation(len(strata))
        if n_strata > 1:
            order = order[np.argsort(_narrow(strata, n_strata)[order], kind="stable")]
        # Narrow, and without the largest part, for it is written in random order.
        numbers = np.arange(len(shares), dtype=np.min_scalar_type(len(shares)))
        of_order = np.repeat(np.tile(numbers, n_strata), counts.ravel())
        largest = numbers[counts.sum(axis=0).argmax()]
        part = np.full(len(strata), largest)
        rest = np.flatnonzero(of_order != largest)
        part[order[rest]] = of_order[rest]
        return part

    def _place_groups(
        self,
        groups: np.ndarray,
        n_groups: int,
        strata: np.ndarray,
        n_strata: int,
        shares: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Give each row a part, whole groups at a time."""
        if n_groups < len(shares):
            raise InvalidValueError(
                f"{list(self._groups)} make {n_groups} groups, too few for the {len(shares)} splits "
                f"{list(self.ratios)}."
            )
        if n_strata > 1:
            content = np.bincount(groups * n_strata + strata, minlength=n_groups * n_strata)
            return _balanced(content.reshape(n_groups, n_strata), shares, rng)[groups]
        sizes = np.bincount(groups, minlength=n_groups)
        return _by_size(sizes, shares, rng)[groups]


def _check_ratios(ratios: object, faults: Faults) -> None:
    if not isinstance(ratios, Mapping):
        faults.add(InvalidTypeError(f"ratios must be a dict of split -> share, got {ratios!r}"))
        return
    if not ratios:
        faults.add("ratios must name at least one split")
        return
    found = [fault for name, ratio in ratios.items() if (fault := _ratio_fault(name, ratio))]
    for fault in found:
        faults.add(fault)
    total = 1.0 if found else math.fsum(ratios.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        faults.add(f"the ratios must add up to 1, got {total:g}: {dict(ratios)}")


def _ratio_fault(name: object, ratio: object) -> ModularMLError | None:
    if not isinstance(name, str) or not name.strip():
        return InvalidTypeError(f"a split's name must be non-empty text, got {name!r}")
    if isinstance(ratio, bool) or not isinstance(ratio, int | float | np.integer | np.floating):
        return InvalidTypeError(f"the ratio of {name!r} must be a number, got {ratio!r}")
    if not 0 < ratio <= 1:
        return InvalidValueError(f"the ratio of {name!r} must be above 0 and at most 1, got {ratio!r}")
    return None


def _narrow(codes: np.ndarray, n_codes: int) -> np.ndarray:
    """Return codes in 16 bits if they fit: numpy sorts those in linear time."""
    return codes.astype(np.uint16) if n_codes <= 1 << 16 else codes


def _largest_remainder(totals: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Divide each total by the shares into whole numbers, shape ``(n_totals, n_shares)``."""
    exact = totals[:, None] * shares
    counts = np.floor(exact + 1e-9).astype(np.int64)
    missing = totals - counts.sum(axis=1)
    rank = np.argsort(np.argsort(counts - exact, axis=1, kind="stable"), axis=1)
    return counts + (rank < missing[:, None])


def _smallest_of_each(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return rows, in order, that hold as many of each stratum as the smallest one has."""
    counts = np.bincount(strata)
    order = rng.permutation(len(strata))
    order = order[np.argsort(_narrow(strata, len(counts))[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(strata)) - np.repeat(starts, counts)
    return np.sort(order[rank < counts.min()])


def _by_size(sizes: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Line groups up at random and cut the line at the shares; no part goes without a group."""
    order = rng.permutation(len(sizes))
    lengths = sizes[order]
    middles = np.cumsum(lengths) - lengths / 2
    cuts = np.searchsorted(middles, np.cumsum(shares)[:-1] * sizes.sum())
    n_parts = len(shares)
    for i in range(n_parts - 1):
        cuts[i] = max(cuts[i], cuts[i - 1] + 1 if i else 1)
        cuts[i] = min(cuts[i], len(sizes) - (n_parts - 1 - i))
    part = np.empty(len(sizes), np.intp)
    part[order] = np.searchsorted(cuts, np.arange(len(sizes)), side="right")
    return part


def _balanced(content: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Place groups so that every part gets its share of every stratum, as nearly as they allow.

    The largest and most uneven groups are placed first, each where it leaves the parts
    closest to their shares.

    Args:
        content: Samples of each group and stratum, shape ``(n_groups, n_strata)``.
        shares: Of shape ``(n_parts,)``.
        rng: Decides between groups that are alike.

    Returns:
        The part of each group, shape ``(n_groups,)``.
    """
    order = rng.permutation(len(content))
    order = order[np.argsort(-content[order].std(axis=1), kind="stable")]
    # The whole counts as one more stratum: parts get their share of it where strata leave a choice.
    content = np.column_stack([content, content.sum(axis=1)])
    relative = content / content.sum(axis=0)
    filled = np.zeros((len(shares), content.shape[1]))
    part = np.empty(len(content), np.intp)
    n_empty = len(shares)
    for n_left, group in zip(range(len(order), 0, -1), order, strict=True):
        # Placing the group in part p changes only p's distance: 2 r (filled - share) + r².
        cost = (filled - shares[:, None]) @ relative[group]
        if n_left == n_empty:
            cost[filled.any(axis=1)] = np.inf
        chosen = int(np.argmin(cost))
        n_empty -= not filled[chosen].any()
        filled[chosen] += relative[group]
        part[group] = chosen
    return part
