"""Which numeric library an object belongs to, and the one place where that library is loaded.

It knows no tensor, no loss and no estimator: those are in the module of each library.
"""

from __future__ import annotations

import importlib
from enum import StrEnum
from types import ModuleType

from modularml.base.errors import InvalidTypeError, InvalidValueError, unknown_name


class Backend(StrEnum):
    """The numeric libraries that a model can be made with."""

    TORCH = "torch"
    NUMPY = "numpy"
    SCIKIT = "scikit"
    NONE = "none"

    @classmethod
    def from_value(cls, value: str) -> Backend:
        """Return the backend of that name; case and the libraries' own names are accepted.

        Raises:
            InvalidValueError: If there is no such backend; the message lists them.
        """
        name = value.lower() if isinstance(value, str) else value
        name = {"pytorch": "torch", "sklearn": "scikit", "scikit-learn": "scikit"}.get(name, name)
        if name not in list(cls):
            raise InvalidValueError(unknown_name("backend", value, list(cls)))
        return cls(name)


def backend_of(obj: object) -> Backend:
    """Return the backend that a model object or a class of models belongs to.

    Nothing is imported: the ancestors' module names tell torch, and whoever can fit
    and then predict, transform or label is an estimator.
    """
    ancestors = (obj if isinstance(obj, type) else type(obj)).__mro__
    if any(c.__module__.startswith("torch.nn.") and c.__name__ == "Module" for c in ancestors):
        return Backend.TORCH
    outputs = ("predict", "transform", "fit_predict", "predict_proba")
    if hasattr(obj, "fit") and any(hasattr(obj, name) for name in outputs):
        return Backend.SCIKIT
    if any(c.__module__.partition(".")[0] == "sklearn" and c.__name__ == "BaseEstimator" for c in ancestors):
        return Backend.SCIKIT
    return Backend.NONE


def load(backend: str) -> ModuleType:
    """Import and return our module for `backend`: `modularml.backends.torch` or `.sklearn`.

    Raises:
        InvalidTypeError: If the backend has no library to load.
    """
    modules = {Backend.TORCH: "torch", Backend.SCIKIT: "sklearn"}
    name = modules.get(Backend.from_value(backend))
    if name is None:
        raise InvalidTypeError(f"The backend {str(backend)!r} has neither losses, optimizers nor estimators.")
    return importlib.import_module(f"modularml.backends.{name}")
