"""The FeatureSet: labelled samples as a node of an experiment.

It knows no models and no phases. Rows, splits and scalers are its base's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    ResolutionError,
    check_label,
    told_of,
    warn,
)
from modularml.base.keywords import checked_keywords
from modularml.base.rows import as_names
from modularml.core.context import ExperimentContext, copy_of, new_id
from modularml.core.data import columns as names
from modularml.core.data import interchange
from modularml.core.data.columns import FEATURES, TAGS, TARGETS, Column
from modularml.core.data.entrance import enter
from modularml.core.data.formats import tensors
from modularml.core.data.reader import Selector
from modularml.core.data.reference import FeatureSetColumnReference, FeatureSetReference
from modularml.core.data.roles import name_columns
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.sample_set import SampleSet
from modularml.core.data.scaling import Scaling
from modularml.core.data.splits import Splits
from modularml.core.data.view import Selection
from modularml.io import codec

Keys = str | Sequence[str]
AnyKeys = Keys | None


@checked_keywords
class FeatureSet(SampleSet):
    """Samples with features, targets and tags; usually made by one of the ``from_`` methods.

    A column holds numbers, bools, text, dates or time spans, one array of any shape a sample.
    What is missing is NaN, NaT or the empty text; categories become their values, dates with a
    time zone those of UTC. Of all these only numbers and bools can feed a model, as features and
    as targets; anything else has to be encoded first (any transformer of scikit-learn will do, see
    `fit_transform`), and a phase that would train on NaN or an
    infinity says so.

    It registers itself with the active experiment context.

    Args:
        label: Its name.
        collection: Its columns.
        node_id: Its id; None makes one.
        register: Whether to register it.

    Raises:
        InvalidTypeError: If the label is not text or the collection is no `Table`.
        DuplicateLabelError: If the label is taken and the context's policy is ``"raise"``.
    """

    def __init__(
        self, label: str, collection: SampleCollection, *, node_id: str | None = None, register: bool = True
    ) -> None:
        check_label(label, "FeatureSet")
        if not isinstance(collection, SampleCollection):
            raise InvalidTypeError(
                f"FeatureSet {label!r} needs a SampleCollection, got a {type(collection).__name__}. "
                "FeatureSet.from_dict takes arrays and lists."
            )
        super().__init__(label, collection)
        self.node_id = new_id() if node_id is None else node_id
        self._context = ExperimentContext.get_active()
        if register:
            self._context.register(self)

    @classmethod
    def from_dict(
        cls,
        label: str,
        data: Mapping[str, Any],
        feature_keys: Keys,
        target_keys: AnyKeys = None,
        tag_keys: AnyKeys = None,
    ) -> Self:
        """Make a set of arrays or lists with one element a sample.

        Arrays are kept as they are, not copied. Samples of length 1 become scalars.

        Args:
            label: The set's label.
            data: Key -> array of shape ``(n_samples, *sample_shape)``, or a list of samples.
            feature_keys: The keys of features.
            target_keys: The keys of targets.
            tag_keys: The keys of tags, by which samples are chosen and grouped.

        Raises:
            UnknownNameError: If a key is not in the data.
            InvalidValueError: If the data are empty or ragged, columns differ in length,
                or a key comes twice.
            InvalidTypeError: If a column holds what its domain may not hold.
        """
        faults = Faults(_named(label))
        if not isinstance(data, Mapping):
            raise InvalidTypeError(
                f"FeatureSet {label!r}: data must be a dict of key -> samples, got a {type(data).__name__}; "
                "data frames and tables are read by from_pandas and from_arrow."
            )
        if not data:
            raise InvalidValueError(f"FeatureSet {label!r}: the data are an empty dict.")
        columns = name_columns(data, feature_keys, target_keys, tag_keys, faults)
        return cls(label, SampleCollection.from_values(columns, faults=faults))

    @classmethod
    def from_pandas(
        cls,
        label: str,
        df: Any,
        feature_cols: Keys,
        target_cols: AnyKeys = None,
        group_by: AnyKeys = None,
        tag_cols: AnyKeys = None,
        sort_by: AnyKeys = None,
    ) -> Self:
        """Make a set of a DataFrame: a sample a row, or a group of rows a sample.

        Args:
            label: The set's label.
            df: The DataFrame.
            feature_cols: The columns of features.
            target_cols: The columns of targets.
            group_by: Columns; the rows that agree in them become one sample, whose
                features and targets are arrays and whose tags are single values.
            tag_cols: The columns of tags.
            sort_by: Columns that order the rows of a group.

        Raises:
            ImportError: If pandas is not installed.
            UnknownNameError, InvalidValueError, InvalidTypeError: As `from_dict` does, and
                if groups differ in size or a tag has several values in one.
        """
        with told_of(_named(label)):
            named = interchange.column_names
            features = named(feature_cols, "feature_cols")
            targets, tags = named(target_cols, "target_cols"), named(tag_cols, "tag_cols")
            by = named(group_by, "group_by"), named(sort_by, "sort_by")
            data = interchange.from_pandas(df, dict.fromkeys((*features, *targets, *tags)), tags, *by)
        return cls.from_dict(label, data, features, targets, tags)

    from_df = from_pandas

    @classmethod
    def from_arrow(
        cls,
        label: str,
        data: Any,
        feature_keys: Keys,
        target_keys: AnyKeys = None,
        tag_keys: AnyKeys = None,
    ) -> Self:
        """Make a set of anything that speaks Arrow: pyarrow, polars, duckdb, datasets.

        The arguments and errors are those of `from_dict`; a list column of `data`, an object
        with ``__arrow_c_stream__``, holds arrays.

        Raises:
            ImportError: If pyarrow is not installed.
        """
        with told_of(_named(label)):
            columns = interchange.from_arrow(data)
        return cls.from_dict(label, columns, feature_keys, target_keys, tag_keys)

    @classmethod
    def from_numpy(
        cls,
        label: str,
        features: Any,
        targets: Any = None,
        *,
        feature_keys: Keys = "x",
        target_keys: Keys = "y",
    ) -> Self:
        """Make a set of arrays of shape ``(n_samples, *sample_shape)``, as scikit-learn takes them.

        One key names the whole array, several name its columns. Errors are those of `from_dict`.
        """
        with told_of(_named(label)):
            x_keys, y_keys = as_names(feature_keys, "feature_keys"), as_names(target_keys, "target_keys")
            both = sorted(set(x_keys) & set(y_keys)) if targets is not None else []
            if both:
                raise InvalidValueError(f"features and targets need keys of their own, both have {both}.")
            data = interchange.from_numpy(features, x_keys)
            if targets is not None:
                data |= interchange.from_numpy(targets, y_keys)
        return cls.from_dict(label, data, x_keys, None if targets is None else y_keys)

    @classmethod
    def from_torch(
        cls,
        label: str,
        data: Any,
        feature_keys: Keys,
        target_keys: AnyKeys = None,
        tag_keys: AnyKeys = None,
    ) -> Self:
        """Make a set of a torch ``Dataset``, read once and as a whole where it can be.

        The arguments and errors are those of `from_dict`. A sample is a dict; or a tuple,
        whose parts get the keys in order: features first, then targets, then tags.
        """
        with told_of(_named(label)):
            listed = [as_names(given, "A key") for given in (feature_keys, target_keys, tag_keys)]
            columns = tensors().columns_of(data, [key for keys in listed for key in keys])
        return cls.from_dict(label, columns, *listed)

    @classmethod
    def from_pyarrow_table(cls, label: str, table: Any, schema: Any = None) -> Self:
        """Make a set of what `to_arrow` returned: columns named ``<domain>.<key>.<rep>``.

        Args:
            label: The set's label.
            table: A pyarrow Table, or anything else that speaks Arrow.
            schema: A pyarrow schema that it is cast to.

        Raises:
            ImportError: If pyarrow is not installed.
            InvalidValueError: If a column is named otherwise, or cannot be cast.
        """
        with told_of(_named(label)):
            collection = SampleCollection(table, schema)
        return cls(label, collection)

    # Identity

    @property
    def label(self) -> str:
        """Its name; a new one is made known to the context.

        Raises:
            DuplicateLabelError: If the new label is taken.
        """
        return self._label

    @label.setter
    def label(self, label: str) -> None:
        check_label(label, "FeatureSet")
        if self._context.has_node(self):
            self._context.rename(self, label)
        self._label = label
        self._splits.where = self._where

    @property
    def context(self) -> ExperimentContext:
        """The context that it belongs to."""
        return self._context

    def _move_to(self, ctx: ExperimentContext) -> None:
        """Enter the set in another context, in the place of whatever bears its label there."""
        self._context = ctx
        ctx.replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a set with data, splits and scalers of its own, in the same experiment and unknown to it.

        ``fs.context.register(copied)`` enters it, once it has another label.
        """
        made: Self = copy_of(self, memo)
        return made

    def __repr__(self) -> str:
        return f"FeatureSet(label={self._label!r}, n_samples={self.n_samples})"

    def __eq__(self, other: object) -> bool:
        """Compare id, label, data, splits and scalers."""
        if not isinstance(other, FeatureSet):
            return NotImplemented
        pair = (self, other)
        mine, theirs = ((s.node_id, s._label, s._splits, s._scaling.records, s._table) for s in pair)
        return mine == theirs

    def __hash__(self) -> int:
        return hash(self.node_id)

    def _from_selection(self, selection: Selection, label: str) -> FeatureSet:
        """Make a set of its own of some rows and columns; the samples keep their ids."""
        return FeatureSet(label, selection.to_sample_collection())

    def copy(
        self,
        *,
        label: str | None = None,
        share_raw_data_buffer: bool = True,
        restore_splits: bool = False,
        restore_scalers: bool = False,
        register: bool = False,
    ) -> FeatureSet:
        """Return another set with the same raw data.

        Args:
            label: Its label; None keeps this one's.
            share_raw_data_buffer: Whether both use the same arrays.
            restore_splits: Whether it has the same splits.
            restore_scalers: Whether it has the same scalers and transformed columns.
            register: Whether to register it.
        """
        table = self._table.copy(raw_only=not restore_scalers, deep=not share_raw_data_buffer)
        twin = FeatureSet(self._label if label is None else label, table, register=register)
        if restore_splits:
            twin._splits = self._splits.copy(twin._where)
        if restore_scalers:
            twin._scaling = Scaling(self._scaling.records)
        return twin

    def reference(
        self,
        columns: Selector = None,
        *,
        features: Selector = None,
        targets: Selector = None,
        tags: Selector = None,
        rep: str | None = None,
    ) -> FeatureSetReference:
        """Return a reference to some columns, to feed a model with; selectors are as in `select`.

        A domain that nothing is named of comes with all its columns; with `rep`, a key comes
        in that representation where it has it, and in what there is where not. A key comes
        raw and transformed unless one is named, which is warned of.

        Raises:
            UnknownNameError: If a selector matches nothing.
        """
        given = {FEATURES: features, TARGETS: targets, TAGS: tags, None: columns}
        picked = names.complete(self.columns, given, rep=rep, where=self._where)
        doubled = names.doubled_keys(
            [name for of_domain in picked.values() for name in of_domain], given.values()
        )
        if doubled:
            warn(
                f"The reference to {self._where} has both the raw and the transformed column of "
                f"{', '.join(map(repr, doubled))}; choose one with rep=."
            )
        return FeatureSetReference(self._label, self.node_id, **picked)

    def column_reference(
        self,
        column: str | None = None,
        *,
        feature: str | None = None,
        target: str | None = None,
        tag: str | None = None,
        rep: str | None = None,
    ) -> FeatureSetColumnReference:
        """Return a reference to one column.

        Raises:
            ResolutionError: If the selectors do not leave exactly one column.
        """
        picked = self._picked(column, feature, target, tag, rep)
        if len(picked) != 1:
            listed = ", ".join(map(repr, picked))
            raise ResolutionError(
                f"One column of {self._where} must be named; these are {len(picked)}: {listed}."
            )
        return FeatureSetColumnReference(self._label, self.node_id, *Column.parse(picked[0]))

    def get_config(self) -> dict[str, Any]:
        """Return label and id."""
        return {"label": self._label, "node_id": self.node_id}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, register: bool = True) -> Self:
        """Make a set without samples, for `set_state` to fill."""
        return cls(
            config["label"], SampleCollection.of_arrays({}), node_id=config["node_id"], register=register
        )

    def get_state(self) -> dict[str, Any]:
        """Return data, splits and scalers as a tree of plain values, arrays and estimators."""
        return {
            "table": self._table.get_state(),
            "splits": self._splits.get_state(),
            "scaling": self._scaling.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._table = SampleCollection.from_state(state["table"])
        self._splits = Splits.from_state(state["splits"], self._where)
        self._scaling = Scaling.from_state(state["scaling"])

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the set to a ``.fs.mml`` file and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
        """
        tree = {"config": self.get_config(), "state": self.get_state()}
        return codec.save(filepath, "feature_set", tree, overwrite=overwrite)

    @classmethod
    def load(
        cls, filepath: str | Path, *, overwrite: bool = False, symbols: Mapping[str, Any] | None = None
    ) -> FeatureSet:
        """Read a set from a file; its arrays are mapped into memory, read-only.

        If the active context has a set of this id, that one is returned where it is
        identical. Else `overwrite` decides whether the loaded one takes its place or
        gets an id and, if taken, a label of its own. Each case is told once.

        Args:
            filepath: The file.
            overwrite: Whether a set of the same id or label is replaced.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If the file is damaged, of another kind or newer.
            FileNotFoundError: If it is not there.
        """
        tree = codec.load(filepath, "feature_set", symbols=symbols, mmap=True)
        loaded = cls.from_config(tree["config"], register=False)
        loaded.set_state(tree["state"])
        return enter(loaded, loaded._context, overwrite=overwrite)


def _named(label: str) -> str:
    return f"FeatureSet {check_label(label, 'FeatureSet')!r}"
