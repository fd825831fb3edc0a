"""Metrics by scikit-learn's names and by torchmetrics' objects, on outputs that are there already.

It knows no node, no phase and no estimator: a scorer is handed what a model put out as if a
model did so now.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names

from modularml.base.errors import InvalidValueError, warn

_OF_NUMBERS = ("r2", "max_error", "explained_variance", "d2_absolute_error_score")
_SEVERAL = np.arange(3)
_OF_CLASSES = ("neg_log_loss", "neg_brier_score", "neg_negative_likelihood_ratio")
_IGNORED = -100
"""The label of samples that do not count, as torch's losses over classes have it."""


def names() -> list[str]:
    """Return the names of all scorers that compare predictions with targets."""
    return [str(name) for name in get_scorer_names()]


def score(name: str, outputs: np.ndarray, targets: np.ndarray) -> float:
    """Return the score of outputs by the name of a scorer; greater is better.

    For a classifier's score, outputs are read by their form: one column a class are
    probabilities where they are such, else logits; a single column is the label, the
    probability or the logit of the second class. Targets of several columns are one-hot, or of 0 and 1
    for each of several labels that a sample may have at once; then each column of the outputs is the
    probability or the logit of a label. Where there is one column a class, samples of the label -100 do
    not count, as they do not in torch's losses.

    Args:
        name: E.g. ``"accuracy"``, ``"r2"`` or ``"neg_mean_absolute_error"``.
        outputs: Of each sample, ``(n, ...)``.
        targets: Of each sample, ``(n, ...)``.

    Raises:
        InvalidValueError: If the scorer cannot be applied to such values.
    """
    made, known = _columns(outputs), _columns(targets)
    of_numbers = _is_of_numbers(name)
    y = _single(known) if of_numbers else _labels(name, known)
    if not of_numbers and y.ndim == 1 and made.shape[1] > 1 and (counts := y != _IGNORED).any():
        made, y = made[counts], y[counts]
    if not of_numbers and made.shape[1] == 1 and len(np.unique(y)) > 2 and not _are_labels(made):
        raise InvalidValueError(
            f"The metric {name!r} compares classes, and outputs of one number a sample, e.g. "
            f"{made[0, 0]:.6g}, are none and tell no more than two apart; the targets are of "
            f"{len(np.unique(y))}."
        )
    recorded = _Values(made) if of_numbers else _ManyLabels(made) if y.ndim > 1 else _Classes(made, y)
    try:
        value = float(get_scorer(name)(recorded, np.zeros((len(made), 1)), y))
    except ValueError as error:
        raise InvalidValueError(
            f"The metric {name!r} cannot be computed of outputs {outputs.shape} ({outputs.dtype}) and "
            f"targets {targets.shape} ({targets.dtype}): {str(error).rstrip('.')}.{_variants(name)}"
        ) from error
    if isinstance(recorded, _Classes) and recorded.took_labels_for_scores:
        warn(
            f"The metric {name!r} ranks or weighs scores, and the outputs are labels, which say less: let "
            "the estimator give probabilities, ScikitModelWrapper(estimator, output_method='predict_proba')."
        )
    return value


def check(name: str, targets: np.ndarray) -> None:
    """Refuse a scorer that cannot be computed of targets ``(n, ...)``, whatever the outputs will be.

    Args:
        name: That of a scorer; those that compare numbers take any.
        targets: Of each sample, ``(n, ...)``.

    Raises:
        InvalidValueError: If it compares classes and they are none, or are more than it can tell apart.
    """
    if _is_of_numbers(name):
        return
    labels = _labels(name, _columns(targets))
    n_classes = len(np.unique(labels[labels != _IGNORED]))
    fault = _fault_of_several(name) if n_classes > 2 else None
    if fault is not None:
        raise InvalidValueError(
            f"The metric {name!r} cannot be computed of targets of several classes: {fault}.{_variants(name)}"
        )


