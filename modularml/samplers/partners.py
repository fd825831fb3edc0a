"""For each sample, some others that meet conditions, without looking at all pairs.

It knows no sampler and no batches, only columns of values and conditions on them.

Conditions that want equal values cut the samples into blocks. Of the others, the one
that leaves the fewest candidates sorts each block, so that the candidates of a sample
lie side by side: in an interval around its value, or outside of one. They are tried in
a random order until enough are found that meet the rest. With one such condition that
costs n log n; each further one costs as many tries as it refuses candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modularml.base.errors import InvalidValueError
from modularml.base.rows import densify
from modularml.samplers.similarity import SimilarityCondition, is_number

# Larger than any number of rows, so that their multiples visit every candidate once.
_PRIMES = np.array([2147483647, 2147483629, 2147483587, 2147483579, 2147483563, 2147483549])
_MAX_PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Term:
    """A condition on a column.

    Attributes:
        name: The column.
        values: Its values, shape ``(n_samples, *sample_shape)``.
        condition: The condition.
    """

    name: str
    values: np.ndarray
    condition: SimilarityCondition

    def __post_init__(self) -> None:
        if self.values.ndim > 1 and self.condition.metric is None:
            raise InvalidValueError(
                f"The samples of {self.name!r} are arrays of shape {self.values.shape[1:]}; "
                "to compare them, a SimilarityCondition needs a metric."
            )
        if self.condition.tolerance and self.condition.metric is None and not is_number(self.values):
            raise InvalidValueError(
                f"The tolerance {self.condition.tolerance!r} is for numbers, and {self.name!r} holds "
                f"{self.values.dtype} values, which are equal or not. Leave it out, or give the "
                "SimilarityCondition a metric: a function of two samples."
            )

    @property
    def wants_equal(self) -> bool:
        """Whether only equal values match."""
        is_exact = self.condition.tolerance == 0 or not is_number(self.values)
        return self.condition.is_similar and self.condition.metric is None and is_exact

    @property
    def is_sortable(self) -> bool:
        """Whether the candidates lie side by side once the values are sorted."""
        return self.condition.metric is None and not self.wants_equal

    def numbers(self) -> np.ndarray:
        """Return the values as numbers whose differences are those of the condition."""
        return self.values.astype(float) if is_number(self.values) else densify(self.values).astype(float)

    def matches(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return which pairs of rows match, shape ``(n_pairs,)``."""
        return self.condition.matches(self.values[a], self.values[b])


