"""What two splits share: rows, samples that are equal in content, and values of tags.

It knows no splits by name or origin, only rows of a collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from modularml.base.rows import densify, is_missing
from modularml.core.data.columns import FEATURES, RAW, TAGS, Column
from modularml.core.data.sample_collection import SampleCollection

_CHUNK_BYTES = 1 << 21


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What two splits share; true if anything.

    Attributes:
        first: The name of one split.
        second: The name of the other.
        n_rows: How many rows are in both.
        n_equal: How many further rows of the second are equal in all raw features to a row
            of the first.
        tags: Tag -> how many of its values are in both, and how many there are in either;
            only tags of which there is one. What is missing is no value.
    """

    first: str
    second: str
    n_rows: int = 0
    n_equal: int = 0
    tags: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.n_rows or self.n_equal or self.tags)

    @property
    def tags_in_words(self) -> str:
        """The tags, e.g. ``"cell 2 of 6, site 1 of 3"``."""
        return ", ".join(f"{tag} {both} of {either}" for tag, (both, either) in self.tags.items())


class Overlaps:
    """Compares rows of one collection; what its rows hold is read once.

    Args:
        collection: The samples.
    """

    def __init__(self, collection: SampleCollection) -> None:
        parsed = {name: Column.parse(name) for name in collection.columns}
        features = [n for n, c in parsed.items() if c.domain == FEATURES and c.rep == RAW]
        columns = {c.key: collection.column(n) for n, c in parsed.items() if c.domain == TAGS}
        self._n_rows = collection.n_samples
        digests = _digests([collection.column(name) for name in features], self._n_rows)
        ordered = np.sort(digests)
        has_twins = bool((ordered[1:] == ordered[:-1]).any())
        self._content = densify(digests) if has_twins else None
        flat = {key: values for key, values in columns.items() if values.ndim == 1}
        # Two samples of which something is not known have it no more in common than any others.
        self._tags = {key: (densify(values), ~is_missing(values)) for key, values in flat.items()}

    def compare(self, first: tuple[str, np.ndarray], second: tuple[str, np.ndarray]) -> Overlap:
        """Return what two splits share, each given as its name and its rows."""
        one, other = first[1], second[1]
        of_first = _present(one, self._n_rows)[other]
        n_equal = 0
        if self._content is not None:
            is_equal = _present(self._content[one], self._n_rows)[self._content[other]]
            n_equal = int(np.count_nonzero(is_equal & ~of_first))
        tags = {}
        for key, (codes, is_known) in self._tags.items():
            mine, theirs = (_present(codes[rows[is_known[rows]]], self._n_rows) for rows in (one, other))
            n_both = int(np.count_nonzero(mine & theirs))
            if n_both:
                tags[key] = n_both, int(np.count_nonzero(mine | theirs))
        return Overlap(
            first=first[0],
            second=second[0],
            n_rows=int(np.count_nonzero(of_first)),
            n_equal=n_equal,
            tags=tags,
        )


def _present(codes: np.ndarray, n: int) -> np.ndarray:
    mask = np.zeros(n, bool)
    mask[codes] = True
    return mask


def _digests(columns: list[np.ndarray], n_rows: int) -> np.ndarray:
    """Return a number a row, int64 of shape ``(n_rows,)``, equal where all values are.

    Rows that differ have the same number with a chance of 2**-64 a pair.
    """
    width = sum(_bits(column[:1]).shape[1] for column in columns)
    factors = np.random.default_rng(0).integers(1, 1 << 63, width, np.uint64) * np.uint64(2) + np.uint64(1)
    digests = np.zeros(n_rows, np.uint64)
    step = max(1, _CHUNK_BYTES // (8 * max(width, 1)))
    for start in range(0, n_rows, step):
        rows, done = slice(start, start + step), 0
        for column in columns:
            bits = _bits(column[rows])
            mixed = (bits ^ (bits >> np.uint64(32))) * factors[done : done + bits.shape[1]]
            mixed ^= mixed >> np.uint64(29)
            digests[rows] += (mixed * factors[done : done + bits.shape[1]]).sum(axis=1, dtype=np.uint64)
            done += bits.shape[1]
    return digests.view(np.int64)


def _bits(values: np.ndarray) -> np.ndarray:
    """Return values as numbers that are equal where they are, uint64 of shape ``(n_rows, n_numbers)``."""
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    match flat.dtype.kind:
        case "f":
            return (flat.astype(np.float64) + 0.0).view(np.uint64)  # minus zero becomes zero
        case "U":
            return flat.view(np.uint32).reshape(len(flat), -1).astype(np.uint64)
        case "m" | "M":
            return flat.view(np.uint64)
    return flat.astype(np.int64).view(np.uint64)
