"""Views: some rows and columns of a FeatureSet, by index, without copies.

They know no FeatureSet by class: what they look at is anything that keeps a table and splits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    UnknownColumnError,
    UnknownNameError,
    check_choice,
    check_label,
    unknown_name,
)
from modularml.base.keywords import checked_keywords
from modularml.base.rows import as_positions
from modularml.core.data.batch_view import BatchStream, SampledView
from modularml.core.data.overlap import Overlap
from modularml.core.data.reader import ColumnReader, Selector, locked
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.summary import as_html, as_text
from modularml.predicates import match_all
from modularml.samplers import EpochIndex
from modularml.splitters import ConditionSplitter, RandomSplitter, Splitter, as_splitter


class ViewSource(Protocol):
    """What a view looks at."""

    @property
    def label(self) -> str:
        """Its label."""
        ...

    @property
    def table(self) -> SampleCollection:
        """Its rows, as they are now."""
        ...

    def _register_splits(
        self, views: Mapping[str, FeatureSetView], *, splitter: Splitter, applied_to: Selection
    ) -> None:
        """Keep the views that a splitter made as splits."""
        ...

    def _from_selection(self, selection: Selection, label: str) -> Any:
        """Make a set of its own of some rows and columns."""
        ...


@checked_keywords
class Selection(ColumnReader):
    """Rows that can be taken, filtered, compared and split; every result is a view."""

    _elsewhere: ClassVar[Mapping[str, str]] = {
        "X x features": "They are read as arrays: fs.get_features(fmt='numpy').",
        "y targets": "They are read as arrays: fs.get_targets(fmt='numpy').",
        "shape": "That is of arrays: fs.get_features(fmt='numpy').shape.",
        "head describe groupby mean sort_values": "That is of data frames: fs.to_pandas().head().",
        "iloc loc sample": "Rows are taken by position, or filtered: fs.take([0, 1]).",
        "train test val": "Splits are found by name: fs['train'].",
        "train_test_split": "Parts are named: fs.split_random({'train': 0.8, 'test': 0.2}).",
    }

    @property
    @abstractmethod
    def table(self) -> SampleCollection:
        """The samples that are read, all rows and columns of them."""

    @property
    @abstractmethod
    def source(self) -> Any:
        """The set that the rows belong to, a `ViewSource`."""

    @property
    @abstractmethod
    def rows(self) -> np.ndarray:
        """The rows' positions in the source, int64 of shape ``(n_samples,)``."""

    @property
    @abstractmethod
    def label(self) -> str | None:
        """The label, or None."""

    def _view(
        self, rows: np.ndarray, label: str | None, columns: Sequence[str] | None = None
    ) -> FeatureSetView:
        """Return a view of rows and columns that are known to be there; to look at all rows takes a pass."""
        made = object.__new__(FeatureSetView)
        made._hold(self.source, rows, self.columns if columns is None else columns, label)
        return made

    def to_view(self, label: str | None = None) -> FeatureSetView:
        """Return these rows and columns as a view."""
        return self._view(self.rows, label)

    def take(self, rel_indices: Sequence[int] | np.ndarray, label: str | None = None) -> FeatureSetView:
        """Return some of these rows.

        Args:
            rel_indices: Positions among these rows, shape ``(n,)``; negative ones count
                from the end.
            label: The view's label.

        Raises:
            InvalidTypeError: If they are not integers.
            InvalidValueError: If they are not one-dimensional.
            IndexError: If one is out of range.
        """
        positions = as_positions(rel_indices, f"Indices into {self._where}")
        if positions.size and not self.n_samples:
            raise IndexError(f"{self._where} has no rows to take.")
        if positions.size and not -self.n_samples <= positions.min() <= positions.max() < self.n_samples:
            raise IndexError(
                f"Indices into {self._where} must lie between 0 and {self.n_samples - 1}, "
                f"got {positions.min()} to {positions.max()}."
            )
        return self._view(self.rows[positions], label)

    def filter(self, conditions: Mapping[str, Any], *, label: str | None = None) -> FeatureSetView:
        """Return the rows that meet every condition.

        Args:
            conditions: Column -> a value (equality), a list (membership), a predicate of
                `modularml.predicates`, or a function. A function gets the whole column
                where a sample is one value, and one sample at a time where it is an array.
            label: The view's label.

        Raises:
            InvalidTypeError: If a condition does not fit its column.
            UnknownColumnError: If there is no such column.
        """
        return self._view(self.rows[match_all(self, conditions)], label)

    def select(
        self,
        columns: Selector = None,
        *,
        features: Selector = None,
        targets: Selector = None,
        tags: Selector = None,
        rep: str | None = None,
        label: str | None = None,
    ) -> FeatureSetView:
        """Return these rows with some of the columns, or all if none is named.

        Raises:
            UnknownColumnError: If a selector matches nothing.
        """
        return self._view(self.rows, label, self._picked(columns, features, targets, tags, rep))

    def take_intersection(
        self, other: Selection, *, order: str = "self", label: str | None = None
    ) -> FeatureSetView:
        """Return the rows that `other` has, too, in the order of ``"self"`` or ``"other"``.

        Raises:
            InvalidValueError: If the two belong to different sets.
        """
        check_choice(order, "order", ("self", "other"))
        self._check_kin(other)
        mine, theirs = (self, other) if order == "self" else (other, self)
        return self._view(mine.rows[theirs._contains(mine)], label)

    def take_difference(self, other: Selection, *, label: str | None = None) -> FeatureSetView:
        """Return the rows that `other` does not have.

        Raises:
            InvalidValueError: If the two belong to different sets.
        """
        self._check_kin(other)
        return self._view(self.rows[~other._contains(self)], label)

    def take_sample_uuids(self, uuids: Iterable[str], *, label: str | None = None) -> FeatureSetView:
        """Return the rows with these ids, in their order.

        Raises:
            UnknownNameError: If an id is not among these rows.
        """
        wanted = np.asarray(list(uuids), dtype=str)
        own = self.get_sample_uuids()
        missing = wanted[~np.isin(wanted, own)]
        if missing.size:
            raise UnknownNameError(f"{self._where} has no sample with the id {str(missing[0])!r}.")
        order = np.argsort(own)
        return self._view(self.rows[order[np.searchsorted(own, wanted, sorter=order)]], label)

    def is_disjoint_with(self, other: Selection) -> bool:
        """Tell whether no row is in both.

        Raises:
            InvalidValueError: If the two belong to different sets.
        """
        self._check_kin(other)
        return not other._contains(self).any()

    def get_overlap_with(self, other: Selection) -> list[str]:
        """Return the ids of the samples that are in both.

        Raises:
            InvalidValueError: If the two belong to different sets.
        """
        self._check_kin(other)
        return self.get_sample_uuids()[other._contains(self)].tolist()

    def _check_kin(self, other: Selection) -> None:
        if not isinstance(other, Selection):
            raise InvalidTypeError(
                f"{self._where} can be compared with a FeatureSet or a view, got {other!r}."
            )
        if other.source is not self.source:
            raise InvalidValueError(f"{other!r} does not belong to the same FeatureSet as {self._where}.")

    def _contains(self, other: Selection) -> np.ndarray:
        """Tell which rows of `other` are in here."""
        present = np.zeros(self.table.n_samples, bool)
        present[self.rows] = True
        return present[other.rows]

    # Splits

    def split(
        self,
        splitter: Any,
        *,
        group_by: str | Sequence[str] | None = None,
        stratify_by: str | Sequence[str] | None = None,
        return_views: bool = False,
        register: bool = True,
    ) -> dict[str, FeatureSetView] | None:
        """Split these rows and keep the parts as splits of the FeatureSet.

        Splitting again with the same kind of splitter replaces the splits made before.

        Args:
            splitter: A splitter of `modularml.splitters`, or any scikit-learn splitter.
            group_by: For a scikit-learn splitter: the columns that make up its groups.
            stratify_by: For a scikit-learn splitter: the columns that it stratifies by.
            return_views: Whether to return the parts.
            register: Whether to keep the parts.

        Returns:
            Name -> view, if `return_views`, else None.

        Raises:
            InvalidTypeError: If it is no splitter.
            InvalidValueError: If a part would be empty.
            DuplicateLabelError: If another splitter made a split of the same name.
        """
        splitter = as_splitter(splitter, group_by=group_by, stratify_by=stratify_by)
        index, parts = self._index, splitter.indices(self)
        if isinstance(index, slice):  # rows in a run need no lookup
            of_parts = {name: rows + (index.start or 0) for name, rows in parts.items()}
        else:
            of_parts = {name: self.rows[rows] for name, rows in parts.items()}
        views = {
            name: FeatureSetView(self.source, rows, self.columns, name) for name, rows in of_parts.items()
        }
        if register:
            self.source._register_splits(views, splitter=splitter, applied_to=self)
        return views if return_views else None

    def split_random(
        self,
        ratios: Mapping[str, float],
        *,
        group_by: str | Sequence[str] | None = None,
        stratify_by: str | Sequence[str] | None = None,
        strict_stratification: bool = False,
        seed: int | None = 13,
        return_views: bool = False,
        register: bool = True,
    ) -> dict[str, FeatureSetView] | None:
        """Split these rows at random; see `RandomSplitter` and `split`."""
        splitter = RandomSplitter(
            ratios,
            group_by=group_by,
            stratify_by=stratify_by,
            strict_stratification=strict_stratification,
            seed=seed,
        )
        return self.split(splitter, return_views=return_views, register=register)

    def split_by_condition(
        self,
        conditions: Mapping[str, Mapping[str, Any]],
        *,
        return_views: bool = False,
        register: bool = True,
    ) -> dict[str, FeatureSetView] | None:
        """Split these rows by conditions; see `ConditionSplitter` and `split`."""
        if not isinstance(conditions, Mapping):
            raise InvalidTypeError(
                f"{self._where}: conditions must be a dict of split -> conditions, got {conditions!r}."
            )
        return self.split(ConditionSplitter(**conditions), return_views=return_views, register=register)

    def to_sample_collection(self) -> SampleCollection:
        """Return a collection of these rows and columns; the samples keep their ids."""
        return self.table.take(self._index, self.columns)

    def _sampled(self, index: EpochIndex) -> SampledView:
        """Return the batches that a sampler drew of these rows, in the stream ``default``."""
        return SampledView({"default": BatchStream(self, index)})

    def to_featureset(self, label: str) -> Any:
        """Return a FeatureSet of its own with these rows and columns."""
        return self.source._from_selection(self, label)

    def summary(self) -> str:
        """Return a table of columns and splits as text.

        Of more than 60 columns those at both ends have lines, and of those between the ones with something
        missing are named; ``fs.select(features="x").summary()`` has lines for what is selected.
        """
        return as_text(self, self.splits, self._scalings(), self.leakage())

    def _repr_html_(self) -> str:
        return as_html(self, self.splits, self._scalings(), self.leakage(), self.label)

    def _scalings(self) -> list[tuple[str, str, str]]:
        """Return what was scaled, in words: nothing, for the set has the scalers."""
        return []

    @property
    def splits(self) -> dict[str, FeatureSetView]:
        """Name -> view of each split; a view has none of its own."""
        return {}

    def leakage(self) -> list[Overlap]:
        """Return what the splits of these rows share: nothing, for the set has the splits."""
        return []


