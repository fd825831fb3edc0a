"""Likeness: differences, matches and weights of pairs."""

from typing import Any

import numpy as np
import pytest

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.samplers import SimilarityCondition


@pytest.mark.parametrize(
    ("condition", "a", "b", "score"),
    [
        (SimilarityCondition(), 1.0, 1.0, 1.0),
        (SimilarityCondition(), 1.0, 1.1, 0.0),
        (SimilarityCondition(tolerance=0.5), 1.0, 1.5, 1.0),
        (SimilarityCondition(tolerance=0.5), 1.0, 1.6, 0.0),
        (SimilarityCondition("dissimilar", 0.5), 1.0, 1.5, 0.0),
        (SimilarityCondition("dissimilar", 0.5), 1.0, 1.6, 1.0),
        (SimilarityCondition(), "a", "a", 1.0),
        (SimilarityCondition(tolerance=9.0), "a", "b", 0.0),
        (SimilarityCondition("dissimilar"), "a", "b", 1.0),
        (SimilarityCondition(), 1.0, np.nan, 0.0),
        (SimilarityCondition("dissimilar"), 1.0, np.nan, 0.0),
        (SimilarityCondition(tolerance=1.0, metric=lambda a, b: len(a) - len(b)), "abc", "ab", 1.0),
    ],
)
def test_without_fallback_a_score_is_all_or_nothing(
    condition: SimilarityCondition, a: Any, b: Any, score: float
) -> None:
    assert condition.score(a, b) == score


@pytest.mark.parametrize("mode", ["similar", "dissimilar"])
@pytest.mark.parametrize("weight_mode", ["linear", "exp", "binary"])
def test_with_fallback_clearer_matches_weigh_more(mode: str, weight_mode: str) -> None:
    condition = SimilarityCondition(
        mode, 1.0, weight_mode=weight_mode, max_weight=2.0, min_weight=0.1, allow_fallback=True
    )
    difference = np.linspace(0, 3, 31)
    scores = condition.score(np.zeros(31), difference)
    matching = difference <= 1.0 if mode == "similar" else difference > 1.0
    assert (scores[~matching] == 0.1).all()
    assert ((scores[matching] >= 0.1) & (scores[matching] <= 2.0)).all()
    steps = np.diff(scores[matching])
    assert (steps <= 0).all() if mode == "similar" else (steps >= 0).all()
    if weight_mode == "binary":
        assert (scores[matching] == 2.0).all()
    else:
        assert len(set(scores[matching])) > 5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "alike"}, InvalidValueError),
        ({"weight_mode": "cubic"}, InvalidValueError),
        ({"tolerance": -1}, InvalidValueError),
        ({"tolerance": float("nan")}, InvalidValueError),
        ({"min_weight": 2.0}, InvalidValueError),
        ({"min_weight": -0.5}, InvalidValueError),
        ({"max_weight": float("inf")}, InvalidValueError),
        ({"metric": "euclid"}, InvalidTypeError),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        SimilarityCondition(**options)


@pytest.mark.parametrize("metric", [lambda a, b: a - b, lambda a, b: None, lambda a, b: "far"])
def test_a_metric_returns_a_number(metric: Any) -> None:
    with pytest.raises(InvalidTypeError, match="metric must return a number for two samples, got"):
        SimilarityCondition(metric=metric).matches(np.ones((2, 3)), np.zeros((2, 3)))


def test_config_makes_an_equal_condition() -> None:
    condition = SimilarityCondition("dissimilar", 0.5, weight_mode="exp", allow_fallback=True)
    assert from_config(to_config(condition)) == condition


def test_all_faults_of_a_condition_are_told_together() -> None:
    with pytest.raises(
        InvalidValueError, match=r"(?s)4 faults.*mode 'sim'.*allow_fallback.*tolerance.*'a'.*weights"
    ):
        SimilarityCondition("sim", tolerance="a", min_weight=2, allow_fallback="yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="max_weight must be a number, got None"):
        SimilarityCondition(max_weight=None)  # type: ignore[arg-type]
