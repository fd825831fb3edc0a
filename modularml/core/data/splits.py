"""The splits of a set: named rows, and the record of the splitters that made them.

They know no FeatureSet and no values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Self

import numpy as np

from modularml.base.config import from_config, to_config
from modularml.base.definitions import is_nameable
from modularml.base.errors import (
    DuplicateLabelError,
    Faults,
    SplitOverlapWarning,
    UnknownNameError,
    check_label,
    unknown_name,
    warn,
)
from modularml.base.rows import SampleSource
from modularml.splitters import Splitter


@dataclass(frozen=True, eq=False)
class Split:
    """Some rows and columns.

    Attributes:
        rows: Positions in the set, int64 of shape ``(n_samples,)``.
        columns: Full column names; None for all, whichever there are.
    """

    rows: np.ndarray
    columns: tuple[str, ...] | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Split):
            return NotImplemented
        return self.columns == other.columns and np.array_equal(self.rows, other.rows)


@dataclass(frozen=True, kw_only=True)
class SplitterRecord:
    """A splitter that was used.

    Attributes:
        order: Its place among the set's splitters, from 0.
        kind: The name of its class.
        splitter: The splitter; None if it came from a file and held a function without a
            name or a random generator, which no file can give back.
        applied_to: The split that it split; None for the whole set.
        produced_splits: The names of the splits it made.
    """

    order: int
    kind: str
    splitter: Splitter | None
    applied_to: str | None
    produced_splits: tuple[str, ...]


class Splits:
    """The splits of one set, by name.

    Args:
        where: What messages call the set.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._splits: dict[str, Split] = {}
        self.records: list[SplitterRecord] = []

    def __len__(self) -> int:
        return len(self._splits)

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __contains__(self, name: object) -> bool:
        return name in self._splits

    def __getitem__(self, name: str) -> Split:
        if name not in self._splits:
            raise UnknownNameError(unknown_name("split", name, self._splits, where=self.where))
        return self._splits[name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Splits):
            return NotImplemented
        # The splitters themselves may have been lost in a file; what they made has not.
        made, theirs = ([(r.kind, r.applied_to, r.produced_splits) for r in s.records] for s in (self, other))
        return self._splits == other._splits and made == theirs

    __hash__ = None  # type: ignore[assignment]

    def add(self, name: str, split: Split) -> None:
        """Add a split that no splitter made; the same one again changes nothing.

        Raises:
            DuplicateLabelError: If the name is taken by other rows.
        """
        check_label(name, "split")
        if name in self._splits and self._splits[name] != split:
            raise DuplicateLabelError(self._taken(name))
        self._splits[name] = split

    def register(self, parts: Mapping[str, Split], splitter: Splitter, applied_to: str | None) -> None:
        """Add what a splitter made, in the place of what such a splitter made before.

        Splits of a replaced split go with it, unless its rows are the same as before.

        Raises:
            DuplicateLabelError: If a name is taken by a split of another origin.
        """
        replaced = [r for r in self.records if _is_rerun(r, splitter, applied_to, parts)]
        old = {
            name: self._splits[name] for r in replaced for name in r.produced_splits if name in self._splits
        }
        faults = Faults(self.where)
        for name in parts:
            if name in self._splits and name not in old:
                faults.add(DuplicateLabelError(self._taken(name)))
            faults.attempt(check_label, name, "split")
        faults.raise_if_any()
        self._drop_parts(name for name, split in old.items() if parts.get(name) != split)
        for name in old.keys() - parts.keys():
            del self._splits[name]
        self._splits.update(parts)
        kept = [r for r in self.records if r not in replaced]
        self.records = [replace(r, order=i) for i, r in enumerate(kept)]
        self.records.append(
            SplitterRecord(
                order=len(self.records),
                kind=type(splitter).__name__,
                splitter=splitter,
                applied_to=applied_to,
                produced_splits=tuple(parts),
            )
        )

    def clear(self) -> None:
        """Forget all splits and records."""
        self._splits.clear()
        self.records.clear()

    def parent(self, name: str) -> str | None:
        """Return the split that a split is part of; None for the whole set."""
        return next((r.applied_to for r in self.records if name in r.produced_splits), None)

    def overlaps(self, names: Iterable[str] | None = None) -> dict[tuple[str, str], int]:
        """Count the rows that pairs of splits share; parts and wholes are not compared.

        Args:
            names: Only pairs with one of these; None for all.
        """
        masks = {name: _mask(split.rows) for name, split in self._splits.items()}
        counts = {}
        for a, b in self._pairs(names):
            n = min(len(masks[a]), len(masks[b]))
            counts[a, b] = int(np.count_nonzero(masks[a][:n] & masks[b][:n]))
        return counts

    def _pairs(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, str]]:
        wanted = set(self._splits if names is None else names)
        for a, b in combinations(self._splits, 2):
            if (a in wanted or b in wanted) and a not in self._wholes(b) and b not in self._wholes(a):
                yield a, b

    def pairs_that_should_differ(self) -> list[tuple[str, str]]:
        """Return the pairs of splits of which none is part of the other; of folds, those of one fold."""
        folds = [r.produced_splits for r in self.records if r.splitter and r.splitter.overlaps_by_design]
        return [
            (a, b)
            for a, b in self._pairs()
            if a.rpartition("_")[0] == b.rpartition("_")[0] or not any(a in f and b in f for f in folds)
        ]

    def warn_of_overlaps(self, names: Iterable[str]) -> None:
        """Tell in one `SplitOverlapWarning` which other splits share rows with these."""
        shared = [f"{a!r} and {b!r} share {n}" for (a, b), n in self.overlaps(names).items() if n]
        if shared:
            warn(f"Splits of {self.where} share samples: {'; '.join(shared)}.", SplitOverlapWarning)

    def copy(self, where: str) -> Splits:
        """Return the same splits for another set."""
        twin = Splits(where)
        twin._splits, twin.records = dict(self._splits), list(self.records)
        return twin

    def with_rows(self, rows: Mapping[str, np.ndarray], view: Callable[[np.ndarray], SampleSource]) -> Splits:
        """Return the same splits, some of them with other rows.

        What splitters made of those is made anew, of the new rows; where a splitter was lost in
        a file its parts are left out, as they would be rows of what is no longer there.

        Args:
            rows: Name of a split, there or not -> its rows, int64 of shape ``(n,)``.
            view: Returns the samples of some rows.
        """
        twin = self.copy(self.where)
        for name, of_split in rows.items():
            columns = self._splits[name].columns if name in self._splits else None
            twin._splits[name] = Split(of_split, columns)
        changed = set(rows)
        for record in self.records:
            if record.applied_to not in changed:
                continue
            whole = twin._splits.get(record.applied_to) if record.splitter else None
            made = {} if whole is None else record.splitter.indices(view(whole.rows))  # type: ignore[union-attr]
            for name in set(record.produced_splits) - rows.keys():
                before = twin._splits.pop(name, None)
                if name in made and before is not None and whole is not None:
                    twin._splits[name] = Split(whole.rows[made[name]], before.columns)
                changed.add(name)
        return twin

    def get_state(self) -> dict[str, Any]:
        """Return rows, columns and records as a tree."""
        return {
            "splits": {name: {"rows": s.rows, "columns": s.columns} for name, s in self._splits.items()},
            "records": [
                {
                    "kind": r.kind,
                    "splitter": None if _has_nameless(config := to_config(r.splitter)) else config,
                    "applied_to": r.applied_to,
                    "produced_splits": list(r.produced_splits),
                }
                for r in self.records
            ],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], where: str) -> Self:
        """Make the splits of what `get_state` returned."""
        splits = cls(where)
        for name, split in state["splits"].items():
            columns = split["columns"]
            splits._splits[name] = Split(split["rows"], None if columns is None else tuple(columns))
        splits.records = [
            SplitterRecord(
                order=i,
                kind=record["kind"],
                splitter=from_config(record["splitter"]),
                applied_to=record["applied_to"],
                produced_splits=tuple(record["produced_splits"]),
            )
            for i, record in enumerate(state["records"])
        ]
        return splits

    def _taken(self, name: str) -> str:
        record = next((r for r in self.records if name in r.produced_splits), None)
        origin = f"made by {record.splitter or record.kind}" if record else "added by hand"
        return (
            f"the split {name!r} exists already ({origin}); choose another name, or call clear_splits() first"
        )

    def _wholes(self, name: str) -> set[str]:
        wholes: set[str] = set()
        whole = self.parent(name)
        while whole is not None and whole not in wholes:
            wholes.add(whole)
            whole = self.parent(whole)
        return wholes

    def _drop_parts(self, changed: Iterable[str]) -> None:
        """Forget the parts of splits, and the parts of those."""
        wholes, parts = list(changed), []
        for whole in wholes:
            for record in [r for r in self.records if r.applied_to == whole]:
                self.records.remove(record)
                parts += [name for name in record.produced_splits if self._splits.pop(name, None)]
                wholes += record.produced_splits
        if parts:
            warn(
                f"Splits of {self.where} were made anew with other rows, so their parts "
                f"{', '.join(map(repr, parts))} were removed."
            )


def _is_rerun(
    record: SplitterRecord, splitter: Splitter, applied_to: str | None, parts: Mapping[str, Split]
) -> bool:
    same_kind = record.kind == type(splitter).__name__ and record.applied_to == applied_to
    return same_kind and not parts.keys().isdisjoint(record.produced_splits)


def _has_nameless(config: Any) -> bool:
    """Tell whether a configuration holds what no file can name.

    That is a lambda, a function that was made within another, another object that can be called,
    or a random generator.
    """
    if isinstance(config, np.random.RandomState | np.random.Generator):
        return True
    if isinstance(config, Mapping):
        return any(map(_has_nameless, config.values()))
    if isinstance(config, list | tuple):
        return any(map(_has_nameless, config))
    return callable(config) and ("<" in getattr(config, "__qualname__", "") or not is_nameable(config))


def _mask(rows: np.ndarray) -> np.ndarray:
    mask = np.zeros(int(rows.max()) + 1 if rows.size else 0, bool)
    mask[rows] = True
    return mask