@checked_keywords
class FeatureSetView(Selection):
    """Some rows and columns of a FeatureSet. It does not change, and holds no values.

    Args:
        source: The FeatureSet.
        indices: The rows' positions in it, shape ``(n_samples,)``.
        columns: Full column names; None for all.
        label: A name, e.g. that of the split.

    Raises:
        InvalidTypeError: If the indices are not integers.
        IndexError: If an index is out of range.
        UnknownColumnError: If there is no such column.
    """

    def __init__(
        self,
        source: ViewSource,
        indices: Sequence[int] | np.ndarray,
        columns: Sequence[str] | None = None,
        label: str | None = None,
    ) -> None:
        rows = as_positions(indices, "The indices of a view")
        n = source.table.n_samples
        if rows.size and not 0 <= rows.min() <= rows.max() < n:
            raise IndexError(f"{source.label!r} has the rows 0 to {n - 1}, got {rows.min()} to {rows.max()}.")
        available = source.table.columns
        for name in () if columns is None else columns:
            if name not in available:
                raise UnknownColumnError(unknown_name("column", name, available, where=repr(source.label)))
        self._hold(source, rows, available if columns is None else columns, label)

    def _hold(self, source: ViewSource, rows: np.ndarray, columns: Sequence[str], label: str | None) -> None:
        self._source = source
        self._rows = locked(rows)
        self._columns = tuple(columns)
        self._label = None if label is None else check_label(label, "view")

    @classmethod
    def from_featureset(
        cls,
        featureset: ViewSource,
        *,
        rows: Sequence[int] | np.ndarray | None = None,
        columns: Sequence[str] | None = None,
        label: str | None = None,
    ) -> FeatureSetView:
        """Return a view of a FeatureSet; without rows or columns, of all of them."""
        indices = np.arange(featureset.table.n_samples) if rows is None else rows
        return cls(featureset, indices, columns, label)

    @property
    def source(self) -> ViewSource:
        """The FeatureSet that the rows belong to."""
        return self._source

    @property
    def table(self) -> SampleCollection:
        """The table of the FeatureSet, with all its rows and columns."""
        return self._source.table

    @property
    def rows(self) -> np.ndarray:
        """The rows' positions in the FeatureSet, int64 of shape ``(n_samples,)``."""
        return self._rows

    @property
    def indices(self) -> np.ndarray:
        """The same as `rows`."""
        return self._rows

    @property
    def columns(self) -> tuple[str, ...]:
        """The full names of the columns."""
        return self._columns

    @property
    def label(self) -> str | None:
        """The view's label, or None."""
        return self._label

    @property
    def n_samples(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    @cached_property
    def _index(self) -> slice | np.ndarray:
        rows = self._rows
        start, stop = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, 0)
        is_run = stop - start == rows.size and bool((np.diff(rows) == 1).all())
        return slice(start, stop) if is_run else rows

    @property
    def _where(self) -> str:
        of = f"FeatureSet {self._source.label!r}"
        return f"a view of {of}" if self._label is None else f"{self._label!r} of {of}"

    def __repr__(self) -> str:
        name = "" if self._label is None else f"label={self._label!r}, "
        return f"FeatureSetView({name}source={self._source.label!r}, n_samples={self.n_samples})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureSetView):
            return NotImplemented
        same_place = self._source is other._source and self._columns == other._columns
        return same_place and np.array_equal(self._rows, other._rows)

    __hash__ = None  # type: ignore[assignment]

    def expand_columns(self, label: str | None = None) -> FeatureSetView:
        """Return these rows with every column that the FeatureSet has now."""
        return self._view(self._rows, self._label if label is None else label, self.table.columns)
