"""An estimator whose state was changed in the file is refused before it can end the process."""

import io
import json
import zipfile

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestRegressor,
)
from sklearn.neighbors import BallTree, KDTree, KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer, SplineTransformer, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from modularml.base.errors import FileFormatError
from modularml.io import soundness, trust

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = RNG.integers(0, 3, 60)
X[:, 3] = np.where(RNG.random(60) < 0.6, Y, 3)  # categories
FITTED = {
    "tree": DecisionTreeClassifier(random_state=0),
    "forest": RandomForestRegressor(3, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=2, random_state=0),
    "isolation": IsolationForest(n_estimators=3, max_features=0.5, random_state=0),
    "histograms": HistGradientBoostingClassifier(max_iter=2, categorical_features=[3], min_samples_leaf=2),
    "kd_tree": KNeighborsClassifier(algorithm="kd_tree", leaf_size=5),
    "ball_tree": KNeighborsClassifier(algorithm="ball_tree", leaf_size=5),
    "svc": SVC(),
    "svr": SVR(),
    "spline": SplineTransformer(),
}


@pytest.fixture(scope="module", params=FITTED)
def fitted(request):
    return FITTED[request.param].fit(X, Y)


def test_what_was_fitted_is_sound(fitted):
    soundness.check(fitted)


def tree_state(**changes):
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y).tree_
    _, arguments, state = tree.__reduce__()
    return arguments, {**state, **changes}


def nodes_with(field, value, at=0):
    nodes = tree_state()[1]["nodes"].copy()
    nodes[field][at] = value
    return nodes


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": nodes_with("left_child", 10**9)},
        {"nodes": nodes_with("right_child", -5)},
        {"nodes": nodes_with("left_child", 0)},
        {"nodes": nodes_with("feature", 4)},
        {"nodes": nodes_with("feature", -3)},
        {"node_count": 10**6},
        {"values": np.zeros((3, 1, 3))},
        {"nodes": nodes_with("feature", 0)[:0], "node_count": 0, "values": np.zeros((0, 1, 3))},
    ],
)
def test_a_tree_that_leads_out_of_itself_is_refused(changes):
    soundness.check_tree(*tree_state())
    with pytest.raises(ValueError, match="cannot be"):
        soundness.check_tree(*tree_state(**changes))


@pytest.mark.parametrize(
    "arguments",
    [(4, np.array([3]), 10**6), (4, np.array([0]), 1), (4.0, np.array([3]), 1), (2, np.array([3]), 1)],
)
def test_a_tree_of_impossible_size_is_refused(arguments):
    with pytest.raises(ValueError, match="cannot be"):
        soundness.check_tree(arguments, tree_state()[1])


def changed(estimator, **attributes):
    copy = trust.from_bytes(memoryview(trust.to_bytes(estimator)), "test")
    vars(copy).update(attributes)
    return copy


def refused(estimator):
    with pytest.raises(ValueError, match="cannot be"):
        soundness.check(estimator)
    return True


def test_members_of_an_ensemble_have_its_features():
    for model in (FITTED["tree"], FITTED["forest"], FITTED["boosting"]):
        model.fit(X, Y)
        assert refused(changed(model, n_features_in_=2))
    assert refused(changed(FITTED["isolation"].fit(X), _max_features=1))
    boosting = FITTED["boosting"]
    assert refused(changed(boosting, estimators_=boosting.estimators_[:, :1]))
    assert refused(changed(boosting, estimators_=np.array([[FITTED["tree"]] * 3])))


@pytest.mark.parametrize(
    ("field", "value"),
    [("left", 10**6), ("right", 0), ("feature_idx", 9), ("bitset_idx", 99), ("is_categorical", 1)],
)
def test_histogram_trees_lead_nowhere_else(field, value):
    model = changed(FITTED["histograms"].fit(X, Y))
    nodes = np.concatenate([predictor.nodes for predictor in model._predictors[0]])
    wanted = (nodes["is_leaf"] == 0) & ((nodes["is_categorical"] != 0) == (field == "bitset_idx"))
    at = np.flatnonzero(wanted)[0]
    for predictor in model._predictors[0]:
        if at < len(predictor.nodes):
            predictor.nodes[field][at] = value
            break
        at -= len(predictor.nodes)
    assert refused(model)


@pytest.mark.parametrize("cls", [KDTree, BallTree])
@pytest.mark.parametrize(
    ("place", "change"),
    [
        (1, lambda order: order + 50),
        (1, lambda order: order[:10]),
        (2, lambda nodes: nodes[:1]),
        (3, lambda bounds: bounds[:, :1].copy()),
        (5, lambda n_levels: n_levels + 1),
        (5, lambda n_levels: 70),
        (6, lambda n_nodes: n_nodes * 2),
    ],
)
def test_a_tree_of_neighbors_leads_nowhere_else(cls, place, change):
    tree = cls(X, leaf_size=5)
    soundness.check(tree)
    state = list(tree.__getstate__())
    state[place] = change(np.asarray(state[place]) if 0 < place < 4 else state[place])
    broken = cls.__new__(cls)
    broken.__setstate__(tuple(state))
    assert refused(broken)


def test_neighbors_search_the_rows_they_were_given():
    model = FITTED["kd_tree"].fit(X, Y)
    assert refused(changed(model, _fit_X=X[:5]))
    assert refused(changed(model, n_features_in_=9))


