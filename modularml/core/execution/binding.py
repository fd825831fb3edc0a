"""Which rows of which FeatureSet enter which head node, and who draws the batches.

It knows no phase and no loop.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from modularml.base.config import Configurable
from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.core.context import ExperimentContext
from modularml.core.data.batch_view import BatchView
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import (
    FeatureSetReference,
    FeatureSetSplitReference,
    GraphNodeReference,
)
from modularml.core.data.view import FeatureSetView
from modularml.core.execution.streams import DEFAULT_ROLE
from modularml.core.topology.graph_node import GraphNode
from modularml.display.card import Shown
from modularml.samplers import Sampler, SimpleSampler


@checked_keywords
@dataclass(frozen=True, kw_only=True)
class InputBinding(Shown, Configurable):
    """Binds a head node to the data that enters it during a phase.

    Make one with `for_training` (with a sampler) or `for_evaluation` (without).

    Attributes:
        node_ref: The head node.
        upstream_ref: The FeatureSet that feeds it, and the columns that it reads.
        split: A split of that FeatureSet; None takes every row.
        sampler: Draws the batches; None passes the rows in their order.
    """

    _elsewhere: ClassVar[Mapping[str, str]] = {
        "stream": (
            "A sampler has one, so leave it out: InputBinding.for_training(node=node, "
            "sampler=SimpleSampler(batch_size=8))."
        ),
    }

    node_ref: GraphNodeReference
    upstream_ref: FeatureSetReference
    split: str | None = None
    sampler: Sampler | None = None

    @classmethod
    def for_training(
        cls,
        *,
        node: GraphNode | str,
        sampler: Sampler,
        upstream: FeatureSet | FeatureSetView | str | None = None,
        split: str | None = None,
    ) -> Self:
        """Bind `node` to batches that `sampler` draws.

        Args:
            node: The head node, its label or its id.
            sampler: Draws the batches of each epoch.
            upstream: The FeatureSet, a view of it, its label or id; None where the node
                has exactly one FeatureSet upstream.
            split: The split to draw from; None takes every row.

        Raises:
            InvalidTypeError: If `sampler` is no sampler.
            InvalidValueError: If the upstream or the split is unknown, or None is ambiguous.
            StateError: If no FeatureSet feeds the node.
        """
        if not isinstance(sampler, Sampler):
            raise InvalidTypeError(
                f"InputBinding for {_label(node)!r}: sampler must be a Sampler such as "
                f"SimpleSampler(batch_size=32), got {sampler!r} ({type(sampler).__name__}). "
                "For data without a sampler use for_evaluation()."
            )
        return replace(cls.for_evaluation(node=node, upstream=upstream, split=split), sampler=sampler)

    @classmethod
    def for_evaluation(
        cls,
        *,
        node: GraphNode | str,
        upstream: FeatureSet | FeatureSetView | str | None = None,
        split: str | None = None,
    ) -> Self:
        """Bind `node` to all rows of a split, in their order.

        Args:
            node: The head node, its label or its id.
            upstream: The FeatureSet, a view of it, its label or id; None where the node
                has exactly one FeatureSet upstream.
            split: The split to pass; None takes every row.

        Raises:
            InvalidValueError: If the upstream or the split is unknown, or None is ambiguous.
            StateError: If no FeatureSet feeds the node.
        """
        ctx = ExperimentContext.get_active()
        head = ctx.get_node(node, GraphNode)
        ref = _upstream_of(head, upstream)
        featureset = ctx.get_node(ref, FeatureSet)
        if isinstance(upstream, FeatureSetView):
            split = _split_of(upstream, split)
        if split is not None and split not in featureset.available_splits:
            where = f"FeatureSet {featureset.label!r}"
            raise InvalidValueError(unknown_name("split", split, featureset.available_splits, where=where))
        return cls(node_ref=head.reference(), upstream_ref=ref, split=split)

    @property
    def node_id(self) -> str:
        """The id of the head node."""
        return self.node_ref.node_id

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that the samples of a batch have."""
        return (DEFAULT_ROLE,) if self.sampler is None else self.sampler.role_names

    def resolve_input_view(self, ctx: ExperimentContext | None = None) -> FeatureSetView:
        """Return the rows and columns that enter the node.

        Raises:
            ResolutionError: If the FeatureSet, the split or a column is no longer there.
        """
        return self._input_ref.resolve(ctx)

    def materialize_batches(self, ctx: ExperimentContext | None = None) -> list[BatchView]:
        """Return the batches of the first epoch, or all rows as one where there is no sampler.

        Raises as `resolve_input_view`.
        """
        view = self.resolve_input_view(ctx)
        sampler = self.sampler or SimpleSampler(batch_size=max(view.n_samples, 1))
        return list(view._sampled(sampler.epoch(view, 0)).get_stream("default"))

    @functools.cached_property
    def _input_ref(self) -> FeatureSetReference:
        ref = self.upstream_ref
        if self.split is None:
            return ref
        return FeatureSetSplitReference(
            ref.node_label, ref.node_id, ref.features, ref.targets, ref.tags, self.split
        )


def _split_of(view: FeatureSetView, split: str | None) -> str:
    """Return the split that a view is; a binding is kept by names, so it can be nothing else."""
    source: Any = view.source
    named = view.label if split is None else split
    if named not in source.available_splits or not np.array_equal(source.get_split(named).rows, view.rows):
        raise InvalidValueError(
            f"{view!r} is not the split {named!r} of {source.label!r}. A binding takes the rows of a split "
            f"(Available: {source.available_splits}) or all; make the view a split first."
        )
    return str(named)


def _label(node: object) -> object:
    return getattr(node, "label", node)


def _upstream_of(head: GraphNode, upstream: FeatureSet | FeatureSetView | str | None) -> FeatureSetReference:
    refs = head.featureset_refs
    if not refs:
        raise StateError(f"{head!r} is fed by other nodes, not by a FeatureSet; bind the head nodes instead.")
    labels = [head.context.label_of(ref) for ref in refs]
    if upstream is None:
        if len(refs) > 1:
            raise InvalidValueError(
                f"{head!r} has several FeatureSets upstream, {labels}: say which with `upstream`."
            )
        return refs[0]
    source: Any = upstream.source if isinstance(upstream, FeatureSetView) else upstream
    names = (source,) if isinstance(source, str) else (source.label, source.node_id)
    for ref, label in zip(refs, labels, strict=True):
        if label in names or ref.node_id in names:
            return ref
    raise InvalidValueError(unknown_name("upstream", _label(source), labels, where=repr(head)))
