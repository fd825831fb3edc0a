"""scikit-learn, as the rest of the library uses it: what an estimator can do, and copies of it.

It knows no node, no phase and no model.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone, is_clusterer, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from modularml.backends.sklearn_progress import watched as watched
from modularml.base.config import same_tree

OUTPUT_METHODS = ("predict", "transform", "predict_proba", "decision_function", "score_samples")


def output_methods(estimator: Any) -> list[str]:
    """Return the methods by which an estimator answers for new samples."""
    return [name for name in OUTPUT_METHODS if hasattr(estimator, name)]


def is_fitted(estimator: Any) -> bool:
    """Tell whether the estimator can answer: it was fitted, or needs no fitting.

    A Gaussian process answers of its prior before it is fitted, which is no answer here; and scikit-learn
    looks at the last step of a pipeline alone.
    """
    if hasattr(estimator, "sample_y"):
        return hasattr(estimator, "X_train_")
    if hasattr(estimator, "steps"):
        return all(is_fitted(step) for _, step in estimator.steps if hasattr(step, "fit"))
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    except (AttributeError, TypeError):  # not of sklearn's family: the underscore marks what is learnt
        return any(name.endswith("_") and not name.startswith("_") for name in vars(estimator))
    return True


def unfitted(estimator: Any) -> Any:
    """Return a copy with the same parameters and nothing learnt."""
    return clone(estimator, safe=False)


def needs_classes(estimator: Any) -> bool:
    """Tell whether the first `partial_fit` must be told all classes."""
    takes = "classes" in inspect.signature(estimator.partial_fit).parameters
    return takes and getattr(estimator, "classes_", None) is None


def weight_argument(estimator: Any, method: str = "fit") -> str | None:
    """Return the argument by which a method takes weights of samples; None where it takes none.

    A pipeline hands them to its last step, ``"ridge__sample_weight"``, and what searches over an estimator,
    or wraps one, to that one.
    """
    parameters = inspect.signature(getattr(estimator, method)).parameters
    if "sample_weight" in parameters:
        return "sample_weight"
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    if hasattr(estimator, "steps"):
        name, last = estimator.steps[-1]
        inner = weight_argument(last) if hasattr(last, "fit") else None
        return inner and f"{name}__{inner}"
    wrapped = getattr(estimator, "estimator", getattr(estimator, "regressor", None))
    if wrapped is not None:
        return weight_argument(wrapped)
    several = [one for _, one in getattr(estimator, "estimators", ()) if hasattr(one, "fit")]
    return "sample_weight" if several and all(map(weight_argument, several)) else None


def labels_by_itself(estimator: Any) -> bool:
    """Tell whether it predicts labels of its own making, one a sample: clusters, or outliers."""
    return is_clusterer(estimator) or is_outlier_detector(estimator)


def as_rows(array: Any) -> np.ndarray:
    """Return samples as rows: ``(n, n_keys, *shape)`` becomes ``(n, n_features)``."""
    values = np.asarray(array)
    return values if values.ndim == 2 else values.reshape(len(values), -1)


def rows_for(estimator: Any, array: Any) -> np.ndarray:
    """Return samples as rows for an estimator to answer for; clusterers compare in one dtype only."""
    rows = as_rows(array)
    centers = getattr(estimator, "cluster_centers_", None)
    return rows if centers is None else rows.astype(centers.dtype, copy=False)


def as_targets(array: Any) -> np.ndarray:
    """Return targets as estimators take them: ``(n,)`` for one value a sample, else ``(n, k)``."""
    values = as_rows(array)
    return values[:, 0] if values.shape[1] == 1 else values


def as_outputs(values: Any) -> np.ndarray:
    """Return what an estimator answered as ``(n, k)``: sparse, tables and lists too."""
    if isinstance(values, list):  # the probabilities of several targets
        return np.concatenate([as_outputs(one) for one in values], axis=1)
    return as_rows(values.toarray() if hasattr(values, "toarray") else values)


def dry_fit(estimator: Any, n_features: int) -> np.ndarray | None:
    """Return the outputs of a copy fitted to noise, or None if it cannot be fitted so.

    It tells how many columns a transformer will make; the global random state stays as it is.
    """
    noise = np.random.default_rng(0).random((max(64, 2 * n_features), n_features))
    try:
        return as_outputs(unfitted(estimator).fit_transform(noise))
    except (ValueError, TypeError, AttributeError):
        return None


def writes_into_input(estimator: Any) -> bool:
    """Tell whether the estimator, or a step of it, was told to save the copy of the samples it is handed."""
    settings: dict[str, Any] = getattr(estimator, "get_params", dict)()
    return any(
        value is False and name.rpartition("__")[2].startswith("copy") for name, value in settings.items()
    )


def allows_nan(estimator: Any) -> bool:
    """Tell whether the estimator, or the first step of the pipeline, takes features that are NaN."""
    first = estimator.steps[0][1] if hasattr(estimator, "steps") else estimator
    if hasattr(first, "__sklearn_tags__"):
        return bool(first.__sklearn_tags__().input_tags.allow_nan)
    tags: dict[str, Any] = getattr(first, "_get_tags", dict)()  # before scikit-learn 1.6
    return bool(tags.get("allow_nan", False))


def same(left: Any, right: Any) -> bool:
    """Tell whether two estimators, or parts of them, have the same parameters and have learnt the same.

    Estimators define no equality, and their bytes hold padding; so parts are compared one by one.
    """
    if left is right or type(left) is not type(right):
        return left is right
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, np.ndarray) and left.dtype == object:
        return left.shape == right.shape and all(map(same, left.flat, right.flat))
    if isinstance(left, np.ndarray | np.generic | float):
        return same_tree(np.asarray(left), np.asarray(right))
    if isinstance(left, int | str | bytes | set | frozenset) or hasattr(left, "__qualname__"):
        return bool(left == right)
    return same(left.__reduce_ex__(2)[1:3], right.__reduce_ex__(2)[1:3])


def copied(estimator: Any) -> Any:
    """Return a copy that has learnt the same."""
    return copy.deepcopy(estimator)
