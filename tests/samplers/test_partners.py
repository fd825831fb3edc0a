"""Partners: exactly those that looking at all pairs finds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import InvalidValueError
from modularml.samplers.partners import Term, find_partners
from modularml.samplers.similarity import SimilarityCondition

N = 40


def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    number = np.round(rng.standard_normal(N), 1)
    number[::9] = np.nan
    return {
        "number": number,
        "other": np.round(rng.standard_normal(N), 1),
        "text": np.array(["a", "bb", "c"])[rng.integers(0, 3, N)],
        "day": rng.integers(0, 4, N).astype("M8[D]"),
        "vector": rng.standard_normal((N, 2)),
    }


def all_pairs(terms: list[Term]) -> np.ndarray:
    matching = ~np.eye(N, dtype=bool)
    a, b = np.divmod(np.arange(N * N), N)
    for term in terms:
        matching &= term.matches(a, b).reshape(N, N)
    return matching


CONDITIONS = st.lists(
    st.tuples(
        st.sampled_from(["number", "other", "text", "day"]),
        st.sampled_from(["similar", "dissimilar"]),
        st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    ),
    max_size=3,
)


@given(conditions=CONDITIONS, n_wanted=st.integers(1, 5), seed=st.integers(0, 9), nearest=st.booleans())
def test_partners_are_those_of_all_pairs(conditions: Any, n_wanted: int, seed: int, nearest: bool) -> None:
    values = columns()
    terms = [
        Term(name, values[name], SimilarityCondition(mode, tol if name in ("number", "other") else 0.0))
        for name, mode, tol in conditions
    ]
    rng = np.random.default_rng(seed)
    found = find_partners(terms, np.arange(N), N, n_wanted, rng, nearest=nearest)
    matching = all_pairs(terms)
    for anchor, partners in enumerate(found):
        partners = partners[partners >= 0]
        assert len(partners) == len(set(partners)) == min(n_wanted, matching[anchor].sum())
        assert matching[anchor, partners].all()


def test_nearest_partners_are_nearest() -> None:
    values = np.random.default_rng(0).permutation(N).astype(float) ** 2
    term = Term("x", values, SimilarityCondition(tolerance=200.0))
    found = find_partners([term], np.arange(N), N, 1, np.random.default_rng(0), nearest=True)[:, 0]
    away = np.abs(values[:, None] - values) + np.diag(np.full(N, np.inf))
    ordered = np.argsort(values)
    for anchor in np.flatnonzero(found >= 0):
        place = np.flatnonzero(ordered == anchor)[0]
        assert abs(np.flatnonzero(ordered == found[anchor])[0] - place) == 1
        assert away[anchor, found[anchor]] <= 200


def test_every_candidate_is_taken_sooner_or_later() -> None:
    term = Term("x", np.zeros(N), SimilarityCondition())
    taken = {
        int(partner)
        for seed in range(60)
        for partner in find_partners([term], np.array([0]), N, 3, np.random.default_rng(seed), nearest=False)[
            0
        ]
    }
    assert taken == set(range(1, N))


def test_a_metric_compares_arrays() -> None:
    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b))

    vectors = columns()["vector"]
    term = Term("vector", vectors, SimilarityCondition(tolerance=0.5, metric=distance))
    found = find_partners([term], np.arange(N), N, N, np.random.default_rng(0), nearest=False)
    assert ((found >= 0).sum(axis=1) == all_pairs([term]).sum(axis=1)).all()
    with pytest.raises(InvalidValueError, match="'vector'.*metric"):
        Term("vector", vectors, SimilarityCondition())


@pytest.mark.parametrize(
    "values", [np.array(["a", "b"]), np.array(["2024-01-01"], "M8[s]"), np.array([True])]
)
def test_a_tolerance_of_what_is_no_number_is_refused(values: Any) -> None:
    with pytest.raises(InvalidValueError, match="tolerance 0.5 is for numbers, and 'x' holds .* a metric"):
        Term("x", values, SimilarityCondition(tolerance=0.5))
    Term("x", values, SimilarityCondition(tolerance=0.5, metric=lambda a, b: 0.0))
