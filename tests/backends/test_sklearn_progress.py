"""The share of a fit grows from nothing to all, through whatever it is made of, and leaves no trace."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modularml.backends import sklearn_progress
from modularml.backends.sklearn_progress import FitProgress, watched

pytestmark = pytest.mark.skipif(
    not hasattr(LogisticRegression, "set_callbacks"), reason="This scikit-learn has no callbacks."
)
X = np.random.default_rng(0).standard_normal((60, 4))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn_progress, "MIN_GAP_S", 0.0)


def search(estimator: Any, **options: Any) -> GridSearchCV:
    name = "C" if hasattr(estimator, "C") else "alpha"
    return GridSearchCV(estimator, {name: [1, 2]}, cv=2, **options)


@pytest.mark.parametrize(
    ("make", "n_least"),
    [
        (LogisticRegression, 5),
        (lambda: LogisticRegression(solver="newton-cg"), 1),
        (lambda: make_pipeline(StandardScaler(), LogisticRegression()), 5),
        (lambda: make_pipeline(StandardScaler(), Ridge()), 2),
        (lambda: search(Ridge()), 4),
        (lambda: search(LogisticRegression()), 20),
        (lambda: search(LogisticRegression(), n_jobs=2), 4),
    ],
)
def test_the_share_grows_to_all_of_it(make: Callable[[], Any], n_least: int) -> None:
    told: list[float] = []
    estimator = make()
    with watched(estimator, told.append):
        estimator.fit(X, Y)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    assert len(told) >= n_least
    assert b"FitProgress" not in pickle.dumps(estimator)


def test_an_estimator_without_callbacks_is_left_alone() -> None:
    told: list[float] = []
    estimator = Ridge()
    with watched(estimator, told.append):
        estimator.fit(X, Y)
    assert told == []


def test_callbacks_that_it_has_are_called_and_stay() -> None:
    own: list[float] = []
    others: list[float] = []
    estimator = LogisticRegression().set_callbacks(FitProgress(own.append))
    with watched(estimator, others.append):
        estimator.fit(X, Y)
    assert own == others
    with pytest.raises(ValueError, match="inconsistent"), watched(estimator, others.append):
        estimator.fit(X, Y[1:])
    assert len(estimator._skl_callbacks) == 1


def test_what_comes_too_soon_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn_progress, "MIN_GAP_S", 1000.0)
    told: list[float] = []
    estimator = LogisticRegression()
    with watched(estimator, told.append):
        estimator.fit(X, Y)
    assert len(told) <= 1
