"""Feature sets as nodes of an experiment: made, named, stored, compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modularml.base.errors import DuplicateLabelError, InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.sample_collection import SampleCollection
from modularml.predicates import GT


def test_samples_are_what_was_given() -> None:
    x = np.arange(12.0).reshape(4, 3)
    fs = FeatureSet.from_dict("A", {"x": x, "y": [[1], [2], [3], [4]], "t": list("abcd")}, "x", ["y"], "t")
    assert repr(fs) == "FeatureSet(label='A', n_samples=4)"
    assert len(fs) == fs.n_samples == 4
    assert np.shares_memory(fs.column("x"), x)
    assert fs.column("y").tolist() == [1, 2, 3, 4]
    assert fs.columns == ("features.x.raw", "targets.y.raw", "tags.t.raw")
    assert fs.rows.tolist() == [0, 1, 2, 3]


def test_a_key_may_be_feature_and_target() -> None:
    fs = FeatureSet.from_dict("Autoencoder", {"x": np.eye(3)}, "x", "x")
    assert fs.columns == ("features.x.raw", "targets.x.raw")


GOOD = {"x": [1, 2], "y": [3, 4]}


@pytest.mark.parametrize(
    ("label", "data", "keys", "error", "says"),
    [
        ("", GOOD, ("x", "y"), InvalidValueError, "label"),
        ("  ", GOOD, ("x", "y"), InvalidValueError, "label"),
        (3, GOOD, ("x", "y"), InvalidTypeError, "label"),
        ("A", {}, ("x", "y"), InvalidValueError, "empty dict"),
        ("A", [1, 2], ("x", "y"), InvalidTypeError, "dict"),
        ("A", {"x": [], "y": []}, ("x", "y"), InvalidValueError, "(?s)2 faults.*empty list"),
        ("A", GOOD, ([], "y"), InvalidValueError, "no features"),
        ("A", GOOD, (None, "y"), InvalidValueError, "no features"),
        ("A", GOOD, ("x", 3), InvalidTypeError, "targets.*3"),
        ("A", GOOD, ("z", "y"), UnknownNameError, "'z'.*'x', 'y'"),
        ("A", {"voltage": [1]}, ("voltge",), UnknownNameError, "Did you mean 'voltage'"),
        ("A", GOOD, (["x", "x"], "y"), InvalidValueError, "'x' comes twice"),
        ("A", {"a.b": [1, 2]}, ("a.b",), InvalidValueError, "without '.'"),
        ("A", {"a*": [1, 2]}, ("a*",), InvalidValueError, "without '.'"),
        ("A", {1: [1, 2]}, ([1],), InvalidTypeError, "string"),
        (
            "A",
            {"x": [1, 2], "y": [3]},
            ("x", "y"),
            InvalidValueError,
            "features.x.raw has 2, targets.y.raw has 1",
        ),
        ("A", {"x": [[1], [2, 3]]}, ("x",), InvalidValueError, "'x' is ragged"),
        ("A", {"x": ["a", 1]}, ("x",), InvalidTypeError, "'x' holds objects"),
        ("A", {"x": [1j]}, ("x",), InvalidTypeError, "'x' holds complex"),
        ("A", {"x": [object()]}, ("x",), InvalidTypeError, "'x' holds objects"),
        ("A", {"x": [1], "y": [1j]}, ("x", "y"), InvalidTypeError, "targets 'y' holds complex"),
    ],
)
def test_wrong_input_is_refused_where_it_is_given(
    context: ExperimentContext, label: Any, data: Any, keys: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        FeatureSet.from_dict(label, data, *keys)
    assert not context.nodes


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidValueError, match=r"(?s)'A' has 4 faults.*twice.*'z'.*ragged.*complex"):
        FeatureSet.from_dict("A", {"x": [[1], [2, 3]], "y": [1j, 2]}, ["x", "x", "z"], "y")


def test_nan_and_infinity_are_data() -> None:
    assert FeatureSet.from_dict("A", {"x": [np.nan, np.inf]}, "x").n_samples == 2


def test_it_is_made_of_a_collection() -> None:
    assert FeatureSet("A", SampleCollection({"features.x.raw": np.zeros(2)})).collection.n_samples == 2
    with pytest.raises(InvalidTypeError, match="SampleCollection, got a dict.*from_dict"):
        FeatureSet("B", {"x": [1]})  # type: ignore[arg-type]


def test_it_registers_and_renames_itself(fs: FeatureSet, context: ExperimentContext) -> None:
    assert context.nodes == {"Sensor": fs}
    with pytest.raises(DuplicateLabelError, match="'Sensor'"):
        FeatureSet.from_dict("Sensor", GOOD, "x")
    other = FeatureSet.from_dict("other", GOOD, "x")
    with pytest.raises(DuplicateLabelError, match="taken"):
        other.label = "Sensor"
    with ExperimentContext().temporary():
        fs.label = "Cells"
    assert context.nodes == {"Cells": fs, "other": other}
    with pytest.raises(UnknownNameError, match="FeatureSet 'Cells'"):
        fs["train"]
    unknown = FeatureSet("Sensor", fs.table, register=False)
    unknown.label = "other"
    assert context.nodes == {"Cells": fs, "other": other}


def test_labels_follow_the_policy(fs: FeatureSet, context: ExperimentContext) -> None:
    with context.use_policy("rename"):
        assert FeatureSet.from_dict("Sensor", GOOD, "x").label == "Sensor_2"
    with context.use_policy("overwrite"):
        replacing = FeatureSet.from_dict("Sensor", GOOD, "x")
    assert context.nodes["Sensor"] is replacing


def fill(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.5, "test": 0.5}, stratify_by="cell")
    fs["train"].split_by_condition({"warm": {"temperature": GT(25)}})
    fs.fit_transform("StandardScaler", domain="features", keys="voltage", fit_to_split="train")
    fs.fit_transform("PerSampleMinMaxScaler", domain="features", keys="voltage")


def test_config_and_state_make_an_equal_set(fs: FeatureSet) -> None:
    fill(fs)
    again = FeatureSet.from_config(fs.get_config(), register=False)
    assert again.n_samples == 0 and again != fs
    again.set_state(fs.get_state())
    assert again == fs and hash(again) == hash(fs)
    assert again.get_sample_uuids().tolist() == fs.get_sample_uuids().tolist()
    assert again["warm"].rows.tolist() == fs["warm"].rows.tolist()
    scaled = fs.column("voltage.transformed")
    unscaled = again.unscale_data_for_cols(data=scaled, domain="features", columns="voltage.transformed")
    np.testing.assert_allclose(unscaled, fs.column("voltage.raw"))
    again.split_random({"train": 0.5, "test": 0.5}, stratify_by="cell")
    assert again.available_splits == fs.available_splits


def test_sets_are_equal_if_everything_is(fs: FeatureSet) -> None:
    def twin() -> FeatureSet:
        twin = FeatureSet.from_config(fs.get_config(), register=False)
        twin.set_state(fs.get_state())
        return twin

    assert twin() == fs
    changed = twin()
    changed.split_random({"a": 1.0})
    assert changed != fs
    changed = twin()
    changed.fit_transform("MinMaxScaler", domain="targets")
    assert changed != fs
    assert fs != "Sensor"


def test_a_copy_shares_data_or_not(fs: FeatureSet, context: ExperimentContext) -> None:
    fill(fs)
    plain = fs.copy(label="plain")
    assert (plain.available_splits, plain.scaler_records) == ([], [])
    assert plain.columns == tuple(c for c in fs.columns if c.endswith(".raw"))
    assert np.shares_memory(plain.column("voltage"), fs.column("voltage.raw"))
    assert plain.get_sample_uuids().tolist() == fs.get_sample_uuids().tolist()
    assert not np.shares_memory(
        fs.copy(share_raw_data_buffer=False).column("voltage"), fs.column("voltage.raw")
    )
    assert list(context.nodes) == ["Sensor"]
    whole = fs.copy(label="whole", restore_splits=True, restore_scalers=True, register=True)
    assert whole.table == fs.table and whole.node_id != fs.node_id
    assert whole["warm"].rows.tolist() == fs["warm"].rows.tolist()
    whole.clear_splits()
    whole.undo_all_transforms()
    assert fs.n_splits == 3 and len(fs.scaler_records) == 2


def test_a_file_gives_back_the_set(fs: FeatureSet, context: ExperimentContext, tmp_path: Path) -> None:
    fill(fs)
    path = fs.save(tmp_path / "sensor")
    assert path.name == "sensor.fs.mml"
    with pytest.raises(FileExistsError):
        fs.save(tmp_path / "sensor")
    context.clear()
    loaded = FeatureSet.load(path)
    assert loaded == fs and context.nodes == {"Sensor": loaded}
    loaded.fit_transform("MinMaxScaler", domain="targets")
    assert loaded.save(tmp_path / "sensor", overwrite=True) == path


def test_loading_beside_the_same_set_returns_that_one(
    fs: FeatureSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert FeatureSet.load(fs.save(tmp_path / "a")) is fs
    told = capsys.readouterr().err
    assert "INFO - Node ID Collision" in told
    assert " Loaded FeatureSet is identical to 'Sensor' in the existing ExperimentContext.\n" in told
    assert " Returning 'FeatureSet(label='Sensor', n_samples=60)'.\n" in told


def test_loading_beside_a_changed_set_makes_another(
    fs: FeatureSet, context: ExperimentContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fs.save(tmp_path / "a")
    fs.split_random({"train": 1.0})
    loaded = FeatureSet.load(path)
    assert context.nodes == {"Sensor": fs, "Sensor_2": loaded}
    assert loaded.node_id != fs.node_id and loaded.available_splits == []
    assert "registered as 'Sensor_2' with a new id" in " ".join(capsys.readouterr().err.split())
    over = FeatureSet.load(path, overwrite=True)
    assert context.nodes["Sensor"] is over and over.node_id == fs.node_id


# -- folds -----------------------------------------------------------------------------


def folded():
    x = np.arange(40, dtype=float)
    fs = FeatureSet.from_dict("folded", {"x": x, "y": x}, "x", "y")
    fs.split_random({"train": 0.5, "val": 0.5}, seed=0)
    fs["train"].split_random({"early": 0.5, "late": 0.5}, seed=0)
    fs.fit_transform("StandardScaler", domain="features", fit_to_split="train")
    fs.fit_transform("MinMaxScaler", domain="features")
    return fs


def test_a_fold_has_rows_parts_and_scalers_of_its_own():
    fs = folded()
    before = fs.get_features(features="x", rep="transformed", fmt="numpy").copy()
    with fs._in_fold({"train": np.arange(10), "val": np.arange(10, 40)}, fit_to="train"):
        assert np.array_equal(fs["train"].rows, np.arange(10))
        parts = np.concatenate([fs["early"].rows, fs["late"].rows])
        assert np.array_equal(np.sort(parts), np.arange(10))
        scaled = fs["train"].get_features(features="x", rep="transformed", fmt="numpy")
        assert (scaled.min(), scaled.max()) == (0, 1)
        raw = fs.get_features(features="x", rep="raw", fmt="numpy")
        assert np.allclose(
            fs.unscale_data_for_cols(
                data=fs.get_features(features="x", rep="transformed", fmt="numpy"),
                domain="features",
                columns="features.x.transformed",
            ),
            raw,
        )
    assert fs["train"].n_samples == 20 and len(fs["early"].rows) == 10
    assert np.array_equal(fs.get_features(features="x", rep="transformed", fmt="numpy"), before)


def test_a_fold_ends_with_an_error_too():
    fs = folded()
    rows = fs["train"].rows

    def fail():
        with fs._in_fold({"train": np.arange(4), "new": np.arange(4, 8)}, fit_to="train"):
            assert fs["new"].n_samples == 4
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert np.array_equal(fs["train"].rows, rows) and "new" not in fs.available_splits
