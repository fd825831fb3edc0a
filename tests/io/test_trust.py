"""Every estimator of scikit-learn goes into a file and comes back the same."""

import sys
import types
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import SelectKBest, mutual_info_regression
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from sklearn.linear_model import LogisticRegression, TweedieRegressor
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import GridSearchCV, RepeatedKFold, ShuffleSplit
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, NearestNeighbors
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import all_estimators, get_tags
from sklearn.utils._test_common.instance_generator import _construct_instances

from modularml.base.errors import FileFormatError, InvalidTypeError
from modularml.io import trust

CANNOT = {"Birch": "its clusters form a ring of objects, which skops has no way to write"}
X, Y = make_classification(40, 4, random_state=0)
X = np.abs(X) + 0.1
TEXTS = ["a small table", "another table", "no chair"]
OUTPUTS = ("predict", "transform", "predict_proba", "score_samples", "decision_function")


def training_data(estimator):
    """Return what the estimator can be fitted on."""
    tags = get_tags(estimator)
    special = {
        "CountVectorizer": (TEXTS,),
        "TfidfVectorizer": (TEXTS,),
        "DictVectorizer": ([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],),
        "IsotonicRegression": (X[:, 0], X[:, 1]),
        "KernelCenterer": (X @ X.T,),
        "LabelBinarizer": (Y,),
        "LabelEncoder": (Y,),
        "MultiLabelBinarizer": ([[0, 1], [1], [2]],),
        "SparseCoder": (np.random.default_rng(0).normal(size=(40, estimator.dictionary.shape[1])),)
        if hasattr(estimator, "dictionary")
        else (),
        "GammaRegressor": (X, X[:, 0]),
    }
    if type(estimator).__name__ in special:
        return special[type(estimator).__name__]
    needs_two = tags.target_tags.two_d_labels or not tags.target_tags.single_output
    return X @ X.T if tags.input_tags.pairwise else X, np.stack([Y, 1 - Y], axis=1) if needs_two else Y


def outputs(estimator, data):
    found = {}
    for name in OUTPUTS:
        if hasattr(estimator, name):
            try:
                found[name] = getattr(estimator, name)(data)
            except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, str):
            assert value == other[name], name
        else:
            assert_equal_arrays(value, other[name], name)


def assert_equal_arrays(value, other, name):
    dense = [item.toarray() if sparse.issparse(item) else item for item in (value, other)]
    if isinstance(dense[0], list | tuple):
        assert len(dense[0]) == len(dense[1])
        for a, b in zip(*dense, strict=True):
            assert_equal_arrays(a, b, name)
    elif np.asarray(dense[0]).dtype.kind == "f":  # BLAS may sum a copy of a strided array in another order
        np.testing.assert_allclose(*dense, rtol=1e-12, err_msg=name)
    else:
        np.testing.assert_array_equal(*dense, err_msg=name)


def round_trip(estimator):
    return trust.from_bytes(memoryview(trust.to_bytes(estimator)), "test")


def instances(cls):
    if cls is FrozenEstimator:
        return [FrozenEstimator(LogisticRegression().fit(X, Y))]
    return list(_construct_instances(cls))


@pytest.mark.parametrize(
    ("name", "cls"), all_estimators(), ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.filterwarnings("ignore")
def test_every_estimator_comes_back_the_same(name, cls):
    for estimator in instances(cls):
        data = training_data(estimator)
        seeds = [param for param in estimator.get_params() if param.endswith("random_state")]
        estimator.set_params(**dict.fromkeys(seeds, 0))
        estimator.fit(*data)
        if name in CANNOT:
            with pytest.raises(InvalidTypeError, match=name):
                trust.to_bytes(estimator)
            continue
        assert_same(outputs(estimator, data[0]), outputs(round_trip(estimator), data[0]))


PARTS = [
    GaussianProcessRegressor(kernels.Matern() ** 2 + kernels.RationalQuadratic() * kernels.DotProduct()),
    GaussianProcessRegressor(kernels.PairwiseKernel(metric="rbf") + kernels.WhiteKernel()),
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=RepeatedKFold(n_splits=2), scoring="accuracy"),
    GridSearchCV(
        TweedieRegressor(), {"power": [1.5]}, cv=ShuffleSplit(2), scoring=make_scorer(mean_squared_error)
    ),
    KNeighborsClassifier(algorithm="ball_tree", metric="chebyshev"),
    KNeighborsClassifier(algorithm="kd_tree", metric="manhattan"),
    NearestNeighbors(metric="haversine", algorithm="brute"),
    KernelDensity(metric="minkowski", metric_params={"p": 3}),
    HistGradientBoostingClassifier(max_iter=2, categorical_features=[3], max_bins=40),
    SelectKBest(mutual_info_regression),
    MLPRegressor(solver="sgd", max_iter=3, random_state=0),
    KMeans(3, random_state=0, algorithm="elkan"),
    make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression()),
    make_column_transformer((StandardScaler(), [0, 1]), remainder="passthrough"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", PARTS, ids=lambda estimator: str(estimator)[:60])
def test_parts_that_users_choose_come_back_too(estimator):
    estimator.fit(X, Y)
    assert_same(outputs(estimator, X), outputs(round_trip(estimator), X))


def test_a_sparse_matrix_within_is_not_compressed():
    estimator = StandardScaler(with_mean=False).fit(X)
    estimator.table_ = sparse.csr_matrix(np.eye(200))
    assert (round_trip(estimator).table_ != estimator.table_).nnz == 0
    assert len(trust.to_bytes(estimator)) > estimator.table_.data.nbytes


def test_what_could_not_be_read_is_not_written():
    with pytest.raises(InvalidTypeError, match="FunctionTransformer that holds"):
        trust.to_bytes(FunctionTransformer(warnings.warn))


class Doubler(BaseEstimator):
    """Stands for a class of the user's own."""

    def fit(self, x, y=None):
        self.fitted_ = True
        return self

    def transform(self, x):
        return 2 * x


def test_an_own_function_within_needs_only_be_defined_in_main(monkeypatch):
    monkeypatch.setattr(training_data, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "training_data", training_data, raising=False)
    data = trust.to_bytes(FunctionTransformer(training_data))
    assert trust.from_bytes(memoryview(data), "test").func is training_data
    monkeypatch.delattr(sys.modules["__main__"], "training_data")
    with pytest.raises(
        FileFormatError, match=r"'__main__.training_data', which is neither trusted nor defined"
    ):
        trust.from_bytes(memoryview(data), "test")


def test_an_own_class_within_a_pipeline_needs_only_be_defined(monkeypatch):
    module = types.ModuleType("notebook_of_a_user")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Doubler, "__module__", module.__name__)
    module.Doubler = Doubler
    data = trust.to_bytes(make_pipeline(Doubler(), StandardScaler()).fit(X))
    assert isinstance(trust.from_bytes(memoryview(data), "test")[0], Doubler)
    del module.Doubler
    with pytest.raises(FileFormatError, match=r"notebook_of_a_user\.Doubler"):
        trust.from_bytes(memoryview(data), "test")