@dataclass(frozen=True)
class _Candidates:
    """The candidates of each sample: an interval of the sorted rows, or its block without that.

    Attributes:
        order: Rows, sorted by block and value.
        place: Where each row is in `order`.
        start: Where each row's block begins in `order`.
        stop: Where it ends.
        low: Where each row's interval begins in `order`.
        high: Where it ends.
        inside: Whether the interval is what is wanted.
    """

    order: np.ndarray
    place: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    low: np.ndarray
    high: np.ndarray
    inside: bool

    @property
    def counts(self) -> np.ndarray:
        """How many candidates each row has, itself included."""
        n_inside = self.high - self.low
        return n_inside if self.inside else self.stop - self.start - n_inside

    def rows(self, of: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Return the candidates of some rows by number, shapes ``(n_rows, 1)`` and ``(n_rows, n)``."""
        if self.inside:
            return self.order[self.low[of] + number]
        place = self.start[of] + number
        return self.order[place + np.where(place >= self.low[of], self.high[of] - self.low[of], 0)]


def find_partners(
    terms: list[Term],
    anchors: np.ndarray,
    n_samples: int,
    n_wanted: int,
    rng: np.random.Generator,
    *,
    nearest: bool,
) -> np.ndarray:
    """Return partners that meet every condition.

    Args:
        terms: The conditions.
        anchors: The rows that want partners, shape ``(n_anchors,)``.
        n_samples: How many rows there are.
        n_wanted: How many partners each anchor wants.
        rng: Decides which are taken.
        nearest: Whether the candidates nearest in value are taken, not random ones.

    Returns:
        Rows, shape ``(n_anchors, n_wanted)``; -1 where there are no more.
    """
    blocks = np.zeros(n_samples, np.int64)
    for term in terms:
        if term.wants_equal:
            blocks = densify(term.values, blocks)
    sortable = [term for term in terms if term.is_sortable]
    options = [_candidates(blocks, term) for term in sortable] or [_candidates(blocks, None)]
    best = int(np.argmin([option.counts.sum() for option in options]))
    # Equal text is settled by the blocks; but the ends of intervals are rounded, and NaN is like no other.
    rest = [term for term in terms if not term.wants_equal or term.values.dtype.kind == "f"]
    goes_outwards = nearest and bool(sortable) and options[best].inside
    walk = _outwards if goes_outwards else _shuffled
    return _search(rest, anchors, n_wanted, walk(options[best], anchors, rng))


def _candidates(blocks: np.ndarray, term: Term | None) -> _Candidates:
    n = len(blocks)
    values = np.zeros(n) if term is None else term.numbers()
    order = np.lexsort((values, blocks))
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    sizes = np.bincount(blocks)
    stop = np.cumsum(sizes)[blocks]
    start = stop - sizes[blocks]
    inside = term is None or term.condition.is_similar
    tolerance = 0.0 if term is None or not is_number(term.values) else term.condition.tolerance
    # Differences are rounded, so a little more is let in than the bounds say; `terms` decide.
    rounding = 4 * np.finfo(float).eps * (np.abs(values) + tolerance) if tolerance else 0.0
    reach = tolerance + rounding if inside else np.maximum(tolerance - rounding, 0.0)
    low = _count_less(blocks, values, values - reach)
    high = _count_less(blocks, values, np.nextafter(values + reach, np.inf))
    return _Candidates(order, place, start, stop, low, high, inside)


def _count_less(blocks: np.ndarray, values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Count the rows that sort before each row's bound, by block and value."""
    n = len(blocks)
    is_value = np.repeat([False, True], n)  # a bound comes before the values that are equal to it
    order = np.lexsort((is_value, np.concatenate([bounds, values]), np.tile(blocks, 2)))
    before = np.cumsum(is_value[order])
    counts = np.empty(2 * n, np.int64)
    counts[order] = before
    return counts[:n]


@dataclass(frozen=True)
class _Walk:
    """The order in which the candidates of each anchor are tried.

    Attributes:
        lengths: How many steps each anchor's walk has, shape ``(n_anchors,)``.
        step: Some anchors' numbers and some steps -> rows, and which of them count;
            both of shape ``(n_numbers, n_steps)``.
    """

    lengths: np.ndarray
    step: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _shuffled(candidates: _Candidates, anchors: np.ndarray, rng: np.random.Generator) -> _Walk:
    """Visit every candidate once, from a random one on, in strides of a random prime."""
    counts = candidates.counts[anchors]
    first = rng.integers(0, np.maximum(counts, 1))
    stride = rng.choice(_PRIMES, len(anchors))

    def step(which: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = counts[which, None]
        number = (first[which, None] + steps * (stride[which, None] % n)) % n
        return candidates.rows(anchors[which, None], number), steps < n

    return _Walk(counts, step)


def _outwards(candidates: _Candidates, anchors: np.ndarray, rng: np.random.Generator) -> _Walk:
    """Visit the next value above, the next below, the second above and so on."""
    place = candidates.place[anchors]
    low, high = candidates.low[anchors], candidates.high[anchors]

    def step(which: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = np.where(steps % 2, -(steps + 1) // 2, steps // 2 + 1)
        at = place[which, None] + away
        counts = (at >= low[which, None]) & (at < high[which, None])
        return candidates.order[np.where(counts, at, 0)], counts

    return _Walk(2 * np.maximum(place - low, high - 1 - place), step)


def _search(terms: list[Term], anchors: np.ndarray, n_wanted: int, walk: _Walk) -> np.ndarray:
    """Walk until each anchor has the partners it wants or has tried all candidates."""
    found = np.full((len(anchors), n_wanted), -1, np.int64)
    n_found = np.zeros(len(anchors), np.int64)
    active = np.flatnonzero(walk.lengths > 0)
    done, width = 0, n_wanted + 1
    while active.size:
        steps = np.arange(done, done + width)
        for which in np.array_split(active, -(-active.size * width // _MAX_PAIRS_AT_ONCE)):
            rows, fits = walk.step(which, steps)
            fits &= rows != anchors[which, None]
            for term in terms:
                number, step = np.nonzero(fits)
                fits[number, step] = term.matches(anchors[which[number]], rows[number, step])
            rank = n_found[which, None] + np.cumsum(fits, axis=1) - 1
            number, step = np.nonzero(fits & (rank < n_wanted))
            found[which[number], rank[number, step]] = rows[number, step]
            n_found[which] = np.minimum(n_found[which] + fits.sum(axis=1), n_wanted)
        done, width = done + width, min(2 * width, 1024)
        active = active[(n_found[active] < n_wanted) & (walk.lengths[active] > done)]
    return found
