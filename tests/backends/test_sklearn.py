import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.cluster import DBSCAN
from sklearn.decomposition import PCA
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.svm import SVC

from modularml.backends import sklearn as backend

X = np.random.default_rng(0).random((20, 4))
LABELS = np.arange(20) % 2


class Mean:
    """An estimator that does not inherit from sklearn."""

    def fit(self, x, y):
        self.mean_ = y.mean()
        return self

    def predict(self, x):
        return np.full(len(x), self.mean_)


@pytest.mark.parametrize(
    ("estimator", "methods"),
    [
        (Ridge(), ["predict"]),
        (PCA(), ["transform", "score_samples"]),
        (LogisticRegression(), ["predict", "predict_proba", "decision_function"]),
        (SVC(), ["predict", "decision_function"]),
        (make_pipeline(StandardScaler()), ["transform"]),
        (DBSCAN(), []),
        (Mean(), ["predict"]),
    ],
)
def test_the_ways_to_answer(estimator: object, methods: list[str]) -> None:
    assert backend.output_methods(estimator) == methods


@pytest.mark.parametrize(
    "estimator",
    [
        Ridge(),
        make_pipeline(StandardScaler(), Ridge()),
        Mean(),
        SGDClassifier(),
        GaussianProcessRegressor(optimizer=None),
        make_pipeline(StandardScaler(), "passthrough", GaussianProcessRegressor(optimizer=None)),
        make_pipeline(StandardScaler(), Normalizer()),
    ],
)
def test_fitted_is_after_the_fit(estimator: object) -> None:
    assert not backend.is_fitted(estimator)
    estimator.fit(X, LABELS)
    assert backend.is_fitted(estimator)
    assert backend.is_fitted(backend.copied(estimator))


@pytest.mark.parametrize(
    ("estimator", "writes"),
    [
        (StandardScaler(), False),
        (StandardScaler(copy=False), True),
        (make_pipeline(StandardScaler(), PCA(copy=False)), True),
        (Ridge(copy_X=False, fit_intercept=False), True),
        (Ridge(fit_intercept=False), False),
        (Mean(), False),
    ],
)
def test_it_may_have_been_told_to_write_into_what_it_is_handed(estimator: object, writes: bool) -> None:
    assert backend.writes_into_input(estimator) is writes


def test_an_unfitted_copy_has_the_parameters_alone() -> None:
    twin = backend.unfitted(Ridge(alpha=3).fit(X, LABELS))
    assert twin.alpha == 3
    assert not backend.is_fitted(twin)


def test_what_learns_nothing_is_fitted() -> None:
    assert backend.is_fitted(FunctionTransformer())


def test_only_classifiers_that_know_no_classes_need_them() -> None:
    classifier = SGDClassifier()
    assert backend.needs_classes(classifier)
    assert not backend.needs_classes(classifier.fit(X, LABELS))
    assert not backend.needs_classes(SGDRegressor())


def test_samples_become_rows() -> None:
    assert backend.as_rows(np.zeros((5, 2, 3))).shape == (5, 6)
    assert backend.as_rows(np.zeros(5)).shape == (5, 1)
    assert backend.as_targets(np.zeros((5, 1, 1))).shape == (5,)
    assert backend.as_targets(np.zeros((5, 2, 1))).shape == (5, 2)


def test_answers_of_all_kinds_become_rows() -> None:
    assert backend.as_outputs(np.zeros(5)).shape == (5, 1)
    assert backend.as_outputs([np.zeros((5, 2)), np.ones((5, 3))]).shape == (5, 5)
    np.testing.assert_array_equal(backend.as_outputs(csr_matrix(np.eye(3))), np.eye(3))


def test_a_dry_fit_tells_the_width_and_fits_nothing() -> None:
    pca = PCA(3)
    state = np.random.get_state()[1].copy()
    assert backend.dry_fit(pca, 4).shape[1] == 3
    assert not backend.is_fitted(pca)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert backend.dry_fit(PCA(9), 4) is None
