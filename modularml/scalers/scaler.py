"""A scaler of any origin behind one face: by name, by class or as an object.

It knows no columns: arrays ``(n_samples, n_features)`` in, arrays of the same shape out.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from modularml.base.config import Configurable
from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError
from modularml.display.card import Shown
from modularml.io.objects import load_object, save_object
from modularml.scalers.registry import scaler_registry


class Scaler(Shown, Configurable):
    """Wraps a scaler.

    Args:
        scaler: A name of `scaler_registry`, a class, or an object with ``fit`` and
            ``transform`` (and ``inverse_transform``), which is copied.
        scaler_kwargs: The arguments of a name or a class.

    Raises:
        InvalidValueError: If the name is unknown or an argument is not allowed.
        InvalidTypeError: If it is no scaler.

    Attributes:
        scaler: The name of a registered scaler, else the class.
        scaler_kwargs: The arguments it is made with.
    """

    _fixed = ("scaler", "scaler_kwargs")

    def __init__(self, scaler: Any, scaler_kwargs: Mapping[str, Any] | None = None) -> None:
        if isinstance(scaler, Scaler):
            scaler = scaler.wrapped
        given = scaler_registry[scaler] if isinstance(scaler, str) else scaler
        _check_is_scaler(given)
        if isinstance(given, type):
            self.scaler_kwargs = dict(scaler_kwargs or {})
            wrapped = _make(given, self.scaler_kwargs)
        else:
            if scaler_kwargs:
                raise InvalidTypeError(f"scaler_kwargs are for a name or a class; {given!r} is made already.")
            self.scaler_kwargs = _arguments(given)
            wrapped = copy.deepcopy(given)
        self._object: Any = wrapped
        self.scaler = scaler_registry.name_of(type(wrapped)) or type(wrapped)
        self._is_fitted = not isinstance(given, type) and _looks_fitted(given)
        self._takes_labels = _takes_labels(wrapped)

    @property
    def wrapped(self) -> Any:
        """The object that does the work."""
        return self._object

    @property
    def scaler_name(self) -> str:
        """The name of the wrapped class."""
        return type(self._object).__name__

    @property
    def is_fitted(self) -> bool:
        """Whether it can transform."""
        return self._is_fitted

    @staticmethod
    def get_supported_scalers() -> list[str]:
        """Return the names that `scaler` may have."""
        return list(scaler_registry)

    def fit(self, X: np.ndarray) -> Self:
        """Learn from an array of shape ``(n_samples, n_features)``."""
        self._object.fit(self._as_taken(X))
        self._is_fitted = True
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the array, scaled.

        Raises:
            StateError: If it is not fitted.
        """
        if not self._is_fitted:
            raise StateError(f"{self!r} is not fitted; call fit first.")
        made = self._object.transform(self._as_taken(X))
        return self._as_table(made.toarray() if hasattr(made, "toarray") else made)

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        """Learn from the array and return it, scaled."""
        return self.fit(X).transform(X)

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        """Return the array as it was before scaling.

        Raises:
            StateError: If it is not fitted.
            NotImplementedError: If this scaler cannot be inverted.
        """
        if not hasattr(self._object, "inverse_transform"):
            raise NotImplementedError(f"{self.scaler_name} cannot be inverted.")
        if not self._is_fitted:
            raise StateError(f"{self!r} is not fitted; call fit first.")
        return self._as_table(self._object.inverse_transform(self._as_taken(X)))

    def _as_taken(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0] if self._takes_labels and X.ndim == 2 and X.shape[1] == 1 else X

    def _as_table(self, made: Any) -> np.ndarray:
        values = np.asarray(made)
        return values[:, None] if self._takes_labels and values.ndim == 1 else values

    def clone_unfitted(self) -> Self:
        """Return a scaler of the same kind that has learnt nothing."""
        return type(self)(self.scaler, copy.deepcopy(self.scaler_kwargs))

    def get_state(self) -> dict[str, Any]:
        """Return what was learnt, as a tree; an estimator of scikit-learn stands for itself."""
        return {"is_fitted": self._is_fitted, "learnt": self._learnt() if self._is_fitted else None}

    def _learnt(self) -> Any:
        if _is_sklearn(self._object):
            return self._object
        return self._object.get_state() if hasattr(self._object, "get_state") else dict(vars(self._object))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._is_fitted = bool(state["is_fitted"])
        if not self._is_fitted:
            return
        if _is_sklearn(self._object):
            self._object = state["learnt"]
        elif hasattr(self._object, "set_state"):
            self._object.set_state(state["learnt"])
        else:
            vars(self._object).update(state["learnt"])

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the scaler to a ``.sc.mml`` file and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
        """
        return save_object(filepath, "scaler", self, self.get_state(), overwrite=overwrite)

    @classmethod
    def load(cls, filepath: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Self:
        """Read a scaler from a file.

        Args:
            filepath: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If the file is damaged, of another kind or newer.
            FileNotFoundError: If it is not there.
        """
        scaler, state = load_object(filepath, "scaler", cls, symbols=symbols)
        scaler.set_state(state)
        return scaler


def _is_sklearn(scaler: object) -> bool:
    return type(scaler).__module__.startswith("sklearn.")


def _takes_labels(scaler: Any) -> bool:
    """Tell whether it, or the first step of a pipeline, takes one label or text a sample, not a table."""
    first = scaler.steps[0][1] if getattr(scaler, "steps", None) else scaler
    if not hasattr(first, "__sklearn_tags__"):
        return False
    tags = first.__sklearn_tags__()
    return bool(tags.target_tags.one_d_labels or tags.input_tags.string) and not tags.input_tags.two_d_array


def _check_is_scaler(given: Any) -> None:
    missing = [name for name in ("fit", "transform") if not callable(getattr(given, name, None))]
    if missing:
        raise InvalidTypeError(
            f"A scaler must be a name, a class or an object with fit and transform; {given!r} has no "
            f"{' and no '.join(missing)}. Names: {', '.join(scaler_registry)}."
        )


def _make(cls: type, kwargs: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(cls).bind(**kwargs)
    except TypeError as error:
        raise InvalidValueError(
            f"{cls.__name__}{inspect.signature(cls)} was given {dict(kwargs)}: {error}."
        ) from None
    return cls(**kwargs)


def _arguments(scaler: Any) -> dict[str, Any]:
    """Return the arguments an object was made with, as far as it tells them."""
    if hasattr(scaler, "get_params"):
        return dict(scaler.get_params(deep=False))
    names = inspect.signature(type(scaler)).parameters
    return {name: getattr(scaler, name) for name in names if hasattr(scaler, name)}


def _looks_fitted(scaler: Any) -> bool:
    """Tell whether an object has learnt something, by scikit-learn's convention."""
    return any(name.endswith("_") and not name.startswith("_") for name in vars(scaler))
