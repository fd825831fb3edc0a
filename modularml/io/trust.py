"""scikit-learn estimators <-> bytes, without pickle, and which types such bytes may name.

It knows no tree and no zip of ours: one estimator, one skops file.

skops writes an estimator as JSON and arrays, and on reading asks which types to trust
beyond its own defaults. `TRUSTED` answers for all of scikit-learn: every type in it was
read with the question what a file can do that sets its attributes to anything. Three
rules keep the list narrow:

- a type may come only in the role it is listed for: an object is made without calling its
  constructor, a function is handed over and never called;
- classes and functions of the user's own may come in these roles, if they are defined already;
- indices that compiled code follows unchecked are checked (`soundness`).

What it does not promise: that a changed estimator predicts anything sensible.
"""

from __future__ import annotations

import io
import sys
import warnings
import zipfile
from collections.abc import Iterator
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from modularml.base.errors import FileFormatError, InvalidTypeError
from modularml.io import soundness
from modularml.io.strict_json import parse_json
from modularml.io.symbols import Symbol, bind

_DISTANCES = (  # all but PyFuncDistance, which calls a function it is given
    "BrayCurtis Canberra Chebyshev Dice Euclidean Hamming Haversine Jaccard Kulsinski Mahalanobis Manhattan "
    "Matching Minkowski RogersTanimoto RussellRao SEuclidean SokalMichener SokalSneath"
)
_OBJECTS = {
    "scipy.interpolate._bsplines": "BSpline",
    "sklearn._loss._loss": "CyHalfMultinomialLoss",
    "sklearn._loss.link": "HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit",
    "sklearn._loss.loss": (
        "AbsoluteError ExponentialLoss HalfBinomialLoss HalfGammaLoss HalfMultinomialLoss HalfPoissonLoss "
        "HalfSquaredError HalfTweedieLoss HalfTweedieLossIdentity HuberLoss PinballLoss"
    ),
    "sklearn.calibration": "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling",
    "sklearn.cluster._bisect_k_means": "_BisectingTree",
    "sklearn.ensemble._hist_gradient_boosting.predictor": "TreePredictor",
    "sklearn.gaussian_process._gpc": "_BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels": (
        "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern PairwiseKernel "
        "Product RBF RationalQuadratic Sum WhiteKernel"
    ),
    "sklearn.impute._iterative": "IterativeImputer _ImputerTriplet",
    "sklearn.metrics._scorer": "_CurveScorer _PassthroughScorer _Scorer",
    "sklearn.model_selection._search_successive_halving": "HalvingGridSearchCV HalvingRandomSearchCV",
    "sklearn.model_selection._split": (
        "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut LeavePOut "
        "PredefinedSplit RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold "
        "StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit _CVIterableWrapper"
    ),
    "sklearn.multiclass": "_ConstantPredictor",
    "sklearn.neighbors._ball_tree": "BallTree",
    "sklearn.neighbors._kd_tree": "KDTree",
    "sklearn.neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
    "sklearn.utils._metadata_requests": "MetadataRequest MethodMetadataRequest",
}
_FUNCTIONS = {
    "numpy": "clip cumsum diff max mean median min nan_to_num prod std sum var",
    "scipy._lib.array_api_compat.numpy._aliases": "asarray",
    "sklearn.cluster._kmeans": "_kmeans_single_elkan _kmeans_single_lloyd",
    "sklearn.feature_selection._mutual_info": "mutual_info_classif mutual_info_regression",
    "sklearn.feature_selection._univariate_selection": "chi2 f_classif f_oneway f_regression r_regression",
    "sklearn.metrics._classification": (
        "accuracy_score balanced_accuracy_score brier_score_loss d2_brier_score d2_log_loss_score f1_score "
        "fbeta_score jaccard_score log_loss matthews_corrcoef precision_score recall_score"
    ),
    "sklearn.metrics._ranking": "average_precision_score roc_auc_score top_k_accuracy_score",
    "sklearn.metrics._regression": (
        "d2_absolute_error_score explained_variance_score max_error mean_absolute_error "
        "mean_absolute_percentage_error mean_gamma_deviance mean_poisson_deviance mean_squared_error "
        "mean_squared_log_error median_absolute_error r2_score root_mean_squared_error "
        "root_mean_squared_log_error"
    ),
    "sklearn.utils.validation": "check_array",
}


def _names(listed: dict[str, str]) -> Iterator[str]:
    return (f"{module}.{name}" for module, names in listed.items() for name in names.split())


TRUSTED = {
    "functools.partial": "PartialNode",
    "numpy.dtype": "DTypeNode",
    "sklearn.tree._tree.Tree": "TreeNode TypeNode",
    "sklearn.utils._bunch.Bunch": "DictNode",
    **dict.fromkeys(_names(_FUNCTIONS), "FunctionNode"),
    **dict.fromkeys(_names(_OBJECTS), "ObjectNode"),
    **{
        f"sklearn.metrics._dist_metrics.{name}Distance{bits}": "ObjectNode"
        for name in _DISTANCES.split()
        for bits in (32, 64)
    },
    **{
        f"scipy.sparse._{form}.{form}_{kind}": "SparseMatrixNode"
        for form in ("bsr", "coo", "csc", "csr", "dia")
        for kind in ("array", "matrix")
    },
    # RepeatedKFold and its sibling hold the class that they repeat, as the loader of trees does.
    "sklearn.model_selection._split.KFold": "ObjectNode TypeNode",
    "sklearn.model_selection._split.StratifiedKFold": "ObjectNode TypeNode",
}
"""What a file may name beyond the defaults of skops, and the role (the loader of skops) it may have."""


