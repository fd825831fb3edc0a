"""An experiment as an estimator of scikit-learn: ``fit`` makes and runs one, ``predict`` asks its tail.

It knows no loop. What is fitted is a new experiment each time, so that an estimator can be
cloned, searched over and cross-validated by scikit-learn while the experiment that it came
from stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from modularml.base.errors import InvalidValueError, StateError, unknown_name
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment import storage
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.recipe import Recipe, recipe_of
from modularml.core.experiment.tuning import settings_of
from modularml.core.topology.model_node import ModelNode

CLASS_LOSSES = ("cross_entropy", "nll", "bce", "bce_with_logits", "multi_margin")
"""The losses over classes: what is trained by one of them is a classifier."""

_LIKELIHOODS = ("cross_entropy", "nll", "bce", "bce_with_logits")
"""Those of them that make probabilities of outputs."""


def _gives_probabilities(estimator: ExperimentClassifier) -> bool:
    """Whether the outputs of its tail are scores that a likelihood was made of; scikit-learn asks."""
    return isinstance(estimator.recipe, Recipe) and estimator.recipe.loss in _LIKELIHOODS


def estimator_of(experiment: Any) -> BaseEstimator:
    """Return an experiment as an estimator; see `Experiment.as_estimator`."""
    recipe = recipe_of(experiment)
    of_classes = recipe.loss in CLASS_LOSSES or _classifies(experiment.model_graph.tail_nodes[0])
    if of_classes and len(recipe.targets) > 1:
        raise StateError(
            f"Experiment {experiment.label!r} as an estimator: one of classes has one target, and the graph "
            f"is given {list(recipe.targets)}."
        )
    kind = ExperimentClassifier if of_classes else ExperimentRegressor
    return kind(recipe, random_state=experiment.ctx.seed)


def _classifies(node: Any) -> bool:
    estimator = getattr(getattr(node, "model", None), "estimator", None)
    return estimator is not None and is_classifier(estimator)


class ExperimentEstimator(BaseEstimator):
    """What regressor and classifier share; `Experiment.as_estimator` makes them.

    What is searched over are parameters like any other (``get_params``, ``set_params``): ``n_epochs`` and
    ``batch_size`` of all training, ``optimizer__lr`` and what else the optimizer takes, and
    ``<node>__<argument>`` of the model of each node, ``mlp__hidden_dim``.

    Args:
        recipe: What experiments are made of.
        random_state: An int decides weights, batches and splits; None draws them. It is the seed that the
            experiment has.
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
                hint = f" Did you mean {meant[0]!r}?" if meant else ""
                raise InvalidValueError(told if hint in told else told + hint)
        for name in params.keys() & own.keys():
            setattr(self, name, params[name])
        others = {name: value for name, value in params.items() if name not in own}
        if others:
            self.settings = {**(self.settings or {}), **others}
        return self

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        seed = int(check_random_state(self.random_state).randint(2**31))
        self.experiment_ = self._recipe().run_on(X, y, seed, self.settings or {})

    def _recipe(self) -> Recipe:
        if self.recipe is None:
            raise StateError(f"{type(self).__name__} is made by Experiment.as_estimator(), not by itself.")
        return self.recipe

    def _outputs(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the outputs of the tail, in original units, shape ``(n_samples, n_outputs)``.

        Args:
            X: The samples.
            y: Targets of the kind that were trained on; their values do not matter.
        """
        recipe, experiment = self._recipe(), self.experiment_
        data = experiment.ctx.get_node(recipe.featureset, FeatureSet)
        with experiment.ctx.temporary(), data._on_samples(recipe.samples(X, y)):
            heads = experiment.model_graph.head_nodes
            phase = EvalPhase("predict", input_sources=[InputBinding.for_evaluation(node=n) for n in heads])
            results = experiment.preview_phase(phase)
            outputs = results.stacked_tensors(recipe.tail, "outputs", unscale=recipe.is_scaled)
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
