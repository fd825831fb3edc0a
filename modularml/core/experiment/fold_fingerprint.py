"""What a cross-validation consumes as a whole: its settings, the rows it divides, and its phases.

It knows no fold: phases are described as they are outside of them, without the rows that a fold has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from modularml.base.trees import plain
from modularml.core.experiment.fingerprint import Tree
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.staleness import PARTS
from modularml.core.experiment.standing import entries_of, tree_of
from modularml.io.digests import digests


class Division(Protocol):
    """How the rows of a FeatureSet are divided; a `CVBinding`."""

    @property
    def source_splits(self) -> Sequence[str] | None:
        """The splits whose rows are pooled."""
        ...

    @property
    def train_split_name(self) -> str:
        """The split that has other rows in each fold."""
        ...

    @property
    def val_split_name(self) -> str:
        """The other split that has other rows in each fold."""
        ...


Rows = Mapping[str, tuple[Division, np.ndarray, Mapping[str, np.ndarray]]]
"""Label of each FeatureSet -> how it is divided, its rows that are, and the columns it is divided by."""


def fold_fingerprint(group: Group, settings: Mapping[str, Any], rows: Rows) -> Tree:
    """Return what a cross-validation would consume if it ran now.

    Args:
        group: The cross-validation.
        settings: How it divides, as a configuration.
        rows: What is divided.

    Returns:
        ``phase`` (its settings), ``parts`` (its phases by name, each as `fingerprint` describes it,
        with the pooled rows in the place of those that each fold has others of) and ``whole`` (whether
        it was run to its end).
    """
    parts = {name: _divided(tree_of(entry), rows) for name, entry in entries_of(group)}
    return {"phase": plain(settings), PARTS: parts, "whole": False}


def _divided(tree: Tree, rows: Rows) -> Tree:
    if PARTS in tree:  # a cross-validation within this one
        return tree | {PARTS: {name: _divided(part, rows) for name, part in tree[PARTS].items()}}
    data = dict(tree["data"])
    for label in data.keys() & rows.keys():
        binding, pooled, columns = rows[label]
        others = (binding.train_split_name, binding.val_split_name)
        splits = {name: code for name, code in data[label]["splits"].items() if name not in others}
        if binding.source_splits is not None:
            splits[" + ".join(binding.source_splits)] = digests([pooled])[0]
        by = dict(zip(columns, digests(columns.values()), strict=True))
        data[label] = data[label] | {"splits": splits, "columns": data[label]["columns"] | by}
    return tree | {"data": data}
