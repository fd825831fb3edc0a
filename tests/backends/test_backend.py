import subprocess
import sys

import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from torch import nn

from modularml.backends.backend import Backend, backend_of, load


@pytest.mark.parametrize("model", [nn.Linear(1, 1), nn.Linear, nn.Sequential()])
def test_modules_and_their_classes_belong_to_torch(model: object) -> None:
    assert backend_of(model) is Backend.TORCH


@pytest.mark.parametrize(
    "model", [Ridge(), PCA(), KMeans(), RandomForestClassifier(), make_pipeline(PCA(), Ridge())]
)
def test_estimators_belong_to_scikit(model: object) -> None:
    assert backend_of(model) is Backend.SCIKIT


@pytest.mark.parametrize("thing", [None, "mlp", 3, {}, lambda x: x])
def test_other_things_belong_to_none(thing: object) -> None:
    assert backend_of(thing) is Backend.NONE


def test_names_of_backends_are_words_that_compare_as_text() -> None:
    assert Backend.from_value("PyTorch") == "torch"
    assert Backend.from_value("sklearn") == "scikit"
    assert f"{Backend.TORCH}" == "torch"


def test_an_unknown_backend_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'torch'"):
        Backend.from_value("torhc")


def test_a_backend_without_a_library_cannot_be_loaded() -> None:
    with pytest.raises(TypeError, match="'numpy'"):
        load("numpy")


def test_finding_a_backend_imports_nothing() -> None:
    code = (
        "import sys; from modularml.backends.backend import backend_of; backend_of(object()); "
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
