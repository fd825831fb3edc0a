"""Scaling: fitted where asked, chained, undone, and turned back into original units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from modularml.base.errors import InvalidTypeError, InvalidValueError, ModularMLWarning, UnknownNameError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.scalers import Negate, PerSampleMinMaxScaler, Scaler


def test_a_scaler_is_fitted_to_the_split_and_applied_to_all(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.5, "test": 0.5})
    fs.fit_transform("StandardScaler", domain="features", keys="voltage", fit_to_split="train")
    raw, train = fs.column("voltage.raw"), fs["train"].column("voltage.raw")
    expected = StandardScaler().fit(train).transform(raw)
    np.testing.assert_allclose(fs.column("voltage.transformed"), expected)
    assert fs.columns[:2] == ("features.voltage.raw", "features.voltage.transformed")
    record = fs.scaler_records[0]
    assert (record.keys, record.fit_split, record.rep_in, record.rep_out) == (
        ("voltage",),
        "train",
        "raw",
        "transformed",
    )


def test_the_scaler_that_is_given_stays_as_it_is(fs: FeatureSet) -> None:
    given_scaler = Scaler("StandardScaler")
    fs.fit_transform(given_scaler, domain="targets")
    assert not given_scaler.is_fitted
    assert fs.scaler_records[0].scaler_obj.is_fitted


def test_scalers_are_chained_and_undone_one_by_one(fs: FeatureSet) -> None:
    fs.fit_transform("MinMaxScaler", domain="targets")
    once = fs.column("soh.transformed").copy()
    fs.fit_transform(Negate, domain="targets", keys=["soh", "rul"])
    np.testing.assert_array_equal(fs.column("soh.transformed"), -once)
    assert [r.rep_in for r in fs.scaler_records] == ["raw", "transformed"]
    assert fs.iter_scalers_on_cols(domain="targets", columns="soh.transformed") == fs.scaler_records
    fs.undo_last_transform("targets")
    np.testing.assert_array_equal(fs.column("soh.transformed"), once)
    fs.undo_last_transform("targets", ["rul", "soh"])
    assert fs.columns == tuple(c for c in fs.columns if not c.endswith("transformed"))
    assert fs.scaler_records == []


def test_undoing_all_leaves_the_raw_data(fs: FeatureSet) -> None:
    columns = fs.columns
    fs.fit_transform("MinMaxScaler", domain="targets", keys="soh")
    fs.fit_transform("Normalizer", domain="features", keys="voltage")
    fs.fit_transform("MaxAbsScaler", domain="features", keys="current")
    fs.undo_all_transforms("features", "voltage")
    assert [r.keys for r in fs.scaler_records] == [("soh",), ("current",)]
    assert [r.order for r in fs.scaler_records] == [0, 1]
    fs.undo_all_transforms()
    assert fs.columns == columns


def test_keys_scaled_together_are_undone_together(fs: FeatureSet) -> None:
    fs.fit_transform("StandardScaler", domain="targets")
    with pytest.raises(InvalidValueError, match=r"keys=\['soh', 'rul'\]"):
        fs.undo_last_transform("targets", "soh")
    with pytest.raises(InvalidValueError, match="undo them together"):
        fs.undo_all_transforms("targets", "soh")
    fs.undo_last_transform("targets")
    with pytest.raises(InvalidValueError, match="No scaler"):
        fs.undo_last_transform("targets")


def test_predictions_return_to_original_units(fs: FeatureSet) -> None:
    fs.fit_transform("StandardScaler", domain="targets")
    fs.fit_transform("MinMaxScaler", domain="targets")
    scaled = fs.get_targets("numpy", rep="transformed")
    raw = fs.get_targets("numpy", rep="raw")
    both = fs.unscale_data_for_cols(data=scaled, domain="targets", columns="*.transformed")
    np.testing.assert_allclose(both, raw)
    # One of two keys that were scaled together, as a model that predicts one of them puts it out.
    one = fs.unscale_data_for_cols(data=scaled[:7, 1:], domain="targets", columns="rul.transformed")
    np.testing.assert_allclose(one, raw[:7, 1:])
    flat = fs.unscale_data_for_cols(data=scaled[:7, 1], domain="targets", columns=["rul.transformed"])
    np.testing.assert_allclose(flat, raw[:7, 1])
    deep = fs.unscale_data_for_cols(data=scaled[:7, 1:, None], domain="targets", columns="rul.transformed")
    np.testing.assert_allclose(deep, raw[:7, 1:, None])
    with pytest.raises(InvalidValueError, match=r"\(60, 3\).*2 columns"):
        fs.unscale_data_for_cols(data=np.zeros((60, 3)), domain="targets", columns="*.transformed")
    assert np.array_equal(fs.unscale_data_for_cols(data=raw, domain="targets", columns="*.raw"), raw)


def test_array_features_return_too(fs: FeatureSet) -> None:
    fs.fit_transform(PerSampleMinMaxScaler(), domain="features", keys="voltage")
    fs.fit_transform("StandardScaler", domain="features", keys="voltage")
    scaled = fs.column("voltage.transformed")
    for data in (scaled, scaled[:, None]):
        raw = fs.unscale_data_for_cols(data=data, domain="features", columns="voltage.transformed")
        np.testing.assert_allclose(raw.reshape(60, 10), fs.column("voltage.raw"))


@pytest.mark.parametrize("merged_axes", [(0, 2), (1, 2), (0, 1), (-1, 0), 2])
def test_arrays_of_several_keys_need_merged_axes(fs: FeatureSet, merged_axes: Any) -> None:
    keys = ["voltage", "current"]
    with pytest.raises(InvalidValueError, match=r"\(60, 2, 10\).*merged_axes"):
        fs.fit_transform("StandardScaler", domain="features", keys=keys)
    assert fs.scaler_records == [] and len(fs.columns) == 8
    fs.fit_transform("StandardScaler", domain="features", keys=keys, merged_axes=merged_axes)
    scaled = fs.get_features("numpy", rep="transformed")
    axis = merged_axes if isinstance(merged_axes, tuple) else (merged_axes,)
    over = tuple(a % 3 for a in axis) if 0 in axis else tuple({0, 1, 2} - {a % 3 for a in axis})
    np.testing.assert_allclose(scaled.mean(axis=over), 0, atol=1e-12)
    back = fs.unscale_data_for_cols(
        data=scaled, domain="features", columns=["voltage.transformed", "current.transformed"]
    )
    np.testing.assert_allclose(back, fs.get_features("numpy", features=keys, rep="raw"))


@pytest.mark.parametrize(
    ("scaler", "options", "error", "says"),
    [
        ("StandardScaler", {"domain": "feature"}, InvalidValueError, "Did you mean 'features'"),
        ("StandardScaler", {"domain": "tags"}, InvalidValueError, "Tags"),
        ("StandardScaler", {"domain": "features", "keys": "volt"}, UnknownNameError, "volt"),
        ("StandardScaler", {"domain": "targets", "fit_to_split": "train"}, UnknownNameError, "split 'train'"),
        ("StandrdScaler", {"domain": "targets"}, InvalidValueError, "StandardScaler"),
    ],
)
def test_wrong_calls_change_nothing(
    fs: FeatureSet, scaler: str, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    table = fs.table
    with pytest.raises(error, match=says):
        fs.fit_transform(scaler, **options)
    assert fs.table is table and fs.scaler_records == []


def test_half_transformed_keys_are_not_scaled_together(fs: FeatureSet) -> None:
    fs.fit_transform("StandardScaler", domain="targets", keys="soh")
    with pytest.raises(InvalidValueError, match=r"\['soh'\] are transformed and \['rul'\] are not"):
        fs.fit_transform("StandardScaler", domain="targets")


@pytest.mark.parametrize("scaler", [OneHotEncoder(), OneHotEncoder(sparse_output=False)])
def test_an_encoder_may_make_several_numbers_of_one_key(scaler: Any, tmp_path: Path) -> None:
    site = np.array(["a", "b", "c", "a"])
    fs = FeatureSet.from_dict("A", {"site": site, "x": np.arange(4.0)}, ["site", "x"])
    fs.fit_transform(scaler, domain="features", keys="site")
    once = (site[:, None] == ["a", "b", "c"]).astype(float)
    np.testing.assert_array_equal(fs.column("site.transformed"), once)
    fs.fit_transform("MinMaxScaler", domain="features", keys="site")
    again = FeatureSet.load(fs.save(tmp_path / "A"), overwrite=True)
    for one in (fs, again):
        data = one.get_features("numpy", features="site", rep="transformed")
        back = one.unscale_data_for_cols(data=data, domain="features", columns="site")
        assert back[:, 0].tolist() == site.tolist()
    again.undo_last_transform("features", "site")
    np.testing.assert_array_equal(again.column("site.transformed"), once)
    again.undo_all_transforms()
    assert again.columns == ("features.site.raw", "features.x.raw")


def test_the_logarithm_of_targets_is_saved_and_undone(fs: FeatureSet, tmp_path: Path) -> None:
    raw = fs.column("soh.raw").copy()
    log = FunctionTransformer(np.exp, inverse_func=np.log, check_inverse=False)
    fs.fit_transform(log, domain="targets", keys="soh")
    np.testing.assert_allclose(fs.column("soh.transformed"), np.exp(raw))
    again = FeatureSet.load(fs.save(tmp_path / "fs"), overwrite=True)
    data = again.get_targets("numpy", targets="soh", rep="transformed")
    back = again.unscale_data_for_cols(data=data, domain="targets", columns="soh")
    np.testing.assert_allclose(back.ravel(), raw)


@pytest.mark.parametrize("n", [1, 3, 10])
def test_a_decomposition_keeps_what_it_keeps(fs: FeatureSet, n: int) -> None:
    raw = fs.column("voltage")
    fs.fit_transform(PCA(n), domain="features", keys="voltage")
    expected = PCA(n).fit(raw)
    scores = fs.column("voltage.transformed")
    np.testing.assert_allclose(scores.reshape(60, n), expected.transform(raw))
    assert scores.shape == ((60, n) if n > 1 else (60,))
    back = fs.unscale_data_for_cols(data=scores, domain="features", columns="voltage")
    expected_back = expected.inverse_transform(expected.transform(raw))
    np.testing.assert_allclose(back.reshape(60, 10), expected_back)


def test_several_keys_keep_their_number_of_features(fs: FeatureSet) -> None:
    before = fs.columns
    for options in (
        {"domain": "features", "keys": ["voltage", "current"], "merged_axes": (1, 2)},
        {"domain": "targets"},
    ):
        with pytest.raises(InvalidValueError, match=r"'Sensor': PCA\(n_components=1\) made \(1,\) feat"):
            fs.fit_transform(PCA(1), **options)  # type: ignore[arg-type]
    assert (fs.columns, fs.scaler_records) == (before, [])


def test_what_a_scaler_refuses_is_told_with_set_and_columns(fs: FeatureSet) -> None:
    bad = FeatureSet.from_dict("B", {"t": ["a", "b"], "x": [1.0, np.inf]}, ["t", "x"])
    for key, says in (("t", "could not convert"), ("x", "infinity")):
        refusal = rf"'B': StandardScaler\(\) refuses the features \['{key}'\]: .*{says}"
        with pytest.raises(InvalidValueError, match=refusal):
            bad.fit_transform("StandardScaler", domain="features", keys=key)
    for wrong, error in (("ab", InvalidTypeError), ((0, 7), InvalidValueError)):
        with pytest.raises(error, match="'Sensor': merged_axes"):
            fs.fit_transform("StandardScaler", domain="features", keys="voltage", merged_axes=wrong)
    with pytest.raises(InvalidValueError, match=r"'Sensor': Columns of different sample shapes.*Name some"):
        fs.fit_transform("StandardScaler", domain="features")


def test_undoing_what_was_not_done_is_refused(fs: FeatureSet) -> None:
    fs.undo_all_transforms()
    fs.undo_all_transforms("features")
    for undo in (
        lambda: fs.undo_all_transforms("features", "voltge"),
        lambda: fs.undo_last_transform("features"),
        lambda: fs.undo_last_transform("targets", "soh"),
    ):
        with pytest.raises(InvalidValueError, match="'Sensor': No scaler was applied to"):
            undo()
    for undo in (
        lambda: fs.undo_all_transforms("feature"),
        lambda: fs.undo_last_transform("feature"),
        lambda: fs.iter_scalers_on_cols(domain="feature", columns="voltage"),
    ):
        with pytest.raises(InvalidValueError, match="Unknown domain 'feature'.*Did you mean 'features'"):
            undo()


def test_predictions_may_be_tensors_with_gradients(fs: FeatureSet) -> None:
    fs.fit_transform("MinMaxScaler", domain="targets", keys="rul")
    ones = torch.ones((2, 1), requires_grad=True)
    back = fs.unscale_data_for_cols(data=ones, domain="targets", columns="rul")
    np.testing.assert_allclose(back, np.full((2, 1), fs.column("rul.raw").max()))


def test_the_same_scaler_twice_is_warned_of(fs: FeatureSet) -> None:
    fs.fit_transform("StandardScaler", domain="targets")
    with pytest.warns(ModularMLWarning, match="applied again.*undo_last_transform") as caught:
        fs.fit_transform("StandardScaler", domain="targets")
    assert caught[0].filename == __file__


def test_a_scaler_that_was_fitted_to_a_split_of_other_rows_is_warned_of(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.5, "test": 0.5}, seed=0)
    fs.fit_transform("StandardScaler", domain="targets", keys="rul", fit_to_split="train")
    fs.split_random({"train": 0.5, "test": 0.5}, seed=0)  # the same rows, and nothing to say
    with pytest.warns(ModularMLWarning, match=r"\['rul'\] are scaled by .* rows that 'train' had") as caught:
        fs.split_random({"train": 0.6, "test": 0.4}, seed=0)
    assert [one.filename for one in caught] == [__file__]
    fs.undo_all_transforms()
    fs.split_random({"train": 0.5, "test": 0.5}, seed=1)


def test_raw_columns_beside_scaled_ones_are_left_as_they_are(fs: FeatureSet) -> None:
    fs.fit_transform("StandardScaler", domain="features", keys=["voltage", "current"], merged_axes=(0, 2))
    names = ["features.current.raw", "features.voltage.transformed", "features.voltage.raw"]
    data = np.stack([fs.column(name) for name in names], axis=1)
    back = fs.unscale_data_for_cols(data=data, domain="features", columns=names)
    for i, key in enumerate(("current", "voltage", "voltage")):
        np.testing.assert_allclose(back[:, i], fs.column(f"{key}.raw"))


def test_a_key_stands_for_its_scaled_column(fs: FeatureSet) -> None:
    fs.fit_transform("MinMaxScaler", domain="targets", keys="soh")
    scaled = fs.column("soh.transformed")
    back = fs.unscale_data_for_cols(data=scaled, domain="targets", columns="soh")
    np.testing.assert_allclose(back, fs.column("soh.raw"))
    both = fs.unscale_data_for_cols(
        data=np.stack([scaled, scaled], 1), domain="targets", columns=["rul", "soh"]
    )
    np.testing.assert_allclose(both, np.stack([scaled, fs.column("soh.raw")], 1))


def test_a_scaler_that_works_in_place_cannot_reach_the_raw_data(fs: FeatureSet) -> None:
    class Doubles:
        def fit(self, X: np.ndarray) -> "Doubles":
            return self

        def transform(self, X: np.ndarray) -> np.ndarray:
            X *= 2
            return X

    before = fs.column("voltage").copy()
    with pytest.raises(ValueError, match="read-only"):
        fs.fit_transform(Doubles(), domain="features", keys="voltage")
    np.testing.assert_array_equal(fs.column("voltage"), before)
    assert fs.columns == fs.select(rep="raw").columns


def test_a_vectorizer_that_refuses_several_columns_names_them() -> None:
    fs = FeatureSet.from_dict("notes", {"a": ["x", "y"], "b": ["u", "v"]}, ["a", "b"])
    with pytest.raises(
        InvalidValueError, match=r"'notes': CountVectorizer\(\) refuses the features \['a', 'b'\]"
    ):
        fs.fit_transform(CountVectorizer(), domain="features")


def test_text_is_encoded_by_a_scaler_and_given_back(fs: FeatureSet, tmp_path: Path) -> None:
    words = FeatureSet.from_dict("W", {"c": ["b", "", "a", "b"]}, "c")
    words.fit_transform(OrdinalEncoder(), domain="features")
    assert words.column("c.transformed").tolist() == [2.0, 0.0, 1.0, 2.0]
    path = words.save(tmp_path / "w")
    with ExperimentContext().temporary():
        words = FeatureSet.load(path)
    back = words.unscale_data_for_cols(data=[[1.0], [2.0]], domain="features", columns="c")
    assert back.tolist() == [["a"], ["b"]]


OWN = ["Absolute", "Negate", "PerSampleMinMaxScaler", "PerSampleZeroStart"]
SCALERS = st.sampled_from(["StandardScaler", "MinMaxScaler", "RobustScaler", *OWN])


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scalers=st.lists(SCALERS, min_size=1, max_size=4), split=st.sampled_from([None, "train"]))
@pytest.mark.filterwarnings("ignore:.*was the last one applied")
def test_each_undo_leaves_the_columns_bit_by_bit_as_they_were(
    fs: FeatureSet, scalers: list[str], split: str | None
) -> None:
    fs.split_random({"train": 0.5, "test": 0.5})
    raw, states = fs.get_data(), []
    for scaler in scalers:
        states.append(fs.table)
        fs.fit_transform(scaler, domain="features", keys="voltage", fit_to_split=split)
    scaled = fs.get_features("numpy", features="voltage", rep="transformed")
    back = fs.unscale_data_for_cols(data=scaled, domain="features", columns="voltage")
    np.testing.assert_allclose(back[:, 0], fs.column("voltage.raw"), rtol=1e-6, atol=1e-6)
    for state in reversed(states):
        fs.undo_last_transform("features", "voltage")
        assert fs.table == state
    assert all(np.array_equal(values, fs.column(name)) for name, values in raw.items())


def test_numbers_and_text_are_told_apart_where_they_are_scaled_together() -> None:
    fs = FeatureSet.from_dict("Plant", {"a": [1.0, 2.0], "site": ["x", "y"], "b": [1, 2]}, ["a", "site", "b"])
    with pytest.raises(InvalidTypeError, match=r"keys=\['a', 'b'\] hold numbers, keys=\['site'\] hold text"):
        fs.fit_transform("StandardScaler", domain="features")
