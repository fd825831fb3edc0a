"""Models of a graph, made with torch or scikit-learn.

Importing it loads neither; the names that need torch load it when they are asked for.
"""

import importlib
from typing import Any

from modularml.models.model import BaseModel as BaseModel
from modularml.models.sklearn import ScikitModelWrapper as ScikitModelWrapper
from modularml.models.wrapping import wrap_model as wrap_model

_WITH_TORCH = ("SequentialCNN", "SequentialMLP", "TorchBaseModel", "TorchModelWrapper")


def __getattr__(name: str) -> Any:
    if name == "model_registry":  # it is complete only when the torch models are known too
        importlib.import_module("modularml.models.torch")
        return importlib.import_module("modularml.models.model").model_registry
    if name in _WITH_TORCH:
        return getattr(importlib.import_module("modularml.models.torch"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
