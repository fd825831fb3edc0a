"""One fold of a cross-validation: the same phases as in the others, on rows of its own.

It knows neither how rows were divided nor where it runs: it sets the stage (rows, scalers, weights).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modularml.base.config import Configurable
from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.state import restored


@dataclass(frozen=True, kw_only=True)
class FoldRows(Configurable):
    """The rows that a FeatureSet trains and validates on in one fold.

    Attributes:
        fs: The label of the FeatureSet.
        train_split_name: The split to train on.
        val_split_name: The split to validate on.
        train: Its rows, int64 of shape ``(n_train,)``.
        val: Its rows, int64 of shape ``(n_val,)``.
    """

    fs: str
    train_split_name: str
    val_split_name: str
    train: np.ndarray
    val: np.ndarray


class Fold(Group):
    """One fold of a cross-validation: its phases, on rows of its own.

    Args:
        label: Its name, ``fold_0`` and so on.
        phases: What runs, in order.
        rows: The rows of each FeatureSet.
    """

    is_fold = True

    def __init__(
        self, label: str, phases: Sequence[ExperimentPhase | Group], rows: Sequence[FoldRows]
    ) -> None:
        self._label = label
        self.phases = list(phases)
        self.rows = list(rows)

    @property
    def label(self) -> str:
        """Its name."""
        return self._label

    @property
    def all(self) -> list[ExperimentPhase | Group]:
        """What runs, in order."""
        return list(self.phases)

    @contextlib.contextmanager
    def _stage(self, experiment: Any) -> Iterator[None]:
        """Have the rows of this fold, scalers fitted to its training rows, and all as before afterwards."""
        with restored(experiment, self.flatten()), contextlib.ExitStack() as folds:
            for rows in self.rows:
                featureset = experiment.ctx.get_node(rows.fs, FeatureSet)
                parts = {rows.train_split_name: rows.train, rows.val_split_name: rows.val}
                folds.enter_context(featureset._in_fold(parts, fit_to=rows.train_split_name))
            yield
