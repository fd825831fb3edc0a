"""An experiment as an estimator of scikit-learn: ``fit`` makes and runs one, ``predict`` asks its tail.

It knows no loop. What is fitted is a new experiment each time, so that an estimator can be
cloned, searched over and cross-validated by scikit-learn while the experiment that it came
from stays as it is.

What ``X`` and ``y`` become: the columns of ``X`` are the values of the feature keys that the
graph reads, in their order; ``y`` is the target. The splits that training reads are drawn anew
in the proportions that they had; a single one has every sample. Tags are not there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from modularml.base.config import from_config
from modularml.base.errors import InvalidValueError, StateError, unknown_name
from modularml.core.context import ExperimentContext
from modularml.core.data.columns import FEATURES, RAW, TARGETS, TRANSFORMED, Column
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import FeatureSetReference
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.scaling import Scaling
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment import storage
from modularml.core.experiment.cross_validation import QUIET
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.tuning import settings_of, tune
from modularml.core.topology.graph_file import make_graph
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.splitters import RandomSplitter

CLASS_LOSSES = ("cross_entropy", "nll", "bce", "bce_with_logits", "multi_margin")
"""The losses over classes: what is trained by one of them is a classifier."""

_LIKELIHOODS = ("cross_entropy", "nll", "bce", "bce_with_logits")
"""Those of them that make probabilities of outputs."""


def _gives_probabilities(estimator: ExperimentClassifier) -> bool:
    """Whether the outputs of its tail are scores that a likelihood was made of; scikit-learn asks."""
    return isinstance(estimator.recipe, Recipe) and estimator.recipe.loss in _LIKELIHOODS


@dataclass(frozen=True, eq=False)
class Recipe:
    """What an estimator makes its experiments of; it never changes, so copies share it.

    Attributes:
        cls: The class of the experiment.
        tree: The definitions of its plan, nodes and graph, as `storage.tree_of` returns them.
        featureset: The label of its FeatureSet.
        features: The feature keys that the graph reads, with the shape of a sample.
        target: The target key.
        scaling: The scalers of its FeatureSet.
        shares: Name of each split that training reads -> its share.
        tail: The label of the node that predicts.
        loss: The name of the loss on it, or None.
    """

    cls: Any
    tree: Mapping[str, Any]
    featureset: str
    features: Mapping[str, tuple[int, ...]]
    target: str
    scaling: Scaling
    shares: Mapping[str, float]
    tail: str
    loss: str | None

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<{self.tree['config']['label']}>"


def estimator_of(experiment: Any) -> BaseEstimator:
    """Return an experiment as an estimator; see `Experiment.as_estimator`."""
    where, graph = f"Experiment {experiment.label!r} as an estimator", experiment.model_graph
    if graph is None:
        raise StateError(f"{where}: it has no model graph yet.")
    sources = {
        experiment.ctx.get_node(ref).label for node in graph.head_nodes for ref in node.featureset_refs
    }
    refs = [ref for node in graph.head_nodes for ref in node.featureset_refs]
    if len(sources) != 1 or len(graph.tail_nodes) != 1:
        raise StateError(
            f"{where}: it needs one FeatureSet and one tail, and has {sorted(sources)} and "
            f"{[node.label for node in graph.tail_nodes]}."
        )
    if len(graph.tail_nodes[0].output_names) > 1:
        raise StateError(
            f"{where}: its tail has the outputs {list(graph.tail_nodes[0].output_names)}, and an estimator "
            "predicts one target."
        )
    phases = _fitting(experiment.execution_plan)
    if not phases:
        raise StateError(f"{where}: its plan has no TrainPhase and no FitPhase.")
    data: FeatureSet = experiment.ctx.get_node(sources.pop(), FeatureSet)
    targets = list(dict.fromkeys(Column.parse(name).key for ref in refs for name in ref.targets))
    if len(targets) != 1:
        raise StateError(f"{where}: it needs one target, and the graph is given {targets}.")
    keys = list(dict.fromkeys(Column.parse(name).key for ref in refs for name in ref.features))
    raw = {key: data.table.column(str(Column(FEATURES, key, RAW))) for key in keys}
    text = [key for key, column in raw.items() if column.dtype.kind not in "biuf"]
    if text:
        raise StateError(
            f"{where}: arrays of scikit-learn's hold numbers, and the features {text} do not. Encode them "
            "before they enter the FeatureSet."
        )
    tail = graph.tail_nodes[0]
    names = [loss.loss.name for phase in phases for loss in phase.losses if loss.node_label == tail.label]
    tree = storage.tree_of(experiment, history=False)
    recipe = Recipe(
        cls=type(experiment),
        tree={part: _without_tags(tree[part]) for part in ("config", "nodes", "graph")},
        featureset=data.label,
        features={key: column.shape[1:] for key, column in raw.items()},
        target=targets[0],
        scaling=Scaling(data.scaler_records),
        shares=_shares(phases, data),
        tail=tail.label,
        loss=names[0] if names else None,
    )
    of_classes = recipe.loss in CLASS_LOSSES or _classifies(tail)
    return ExperimentClassifier(recipe) if of_classes else ExperimentRegressor(recipe)


def _without_tags(tree: Any) -> Any:
    """Return a tree of settings whose references to FeatureSets name no tags: ``X`` and ``y`` have none."""
    if type(tree) in (list, tuple):
        return type(tree)(_without_tags(part) for part in tree)
    if type(tree) is not dict:
        return tree
    found = {name: _without_tags(part) for name, part in tree.items()}
    return found | {"tags": ()} if found.get("$type") == FeatureSetReference.__name__ else found


def _classifies(node: Any) -> bool:
    estimator = getattr(getattr(node, "model", None), "estimator", None)
    return estimator is not None and is_classifier(estimator)


def _fitting(plan: PhaseGroup) -> list[ExperimentPhase]:
    """Return the phases that change weights; evaluations and cross-validations change none."""
    found: list[ExperimentPhase] = []
    for entry in plan.all:
        if isinstance(entry, PhaseGroup):
            found += _fitting(entry)
        elif isinstance(entry, ExperimentPhase) and entry.kind != "eval":
            found.append(entry)
    return found


def _splits_read(phases: Sequence[ExperimentPhase]) -> Iterator[str]:
    """Yield the splits that are read: those to train on first, then those of evaluations meanwhile."""
    within = [c.eval_phase for phase in phases for c in phase.callbacks if hasattr(c, "eval_phase")]
    for phase in [*phases, *within]:
        for binding in phase.input_sources:
            if binding.split is not None:
                yield binding.split


def _shares(phases: Sequence[ExperimentPhase], data: FeatureSet) -> dict[str, float]:
    sizes = {name: data.get_split(name).n_samples for name in dict.fromkeys(_splits_read(phases))}
    return {name: size / sum(sizes.values()) for name, size in sizes.items()}


class ExperimentEstimator(BaseEstimator):
    """What regressor and classifier share; `Experiment.as_estimator` makes them.

    What is searched over are parameters like any other (``get_params``, ``set_params``): ``n_epochs`` and
    ``batch_size`` of all training, ``optimizer__lr`` and what else the optimizer takes, and
    ``<node>__<argument>`` of the model of each node, ``mlp__hidden_dim``.

    Args:
        recipe: What experiments are made of.
        random_state: An int decides weights, batches and splits; None draws them.
        settings: Name -> value of such parameters that differ from the recipe; ``set_params`` fills it.

    Attributes:
        experiment_: The experiment of the last fit, with its history.
        n_features_in_: How many columns ``X`` had.
    """

    def __init__(
        self,
        recipe: Recipe | None = None,
        random_state: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.recipe = recipe
        self.random_state = random_state
        self.settings = settings

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` adds what may be searched over."""
        own: dict[str, Any] = super().get_params(deep=False)
        # scikit-learn's checks set anything, and look at parameters before a fit would refuse them.
        if not deep or not isinstance(self.recipe, Recipe):
            return own
        changed = self.settings if isinstance(self.settings, Mapping) else {}
        return own | settings_of(self.recipe.tree) | dict(changed)

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; see the class.

        Raises:
            InvalidValueError: If a name is unknown, with the nearest one there is.
        """
        own = super().get_params(deep=False)
        known = self.get_params()
        for name in params:
            if name not in known:
                told = unknown_name("parameter", name, known, where=type(self).__name__)
                meant = [one for one in known if one.endswith(f"__{name}")]
                raise InvalidValueError(told + (f" Did you mean {meant[0]!r}?" if meant else ""))
        for name in params.keys() & own.keys():
            setattr(self, name, params[name])
        others = {name: value for name, value in params.items() if name not in own}
        if others:
            self.settings = {**(self.settings or {}), **others}
        return self

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        recipe = self._recipe()
        seed = int(check_random_state(self.random_state).randint(2**31))
        # A context that is given does not become the active one.
        ctx = ExperimentContext(registration_policy="raise")
        experiment = recipe.cls(recipe.tree["config"]["label"], ctx=ctx, seed=seed)
        with ctx.temporary():
            self._define(experiment, X, y, seed)
        self.experiment_ = experiment

    def _recipe(self) -> Recipe:
        if self.recipe is None:
            raise StateError(f"{type(self).__name__} is made by Experiment.as_estimator(), not by itself.")
        return self.recipe

    def _define(self, experiment: Any, X: np.ndarray, y: np.ndarray, seed: int) -> None:
        """Make data, graph and phases of the recipe on these samples, and run them."""
        recipe = self._recipe()
        data = FeatureSet(recipe.featureset, self._samples(X, y))
        if len(recipe.shares) > 1:
            data.split(RandomSplitter(dict(recipe.shares), seed=seed))
        for name in recipe.shares if len(recipe.shares) == 1 else ():
            data.add_split(data.take(np.arange(len(X)), label=name))
        fit_to = next(iter(recipe.shares), None)
        for record in recipe.scaling.records:
            data.fit_transform(
                record.scaler_obj,
                domain=record.domain,
                keys=record.keys,
                fit_to_split=fit_to,
                merged_axes=record.merged_axes,
            )
        # A copy: estimators stand in it as they are, and are fitted in place.
        tree = copy.deepcopy(recipe.tree)
        tune(tree, self.settings or {})
        graph = make_graph(ModelGraph, tree)
        assert graph is not None
        graph.build()
        plan: PhaseGroup = from_config(tree["config"]["plan"])
        experiment.execution_plan.add_items(_fitting(plan))
        with experiment.disable_checkpointing():
            experiment.run(**QUIET)

    def _samples(self, X: np.ndarray, y: np.ndarray) -> SampleCollection:
        """Return samples and targets as the raw columns that the recipe names."""
        shapes = self._recipe().features
        if len(shapes) == 1 and len(next(iter(shapes.values()))) == 1:
            shapes = dict.fromkeys(shapes, X.shape[1:])  # one key of a vector: any length will do
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        if sum(sizes) != X.shape[1]:
            raise InvalidValueError(
                f"X has {X.shape[1]} columns, and the features {dict(shapes)} of "
                f"{self._recipe().featureset!r} hold {sum(sizes)} values a sample."
            )
        parts = np.split(X, np.cumsum(sizes)[:-1], axis=1)
        columns = {
            str(Column(FEATURES, key, RAW)): part.reshape(-1, *shape)
            for (key, shape), part in zip(shapes.items(), parts, strict=True)
        }
        return SampleCollection.of_arrays({**columns, str(Column(TARGETS, self._recipe().target, RAW)): y})

    def _outputs(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the outputs of the tail, in original units, shape ``(n_samples, n_outputs)``.

        Args:
            X: The samples.
            y: Targets of the kind that were trained on; their values do not matter.
        """
        recipe, experiment = self._recipe(), self.experiment_
        data = experiment.ctx.get_node(recipe.featureset, FeatureSet)
        is_scaled = str(Column(TARGETS, recipe.target, TRANSFORMED)) in data.columns
        with experiment.ctx.temporary(), data.on_samples(self._samples(X, y)):
            heads = experiment.model_graph.head_nodes
            phase = EvalPhase("predict", input_sources=[InputBinding.for_evaluation(node=n) for n in heads])
            results = experiment.preview_phase(phase)
            outputs = results.stacked_tensors(recipe.tail, "outputs", unscale=is_scaled)
        return np.asarray(outputs).reshape(len(X), -1)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "experiment_")

    # A live experiment has locks and listeners: what a pickle holds is its tree.

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "experiment_" not in state:
            return state
        return state | {"experiment_": storage.tree_of(self.experiment_)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "experiment_" in state:
            ctx = ExperimentContext(registration_policy="raise")
            self.experiment_ = storage.experiment_of(self._recipe().cls, state["experiment_"], ctx)


class ExperimentRegressor(RegressorMixin, ExperimentEstimator):
    """The training of an experiment as a regressor of scikit-learn; predictions are in original units."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Make a new experiment on ``X`` of shape ``(n_samples, n_features)`` and run its training."""
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._shape_of_y = y.shape[1:]
        self._fit(X, y.astype(np.float64))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions, of the shape that ``y`` had: ``(n_samples,)`` or ``(n_samples, n_outputs)``."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        outputs = self._outputs(X, np.zeros((len(X), *self._shape_of_y)))
        return outputs.astype(np.float64).reshape(len(X), *self._shape_of_y)


class ExperimentClassifier(ClassifierMixin, ExperimentEstimator):
    """The training of an experiment as a classifier of scikit-learn.

    Attributes:
        classes_: The labels that ``y`` had, sorted.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Make a new experiment on ``X`` of shape ``(n_samples, n_features)`` and run its training."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"A classifier needs samples of several classes; y has one class: {self.classes_}."
            )
        is_binary = self._recipe().loss in ("bce", "bce_with_logits")
        self._fit(X, codes.astype(np.float64 if is_binary else np.int64))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each sample, shape ``(n_samples,)``."""
        scores = self._scores(X)
        if scores.shape[1] > 1:
            codes = scores[:, : len(self.classes_)].argmax(axis=1)
        elif self._recipe().loss is None or _is_label(self.experiment_, self._recipe().tail):
            codes = scores[:, 0].astype(int)
        else:
            codes = (scores[:, 0] > (0.5 if self._recipe().loss == "bce" else 0)).astype(int)
        return self.classes_[codes]

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, ``(n_samples, n_classes)``, in the order of `classes_`."""
        scores, loss = self._scores(X).astype(np.float64), self._recipe().loss
        if scores.shape[1] > 1:
            probabilities: np.ndarray = softmax(scores[:, : len(self.classes_)], axis=1)
            return probabilities
        second = scores[:, 0] if loss == "bce" else expit(scores[:, 0])
        return np.column_stack([1 - second, second])

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return self._outputs(X, np.zeros(len(X), np.int64))


def _is_label(experiment: Any, tail: str) -> bool:
    return experiment.model_graph.ctx.get_node(tail, ModelNode).backend != "torch"
