import numpy as np
import pytest
from sklearn.cluster import DBSCAN, KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from modularml.models import ScikitModelWrapper

RNG = np.random.default_rng(0)
X = RNG.random((40, 2, 3))  # two keys of three values
Y = X.sum((1, 2))[:, None]
LABELS = (Y.mean() < Y).astype(np.int64)

REGRESSORS = [
    LinearRegression(),
    Ridge(),
    KNeighborsRegressor(),
    SGDRegressor(),
    RandomForestRegressor(n_estimators=3),
    make_pipeline(StandardScaler(), Ridge()),
]
CLASSIFIERS = [
    LogisticRegression(),
    GaussianNB(),
    SVC(),
    RandomForestClassifier(n_estimators=3),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
TRANSFORMERS = [StandardScaler(), PCA(2), IncrementalPCA(2), make_pipeline(StandardScaler(), PCA(2))]
CLUSTERERS = [KMeans(2), MiniBatchKMeans(2)]


def name_of(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize("estimator", REGRESSORS, ids=name_of)
def test_regressors_answer_one_row_a_sample(estimator: object) -> None:
    model = ScikitModelWrapper(estimator)
    model.build((2, 3), (1,))
    assert model.output_shape == (1,)
    model.fit(X, Y)
    assert model(X).shape == (40, 1)
    np.testing.assert_array_equal(model(X)[:, 0], estimator.predict(X.reshape(40, 6)))


IN_PLACE = [
    (StandardScaler(copy=False), StandardScaler()),
    (LinearRegression(copy_X=False), LinearRegression()),
    (PCA(2, copy=False), PCA(2)),
    (KMeans(2, copy_x=False, random_state=0), KMeans(2, random_state=0)),
    (make_pipeline(StandardScaler(copy=False), Ridge()), make_pipeline(StandardScaler(), Ridge())),
]


@pytest.mark.parametrize(("in_place", "copying"), IN_PLACE, ids=name_of)
def test_what_it_is_handed_stays_as_it_is(in_place: object, copying: object) -> None:
    handed = X.copy()
    answers = []
    for estimator in (in_place, copying):
        model = ScikitModelWrapper(estimator)
        model.fit(handed, Y)
        answers += [model(handed), model(handed)]
    np.testing.assert_array_equal(handed, X)
    for answer in answers:
        np.testing.assert_allclose(answer, answers[-1], atol=1e-9)


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=name_of)
def test_classifiers_answer_labels(estimator: object) -> None:
    model = ScikitModelWrapper(estimator)
    model.build((2, 3), (1,))
    model.fit(X, LABELS)
    assert model(X).shape == (40, 1)
    assert set(np.unique(model(X))) <= {0, 1}


@pytest.mark.parametrize("estimator", TRANSFORMERS, ids=name_of)
def test_transformers_know_their_width_before_they_are_fitted(estimator: object) -> None:
    model = ScikitModelWrapper(estimator)
    model.build((2, 3))
    promised = model.output_shape
    assert not model.is_fitted
    model.fit(X)
    assert model(X).shape == (40, *promised)
    assert model.output_shape == promised


@pytest.mark.parametrize("estimator", CLUSTERERS, ids=name_of)
def test_clusterers_answer_labels(estimator: object) -> None:
    model = ScikitModelWrapper(estimator)
    model.fit(X)
    assert model(X).shape == (40, 1)
    assert (model.input_shape, model.output_shape) == ((2, 3), (1,))


def test_probabilities_are_known_when_fitted() -> None:
    model = ScikitModelWrapper(LogisticRegression(), output_method="predict_proba")
    model.build((2, 3), (1,))
    assert model.output_shape is None
    model.fit(X, LABELS)
    assert model.output_shape == (2,)
    np.testing.assert_allclose(model(X).sum(1), 1)


def test_probabilities_of_several_targets_stand_side_by_side() -> None:
    several = MultiOutputClassifier(LogisticRegression())
    model = ScikitModelWrapper(several, output_method="predict_proba")
    model.fit(X, np.hstack([LABELS, 1 - LABELS]))
    assert model(X).shape == (40, 4)


def test_several_targets_stay_several() -> None:
    model = ScikitModelWrapper(LinearRegression())
    model.build((2, 3), (2,))
    model.fit(X, np.hstack([Y, -Y]).reshape(40, 2, 1))
    assert model(X).shape == (40, 2)


def test_sparse_outputs_become_arrays() -> None:
    model = ScikitModelWrapper(OneHotEncoder(handle_unknown="ignore"))
    model.fit(LABELS)
    assert isinstance(model(LABELS), np.ndarray)
    assert model(LABELS).shape == (40, 2)


def test_an_estimator_that_learns_nothing_is_always_fitted() -> None:
    model = ScikitModelWrapper(FunctionTransformer(np.square))
    model.build((2, 3))
    assert model.is_fitted
    np.testing.assert_array_equal(model(X), X.reshape(40, 6) ** 2)


@pytest.mark.parametrize(
    ("estimator", "mode", "resolved"),
    [
        (SGDRegressor(), "auto", "batch_fit"),
        (SGDRegressor(), "partial_fit", "partial_fit"),
        (SGDRegressor(), "batch_fit", "batch_fit"),
        (Ridge(), "auto", "batch_fit"),
        (Ridge(), "batch_fit", "batch_fit"),
    ],
)
def test_the_training_mode(estimator: object, mode: str, resolved: str) -> None:
    model = ScikitModelWrapper(estimator, training_mode=mode)
    assert model.resolved_training_mode == resolved
    assert model.supports_partial_fit is hasattr(estimator, "partial_fit")


def test_partial_fit_learns_batch_by_batch() -> None:
    model, own = ScikitModelWrapper(SGDRegressor(random_state=0)), SGDRegressor(random_state=0)
    for rows in (slice(0, 20), slice(20, 40)):
        model.partial_fit(X[rows], Y[rows])
        own.partial_fit(X[rows].reshape(20, 6), Y[rows][:, 0])
    np.testing.assert_array_equal(model.get_weights()["coef_"], own.coef_)


def test_a_classifier_must_know_its_classes() -> None:
    model = ScikitModelWrapper(SGDClassifier())
    with pytest.raises(ValueError, match="all classes"):
        model.partial_fit(X[:5], LABELS[:5])
    model.partial_fit(X[:5], LABELS[:5], classes=[0, 1])
    model.partial_fit(X[5:], LABELS[5:])
    told = ScikitModelWrapper(SGDClassifier(), partial_fit_kwargs={"classes": [0, 1]})
    told.partial_fit(X[:5], LABELS[:5])
    assert told(X).shape == (40, 1)


def test_the_unfitted_say_so() -> None:
    model = ScikitModelWrapper(Ridge())
    assert not model.is_fitted
    with pytest.raises(RuntimeError, match="Ridge is not fitted"):
        model(X)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: ScikitModelWrapper(Ridge), TypeError, r"Give an instance: Ridge\(\)"),
        (lambda: ScikitModelWrapper(None), TypeError, "must be a scikit-learn estimator"),
        (lambda: ScikitModelWrapper(Ridge(), training_mode="batch"), ValueError, "batch_fit"),
        (lambda: ScikitModelWrapper(Ridge(), training_mode="partial_fit"), ValueError, "no partial_fit"),
        (lambda: ScikitModelWrapper(Ridge(), output_method="predct"), ValueError, "Did you mean 'predict'"),
        (lambda: ScikitModelWrapper(DBSCAN()), ValueError, "DBSCAN cannot answer for new samples"),
        (lambda: ScikitModelWrapper(Ridge()).partial_fit(X, Y), RuntimeError, "no partial_fit"),
        (lambda: ScikitModelWrapper(Ridge()).build(), ValueError, "needs an input_shape"),
        (lambda: ScikitModelWrapper(Ridge()).set_weights({}), RuntimeError, "set_state"),
    ],
)
def test_mistakes_are_refused(make: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_a_fitted_estimator_must_suit_the_shape() -> None:
    model = ScikitModelWrapper(Ridge().fit(X.reshape(40, 6), Y[:, 0]))
    model.build((2, 3))
    assert model.output_shape == (1,)
    with pytest.raises(ValueError, match=r"fitted to 6 features.*\(5,\) have 5"):
        model.build((5,))


def test_reset_forgets_and_keeps_the_users_object() -> None:
    estimator = Ridge()
    model = ScikitModelWrapper(estimator)
    model.fit(X, Y)
    model.reset_weights()
    assert model.estimator is estimator
    assert not model.is_fitted
    model.fit(X, Y)
    model.build((2, 3), force=True)
    assert not model.is_fitted


def test_reset_returns_to_what_the_estimator_had_learnt_before() -> None:
    estimator = Ridge().fit(X.reshape(40, 6), Y[:, 0])
    before = estimator.coef_.copy()
    model = ScikitModelWrapper(estimator)
    model.fit(X, -Y)
    model.reset_weights()
    np.testing.assert_array_equal(estimator.coef_, before)


def test_the_state_makes_a_twin_and_is_a_copy() -> None:
    model = ScikitModelWrapper(Ridge())
    model.build((2, 3), (1,))
    model.fit(X, Y)
    state, expected = model.get_state(), model(X)
    model.fit(X, -Y)
    twin = ScikitModelWrapper(**model.get_config())
    assert not twin.is_fitted
    twin.set_state(state)
    np.testing.assert_array_equal(twin(X), expected)
    assert (twin.input_shape, twin.output_shape) == ((2, 3), (1,))


def test_weights_are_what_was_learnt() -> None:
    model = ScikitModelWrapper(Ridge())
    assert model.get_weights() == {}
    model.fit(X, Y)
    assert {"coef_", "intercept_"} <= set(model.get_weights())
