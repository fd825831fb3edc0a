"""Samples that know their splits and their scalers.

They know no experiment: no context, no references and no files.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    StateError,
    UnknownNameError,
    check_choice,
    check_label,
    told_of,
    warn,
)
from modularml.base.keywords import checked_keywords
from modularml.core.data import columns as names
from modularml.core.data.columns import DOMAINS, FEATURES, RAW, TAGS, TARGETS, Column
from modularml.core.data.new_samples import as_raw
from modularml.core.data.overlap import Overlap, Overlaps
from modularml.core.data.picture import graph_spec
from modularml.core.data.reader import locked
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.scaler_record import ScalerRecord
from modularml.core.data.scaling import Scaling, keys_of
from modularml.core.data.splits import Split, Splits, SplitterRecord
from modularml.core.data.view import FeatureSetView, Selection
from modularml.display.diagram import Diagram
from modularml.scalers import Scaler
from modularml.splitters import Splitter


@checked_keywords
class SampleSet(Selection):
    """A table with splits and scalers.

    Args:
        label: Its name.
        table: Its columns.
    """

    def __init__(self, label: str, table: SampleCollection) -> None:
        self._label = check_label(label, "FeatureSet")
        self._table = table
        self._rows = np.arange(0)
        self._splits = Splits(self._where)
        self._scaling = Scaling()

    @property
    def label(self) -> str:
        """Its name."""
        return self._label

    # Rows and columns

    @property
    def source(self) -> Self:
        """This set itself."""
        return self

    @property
    def table(self) -> SampleCollection:
        """Its rows and columns, as they are now."""
        return self._table

    @property
    def collection(self) -> SampleCollection:
        """The same as `table`."""
        return self._table

    @property
    def rows(self) -> np.ndarray:
        """The positions of all rows, int64 of shape ``(n_samples,)``."""
        if len(self._rows) != self.n_samples:
            # Kept: taking a batch must not cost a whole column.
            self._rows = locked(np.arange(self.n_samples))
        return self._rows

    @property
    def columns(self) -> tuple[str, ...]:
        """The full names of the columns."""
        return self._table.columns

    @property
    def n_samples(self) -> int:
        """How many samples there are."""
        return self._table.n_samples

    @property
    def _index(self) -> slice:
        return slice(None)

    @property
    def _where(self) -> str:
        return f"FeatureSet {self._label!r}"

    @abstractmethod
    def _from_selection(self, selection: Selection, label: str) -> SampleSet:
        """Make a set of its own of some rows and columns; the samples keep their ids."""

    # Splits

    @property
    def splits(self) -> dict[str, FeatureSetView]:
        """Name -> view of each split."""
        return {name: self.get_split(name) for name in self._splits}

    @property
    def n_splits(self) -> int:
        """How many splits there are."""
        return len(self._splits)

    @property
    def available_splits(self) -> list[str]:
        """The names of the splits."""
        return list(self._splits)

    @property
    def splitter_records(self) -> list[SplitterRecord]:
        """The splitters that made the splits, oldest first."""
        return list(self._splits.records)

    def get_split(self, name: str) -> FeatureSetView:
        """Return a split, with the columns that the set has now.

        Raises:
            UnknownNameError: If there is none; the message lists the splits.
        """
        split = self._splits[name]
        if split.columns is None:
            return self._view(split.rows, name)
        return FeatureSetView(self, split.rows, split.columns, name)  # a column may be gone by now

    def __getitem__(self, name: str) -> FeatureSetView:
        if not isinstance(name, str):
            raise InvalidTypeError(
                f"{self._where} is indexed by the name of a split, got {name!r}; "
                "take([...]) takes rows, select(...) columns."
            )
        if name not in self._splits and name in {*self.columns, *(Column.parse(c).key for c in self.columns)}:
            raise UnknownNameError(
                f"{self._where} is indexed by names of splits, and {name!r} is a column: column({name!r})."
            )
        return self.get_split(name)

    def __contains__(self, name: object) -> bool:
        return name in self._splits

    __iter__ = None  # it has items, but they are not numbered

    def _ipython_key_completions_(self) -> list[str]:
        return self.available_splits

    def add_split(self, view: FeatureSetView) -> None:
        """Keep a view as a split, under its label.

        Raises:
            InvalidValueError: If it has no label, no rows, or belongs to another set.
            DuplicateLabelError: If there is a split of that name with other rows.
        """
        if not isinstance(view, FeatureSetView) or view.source is not self:
            raise InvalidValueError(f"A split of {self._where} must be a view of it, got {view!r}.")
        if view.label is None or not view.n_samples:
            lacks = "a label" if view.label is None else "rows"
            raise InvalidValueError(f"A split of {self._where} needs {lacks}: {view!r}.")
        is_new = view.label not in self._splits
        self._splits.add(view.label, self._as_split(view))
        if is_new:
            self._splits.warn_of_overlaps([view.label])

    def _register_splits(
        self, views: Mapping[str, FeatureSetView], *, splitter: Splitter, applied_to: Selection
    ) -> None:
        """Keep the views that a splitter made, in the place of those it made before.

        Args:
            views: Name -> view of this set.
            splitter: What made them.
            applied_to: What was split: this set, a split of it, or any view of it.

        Raises:
            DuplicateLabelError: If a name is taken by a split of another origin.
        """
        name = applied_to.label
        is_split = (
            name is not None
            and name in self._splits
            and np.array_equal(self._splits[name].rows, applied_to.rows)
        )
        parts = {part: self._as_split(view) for part, view in views.items()}
        former = self._fitted_to()
        self._splits.register(parts, splitter, name if is_split else None)
        self._warn_of_scalers(former)
        if applied_to is self and not splitter.overlaps_by_design:
            self._splits.warn_of_overlaps(views)

    def _fitted_to(self) -> dict[str, np.ndarray]:
        """Return the rows, in order, of each split that scalers were fitted to."""
        fitted = {record.fit_split for record in self._scaling.records}
        return {name: np.sort(self._splits[name].rows) for name in fitted if name and name in self._splits}

    def _warn_of_scalers(self, former: Mapping[str, np.ndarray]) -> None:
        """Warn of scalers that were fitted to rows which a split had before, and another may have now."""
        for name, rows in self._fitted_to().items():
            if name in former and not np.array_equal(former[name], rows):
                fitted = [record for record in self._scaling.records if record.fit_split == name]
                keys = list(dict.fromkeys(key for record in fitted for key in record.keys))
                warn(
                    f"{self._where}: {keys} are scaled by what was fitted to the rows that {name!r} had. "
                    "Fit to those that it has now: fs.undo_all_transforms(), and "
                    f"fs.fit_transform(..., fit_to_split={name!r})."
                )

    def overlap(self, first: str, second: str) -> Overlap:
        """Return what two splits share: rows, samples of equal features, and values of tags.

        Raises:
            UnknownNameError: If there is no such split.
        """
        rows = [(name, self._splits[name].rows) for name in (first, second)]
        return Overlaps(self._table).compare(*rows)

    def leakage(self) -> list[Overlap]:
        """Return what splits share that should share nothing, a line for each pair that does.

        A split and its part are not compared, nor are folds with each other.
        """
        pairs = self._splits.pairs_that_should_differ()
        if not pairs:
            return []
        overlaps = Overlaps(self._table)
        compared = [overlaps.compare(*((name, self._splits[name].rows) for name in pair)) for pair in pairs]
        return [overlap for overlap in compared if overlap]

    def clear_splits(self) -> None:
        """Forget all splits."""
        self._splits.clear()

    @contextmanager
    def _in_fold(self, rows: Mapping[str, np.ndarray], *, fit_to: str) -> Iterator[None]:
        """Have other rows in some splits within a ``with`` block, and the scalers fitted to one of them.

        Nothing of the other rows leaks into the scalers: all of them are fitted anew. What
        splitters made of these splits is made anew of their new rows.

        Args:
            rows: Name of each split -> its rows meanwhile, int64 of shape ``(n,)``.
            fit_to: The name of the one that the scalers are fitted to.
        """
        before = self._splits, self._scaling, self._table
        try:
            self._splits = self._splits.with_rows(rows, self.take)
            self._scaling, self._table = self._scaling.refitted(self._table, rows[fit_to])
            yield
        finally:
            self._splits, self._scaling, self._table = before

    @contextmanager
    def _on_samples(self, collection: SampleCollection) -> Iterator[None]:
        """Have other samples within a ``with`` block, without splits, scaled by the scalers as they are.

        Args:
            collection: The samples, with the raw columns of this set.
        """
        before = self._splits, self._table
        try:
            self._splits, self._table = Splits(self._where), self._scaling.applied(collection)
            yield
        finally:
            self._splits, self._table = before

    def _as_split(self, view: FeatureSetView) -> Split:
        return Split(view.rows, None if view.columns == self.columns else view.columns)

    # Scaling

    @property
    def scaler_records(self) -> list[ScalerRecord]:
        """The scalers that were applied, oldest first."""
        return list(self._scaling.records)

    def _scalings(self) -> list[tuple[str, str, str]]:
        return [record.in_words for record in self._scaling.records]

    def fit_transform(
        self,
        scaler: Any,
        *,
        domain: str,
        keys: str | Sequence[str] | None = None,
        fit_to_split: str | None = None,
        merged_axes: int | Sequence[int] | None = None,
    ) -> None:
        """Fit a scaler, apply it to all rows, and keep the result as ``transformed`` columns.

        Where a cell of a notebook is executed again, what it did to these keys before is taken back first.

        Args:
            scaler: A `Scaler`, or anything that it takes; it is not changed. Of one key of the
                features it may make more numbers or fewer, as an encoder or a vectorizer of text does.
            domain: ``"features"`` or ``"targets"``.
            keys: The keys to scale together; None for all of the domain.
            fit_to_split: The split to fit to; None for all rows.
            merged_axes: Needed for data of more than two dimensions, see `flatten`.

        Raises:
            UnknownNameError: If there is no such key or split.
            InvalidValueError: If the data do not fit the scaler.
        """
        fit_rows = None if fit_to_split is None else self._splits[fit_to_split].rows
        scaler = scaler if isinstance(scaler, Scaler) else Scaler(scaler)
        keys = keys_of(self._table, domain, keys, self._where)
        scaling = Scaling(self._scaling.records)  # where the scaler refuses the data, all stays as it was
        table, later = scaling.without_this_cell(self._table, domain, keys)
        was_last = scaling.was_last(scaler, domain, keys, fit_to_split)
        with told_of(self._where):
            table = scaling.fit_transform(
                table,
                scaler,
                domain=domain,
                keys=keys,
                fit_rows=fit_rows,
                fit_split=fit_to_split,
                merged_axes=(merged_axes,) if isinstance(merged_axes, int) else merged_axes,
            )
        self._table, self._scaling = table, scaling
        for record in later:
            warn(
                f"{self._where}: this cell scales the {domain} {keys} anew, so what {record.scaler_obj!r} "
                f"made of that is gone, too. Run cell {record.cell} again."
            )
        if was_last:
            warn(
                f"{scaler!r} was the last one applied to the {domain} {keys} of {self._where}, and is now "
                "applied again, to what it made. To replace it, call undo_last_transform first."
            )

    def scale(self, new: Any) -> SampleCollection:
        """Return new samples, scaled by the scalers that were fitted to this set; nothing is fitted.

        Args:
            new: What has raw columns of this set, by key or by full name: a mapping, a data frame, a
                FeatureSet or view, anything that speaks Arrow. Columns that the set has not are left
                out, and targets may be missing. Or an array ``(n_samples, ...)`` of its features side
                by side.

        Returns:
            The raw columns and the transformed ones, for `ModelGraph.predict`, or as a set of their own:
            ``FeatureSet("new", fs.scale(df))``.

        Raises:
            StateError: If no scaler was applied to this set.
            InvalidValueError: If none of its columns is there, only some are there of those that were
                scaled together, samples have another shape, or a scaler refuses them.
        """
        if not self._scaling.records:
            raise StateError(f"{self._where} has no scalers; fit_transform(...) fits one.")
        features = [str(column) for column in map(Column.parse, self._of(FEATURES)) if column.rep == RAW]
        raw = as_raw(new, self._table, features, self._where)
        with told_of(f"New samples for {self._where}"):
            return self._scaling.applied(raw)

    def undo_last_transform(self, domain: str, keys: str | Sequence[str] | None = None) -> None:
        """Take back the newest scaler of a domain, or of exactly these keys.

        Raises:
            InvalidValueError: If there is none, or it scaled other keys than these.
        """
        named = None if keys is None else keys_of(self._table, domain, keys, self._where)
        with told_of(self._where):
            self._table = self._scaling.undo_last(self._table, domain, named)

    def undo_all_transforms(self, domain: str | None = None, keys: str | Sequence[str] | None = None) -> None:
        """Take back every scaler, or those of a domain or of some keys.

        Raises:
            InvalidValueError: If a scaler on these keys scaled others, too.
        """
        named = [keys] if isinstance(keys, str) else keys
        with told_of(self._where):
            self._table = self._scaling.undo_all(self._table, domain, named)

    def iter_scalers_on_cols(self, *, domain: str, columns: str | Sequence[str]) -> list[ScalerRecord]:
        """Return the scalers that made these columns, oldest first.

        Raises:
            UnknownNameError: If there is no such column.
        """
        return list(self._scaling.on_columns(domain, self._exactly(domain, columns)))

    def unscale_data_for_cols(self, *, data: Any, domain: str, columns: str | Sequence[str]) -> np.ndarray:
        """Return values of scaled columns, such as predictions, in their original units.

        Args:
            data: Shape ``(n_samples, n_columns, *key_shape)``.
            domain: The domain of the columns.
            columns: The columns, in the order of `data`. A key stands for its transformed column,
                if it has one.

        Raises:
            UnknownNameError: If there is no such column.
            InvalidValueError: If `data` does not hold these columns.
            NotImplementedError: If one of the scalers cannot be inverted.
        """
        return self._scaling.unscale(data, self._table, domain, self._exactly(domain, columns))

    def _exactly(self, domain: str, columns: str | Sequence[str]) -> list[str]:
        check_choice(domain, "domain", DOMAINS)
        selectors = [columns] if isinstance(columns, str) else columns
        return [
            name
            for selector in selectors
            for name in names.newest(
                selector, names.match(selector, self.columns, domain=domain, where=self._where)
            )
        ]

    # Looking at it

    def diagram(
        self,
        *,
        show_features: bool = True,
        show_targets: bool = True,
        show_tags: bool | str = "root",
        show_overlaps: bool = True,
    ) -> Diagram:
        """Return a picture of the set and its splits.

        Args:
            show_features: Whether features are listed.
            show_targets: Whether targets are listed.
            show_tags: Whether tags are listed; ``"root"`` for the set alone.
            show_overlaps: Whether splits list how many samples they share.
        """
        shown = {FEATURES: show_features, TARGETS: show_targets, TAGS: show_tags}
        return Diagram(
            graph_spec(
                self._label,
                self._table,
                self._splits,
                domains=[d for d in DOMAINS if shown[d] is True],
                root_domains=[d for d in DOMAINS if shown[d]],
                show_overlaps=show_overlaps,
            )
        )

    def visualize(
        self,
        *,
        show_features: bool = True,
        show_targets: bool = True,
        show_tags: bool | str = "root",
        show_overlaps: bool = True,
    ) -> None:
        """Show the picture that `diagram` returns."""
        self.diagram(
            show_features=show_features,
            show_targets=show_targets,
            show_tags=show_tags,
            show_overlaps=show_overlaps,
        ).show()
