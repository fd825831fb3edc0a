"""Any model object -> a `BaseModel`: what people hand to a node.

It knows no node; the wrapper of a library is imported when an object of it comes.
"""

from __future__ import annotations

import importlib
from typing import Any

from modularml.backends.backend import Backend, backend_of
from modularml.base.errors import InvalidTypeError
from modularml.base.keywords import checked
from modularml.models.model import BaseModel
from modularml.models.sklearn import ScikitModelWrapper


@checked
def wrap_model(obj: Any) -> BaseModel:
    """Return `obj` if it is a `BaseModel`, else wrap it.

    Args:
        obj: A `BaseModel`, a `torch.nn.Module` or a class of them, or a scikit-learn estimator.

    Raises:
        InvalidTypeError: If it is none of these.
    """
    if isinstance(obj, BaseModel):
        return obj
    backend = backend_of(obj)
    if isinstance(obj, type) and issubclass(obj, BaseModel):
        raise InvalidTypeError(
            f"The model is the class {obj.__name__}; give an instance: {obj.__name__}(...)."
        )
    if backend is Backend.TORCH:
        wrapper = importlib.import_module("modularml.models.torch").TorchModelWrapper
        wrapped: BaseModel = wrapper(model_class=obj) if isinstance(obj, type) else wrapper(obj)
        return wrapped
    if backend is Backend.SCIKIT:
        return ScikitModelWrapper(obj)
    raise InvalidTypeError(
        f"A model must be a BaseModel, a torch.nn.Module or a scikit-learn estimator, "
        f"got {obj!r} ({type(obj).__name__})."
    )
