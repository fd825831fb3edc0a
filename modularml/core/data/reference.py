"""References: where data or outputs come from, by label, to be looked up when needed.

They hold no objects: a context turns a reference into what it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from modularml.base.config import Configurable
from modularml.base.errors import ResolutionError, UnknownNameError
from modularml.base.keywords import checked_keywords
from modularml.core.context import ExperimentContext
from modularml.core.data.columns import DOMAINS, Column, doubled_keys, one
from modularml.core.data.view import FeatureSetView, Selection
from modularml.display.card import Shown


@checked_keywords
@dataclass(frozen=True)
class ExperimentNodeReference(Shown, Configurable):
    """A node of an experiment.

    Attributes:
        node_label: Its label, by which it is looked up.
        node_id: Its id, which finds it after a renaming.
    """

    node_label: str
    node_id: str = field(repr=False)

    def resolve(self, ctx: ExperimentContext | None = None) -> Any:
        """Return what this stands for.

        Args:
            ctx: The context of the experiment; None for the active one.

        Raises:
            ResolutionError: If it stands for nothing there.
        """
        return self._node(ctx)

    def _node(self, ctx: ExperimentContext | None) -> Any:
        context = ExperimentContext.get_active() if ctx is None else ctx
        try:
            return context.get_node(self)
        except UnknownNameError as error:
            raise ResolutionError(f"{self.to_string()!r} leads nowhere. {error}") from error

    def to_string(self, separator: str = ".", include_node_id: bool = False) -> str:
        """Return a short text, e.g. ``SensorData.features.voltage.raw``."""
        named = [f"{self.node_label}({self.node_id})" if include_node_id else self.node_label]
        return separator.join(named + self._parts())

    def _parts(self) -> list[str]:
        return []


@checked_keywords
@dataclass(frozen=True)
class GraphNodeReference(ExperimentNodeReference):
    """What a node of a model graph puts out.

    Attributes:
        output: The name of one of its outputs; None where it has only one.
    """

    output: str | None = field(default=None, kw_only=True)

    def _parts(self) -> list[str]:
        return [] if self.output is None else [self.output]


@checked_keywords
@dataclass(frozen=True)
class FeatureSetReference(ExperimentNodeReference):
    """Some columns of a FeatureSet.

    Attributes:
        features: Full names of features.
        targets: Full names of targets.
        tags: Full names of tags.
    """

    features: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for domain in DOMAINS:
            object.__setattr__(self, domain, tuple(getattr(self, domain)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The full names of all columns."""
        return self.features + self.targets + self.tags

    def resolve(self, ctx: ExperimentContext | None = None) -> FeatureSetView:
        """Return a view of these columns and all rows.

        Raises:
            ResolutionError: If the set or a column is not there.
        """
        return _select(self._data(ctx), self.columns, self)

    def _data(self, ctx: ExperimentContext | None) -> Selection:
        return _as_selection(self._node(ctx), self.node_label)


@checked_keywords
@dataclass(frozen=True)
class FeatureSetSplitReference(FeatureSetReference):
    """Some columns of a split of a FeatureSet.

    Attributes:
        split_name: The split.
    """

    split_name: str = ""

    def resolve(self, ctx: ExperimentContext | None = None) -> FeatureSetView:
        """Return a view of these columns and the split's rows; without columns, of all.

        Raises:
            ResolutionError: If the set, the split or a column is not there.
        """
        data: Any = self._data(ctx)
        try:
            split: FeatureSetView = data.get_split(self.split_name)
        except UnknownNameError as error:
            raise ResolutionError(str(error)) from error
        return _select(split, self.columns, self) if self.columns else split

    def _parts(self) -> list[str]:
        return [self.split_name]


@checked_keywords
@dataclass(frozen=True)
class FeatureSetColumnReference(ExperimentNodeReference):
    """One column of a FeatureSet.

    Attributes:
        domain: ``"features" | "targets" | "tags"``.
        key: Its key.
        rep: ``"raw" | "transformed"``.
    """

    domain: str = ""
    key: str = ""
    rep: str = "raw"

    @classmethod
    def from_string(cls, text: str, ctx: ExperimentContext | None = None) -> Self:
        """Read ``<label>.<domain>.<key>.<rep>``; parts may be left out if one column remains.

        Raises:
            ResolutionError: If it names no column, or several.
        """
        context = ExperimentContext.get_active() if ctx is None else ctx
        # A label may hold dots, so the longest label that fits is the one that is meant.
        labels = [label for label in context.nodes if text.startswith(f"{label}.")]
        if not labels:
            raise ResolutionError(f"{text!r} does not begin with the label of a node: {list(context.nodes)}.")
        label = max(labels, key=len)
        node = _as_selection(context.get_node(label), label)
        selector = text[len(label) + 1 :]
        column = Column.parse(one(selector, node.columns, where=f"FeatureSet {label!r}"))
        return cls(label, context.get_node(label).node_id, *column)

    def resolve(self, ctx: ExperimentContext | None = None) -> FeatureSetView:
        """Return a view of this column and all rows.

        Raises:
            ResolutionError: If the set or the column is not there.
        """
        return _select(_as_selection(self._node(ctx), self.node_label), (self.column,), self)

    @property
    def column(self) -> str:
        """The full name of the column."""
        return ".".join((self.domain, self.key, self.rep))

    def _parts(self) -> list[str]:
        return [self.domain, self.key, self.rep]


@checked_keywords
@dataclass(frozen=True)
class ModelOutputReference(GraphNodeReference):
    """What a node of a model graph puts out.

    Attributes:
        role: The role of the samples.
        domain: ``"outputs" | "targets" | "tags"``.
    """

    role: str = "default"
    domain: str = "outputs"

    def _parts(self) -> list[str]:
        return [self.role, self.domain, *super()._parts()]


def doubled_in(references: Iterable[FeatureSetReference]) -> str:
    """Say which keys references hold both raw and transformed, and how to take one; else nothing."""
    keys = [key for one in references for key in doubled_keys((*one.features, *one.targets), ())]
    if not keys:
        return ""
    listed = ", ".join(repr(key) for key in dict.fromkeys(keys))
    return f' The columns of {listed} come raw and transformed; fs.reference(rep="transformed") has one each.'


def _as_selection(node: object, label: str) -> Selection:
    if not isinstance(node, Selection):
        raise ResolutionError(f"{label!r} is a {type(node).__name__}, not a FeatureSet.")
    return node


def _select(data: Selection, columns: tuple[str, ...], reference: ExperimentNodeReference) -> FeatureSetView:
    try:
        return data.select(list(columns))
    except UnknownNameError as error:
        raise ResolutionError(f"{reference.to_string()!r} leads nowhere. {error}") from error
