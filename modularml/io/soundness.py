"""Whether what an estimator's compiled code follows blindly leads where it should.

It knows no file: it looks at fitted scikit-learn objects that a file described.

scikit-learn checks the data that it is given, not its own fitted state: a tree whose
child index was changed in the file reads memory that is not its own and may end the
process at the first prediction. So indices and shapes of such state are checked here,
once, when a file is opened. All checks are on whole arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np


def check_tree(arguments: Any, state: Any) -> None:
    """Raise ValueError unless a decision tree can be made of this and walked.

    Args:
        arguments: What its constructor gets: ``(n_features, n_classes, n_outputs)``.
        state: What it is set to: ``{"node_count": ..., "nodes": ..., "values": ...}``.
    """
    n_features, n_classes, n_outputs = arguments
    nodes, values = state["nodes"], state["values"]
    _require(type(n_features) is int and type(n_outputs) is int, "tree sizes that are no integers")
    _require(n_classes.shape == (n_outputs,) and n_classes.dtype == np.intp, "a tree's class counts")
    _require(n_outputs > 0 and n_classes.min() > 0, "a tree's class counts")
    _require(values.shape == (len(nodes), n_outputs, int(n_classes.max())), "the shape of a tree's values")
    _require(state["node_count"] == len(nodes), "a tree's number of nodes")
    is_leaf = nodes["left_child"] == -1
    _check_walk(nodes["left_child"], nodes["right_child"], nodes["feature"], is_leaf, n_features)


def check(estimator: Any) -> None:
    """Raise ValueError if compiled code that this estimator runs would leave its arrays."""
    for part in _parts(estimator):
        for cls in type(part).__mro__:
            if look := _CHECKS.get(f"{cls.__module__}.{cls.__qualname__}"):
                look(part)


def _require(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(f"it has {what} that cannot be")


def _check_walk(left: Any, right: Any, feature: Any, is_leaf: Any, n_features: int) -> None:
    """Require that children come after their parent, so that every walk ends inside."""
    inner = np.flatnonzero(~is_leaf)
    _require(len(left) > 0, "an empty tree")
    for child in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        _require(np.all((child > inner) & (child < len(left))), "tree nodes")
    _require(np.all((feature[inner] >= 0) & (feature[inner] < n_features)), "tree features")


def _parts(root: Any) -> Iterator[Any]:
    """Yield `root` and every object that it holds in attributes and containers."""
    seen: dict[int, Any] = {}
    pending = [root]
    while pending:
        part = pending.pop()
        if id(part) in seen or isinstance(part, type | str | int | float | None):
            continue
        seen[id(part)] = part
        yield part
        if isinstance(part, Mapping):
            pending.extend(part.values())
        elif isinstance(part, list | tuple | set):
            pending.extend(part)
        elif isinstance(part, np.ndarray) and part.dtype == object:
            pending.extend(part.flat)
        pending.extend(getattr(part, "__dict__", {}).values())


def _check_single_tree(model: Any) -> None:
    if hasattr(model, "tree_"):
        _require(model.tree_.n_features == model.n_features_in_, "a tree's number of features")


def _check_forest(model: Any) -> None:
    for member in getattr(model, "estimators_", ()):
        _require(member.tree_.n_features == model.n_features_in_, "a tree's number of features")


def _check_isolation(model: Any) -> None:
    for member in getattr(model, "estimators_", ()):
        _require(member.tree_.n_features == model._max_features, "a tree's number of features")
    for features in getattr(model, "estimators_features_", ()):
        _require(len(features) == model._max_features <= model.n_features_in_, "a tree's number of features")


def _check_boosting(model: Any) -> None:
    members: Any = getattr(model, "estimators_", np.empty((0, 0), object))
    if members.size:
        _require(members.shape[1] == model.n_trees_per_iteration_, "a number of trees")
    for member in members.flat:
        _require(member.tree_.n_features == model.n_features_in_, "a tree's number of features")
        _require(member.tree_.n_outputs == member.tree_.max_n_classes == 1, "a tree's number of outputs")


def _check_histogram_boosting(model: Any) -> None:
    if not hasattr(model, "_predictors"):
        return
    bin_mapper = model._bin_mapper
    n_features = len(bin_mapper.is_categorical_)
    _require(n_features == model.n_features_in_, "a number of features")
    for predictor in chain.from_iterable(model._predictors):
        nodes, is_leaf = predictor.nodes, predictor.nodes["is_leaf"] != 0
        _check_walk(nodes["left"], nodes["right"], nodes["feature_idx"], is_leaf, n_features)
        split = nodes[~is_leaf & (nodes["is_categorical"] != 0)]
        _require(np.all(bin_mapper.is_categorical_[split["feature_idx"]] != 0), "a split by category")
        for bits in (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets):
            _require(bits.ndim == 2 and bits.shape[1] == 8, "sets of categories")
            _require(np.all(split["bitset_idx"] < len(bits)), "sets of categories")


def _check_neighbor_tree(tree: Any) -> None:
    n_nodes, n_samples = len(tree.node_data), tree.data.shape[0]
    nodes, order, bounds = (np.asarray(a) for a in (tree.node_data, tree.idx_array, tree.node_bounds))
    state = tree.__getstate__()
    n_levels, n_listed = state[5], state[6]
    _require(0 < n_levels < 64 and n_listed == n_nodes == 2**n_levels - 1, "a number of tree nodes")
    _require(order.shape == (n_samples,) and np.all((order >= 0) & (order < n_samples)), "tree rows")
    _require(bounds.shape[1:] == (n_nodes, tree.data.shape[1]), "tree bounds")
    _require(bounds.shape[0] == (2 if "KDTree" in type(tree).__name__ else 1), "tree bounds")
    start, end = nodes["idx_start"], nodes["idx_end"]
    _require(np.all((start >= 0) & (start <= end) & (end <= n_samples)), "tree rows")
    _require(np.all(nodes["is_leaf"][n_nodes // 2 :] != 0), "tree leaves")
    _require(state[12] is None or np.asarray(state[12]).shape == (n_samples,), "sample weights")


def _check_neighbors(model: Any) -> None:
    fitted = getattr(model, "_fit_X", None)
    tree = getattr(model, "_tree", None)
    if tree is not None and fitted is not None:
        _require(tree.data.shape == fitted.shape, "a tree of other rows")
        _require(tree.data.shape[1] == model.n_features_in_, "a number of features")


def _check_support_vectors(model: Any) -> None:
    if not hasattr(model, "_n_support"):
        return
    n_vectors, n_classes = len(model.support_), len(model._n_support)
    n_pairs = n_classes * (n_classes - 1) // 2
    is_classifier = model._impl in ("c_svc", "nu_svc")
    _require(n_classes > 1 and np.all(model._n_support >= 0), "a number of classes")
    _require(not is_classifier or model._n_support.sum() == n_vectors, "a number of support vectors")
    _require(model._dual_coef_.shape == (n_classes - 1, n_vectors), "coefficients")
    _require(len(model._intercept_) == n_pairs, "intercepts")
    _require(all(len(p) in (0, n_pairs) for p in (model._probA, model._probB)), "probabilities")
    if model.kernel == "precomputed" or callable(model.kernel):
        _require(n_vectors == 0 or model.support_.min() >= 0, "support vectors")
        _require(n_vectors == 0 or model.support_.max() < model.shape_fit_[0], "support vectors")
    else:
        _require(model.support_vectors_.shape == (n_vectors, model.n_features_in_), "support vectors")


def _check_spline(spline: Any) -> None:
    type(spline)(spline.t, spline.c, spline.k, extrapolate=spline.extrapolate, axis=spline.axis)


def _check_sparse(matrix: Any) -> None:
    matrix.check_format(full_check=True)


_CHECKS: dict[str, Callable[[Any], None]] = {
    "scipy.interpolate._bsplines.BSpline": _check_spline,
    "scipy.sparse._compressed._cs_matrix": _check_sparse,
    "sklearn.ensemble._forest.BaseForest": _check_forest,
    "sklearn.ensemble._gb.BaseGradientBoosting": _check_boosting,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.BaseHistGradientBoosting": (
        _check_histogram_boosting
    ),
    "sklearn.ensemble._iforest.IsolationForest": _check_isolation,
    "sklearn.neighbors._ball_tree.BinaryTree64": _check_neighbor_tree,
    "sklearn.neighbors._base.NeighborsBase": _check_neighbors,
    "sklearn.neighbors._kd_tree.BinaryTree64": _check_neighbor_tree,
    "sklearn.svm._base.BaseLibSVM": _check_support_vectors,
    "sklearn.tree._classes.BaseDecisionTree": _check_single_tree,
}