@functools.cache
def _fault_of_several(name: str) -> str | None:
    """Return what a scorer has against more than two classes, or None: it is tried on one sample of each."""
    perfect = _Classes(np.eye(len(_SEVERAL)), _SEVERAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few samples
        try:
            get_scorer(name)(perfect, np.zeros((len(_SEVERAL), 1)), _SEVERAL)
        except ValueError as error:
            return str(error).rstrip(".")
    return None


def _variants(name: str) -> str:
    """Return a sentence about the scorers for several classes that are named as one for two."""
    if _is_of_numbers(name) or _fault_of_several(name) is None:
        return ""
    found = [other for other in names() if other.startswith(f"{name}_") and not _fault_of_several(other)]
    return f" For several classes there are {', '.join(map(repr, found))}." if found else ""


def _is_of_numbers(name: str) -> bool:
    return name in _OF_NUMBERS or (name.startswith("neg_") and name not in _OF_CLASSES)


def is_torchmetric(metric: Any) -> bool:
    """Tell whether something is used as torchmetrics' objects are: `reset`, `update`, `compute`."""
    return all(callable(getattr(metric, name, None)) for name in ("reset", "update", "compute"))


def computed(metric: Any, outputs: np.ndarray, targets: np.ndarray) -> float:
    """Return what an object of torchmetrics gives for outputs ``(n, ...)`` and targets ``(n, ...)``.

    Axes of length 1 are left out of both, as its classes expect.
    """
    given = [torch.as_tensor(_single(_columns(values))) for values in (outputs, targets)]
    classes = given[0].ndim == 2 and given[1].ndim == 1
    metric.reset()
    metric.update(given[0], given[1].long() if classes else given[1])
    value = float(metric.compute())
    metric.reset()
    return value


class _Values(RegressorMixin, BaseEstimator):
    """Answers with values that are there already."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, x: Any, y: Any) -> _Values:
        return self

    def predict(self, x: Any) -> np.ndarray:
        return _single(self.values)


class _Classes(ClassifierMixin, BaseEstimator):
    """Answers as a classifier with outputs that are there already."""

    def __init__(self, values: np.ndarray, labels: np.ndarray) -> None:
        self.values, self.labels = values, labels
        n = max(values.shape[1], 2)
        found = np.unique(labels)
        is_index = found.dtype.kind in "iub" and found.min(initial=0) >= 0 and found.max(initial=0) < n
        self.classes_ = np.arange(n) if is_index or len(found) != n else found
        self.are_labels = _are_labels(values)
        self.took_labels_for_scores = False

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, x: Any, y: Any) -> _Classes:
        return self

    def predict(self, x: Any) -> np.ndarray:
        if self.are_labels:
            return self.values[:, 0].astype(np.int64)
        return self.classes_[self.predict_proba(x).argmax(1)]

    def predict_proba(self, x: Any) -> np.ndarray:
        self.took_labels_for_scores = self.are_labels
        values = self.values.astype(np.float64)
        within = (values >= 0).all() and (values <= 1).all()
        if values.shape[1] == 1:
            second = values if within else 1 / (1 + np.exp(-values))
            return np.concatenate([1 - second, second], axis=1)
        if within and np.allclose(values.sum(1), 1, atol=1e-4):
            return values / values.sum(1, keepdims=True)
        powers = np.exp(values - values.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def decision_function(self, x: Any) -> np.ndarray:
        self.took_labels_for_scores = self.are_labels
        if self.values.shape[1] == 2:  # of two classes scikit-learn wants one number, for the second
            return self.values[:, 1] - self.values[:, 0]
        return self.values[:, 0] if self.values.shape[1] == 1 else self.values


class _ManyLabels(ClassifierMixin, BaseEstimator):
    """Answers as a classifier of samples that may have several labels, with outputs that are there."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.classes_ = [np.arange(2)] * values.shape[1]

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, x: Any, y: Any) -> _ManyLabels:
        return self

    def predict(self, x: Any) -> np.ndarray:
        return (self.predict_proba(x) > 0.5).astype(np.int64)

    def predict_proba(self, x: Any) -> np.ndarray:
        values = self.values.astype(np.float64)
        return values if (values >= 0).all() and (values <= 1).all() else 1 / (1 + np.exp(-values))


def _are_labels(values: np.ndarray) -> bool:
    whole = values.shape[1] == 1 and np.isfinite(values).all()
    return bool(whole and np.array_equal(values, np.round(values)))


def _columns(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _single(columns: np.ndarray) -> np.ndarray:
    return columns[:, 0] if columns.shape[1] == 1 else columns


def _labels(name: str, columns: np.ndarray) -> np.ndarray:
    """Return one class a sample: the number that it is, or the place of the greatest of several.

    Columns of 0 and 1 of which a sample may have several, or none, are returned as they are.
    """
    if columns.shape[1] > 1:
        if ((columns < 0) | (columns > 1)).any():
            raise InvalidValueError(
                f"The metric {name!r} compares classes, and targets of {columns.shape[1]} numbers a sample "
                "are neither one class each nor shares between 0 and 1."
            )
        is_many = np.isin(columns, (0, 1)).all() and (columns.sum(1) != 1).any()
        return columns.astype(np.int64) if is_many else columns.argmax(1)
    labels = columns[:, 0]
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise InvalidValueError(f"The metric {name!r} compares classes, and targets are no whole numbers.")
    return labels.astype(np.int64) if labels.dtype.kind in "fb" else labels
