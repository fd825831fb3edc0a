"""Reading columns: keys, shapes, dtypes and values of sets and views alike."""

from typing import Any

import numpy as np
import pytest

from modularml.base.errors import InvalidTypeError, ModularMLWarning, ResolutionError, UnknownNameError
from modularml.core.data.featureset import FeatureSet
from modularml.samplers import SimpleSampler


def test_keys(fs: FeatureSet) -> None:
    assert fs.get_feature_keys() == [
        "features.voltage.raw",
        "features.current.raw",
        "features.temperature.raw",
    ]
    assert fs.get_target_keys(include_rep_suffix=False) == ["targets.soh", "targets.rul"]
    assert fs.get_tag_keys(include_domain_prefix=False) == ["cell.raw", "day.raw", "ok.raw"]
    fs.fit_transform("StandardScaler", domain="features", keys="voltage")
    assert fs.get_all_keys(include_rep_suffix=False, include_domain_prefix=False) == [
        "voltage", "current", "temperature", "soh", "rul", "cell", "day", "ok",
    ]  # fmt: skip


def test_shapes_and_dtypes(fs: FeatureSet) -> None:
    assert fs.get_feature_shapes(include_rep_suffix=False, include_domain_prefix=False) == {
        "voltage": (10,),
        "current": (10,),
        "temperature": (),
    }
    assert fs.get_target_shapes() == {"targets.soh.raw": (), "targets.rul.raw": ()}
    assert fs.get_tag_shapes(include_domain_prefix=False)["cell.raw"] == ()
    assert fs.get_feature_dtypes()["features.voltage.raw"] == np.float64
    assert fs.get_target_dtypes()["targets.soh.raw"] == np.float64
    assert fs.get_tag_dtypes()["tags.day.raw"] == np.dtype("M8[D]")


def test_values_of_a_view_are_those_of_its_rows(fs: FeatureSet) -> None:
    rows = np.array([5, 3, 3, 40])
    view = fs.take(rows)
    for name in fs.columns:
        assert np.array_equal(view.column(name), fs.column(name)[rows])
    assert view.get_sample_uuids().tolist() == fs.get_sample_uuids()[rows].tolist()
    assert view.get_features("numpy", features=["voltage", "current"]).shape == (4, 2, 10)
    assert len(view) == 4


def test_rows_side_by_side_are_not_copied(fs: FeatureSet) -> None:
    whole = fs.table.column("features.voltage.raw")
    for reader in (fs, fs.take(np.arange(60)), fs.take(np.arange(7, 20))):
        assert np.shares_memory(reader.column("voltage"), whole)
        assert np.shares_memory(reader.get_features("numpy", features="voltage"), whole)
    assert not np.shares_memory(fs.take([3, 1]).column("voltage"), whole)


def test_data_by_selectors(fs: FeatureSet) -> None:
    assert list(fs.get_data()) == list(fs.columns)
    assert list(fs.get_data(features="voltage", tags="cell")) == ["features.voltage.raw", "tags.cell.raw"]
    assert list(fs.get_data(columns="*.soh.*", include_rep_suffix=False)) == ["targets.soh"]
    assert list(fs.get_targets()) == ["soh", "rul"]
    assert fs.get_targets("numpy").shape == (60, 2)
    assert list(fs.get_tags(tags=["ok"])) == ["ok"]
    with pytest.raises(UnknownNameError, match="'transformed'"):
        fs.get_features(rep="transformed")


def test_two_representations_are_told_apart(fs: FeatureSet) -> None:
    fs.fit_transform("StandardScaler", domain="features", keys="voltage")
    assert list(fs.get_features()) == ["voltage.raw", "voltage.transformed", "current", "temperature"]
    assert list(fs.get_features(rep="transformed")) == ["voltage"]
    with pytest.raises(ResolutionError, match="2 columns"):
        fs.column("voltage")


@pytest.mark.parametrize("fmt", ["numpy", "list", "dict", "pandas"])
def test_ids_in_every_format(fs: FeatureSet, fmt: str) -> None:
    ids: Any = fs.get_sample_uuids(fmt)
    values = ids if fmt in ("numpy", "list") else ids["sample_uuids"]
    assert list(values) == fs.column("sample_uuids").tolist()


def test_a_set_without_tags_has_none() -> None:
    fs = FeatureSet.from_dict("plain", {"x": [1, 2]}, "x")
    assert (fs.get_tags(), fs.get_targets(), fs.get_tag_keys(), fs.get_tag_shapes()) == ({}, {}, [], {})


def test_what_is_handed_out_cannot_change_the_set(fs: FeatureSet) -> None:
    before = fs.table.copy(deep=True)
    batch = next(iter(SimpleSampler(batch_size=8, source=fs)))["default"].materialize_batch("dict")
    for array in (
        fs.column("voltage"),
        fs.get_features("numpy", features="voltage"),
        fs.get_data()["tags.ok.raw"],
        fs.take([0, 1, 2]).get_targets()["rul"],
        fs.to_sample_data("dict").features["voltage"],
        batch.role_data.tags["ok"],
        fs.collection.to_dict()["features.voltage.raw"],
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    fs.get_features("torch", features="voltage").zero_()
    frame = fs.to_pandas()
    frame["features.temperature.raw"] = 0
    assert fs.table == before


def test_what_is_a_copy_may_be_changed(fs: FeatureSet) -> None:
    fs.take([3, 1]).column("voltage")[:] = 0
    assert fs.column("voltage")[[3, 1]].all()


def test_text_and_dates_cannot_become_tensors(fs: FeatureSet) -> None:
    for tag in ("cell", "day"):
        with pytest.raises(InvalidTypeError, match="tensor"):
            fs.get_tags("dict_torch", tags=tag)


@pytest.mark.parametrize("fmt", ["numpy", "list", "torch"])
def test_raw_and_transformed_side_by_side_are_warned_of(fs: FeatureSet, fmt: str) -> None:
    fs.fit_transform("MinMaxScaler", domain="targets", keys="soh")
    for read in (fs.get_targets, lambda fmt: fs.get_data(targets="soh", fmt=fmt)):
        with pytest.warns(ModularMLWarning, match="'soh' of FeatureSet 'Sensor' are put side by side.*rep="):
            read(fmt)
    fs.get_targets(fmt, targets="rul")
    fs.get_targets(fmt, targets=["soh.raw", "soh.transformed"])
    fs.get_targets(fmt, rep="transformed")
    assert list(fs.get_targets("dict")) == ["soh.raw", "soh.transformed", "rul"]