def test_support_vectors_fit_each_other():
    model = SVC().fit(X, Y)
    n = len(model.support_)
    assert refused(changed(model, support_vectors_=model.support_vectors_[:, :2]))
    assert refused(changed(model, support_vectors_=model.support_vectors_[: n - 1]))
    assert refused(changed(model, _dual_coef_=model._dual_coef_[:1]))
    assert refused(changed(model, _intercept_=model._intercept_[:1]))
    assert refused(changed(model, _n_support=model._n_support * 5))
    assert refused(changed(model, _probA=np.zeros(1)))
    precomputed = SVC(kernel="precomputed").fit(X @ X.T, Y)
    soundness.check(precomputed)
    assert refused(changed(precomputed, support_=precomputed.support_ + 100))


def test_a_spline_and_a_sparse_matrix_check_themselves():
    spline = changed(SplineTransformer().fit(X))
    spline.bsplines_[0].c = spline.bsplines_[0].c[:1]
    with pytest.raises(ValueError, match="coefficients"):
        soundness.check(spline)
    matrix = sparse.csr_array(np.eye(3))
    matrix.indices[0] = 70
    with pytest.raises(ValueError, match="indices"):
        soundness.check(matrix)


# What a changed file can try through skops


def rewritten(estimator, change):
    """Return the bytes of an estimator whose schema and arrays `change` has been at."""
    with zipfile.ZipFile(io.BytesIO(trust.to_bytes(estimator))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    change(schema, members)
    members["schema.json"] = json.dumps(schema).encode()
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return memoryview(result.getvalue())


def test_a_changed_tree_is_refused_before_it_is_made():
    def change(schema, members):
        for name, data in members.items():
            if name.endswith(".npy"):
                array = np.load(io.BytesIO(data))
                if "left_child" in (array.dtype.names or ()):
                    array["left_child"][0] = 10**12
                    written = io.BytesIO()
                    np.save(written, array)
                    members[name] = written.getvalue()

    with pytest.raises(FileFormatError, match="tree nodes"):
        trust.from_bytes(rewritten(DecisionTreeClassifier().fit(X, Y), change), "test")


@pytest.mark.parametrize(
    "name", ["os.system", "posix.system", "subprocess.Popen", "builtins.eval", "numpy.load"]
)
@pytest.mark.parametrize(
    "loader", ["FunctionNode", "TypeNode", "ObjectNode", "ListNode", "ConstructorFromReduceNode"]
)
def test_a_type_that_is_not_trusted_is_refused(name, loader, tmp_path):
    module, _, cls = name.rpartition(".")

    def change(schema, members):
        argument = {
            "__class__": "str",
            "__module__": "builtins",
            "__loader__": "JsonNode",
            "content": '["true"]',
        }
        content = [argument] if loader == "ListNode" else argument
        schema["content"]["content"]["func"] = {
            "__class__": cls, "__module__": module, "__loader__": loader, "content": content
        }  # fmt: skip

    with pytest.raises(FileFormatError, match=f"names '{name}'|is not a whole estimator"):
        trust.from_bytes(rewritten(FunctionTransformer(), change), "test")


@pytest.mark.parametrize("name", [n for n in trust.TRUSTED if "Node" in trust.TRUSTED[n]][::12])
def test_a_trusted_function_or_type_is_never_called(name):
    """skops makes lists and dicts of any trusted type, which calls it with what the file says."""
    module, _, cls = name.rpartition(".")

    def change(schema, members):
        schema["content"]["content"]["func"] = {
            "__class__": cls, "__module__": module, "__loader__": "ListNode", "content": []
        }  # fmt: skip

    with pytest.raises(FileFormatError, match=f"names '{name}'"):
        trust.from_bytes(rewritten(FunctionTransformer(), change), "test")


@pytest.mark.parametrize("protocol", [-1, 99, True, "0", None])
def test_a_protocol_that_is_unknown_is_refused(protocol):
    def change(schema, members):
        schema["protocol"] = protocol

    with pytest.raises(FileFormatError, match="protocol"):
        trust.from_bytes(rewritten(StandardScaler().fit(X), change), "test")


def with_array(data):
    def change(schema, members):
        name = next(name for name in members if name.endswith(".npy"))
        members[name] = data

    return rewritten(StandardScaler().fit(X), change)


def npy(array, **options):
    written = io.BytesIO()
    np.lib.format.write_array(written, array, **options)
    return written.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        npy(np.zeros(4))[:-1],
        npy(np.zeros(4)) + b"x",
        npy(np.array([print], dtype=object), allow_pickle=True),
        npy(np.zeros(4)).replace(b"(4,)", b"(9,)"),
        npy(np.zeros(4), version=(3, 0)),
        npy(np.zeros(4)).replace(b"(4,), }               ", b"(9999999999999,), }    "),
    ],
)
def test_an_array_that_lies_is_refused(data):
    with pytest.raises(FileFormatError, match="some member"):
        trust.from_bytes(with_array(data), "some member")


def test_an_array_is_not_read_once_for_each_of_many_objects():
    def change(schema, members):
        attributes = schema["content"]["content"]
        attributes["var_"]["file"] = attributes["mean_"]["file"]

    with pytest.raises(FileFormatError, match="more than one object"):
        trust.from_bytes(rewritten(StandardScaler().fit(X), change), "test")


def test_a_bomb_within_is_refused():
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * 10_000_000)
    with pytest.raises(FileFormatError, match="compressed"):
        trust.from_bytes(memoryview(result.getvalue()), "some member")


@pytest.mark.parametrize("data", [b"", b"PK", b"x" * 100])
def test_what_is_no_estimator_is_refused(data):
    with pytest.raises(FileFormatError, match="some member"):
        trust.from_bytes(memoryview(data), "some member")
