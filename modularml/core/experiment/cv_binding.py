"""Which rows of a FeatureSet a cross-validation divides, and into which to train and to validate on.

It knows no phase and no fold that runs: it answers with positions of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modularml.base.config import Configurable
from modularml.base.errors import Faults, InvalidValueError, check_label, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.base.rows import as_names
from modularml.core.context import ExperimentContext
from modularml.core.data.columns import one
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.view import FeatureSetView
from modularml.splitters import RandomSplitter, SklearnSplitter, Splitter


@checked_keywords
@dataclass(frozen=True)
class CVBinding(Configurable):
    """Which rows of a FeatureSet are divided, and how.

    Attributes:
        fs: The FeatureSet, or the label of one of the active experiment; kept as its label.
        source_splits: The splits whose rows are pooled and divided anew; None pools every row.
        group_by: Columns; rows that agree in them stay together.
        stratify_by: Columns; each fold gets its share of every combination of values.
        train_split_name: The split that phases train on; it has other rows in each fold.
        val_split_name: The split that phases validate on; it has other rows in each fold.
        val_size: The share of the rows that each fold draws anew to validate on. None
            divides the rows into as many parts as there are folds, and validates on each once.

    Raises:
        InvalidValueError: If a value is not allowed; all faults are told together.
        InvalidTypeError: If one is of a wrong type, or `fs` is the label of something else.
        UnknownNameError: If the active experiment has no FeatureSet of that label, or that no such column.
    """

    fs: Any
    source_splits: Any = None
    group_by: Any = None
    stratify_by: Any = None
    train_split_name: str = "train"
    val_split_name: str = "val"
    val_size: float | None = None

    def __post_init__(self) -> None:
        faults = Faults("CVBinding")
        found = self.fs if isinstance(self.fs, FeatureSet) else faults.attempt(_named, self.fs)
        object.__setattr__(self, "fs", None if found is None else found.label)
        names = None
        if self.source_splits is not None:
            names = faults.attempt(as_names, self.source_splits, "source_splits")
            if names is not None and not names:
                faults.add("source_splits is empty; None pools every row.")
        object.__setattr__(self, "source_splits", None if names is None else list(names))
        given = {"group_by": self.group_by, "stratify_by": self.stratify_by}
        named = [faults.attempt(as_names, value, option) for option, value in given.items()]
        if found is not None:
            self._check_names(found, [column for of in named for column in of or ()], faults)
        for name in (self.train_split_name, self.val_split_name):
            faults.attempt(check_label, name, "split")
        if self.train_split_name == self.val_split_name:
            faults.add(f"train_split_name and val_split_name are both {self.train_split_name!r}.")
        if self.val_size is not None and not (
            isinstance(self.val_size, float) and 0 < self.val_size < 1  # also refuses NaN
        ):
            faults.add(f"val_size must be a share between 0 and 1, got {self.val_size!r}.")
        faults.raise_if_any()

    def _check_names(self, featureset: FeatureSet, columns: Sequence[str], faults: Faults) -> None:
        """Note the splits and columns that a FeatureSet does not have."""
        where = f"FeatureSet {featureset.label!r}"
        for split in self.source_splits or ():
            if split not in featureset.available_splits:
                faults.add(unknown_name("source split", split, featureset.available_splits, where=where))
        for column in columns:
            faults.attempt(one, column, featureset.columns, where=where)

    def featureset(self, ctx: ExperimentContext) -> FeatureSet:
        """Return the FeatureSet as it is now."""
        found: FeatureSet = ctx.get_node(self.fs, FeatureSet)
        return found

    def pooled(self, featureset: FeatureSet) -> np.ndarray:
        """Return the rows to divide, each once, int64 of shape ``(n,)``."""
        if self.source_splits is None:
            return featureset.rows
        return np.unique(np.concatenate([featureset.get_split(name).rows for name in self.source_splits]))


def _named(label: Any) -> FeatureSet:
    """Return the FeatureSet of a label."""
    label = check_label(label, "FeatureSet of a CVBinding")
    found: FeatureSet = ExperimentContext.get_active().get_node(label, FeatureSet)
    return found


def divisions(
    binding: CVBinding, view: FeatureSetView, *, n_folds: int, seed: int, splitter: Any, where: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the positions to train and to validate on, of each fold.

    Args:
        binding: How the rows are divided.
        view: The rows.
        n_folds: How many folds there are; not used with a `splitter`.
        seed: Decides how they are divided.
        splitter: What divides them instead, as `CrossValidation` takes it, or None.
        where: The cross-validation, for messages.

    Raises:
        InvalidValueError: If the splitter makes other parts than pairs.
    """
    columns = {"group_by": binding.group_by, "stratify_by": binding.stratify_by}
    if binding.val_size is not None:
        ratios = {"train": 1 - binding.val_size, "val": binding.val_size}
        draws = (RandomSplitter(ratios, seed=seed + i, **columns).indices(view) for i in range(n_folds))
        return [(parts["train"], parts["val"]) for parts in draws]
    if splitter is None:
        splitter = _k_fold(n_folds, seed, **columns)
    elif not isinstance(splitter, Splitter):
        splitter = SklearnSplitter(splitter, **columns)
    parts = list(splitter.indices(view).values())
    if len(parts) % 2:
        raise InvalidValueError(
            f"{where}: {splitter!r} makes {len(parts)} parts; a fold is one to train on and one to "
            "validate on."
        )
    return list(zip(parts[::2], parts[1::2], strict=True))


def _k_fold(n_folds: int, seed: int, **columns: Any) -> SklearnSplitter:
    """Return the splitter of scikit-learn that divides into k parts by these columns."""
    kinds = {
        (False, False): "KFold",
        (True, False): "GroupKFold",
        (False, True): "StratifiedKFold",
        (True, True): "StratifiedGroupKFold",
    }
    name = kinds[columns["group_by"] is not None, columns["stratify_by"] is not None]
    # GroupKFold balances whole groups; it draws nothing.
    arguments = {"n_splits": n_folds}
    arguments |= {} if name == "GroupKFold" else {"shuffle": True, "random_state": seed}
    return SklearnSplitter.from_config({"splitter": {"class": name, "arguments": arguments}, **columns})
