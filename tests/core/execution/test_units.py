from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import InvalidValueError, StateError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution import units as module
from modularml.core.execution.columns import Stack
from modularml.core.execution.units import Units

N = 30


def data(*scalers: Any, shape: tuple[int, ...] = (), **options: Any) -> FeatureSet:
    rng = np.random.default_rng(0)
    columns = {key: rng.normal(5, 3, (N, *shape)) for key in ("x", "y", "z")}
    with ExperimentContext().temporary():
        fs = FeatureSet.from_dict("S", columns, "x", ["y", "z"])
    for scaler in scalers:
        fs.fit_transform(scaler, domain="targets", **options)
    return fs


def units(fs: FeatureSet, *keys: str) -> Units:
    return of_columns(fs, *(f"targets.{key}.transformed" for key in keys or ("y", "z")))


def of_columns(fs: FeatureSet, *names: str) -> Units:
    return Units.of_targets(fs, Stack({name: fs.table.column(name) for name in names}))


def values(fs: FeatureSet, rep: str, *keys: str) -> np.ndarray:
    return np.stack([fs.table.column(f"targets.{key}.{rep}") for key in keys or ("y", "z")], axis=1)


CASES = [
    (["StandardScaler"], (), {}),
    (["StandardScaler", "MinMaxScaler"], (4,), {"merged_axes": (0, 2)}),
    (["RobustScaler"], (), {"keys": ["y", "z"]}),
    (["PerSampleMinMaxScaler"], (4,), {"merged_axes": (1, 2)}),
    (["Absolute", "StandardScaler"], (), {}),
    (["StandardScaler", "PerSampleZeroStart"], (4,), {"merged_axes": (1, 2)}),
]


@pytest.mark.parametrize(("scalers", "shape", "options"), CASES)
@pytest.mark.parametrize("from_file", [False, True])
@given(rows=st.lists(st.integers(0, N - 1), min_size=1, max_size=2 * N))
def test_any_rows_in_any_order_come_back_exactly(
    scalers: list[str], shape: tuple[int, ...], options: dict[str, Any], from_file: bool, rows: list[int]
) -> None:
    fs = data(*scalers, shape=shape, **options)
    found = Units.from_state(units(fs).get_state()) if from_file else units(fs)
    restored = found.unscale(values(fs, "transformed")[rows], np.array(rows), "w")
    assert np.allclose(restored, values(fs, "raw")[rows])


def test_all_rows_shuffled_are_not_taken_for_those_that_were_scaled() -> None:
    fs = data("Absolute")
    assert (values(fs, "raw") < 0).any()
    rows = np.random.default_rng(1).permutation(N)
    restored = units(fs).unscale(values(fs, "transformed")[rows], rows, "w")
    assert np.allclose(restored, values(fs, "raw")[rows])


def test_the_scalers_are_those_of_then() -> None:
    fs = data("StandardScaler", "Absolute")
    found, scaled = units(fs), values(fs, "transformed").copy()
    fs.undo_all_transforms()
    fs.fit_transform("MinMaxScaler", domain="targets")
    rows = np.arange(N)
    assert np.allclose(found.unscale(scaled, rows, "w"), values(fs, "raw"))
    assert np.allclose(units(fs).unscale(values(fs, "transformed"), rows, "w"), values(fs, "raw"))


def test_one_of_the_keys_that_were_scaled_together_and_a_raw_one_beside() -> None:
    fs, rows = data("StandardScaler"), np.arange(N)
    z = units(fs, "z").unscale(values(fs, "transformed", "z"), rows, "w")
    assert np.allclose(z, values(fs, "raw", "z"))
    mixed = of_columns(fs, "targets.z.raw", "targets.y.transformed")
    beside = np.hstack([values(fs, "raw", "z"), values(fs, "transformed", "y")])
    assert np.allclose(mixed.unscale(beside, rows, "w"), values(fs, "raw", "z", "y"))


def test_values_keep_their_shape() -> None:
    fs = data("StandardScaler")
    outputs = values(fs, "transformed").reshape(N, 1, 2, 1).astype(np.float32)
    assert units(fs).unscale(outputs, np.arange(N), "w").shape == outputs.shape


def test_nothing_to_undo_is_told_with_the_columns() -> None:
    with pytest.raises(InvalidValueError, match=r"w: \['targets.y.raw'\] were not scaled"):
        of_columns(data(), "targets.y.raw").unscale(np.ones((3, 1)), np.arange(3), "w")


@pytest.mark.parametrize("wrong", [np.ones((3, 3)), np.ones((3, 1)), np.array([["a", "b"]] * 3)])
def test_values_that_are_not_the_targets_are_told_with_both_shapes(wrong: np.ndarray) -> None:
    with pytest.raises(
        InvalidValueError, match=r"do not hold.*'targets.y.transformed'.*of shape \(2,\).*unscale_data"
    ):
        units(data("StandardScaler")).unscale(wrong, np.arange(3), "w")


def test_scalers_that_hold_too_much_stay_out_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STATE_BYTES", 2 * N - 1)
    small, large = (
        Units.from_state(units(data(scaler)).get_state()) for scaler in ("StandardScaler", "Absolute")
    )
    assert small.unscale(np.ones((3, 2)), np.arange(3), "w").shape == (3, 2)
    with pytest.raises(StateError, match="w: the scalers of .*'targets.z.transformed'.* were too large"):
        large.unscale(np.ones((3, 2)), np.arange(3), "w")
