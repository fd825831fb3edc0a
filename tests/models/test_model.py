import subprocess
import sys

import pytest

from modularml.models import model_registry
from modularml.models.model import as_shape, padded, same_values


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_models_loads_neither_torch_nor_sklearn() -> None:
    run("import sys, modularml.models; assert not {'torch', 'sklearn'} & set(sys.modules)")


@pytest.mark.parametrize("name", ["SequentialMLP", "model_registry"])
def test_torch_is_loaded_when_a_torch_model_is_asked_for(name: str) -> None:
    run(f"import sys; from modularml.models import {name}; assert 'torch' in sys.modules")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Sequential'"):
        from modularml.models import Sequential  # noqa: F401


def test_models_are_registered_by_backend_and_name() -> None:
    assert model_registry["torch::sequentialmlp"].__name__ == "SequentialMLP"
    assert {"torch::SequentialMLP", "torch::TorchModelWrapper", "scikit::ScikitModelWrapper"} <= set(
        model_registry
    )


def test_shapes() -> None:
    assert as_shape([1, 10], "input_shape") == (1, 10)
    assert as_shape(3, "input_shape") == (3,)
    assert as_shape(None, "input_shape") is None
    assert (padded(()), padded((5,)), padded((2, 3, 4))) == ((1, 1), (1, 5), (2, 3, 4))
    assert same_values((1, 10), (10, 1))
    assert not same_values((2, 3), (3, 2))


@pytest.mark.parametrize("shape", ["10", (1.5,), (True,)])
def test_other_types_are_no_shape(shape: object) -> None:
    with pytest.raises(TypeError, match="output_shape must be a tuple of ints"):
        as_shape(shape, "output_shape")
