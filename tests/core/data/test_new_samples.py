from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from modularml import FeatureSet, SampleCollection
from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError, UnknownColumnError

FRAME = pd.DataFrame(
    {"a": [1.0, 2.0, 4.0], "b": [3.0, 5.0, 9.0], "site": ["x", "y", "x"], "y": [0.0, 1.0, 2.0]}
)


@pytest.fixture
def fs() -> FeatureSet:
    made = FeatureSet.from_pandas("Plant", FRAME, ["a", "b", "site"], "y")
    made.fit_transform(StandardScaler(), domain="features", keys=["a", "b"])
    made.fit_transform(MinMaxScaler(), domain="features", keys=["a", "b"])
    made.fit_transform(OneHotEncoder(), domain="features", keys="site")
    made.fit_transform(StandardScaler(), domain="targets")
    return made


def features(data: Any) -> list[np.ndarray]:
    return [data.column(f"features.{key}.transformed") for key in ("a", "b", "site")]


@pytest.mark.parametrize(
    "form",
    [
        lambda df: df,
        lambda df: df.drop(columns="y").assign(other=1)[["other", "site", "b", "a"]],
        lambda df: {"features.a.raw": df.a, "b.raw": df.b.tolist(), "features.site": df.site, "c": 1},
        lambda df: pl.from_pandas(df),
        lambda df: FeatureSet.from_pandas("New", df, ["a", "b", "site"]),
        lambda df: FeatureSet.from_pandas("New", df, ["a", "b", "site"], "y").take([0, 1, 2]),
        lambda df: df[["a", "b", "site"]].to_numpy(),
    ],
)
def test_new_samples_of_any_form_are_scaled_as_those_of_the_set(fs: FeatureSet, form: Any) -> None:
    before = fs.copy(restore_scalers=True)
    made = fs.scale(form(FRAME))
    for mine, theirs in zip(features(fs), features(made), strict=True):
        assert np.array_equal(mine, theirs)
    assert fs.table == before.table


def test_what_is_scaled_makes_a_set_of_the_same_samples(fs: FeatureSet) -> None:
    new = FeatureSet.from_pandas("New", FRAME, ["a", "b", "site"], "y")
    twin = FeatureSet("Scaled", fs.scale(new))
    assert twin.get_all_keys() == fs.get_all_keys()
    assert np.array_equal(twin.get_sample_uuids(), new.get_sample_uuids())
    assert isinstance(fs.scale(FRAME.head(1)), SampleCollection)
    assert np.array_equal(fs.scale(FRAME).column("targets.y.transformed"), fs.column("targets.y.transformed"))


def test_scalers_whose_columns_are_not_there_are_passed_over(fs: FeatureSet) -> None:
    made = fs.scale({"site": ["y"]})
    assert made.columns == ("features.site.raw", "features.site.transformed")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (
            {"a": [1.0]},
            r"MinMaxScaler|StandardScaler scaled the features \['a', 'b'\] together, .* \['b'\] are missing",
        ),
        ({"sit": ["x"]}, "Unknown column 'a' in new samples for FeatureSet 'Plant'. Available: 'sit'"),
        ({"a": [[1.0, 2.0]], "b": [[1.0, 2.0]]}, r"features 'a' needs samples of shape \(\), got \(2,\)"),
        ({"a": [1.0, 2.0], "b": [1.0]}, "columns differ in length"),
        ({"site": ["z"]}, r"OneHotEncoder.* refuses the features \['site'\]: Found unknown categories"),
        (np.ones((4, 2)), r"array of shape \(4, 2\), but the columns 'a' \(\), 'b' \(\), 'site' \(\) hold 3"),
    ],
)
def test_samples_that_do_not_fit_are_told(fs: FeatureSet, data: Any, match: str) -> None:
    with pytest.raises(InvalidValueError, match=match) as told:
        fs.scale(data)
    assert "New samples for FeatureSet 'Plant'" in str(told.value) or "in new samples" in str(told.value)


def test_what_is_no_samples_at_all_is_told_with_what_it_was_for(fs: FeatureSet) -> None:
    with pytest.raises(InvalidTypeError, match=r"New samples for FeatureSet 'Plant': .* got 'a'"):
        fs.scale("a")


def test_a_set_without_scalers_says_so() -> None:
    plain = FeatureSet.from_dict("Plain", {"x": [1.0, 2.0]}, "x")
    with pytest.raises(StateError, match=r"FeatureSet 'Plain' has no scalers; fit_transform"):
        plain.scale({"x": [3.0]})


def test_wide_samples_come_as_the_array_that_they_are() -> None:
    x = np.random.default_rng(0).standard_normal((20, 5))
    fs = FeatureSet.from_numpy("Wide", x)
    fs.fit_transform(PCA(2), domain="features")
    assert np.allclose(fs.scale(x[:3]).column("x.transformed"), fs.column("x.transformed")[:3])
    with pytest.raises(UnknownColumnError):
        fs.scale(x).column("y")


def test_an_array_of_samples_that_are_arrays_has_its_axes_in_order() -> None:
    x = np.random.default_rng(0).standard_normal((6, 2, 5))
    fs = FeatureSet.from_dict("Series", {"a": x[:, 0], "b": x[:, 1]}, ["a", "b"])
    for key in ("a", "b"):
        fs.fit_transform(StandardScaler(), domain="features", keys=key)
    for form in (x, x.reshape(6, -1), x[:, None]):
        assert np.allclose(fs.scale(form).column("b.transformed"), fs.column("b.transformed"))
    with pytest.raises(InvalidValueError, match=r"shape \(6, 5, 2\).*\(n, 10\) or \(n, 2, 5\)"):
        fs.scale(x.transpose(0, 2, 1))