@cache
def _skops() -> tuple[Any, Any, Any]:
    """Import skops when the first estimator comes: it loads scikit-learn, which may load torch.

    The function that reads a file is not enough: what a file describes must be looked at
    after it is read and before any of it is made, so the two steps are taken one by one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of third parties, about each other
        import skops.io
        from skops.io import _audit, _protocol

        return skops.io, _audit, _protocol


def is_estimator_class(cls: object) -> bool:
    """Return whether `cls` is a scikit-learn estimator class; scikit-learn is not loaded for it."""
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(cls, type) and issubclass(cls, base.BaseEstimator)


def is_estimator(value: object) -> bool:
    """Return whether `value` is a scikit-learn estimator."""
    return is_estimator_class(type(value))


def to_bytes(estimator: Any) -> bytes:
    """Return a scikit-learn estimator as an uncompressed skops file.

    Raises:
        InvalidTypeError: If it holds something that `from_bytes` would refuse, so that
            a file that cannot be opened is not written in the first place.
    """
    what = type(estimator).__name__
    written = io.BytesIO()
    try:
        _skops()[0].dump(estimator, written)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidTypeError(f"a {what} cannot be written to a file: {error}") from error
    data = _uncompressed(written)
    if refused := _refused(_plan(data, what)):
        raise InvalidTypeError(f"a {what} that holds {refused} cannot be written to a file")
    return data


def from_bytes(member: memoryview, where: str) -> Any:
    """Return the estimator in a skops file, naming nothing but trusted types.

    Raises:
        FileFormatError: If it names others, or is no such file; `where` names it.
    """
    data = bytes(member)
    try:
        _check_sizes(io.BytesIO(data), where)
        plan = _plan(data, where)
        if refused := _refused(plan):
            raise FileFormatError(f"{where} names {refused}, which is neither trusted nor defined here.")
        for node in _nodes(plan):
            if type(node).__name__ == "TreeNode":
                soundness.check_tree(node.children["args"].construct(), node.children["attrs"].construct())
        estimator = plan.construct()
        soundness.check(estimator)
    except FileFormatError:
        raise
    except Exception as error:  # the bytes are a stranger's, and what builds them may fail in any way
        raise FileFormatError(
            f"{where} is not a whole estimator: {type(error).__name__}: {error}."
        ) from error
    return estimator


def _plan(data: bytes, where: str) -> Any:
    """Return what a skops file describes, as a tree of nodes; nothing of it is made yet."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = parse_json(archive.read("schema.json"), where)
        protocol = schema["protocol"]
        if type(protocol) is not int or not 0 <= protocol <= _skops()[2].PROTOCOL:
            raise ValueError(f"protocol {protocol!r} of skops is unknown")
        _check_sharing(schema)
        context = _skops()[1].LoadContext(src=archive, protocol=protocol)
        return _skops()[1].get_tree(schema, context, trusted=None)


def _check_sharing(schema: Any) -> None:
    """Raise unless each array belongs to one object: skops would read it again for every other."""
    owners: dict[Any, int] = {}
    pending = [schema]
    while pending:
        state = pending.pop()
        if isinstance(state, dict):
            if "__loader__" in state and "file" in state:
                owner = state.get("__id__")
                if not owner or owners.setdefault(state["file"], owner) != owner:
                    raise ValueError(f"{state['file']!r} belongs to more than one object")
            pending.extend(state.values())
        elif isinstance(state, list):
            pending.extend(state)


def _refused(plan: Any) -> str:
    """Return the types that a plan names and must not, or not in that role, as text."""
    roles = {name: TRUSTED.get(name) or _own_role(name) for name in plan.get_unsafe_set()}
    refused = {name for name in roles if not roles[name]}
    for node in _nodes(plan):
        name = f"{node.module_name}.{node.class_name}"
        if name in roles and type(node).__name__ not in roles[name].split():
            refused.add(name)
    return ", ".join(repr(name) for name in sorted(refused))


def _nodes(plan: Any) -> Iterator[Any]:
    """Yield every node of a plan once."""
    seen: set[int] = set()
    pending = [plan]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif hasattr(item, "children") and id(item) not in seen:
            seen.add(id(item))
            yield item
            pending.extend(item.children.values())


def _own_role(name: str) -> str:
    """Return the role of what the user defined in this session under `name`; none if it is not there."""
    module, _, qualname = name.rpartition(".")
    found = bind(Symbol(name=qualname, module=module, source=""), {})
    if isinstance(found, FunctionType):
        return "FunctionNode"
    return "ObjectNode" if is_estimator_class(found) else ""


def _uncompressed(written: io.BytesIO) -> bytes:
    """Return a zip with all members stored, also those of the sparse matrices within."""
    result = io.BytesIO()
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(result, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, _uncompressed(io.BytesIO(data)) if name.endswith(".npz") else data)
    return result.getvalue()


def _check_sizes(data: io.BytesIO, where: str) -> None:
    """Raise unless every member is stored, and every array has the bytes its header claims."""
    with zipfile.ZipFile(data) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise FileFormatError(f"{where}: {info.filename!r} within is compressed.")
            if info.filename.endswith(".npz"):
                _check_sizes(io.BytesIO(archive.read(info)), where)
            elif info.filename.endswith(".npy"):
                _check_array(io.BytesIO(archive.read(info)), f"{where}: {info.filename!r} within")


def _check_array(data: io.BytesIO, where: str) -> None:
    version = np.lib.format.read_magic(data)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise FileFormatError(f"{where} has an unknown version of the npy format.")
    shape, _, dtype = read_header(data)
    n_bytes = dtype.itemsize
    for size in shape:
        n_bytes *= size
    if dtype.hasobject or n_bytes != len(data.getbuffer()) - data.tell():
        raise FileFormatError(f"{where} is not the array its header describes.")
