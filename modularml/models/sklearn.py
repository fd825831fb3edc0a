"""Any scikit-learn estimator as a model of a graph: regressors, classifiers, transformers, clusterers.

It knows no node and no phase; scikit-learn is loaded when an estimator is wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from modularml.backends.backend import Backend, load
from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    StateError,
    check_choice,
    unknown_name,
)
from modularml.models.model import BaseModel, Shape, as_shape, n_values

TRAINING_MODES = ("auto", "partial_fit", "batch_fit")


class ScikitModelWrapper(BaseModel):
    """Wraps an estimator; it is fitted in place.

    What it is handed stays as it is, even with ``copy=False``: it may be the data of a FeatureSet.

    Args:
        model: The estimator; a pipeline is one too.
        training_mode: With ``"partial_fit"`` the estimator learns on top of what it knows: batch by batch
            in a `TrainPhase`, from one more pass over the rows in a `FitPhase`; with ``"batch_fit"`` and
            ``"auto"`` a `FitPhase` fits it anew, and a `TrainPhase` leaves it as it is.
        output_method: The method that makes the outputs, e.g. ``"predict_proba"``; ``"auto"``
            takes ``predict``, or ``transform`` where there is no ``predict``.
        partial_fit_kwargs: Arguments for ``partial_fit``, e.g. ``{"classes": [0, 1]}``.

    Raises:
        InvalidTypeError: If `model` is no estimator.
        InvalidValueError: If a mode or method is unknown or not one of the estimator's.
    """

    backend = "scikit"
    _elsewhere: ClassVar[Mapping[str, str]] = {
        "coef_ intercept_ classes_ components_ cluster_centers_ feature_importances_ best_params_ steps": (
            "The estimator has what it learnt: graph.nodes['scaler'].model.estimator."
        ),
        "predict transform predict_proba decision_function": (
            "That is forward() here, and the estimator's own: graph.nodes['scaler'].model.estimator."
        ),
        "get_params set_params score": "The estimator has it: graph.nodes['scaler'].model.estimator.",
    }

    def __init__(
        self,
        model: Any,
        *,
        training_mode: str = "auto",
        output_method: str = "auto",
        partial_fit_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        name = type(model).__name__
        if isinstance(model, type) or not hasattr(model, "fit"):
            hint = f" Give an instance: {model.__name__}()." if isinstance(model, type) else ""
            raise InvalidTypeError(f"model must be a scikit-learn estimator, got {model!r}.{hint}")
        self.training_mode = check_choice(training_mode, "training_mode", TRAINING_MODES)
        if training_mode == "partial_fit" and not hasattr(model, "partial_fit"):
            raise InvalidValueError(f"{name} has no partial_fit(); use training_mode='batch_fit'.")
        methods = self._sklearn.output_methods(model)
        if not methods:
            raise InvalidValueError(
                f"{name} cannot answer for new samples: it only labels those it is fitted to."
            )
        if output_method != "auto" and not hasattr(model, output_method):
            raise InvalidValueError(
                unknown_name("output_method", output_method, ["auto", *methods], where=name)
            )
        self.output_method = output_method
        self.partial_fit_kwargs = dict(partial_fit_kwargs) if partial_fit_kwargs else None
        self.estimator = model
        self._initial = self._sklearn.copied(model)
        self._needs_copies = self._sklearn.writes_into_input(model)
        self.input_shape = self.output_shape = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.estimator).__name__})"

    @property
    def _sklearn(self) -> Any:
        return load(Backend.SCIKIT)

    @property
    def model(self) -> Any:
        """A copy of the estimator as it was when it was wrapped."""
        return self._sklearn.copied(self._initial)

    @property
    def supports_partial_fit(self) -> bool:
        """Whether the estimator can learn batch by batch."""
        return hasattr(self.estimator, "partial_fit")

    @property
    def needs_classes(self) -> bool:
        """Whether its first `partial_fit` must be told all classes."""
        return bool(self.supports_partial_fit and self._sklearn.needs_classes(self.estimator))

    @property
    def resolved_training_mode(self) -> str:
        """``"partial_fit"`` or ``"batch_fit"``; a single pass is no full fit, so it must be asked for."""
        return "batch_fit" if self.training_mode == "auto" else self.training_mode

    @property
    def resolved_output_method(self) -> str:
        """The name of the method that makes the outputs."""
        if self.output_method != "auto":
            return self.output_method
        return str(self._sklearn.output_methods(self.estimator)[0])

    @property
    def allows_nan(self) -> bool:
        """Whether the estimator takes features that are NaN."""
        return bool(self._sklearn.allows_nan(self.estimator))

    @property
    def weight_argument(self) -> str | None:
        """The argument by which what `learn` calls takes weights of samples; None where it takes none."""
        method = "partial_fit" if self.resolved_training_mode == "partial_fit" else "fit"
        found: str | None = self._sklearn.weight_argument(self.estimator, method)
        return found

    @property
    def is_fitted(self) -> bool:
        """Whether the estimator can make outputs."""
        return bool(self._sklearn.is_fitted(self.estimator))

    @property
    def is_built(self) -> bool:
        """Whether the input shape is known."""
        return self.input_shape is not None

    def build(
        self,
        input_shape: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        *,
        force: bool = False,
    ) -> None:
        """Note the shapes; an estimator makes nothing before it is fitted.

        The output shape is the estimator's own: ``(n_outputs,)``. Where only the data can
        tell it (probabilities, clusters), it is None until the estimator is fitted.

        Args:
            input_shape: Shape of one input sample; estimators see it flattened.
            output_shape: Shape of one target sample.
            force: Forget what was learnt since the estimator was wrapped.

        Raises:
            InvalidValueError: If the input shape is unknown or not that of the fitted estimator.
        """
        asked = as_shape(input_shape, "input_shape") or self.input_shape
        name = type(self.estimator).__name__
        if asked is None:
            raise InvalidValueError(f"{name} needs an input_shape to be built.")
        if self.is_built and force:
            self.reset_weights()
        n_features = getattr(self.estimator, "n_features_in_", None)
        if self.is_fitted and n_features is not None and n_features != n_values(asked):
            raise InvalidValueError(
                f"{name} is fitted to {n_features} features, samples of shape {asked} have {n_values(asked)}."
            )
        self.input_shape = asked
        self.output_shape = self._find_output_shape(asked, as_shape(output_shape, "output_shape"))

    def _find_output_shape(self, input_shape: Shape, wanted: Shape | None) -> Shape | None:
        n_features = n_values(input_shape)
        if self.is_fitted:
            return tuple(self.forward(np.zeros((1, n_features))).shape[1:])
        if self.resolved_output_method == "transform":
            outputs = self._sklearn.dry_fit(self.estimator, n_features)
            return None if outputs is None else tuple(outputs.shape[1:])
        if self.resolved_output_method == "predict" and self._sklearn.labels_by_itself(self.estimator):
            return (1,)
        if self.resolved_output_method == "predict" and wanted is not None:
            return (n_values(wanted),)
        return self.output_shape if isinstance(self.output_shape, tuple) else None

    def fit(self, x: Any, y: Any = None, *, sample_weight: Any = None) -> None:
        """Fit the estimator to all samples at once.

        Args:
            x: Inputs ``(n_samples, *input_shape)``; flattened to rows.
            y: Targets ``(n_samples, ...)``, or None for estimators that need none.
            sample_weight: How much each sample counts, ``(n_samples,)``; None is all alike.

        Raises:
            InvalidValueError: If there are weights and the estimator takes none.
        """
        self.estimator.fit(*self._samples(x, y), **self._weights("fit", sample_weight))
        self._note_shapes(x)

    def learn(self, x: Any, y: Any = None, *, sample_weight: Any = None) -> None:
        """Learn from all samples as `training_mode` says: anew, or in one more pass.

        Args:
            x: Inputs ``(n_samples, *input_shape)``; flattened to rows.
            y: Targets ``(n_samples, ...)``, or None for estimators that need none. Of a classifier
                that is not told its classes they must hold them all.
            sample_weight: How much each sample counts, ``(n_samples,)``; None is all alike.

        Raises:
            InvalidValueError: If there are weights and the estimator takes none.
        """
        if self.resolved_training_mode != "partial_fit":
            self.fit(x, y, sample_weight=sample_weight)
            return
        classes = None if y is None else np.unique(self._sklearn.as_targets(y))
        self.partial_fit(x, y, classes=classes, sample_weight=sample_weight)

    @contextmanager
    def watched(self, tell: Callable[[float | None], None]) -> Iterator[None]:
        """Follow what the estimator learns within the block.

        Args:
            tell: Takes the share that is done; None at first, and for ever if the estimator has no
                callbacks that could tell it.
        """
        tell(None)
        with self._sklearn.watched(self.estimator, tell):
            yield

    def partial_fit(self, x: Any, y: Any = None, *, classes: Any = None, sample_weight: Any = None) -> None:
        """Let the estimator learn from one more batch.

        Args:
            x: Inputs ``(n_samples, *input_shape)``; flattened to rows.
            y: Targets ``(n_samples, ...)``, or None.
            classes: All classes there are; a classifier needs them in its first batch.
            sample_weight: How much each sample counts, ``(n_samples,)``; None is all alike.

        Raises:
            StateError: If the estimator has no ``partial_fit``.
            InvalidValueError: If a classifier is not told its classes, or there are weights and the
                estimator takes none.
        """
        name = type(self.estimator).__name__
        if not self.supports_partial_fit:
            raise StateError(f"{name} has no partial_fit(); fit() it to all samples at once.")
        kwargs = dict(self.partial_fit_kwargs or {}) | self._weights("partial_fit", sample_weight)
        if self.needs_classes and "classes" not in kwargs:
            if classes is None:
                raise InvalidValueError(
                    f"{name} must know all classes in its first batch: "
                    "give it partial_fit_kwargs={'classes': [...]}."
                )
            kwargs["classes"] = np.asarray(classes)
        is_first = not self.is_fitted
        self.estimator.partial_fit(*self._samples(x, y), **kwargs)
        if is_first or self.output_shape is None:
            self._note_shapes(x)

    def _samples(self, x: Any, y: Any) -> tuple[np.ndarray, ...]:
        rows = self._own(self._sklearn.as_rows(x))
        return (rows,) if y is None else (rows, self._sklearn.as_targets(y))

    def _weights(self, method: str, sample_weight: Any) -> dict[str, np.ndarray]:
        """Return the weights of samples as `method` takes them."""
        if sample_weight is None:
            return {}
        argument = self._sklearn.weight_argument(self.estimator, method)
        if argument is None:
            raise InvalidValueError(
                f"{type(self.estimator).__name__}.{method}() takes no weights of samples."
            )
        return {argument: np.asarray(sample_weight)}

    def _own(self, rows: np.ndarray) -> np.ndarray:
        return rows.copy() if self._needs_copies else rows

    def _note_shapes(self, x: Any) -> None:
        if self.input_shape is None:
            self.input_shape = tuple(np.shape(x)[1:])
        self.output_shape = tuple(self.forward(np.asarray(x)[:1]).shape[1:])

    def forward(self, x: Any) -> np.ndarray:
        """Return the outputs ``(n_samples, n_outputs)`` of a batch ``(n_samples, *input_shape)``.

        Raises:
            StateError: If the estimator is not fitted.
        """
        if not self.is_fitted:
            raise StateError(f"{type(self.estimator).__name__} is not fitted; run a FitPhase or fit() first.")
        answer = getattr(self.estimator, self.resolved_output_method)
        rows = self._own(self._sklearn.rows_for(self.estimator, x))
        outputs: np.ndarray = self._sklearn.as_outputs(answer(rows))
        return outputs

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return copies of the arrays and numbers that the estimator has learnt, by attribute."""
        learnt = {n: v for n, v in vars(self.estimator).items() if n.endswith("_") and not n.startswith("_")}
        numbers = (np.ndarray, np.number, int, float)
        return {
            name: np.array(value)
            for name, value in learnt.items()
            if isinstance(value, numbers) and np.asarray(value).dtype.kind in "biufc"
        }

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Refuse: an estimator is more than its arrays; `set_state` puts the whole of it back.

        Raises:
            StateError: Always.
        """
        name = type(self.estimator).__name__
        raise StateError(f"{name} cannot be put together from arrays; use get_state() and set_state().")

    @property
    def initial_digest(self) -> str | None:
        """None: an estimator begins with its parameters, and has no weights before it is fitted."""
        return None

    def reset_weights(self) -> None:
        """Return to the estimator as it was when it was wrapped."""
        vars(self.estimator).clear()
        vars(self.estimator).update(vars(self._sklearn.copied(self._initial)))

    def get_state(self) -> dict[str, Any]:
        """Return shapes and a copy of the estimator."""
        return {
            "input_shape": self.input_shape,
            "output_shape": self.output_shape,
            "estimator": self._sklearn.copied(self.estimator),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `get_state` returned."""
        self.input_shape, self.output_shape = (
            as_shape(state["input_shape"], "input_shape"),
            state["output_shape"],
        )
        vars(self.estimator).clear()
        vars(self.estimator).update(vars(self._sklearn.copied(state["estimator"])))
