"""What a cross-validation gives back: the results of its folds, and how much they differ.

It knows no fold's data and no runner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from modularml.base.errors import InvalidTypeError, UnknownNameError, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.base.optional import optional
from modularml.core.experiment.phase_results import PhaseResults
from modularml.core.experiment.results import PhaseGroupResults, results_by_path
from modularml.core.experiment.series import AxisSeries
from modularml.display.card import Html, card, table
from modularml.display.figures import counted, format_value
from modularml.display.text_table import text_table


@checked_keywords
class CVResults(PhaseGroupResults):
    """The results of each fold, by its label ``fold_0``, ``fold_1``, ..."""

    kind = "cv"

    @property
    def fold_labels(self) -> list[str]:
        """The labels of the folds that ran, in order."""
        return self.labels

    @property
    def n_folds(self) -> int:
        """How many folds ran."""
        return len(self)

    def get_fold(self, key: int | str) -> PhaseGroupResults:
        """Return the results of a fold by its index or label.

        Raises:
            UnknownNameError: If no such fold ran.
        """
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise InvalidTypeError(f"A fold of {self!r} is named by its index or label, got {key!r}.")
        if isinstance(key, int):
            if not -self.n_folds <= key < self.n_folds:
                raise UnknownNameError(f"{self!r} has {self.n_folds} folds; there is none at index {key}.")
            key = self.fold_labels[key]
        fold: PhaseGroupResults = self[key]
        return fold

    def collect(self, extractor: Callable[[PhaseGroupResults], Any]) -> AxisSeries[Any]:
        """Return what `extractor` finds in the results of each fold, by the fold's label.

        Args:
            extractor: From the results of a fold to a number, to anything else, or to an `AxisSeries`, to
                whose axes that of the folds is added: ``lambda fold: fold["train"].losses()``.

        Returns:
            A series with the axis ``"fold"``; where a series was found, with its axes behind.

        Raises:
            InvalidValueError: If the series of the folds have different axes.
        """
        found = {label: extractor(self[label]) for label in self.fold_labels}
        return AxisSeries.gathered("fold", found, where=f"what was collected of {self!r}")

    def scores(self) -> dict[str, np.ndarray]:
        """Return the last value of every loss and metric in each fold.

        Returns:
            Phase and name, e.g. ``"train/mse"`` -> shape ``(n_folds,)``; NaN where a fold has none.
        """
        folds = [dict(_finals(self[label])) for label in self.fold_labels]
        names = dict.fromkeys(name for fold in folds for name in fold)
        return {name: np.array([fold.get(name, np.nan) for fold in folds]) for name in names}

    def mean(self) -> dict[str, float]:
        """Return the mean over the folds of each of the `scores`."""
        return {name: float(np.mean(values)) for name, values in self.scores().items()}

    def std(self) -> dict[str, float]:
        """Return the standard deviation over the folds (of a sample, ``ddof=1``) of each of the `scores`."""
        return {
            name: float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
            for name, values in self.scores().items()
        }

    def losses(self, node: Any, *, phase: str | None = None) -> AxisSeries[float]:
        """Return the losses on a node, of each batch in each fold; means are over samples.

        Args:
            node: The node or its label.
            phase: Only those of the phase of this label; None is all.

        Returns:
            By ``(fold, phase, epoch, batch, label)``; without the axis of phases where one is named.

        Raises:
            UnknownNameError: If no fold ran such a phase, or none with such a node.
        """
        on = getattr(node, "label", node)
        folds = {label: _phases(self[label]) for label in self.fold_labels}
        phases = [path for of_fold in folds.values() for path in of_fold]
        if phase is not None and phase not in phases:
            raise UnknownNameError(unknown_name("phase", phase, set(phases), where=repr(self)))
        found = {
            label: {
                path: results.losses(on)
                for path, results in of_fold.items()
                if phase in (None, path) and on in results.heads
            }
            for label, of_fold in folds.items()
        }
        if not any(found.values()):
            nodes = {
                one for of_fold in folds.values() for results in of_fold.values() for one in results.heads
            }
            raise UnknownNameError(unknown_name("node", on, nodes, where=repr(self)))
        series = {
            label: AxisSeries.gathered("phase", of_fold) if phase is None else of_fold[phase]
            for label, of_fold in found.items()
            if of_fold
        }
        return AxisSeries.gathered("fold", series, where=f"losses of {self!r}")

    def _rows(self) -> list[list[str]]:
        """Return the name, mean, standard deviation and values of each of the `scores`, as text."""
        mean, std = self.mean(), self.std()
        return [
            [name, *map(format_value, (mean[name], std[name], *values))]
            for name, values in self.scores().items()
        ]

    def summary(self) -> str:
        """Return a table of the `scores`: mean, standard deviation and each fold's."""
        return text_table(self._heads(), self._rows())

    def _heads(self) -> list[str]:
        return ["", ">mean", ">std", *(f">{label}" for label in self.fold_labels)]

    def _card(self) -> Html:
        return card(
            "CVResults", self.label, table(self._heads(), self._rows()), note=counted(self.n_folds, "fold")
        )

    def to_pandas(self) -> Any:
        """Return the `scores` as a DataFrame: a row a fold, a column a loss or metric.

        Raises:
            ImportError: If pandas is not installed.
        """
        pandas = optional("pandas", "data", f"to_pandas() of {self!r}")
        return pandas.DataFrame(self.scores(), index=self.fold_labels)

    def __repr__(self) -> str:
        return f"CVResults(label={self.label!r}, folds={self.n_folds})"


def _phases(results: PhaseGroupResults) -> dict[str, PhaseResults]:
    return {"/".join(path): phase for path, phase in results_by_path(results)}


def _finals(results: PhaseGroupResults) -> Iterator[tuple[str, float]]:
    for path, phase in _phases(results).items():
        for name, value in phase.final().items():
            yield f"{path}/{name}", value
