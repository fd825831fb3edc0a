"""What every scaler that has a name keeps to; a new one must give an example here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modularml.base.errors import StateError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.scalers import Scaler, scaler_registry

X = np.random.default_rng(0).normal(1, 2, (40, 6))
ARGUMENTS: dict[str, dict[str, Any]] = {
    "QuantileTransformer": {"n_quantiles": 20},
    "SegmentedScaler": {"boundaries": (2, 4), "scaler": "MinMaxScaler"},
}
NOT_INVERTIBLE = {"Normalizer": "the lengths of the samples are forgotten"}
every_scaler = pytest.mark.parametrize("name", list(scaler_registry))


def made(name: str) -> Scaler:
    return Scaler(name, ARGUMENTS.get(name))


@every_scaler
def test_values_come_back(name: str) -> None:
    before = X.copy()
    scaled = made(name).fit_transform(X)
    assert scaled.shape == X.shape and scaled.dtype.kind == "f"
    scaler = made(name).fit(X)
    np.testing.assert_array_equal(scaler.transform(X), scaled)
    if name in NOT_INVERTIBLE:
        with pytest.raises(NotImplementedError, match=name):
            scaler.inverse_transform(scaled)
    else:
        np.testing.assert_allclose(scaler.inverse_transform(scaled), X, atol=1e-9)
    np.testing.assert_array_equal(X, before)


@every_scaler
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, bool])
def test_whole_numbers_are_scaled_as_floats_are(name: str, dtype: type) -> None:
    whole = np.random.default_rng(1).integers(-128, 128, (30, 6)).astype(dtype)
    scaled = made(name).fit_transform(whole)
    np.testing.assert_allclose(scaled, made(name).fit_transform(whole.astype(float)), atol=1e-12)


@pytest.mark.parametrize(
    "name", [name for name in scaler_registry if name != "Normalizer"]
)  # it takes no NaN
def test_what_is_missing_stays_missing_and_harms_no_other_sample(name: str) -> None:
    gaps = X.copy()
    gaps[3, 5] = gaps[7] = np.nan
    scaler = made(name)
    scaled = scaler.fit_transform(gaps)
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(gaps))
    np.testing.assert_allclose(scaler.inverse_transform(scaled), gaps, atol=1e-9)


@every_scaler
def test_its_class_is_used_as_those_of_scikit_learn(name: str) -> None:
    scaler = scaler_registry[name.upper()](**ARGUMENTS.get(name, {}))
    assert scaler.fit(X) is scaler
    np.testing.assert_array_equal(
        scaler.transform(X), type(scaler)(**ARGUMENTS.get(name, {})).fit_transform(X)
    )


@every_scaler
def test_it_must_be_fitted_first_and_a_clone_is_not(name: str) -> None:
    scaler = made(name).fit(X)
    for unfitted in (made(name), scaler.clone_unfitted()):
        assert not unfitted.is_fitted and unfitted == made(name)
        with pytest.raises(StateError, match="fit"):
            unfitted.transform(X)


@every_scaler
def test_a_file_gives_back_what_was_learnt(name: str, tmp_path: Path) -> None:
    scaler = made(name)
    scaled = scaler.fit_transform(X)
    again = Scaler.load(scaler.save(tmp_path / "s"))
    if name not in NOT_INVERTIBLE:
        np.testing.assert_allclose(again.inverse_transform(scaled), X, atol=1e-9)
    np.testing.assert_array_equal(again.transform(X), scaled)


@every_scaler
def test_a_set_is_scaled_after_one_split_and_brought_back_exactly(name: str) -> None:
    with ExperimentContext().temporary():
        fs = FeatureSet.from_dict("A", {"x": X}, "x")
        fs.split_random({"train": 0.5, "test": 0.5})
        fs.fit_transform(made(name), domain="features", fit_to_split="train")
        expected = made(name).fit(fs["train"].column("x.raw")).transform(X)
        np.testing.assert_allclose(fs.column("x.transformed"), expected)
        fs.undo_last_transform("features")
        assert fs.columns == ("features.x.raw",)
        np.testing.assert_array_equal(fs.column("x"), X)
