"""How positions become batches: cut in a row, one group at a time, or strata in turn.

It knows neither samplers nor columns, only codes of groups and a random generator.
"""

from __future__ import annotations

import numpy as np

from modularml.base.errors import InvalidValueError


def cut(n: int, batch_size: int, *, drop_last: bool) -> np.ndarray:
    """Return the offsets of batches of `n` positions in a row, shape ``(n_batches + 1,)``."""
    offsets = np.arange(0, n + 1, batch_size, dtype=np.int64)
    return offsets if drop_last or offsets[-1] == n else np.append(offsets, n)


def by_group(
    order: np.ndarray,
    groups: np.ndarray,
    batch_size: int,
    *,
    drop_last: bool,
    rng: np.random.Generator | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make batches that hold one group each.

    Args:
        order: Positions in the order they should come in, shape ``(n,)``.
        groups: The group of each position, indexed by position.
        batch_size: The most positions a batch has.
        drop_last: Whether the smaller batch at each group's end is left out.
        rng: Shuffles the batches; None leaves group after group.

    Returns:
        Positions and the offsets of batches.
    """
    order = order[np.argsort(groups[order], kind="stable")]
    counts = np.bincount(groups[order])
    n_full, rest = np.divmod(counts, batch_size)
    n_batches = n_full if drop_last else n_full + (rest > 0)
    of_group = np.repeat(np.arange(len(counts)), n_batches)
    place = np.arange(len(of_group)) - np.repeat(np.cumsum(n_batches) - n_batches, n_batches)
    starts = (np.cumsum(counts) - counts)[of_group] + place * batch_size
    sizes = np.minimum(counts[of_group] - place * batch_size, batch_size)
    if rng is not None:
        shuffled = rng.permutation(len(sizes))
        starts, sizes = starts[shuffled], sizes[shuffled]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    picked = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
    return order[picked], offsets


def by_stratum(order: np.ndarray, strata: np.ndarray, batch_size: int, *, strict: bool) -> np.ndarray:
    """Put one position of each stratum after the other, in turn.

    Args:
        order: Positions in the order they should come in, shape ``(n,)``.
        strata: The stratum of each position, indexed by position.
        batch_size: Positions a batch has; at least one of each stratum.
        strict: Whether to stop when the first stratum is used up.

    Returns:
        Positions in their new order.

    Raises:
        InvalidValueError: If there are more strata than positions in a batch.
    """
    counts = np.bincount(strata[order])
    if batch_size < len(counts):
        raise InvalidValueError(
            f"a batch must hold each stratum: batch_size must be at least {len(counts)}, got {batch_size}."
        )
    order = order[np.argsort(strata[order], kind="stable")]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    if strict:
        kept = rank < counts.min()
        order, rank = order[kept], rank[kept]
    return order[np.argsort(rank, kind="stable")]
