"""Reading columns: their keys, shapes, dtypes, and values in every format.

It knows neither splits nor scalers, only a table, some of its columns and some rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from modularml.base.errors import warn
from modularml.base.keywords import checked_keywords
from modularml.core.data import columns as names
from modularml.core.data.batch import SampleData
from modularml.core.data.columns import FEATURES, SAMPLE_UUIDS, TAGS, TARGETS, Column
from modularml.core.data.formats import SIDE_BY_SIDE, DataFormat, export, tensors
from modularml.core.data.interchange import to_arrow

Selector = str | Sequence[str] | None
_CHUNK_BYTES = 1 << 21


class ColumnSource(Protocol):
    """Whole columns, by their full names."""

    def ids(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the ids of some rows, shape ``(n_rows,)``, text."""
        ...

    def column(self, name: str) -> np.ndarray:
        """Return one column, shape ``(n_samples, *sample_shape)``."""
        ...


@checked_keywords
class ColumnReader(ABC):
    """Some columns and rows of a table."""

    @property
    @abstractmethod
    def table(self) -> ColumnSource:
        """The table that is read, with all its rows and columns."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The full names of the columns."""

    @property
    @abstractmethod
    def n_samples(self) -> int:
        """How many rows there are."""

    @property
    @abstractmethod
    def _index(self) -> slice | np.ndarray:
        """What picks the rows out of a column of the table; a slice where that will do."""

    @property
    @abstractmethod
    def _where(self) -> str:
        """What messages call this."""

    def __len__(self) -> int:
        return self.n_samples

    def column(self, name: str) -> np.ndarray:
        """Return the values of one column, not copied where the rows lie side by side.

        What is not a copy is read-only, here and in every other getter: writing into it would
        change the samples behind the back of splits, scalers and files.

        Args:
            name: A full column name or any selector that picks just one, or
                ``"sample_uuids"``.

        Returns:
            Array of shape ``(n_samples, *sample_shape)``.

        Raises:
            UnknownColumnError: If nothing matches.
            ResolutionError: If several columns match.
        """
        if name == SAMPLE_UUIDS:
            return locked(self.table.ids(self._index))
        return self._rows_of(names.one(name, self.columns, where=self._where))

    def _rows_of(self, name: str) -> np.ndarray:
        taken = self.table.column(name)[self._index]
        return locked(taken) if isinstance(self._index, slice) else taken

    def _picked(
        self, columns: Selector, features: Selector, targets: Selector, tags: Selector, rep: str | None
    ) -> tuple[str, ...]:
        chosen = {None: columns, FEATURES: features, TARGETS: targets, TAGS: tags}
        return names.select(self.columns, chosen, rep=rep, where=self._where)

    def _of(self, domain: str | None) -> list[str]:
        return [name for name in self.columns if domain in (None, Column.parse(name).domain)]

    # Keys

    def get_feature_keys(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> list[str]:
        """Return the names of the feature columns."""
        return self._keys(FEATURES, include_domain_prefix, include_rep_suffix)

    def get_target_keys(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> list[str]:
        """Return the names of the target columns."""
        return self._keys(TARGETS, include_domain_prefix, include_rep_suffix)

    def get_tag_keys(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> list[str]:
        """Return the names of the tag columns."""
        return self._keys(TAGS, include_domain_prefix, include_rep_suffix)

    def get_all_keys(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> list[str]:
        """Return the names of all columns."""
        return self._keys(None, include_domain_prefix, include_rep_suffix)

    def _keys(self, domain: str | None, prefix: bool, suffix: bool) -> list[str]:
        short = [Column.parse(name).short(domain=prefix, rep=suffix) for name in self._of(domain)]
        return list(dict.fromkeys(short))

    # Shapes and dtypes

    def get_feature_shapes(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of one sample of each feature; a scalar's is ``()``."""
        return self._shapes(FEATURES, include_domain_prefix, include_rep_suffix)

    def get_target_shapes(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of one sample of each target; a scalar's is ``()``."""
        return self._shapes(TARGETS, include_domain_prefix, include_rep_suffix)

    def get_tag_shapes(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of one sample of each tag; a scalar's is ``()``."""
        return self._shapes(TAGS, include_domain_prefix, include_rep_suffix)

    def get_feature_dtypes(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> dict[str, np.dtype]:
        """Return the dtype of each feature."""
        return self._dtypes(FEATURES, include_domain_prefix, include_rep_suffix)

    def get_target_dtypes(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> dict[str, np.dtype]:
        """Return the dtype of each target."""
        return self._dtypes(TARGETS, include_domain_prefix, include_rep_suffix)

    def get_tag_dtypes(
        self, *, include_rep_suffix: bool = True, include_domain_prefix: bool = True
    ) -> dict[str, np.dtype]:
        """Return the dtype of each tag."""
        return self._dtypes(TAGS, include_domain_prefix, include_rep_suffix)

    def _shapes(self, domain: str, prefix: bool, suffix: bool) -> dict[str, tuple[int, ...]]:
        short = names.short_names(self._of(domain), domain=prefix, rep=suffix)
        return {key: self.table.column(name).shape[1:] for name, key in short.items()}

    def _dtypes(self, domain: str, prefix: bool, suffix: bool) -> dict[str, np.dtype]:
        short = names.short_names(self._of(domain), domain=prefix, rep=suffix)
        return {key: self.table.column(name).dtype for name, key in short.items()}

    # Values

    def get_data(
        self,
        *,
        columns: Selector = None,
        features: Selector = None,
        targets: Selector = None,
        tags: Selector = None,
        rep: str | None = None,
        fmt: str | DataFormat = DataFormat.DICT_NUMPY,
        include_domain_prefix: bool = True,
        include_rep_suffix: bool = True,
    ) -> Any:
        """Return the values of some columns, or of all if none is named.

        Args:
            columns: Selectors of any domain.
            features: Selectors of features.
            targets: Selectors of targets.
            tags: Selectors of tags.
            rep: Only this representation, ``"raw"`` or ``"transformed"``.
            fmt: The form, see `DataFormat`.
            include_domain_prefix: Whether names keep ``features.`` and so on.
            include_rep_suffix: Whether names keep ``.raw`` and so on. A part that
                tells two columns apart stays.

        Where a key comes raw and transformed in a form that has no names, that is warned of.

        Raises:
            UnknownColumnError: If a selector matches nothing.
            InvalidValueError: If the format is unknown or the shapes do not fit it.
        """
        picked = self._picked(columns, features, targets, tags, rep)
        if DataFormat.from_value(fmt) in SIDE_BY_SIDE:
            doubled = names.doubled_keys(picked, (columns, features, targets, tags))
            if doubled:
                warn(
                    f"Raw and transformed columns of {', '.join(map(repr, doubled))} of {self._where} are "
                    "put side by side; choose one with rep=."
                )
        short = names.short_names(picked, domain=include_domain_prefix, rep=include_rep_suffix)
        return export({key: self._rows_of(name) for name, key in short.items()}, fmt)

    def get_features(
        self,
        fmt: str | DataFormat = DataFormat.DICT_NUMPY,
        *,
        features: Selector = None,
        rep: str | None = None,
        include_domain_prefix: bool = False,
        include_rep_suffix: bool = False,
    ) -> Any:
        """Return the values of the features, or of some of them; see `get_data`."""
        return self._values(FEATURES, features, rep, fmt, include_domain_prefix, include_rep_suffix)

    def get_targets(
        self,
        fmt: str | DataFormat = DataFormat.DICT_NUMPY,
        *,
        targets: Selector = None,
        rep: str | None = None,
        include_domain_prefix: bool = False,
        include_rep_suffix: bool = False,
    ) -> Any:
        """Return the values of the targets, or of some of them; see `get_data`."""
        return self._values(TARGETS, targets, rep, fmt, include_domain_prefix, include_rep_suffix)

    def get_tags(
        self,
        fmt: str | DataFormat = DataFormat.DICT_NUMPY,
        *,
        tags: Selector = None,
        rep: str | None = None,
        include_domain_prefix: bool = False,
        include_rep_suffix: bool = False,
    ) -> Any:
        """Return the values of the tags, or of some of them; see `get_data`."""
        return self._values(TAGS, tags, rep, fmt, include_domain_prefix, include_rep_suffix)

    def _values(
        self,
        domain: str,
        chosen: Selector,
        rep: str | None,
        fmt: str | DataFormat,
        prefix: bool,
        suffix: bool,
    ) -> Any:
        present = self._of(domain)
        everything = "*" if present or rep else []
        selectors = everything if chosen is None else chosen
        return self.get_data(
            **{domain: selectors},
            rep=rep,
            fmt=fmt,
            include_domain_prefix=prefix,
            include_rep_suffix=suffix,
        )

    def get_sample_uuids(self, fmt: str | DataFormat = DataFormat.NUMPY) -> Any:
        """Return the id of each sample, shape ``(n_samples,)``."""
        uuids = self.column(SAMPLE_UUIDS)
        match DataFormat.from_value(fmt):
            case DataFormat.NUMPY:
                return uuids
            case DataFormat.LIST:
                return uuids.tolist()
            case other:
                return export({SAMPLE_UUIDS: uuids}, other)

    def to_sample_data(
        self,
        fmt: str | DataFormat = DataFormat.NUMPY,
        *,
        columns: Selector = None,
        features: Selector = None,
        targets: Selector = None,
        tags: Selector = None,
        rep: str | None = None,
    ) -> SampleData:
        """Return the values by domain; a domain that nothing is named of comes with all its columns.

        Tags come as a dict of arrays: they may be of several kinds. The arguments are
        those of `get_data`.
        """
        chosen = {None: columns, FEATURES: features, TARGETS: targets, TAGS: tags}
        values = {}
        for domain, picked in names.complete(self.columns, chosen, rep=rep, where=self._where).items():
            short = names.short_names(picked, domain=False, rep=False)
            arrays = {key: self._rows_of(name) for name, key in short.items()}
            if arrays:
                values[domain] = export(arrays, DataFormat.DICT if domain == TAGS else fmt)
        return SampleData(values, sample_uuids=lambda: self.column(SAMPLE_UUIDS))

    def to_torch_dataset(
        self,
        *,
        features: Selector = None,
        targets: Selector = None,
        rep: str | None = None,
        keep_apart: bool = False,
    ) -> Any:
        """Return the rows as a torch ``Dataset`` of features, or of pairs of features and targets.

        An integer gives one sample; a list of integers gives several, gathered at once.
        Nothing is copied before.

        Args:
            features: Selectors of features; None for all.
            targets: Selectors of targets; None for all, an empty list for none.
            rep: Only this representation, ``"raw"`` or ``"transformed"``.
            keep_apart: Whether columns come as a dict of tensors instead of side by side,
                shape ``(n_keys, *key_shape)``.

        Raises:
            UnknownColumnError: If a selector matches nothing.
        """
        index = self._index
        of_rows, rows = slice(None), index
        if isinstance(index, slice):
            of_rows, rows = index, np.arange(self.n_samples)
        chosen: dict[str | None, Selector] = {FEATURES: features, TARGETS: targets}
        picked = names.complete(self.columns, chosen, rep=rep, where=self._where)
        parts = [
            {key: self.table.column(name)[of_rows] for name, key in short.items()}
            for domain in (FEATURES, TARGETS)
            for short in [names.short_names(picked[domain], domain=False, rep=False)]
            if short
        ]
        return tensors().SampleDataset(parts, rows, keep_apart=keep_apart)

    def to_pandas(self) -> Any:
        """Return a DataFrame of all columns under their full names.

        Raises:
            ImportError: If pandas is not installed.
        """
        return self.get_data(fmt=DataFormat.PANDAS)

    def to_arrow(self) -> Any:
        """Return a pyarrow Table of all columns under their full names, and the samples' ids.

        Raises:
            ImportError: If pyarrow is not installed.
        """
        return to_arrow(self.get_data() | {SAMPLE_UUIDS: self.column(SAMPLE_UUIDS)})

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Hand the columns to whatever speaks Arrow: ``polars.DataFrame(fs)``."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """Yield a column in pieces of a bounded size, shape ``(n_rows, *sample_shape)`` each."""
        column, index = self.table.column(name), self._index
        step = max(1, _CHUNK_BYTES // max(1, column[:1].nbytes))
        for start in range(0, self.n_samples, step):
            stop = min(start + step, self.n_samples)
            if isinstance(index, slice):
                first = index.start or 0
                yield column[first + start : first + stop]
            else:
                yield column[index[start:stop]]

    def _some_values(self, name: str, n: int) -> np.ndarray:
        """Return about `n` values of a column, of samples at equal distances, shape ``(n_values,)``."""
        column, index = self.table.column(name), self._index
        step = max(1, self.n_samples * int(np.prod(column.shape[1:])) // n)
        found = column[index][::step] if isinstance(index, slice) else column[index[::step]]
        return found.reshape(-1)


def locked(array: np.ndarray) -> np.ndarray:
    """Return an array, or a view of it, that cannot be written to; the array itself stays as it is."""
    view = array.view()
    view.flags.writeable = False
    return view
