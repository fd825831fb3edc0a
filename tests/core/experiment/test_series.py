"""Series: picking and grouping agree with doing it by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modularml import AxisSeries, SampleData
from modularml.base.errors import InvalidValueError, UnknownNameError


@pytest.fixture
def losses() -> AxisSeries[float]:
    """Two epochs of two batches, two losses."""
    keys = [(e, b, label) for e in (0, 1) for b in (0, 1) for label in ("mse", "l1")]
    return AxisSeries(
        {axis: [key[i] for key in keys] for i, axis in enumerate(("epoch", "batch", "label"))},
        np.arange(8.0),
        weights=np.array([3, 3, 1, 1] * 2),
        where="losses",
    )


def test_axes_keys_and_values(losses: AxisSeries[float]) -> None:
    assert (losses.axes, losses.shape, len(losses)) == (("epoch", "batch", "label"), (2, 2, 2), 8)
    assert losses.axes_values() == {"epoch": [0, 1], "batch": [0, 1], "label": ["mse", "l1"]}
    assert losses.data[1, 0, "l1"] == losses[1, 0, "l1"] == 5
    assert list(losses) == losses.keys() == [key for key, _ in losses.items()]
    assert repr(losses) == "AxisSeries(epoch=2, batch=2, label=2; 8 values)"


def test_the_first_coordinates_give_all_that_have_them(losses: AxisSeries[float]) -> None:
    assert losses[0].tolist() == [0, 1, 2, 3]
    assert losses[1, 1].tolist() == [6, 7]
    assert 1 in losses and (1, 1, "mse") in losses and 2 not in losses and (0, 0, "mse", 0) not in losses


def test_where_keeps_axes_and_select_loses_those_that_are_fixed(losses: AxisSeries[float]) -> None:
    assert losses.where(label="l1", epoch=1).axes == losses.axes
    assert losses.where(label="l1", epoch=lambda e: e > 0).values().tolist() == [5, 7]
    assert losses.where(batch=[0, 1]).data == losses.data
    chosen = losses.select(label="mse", epoch=[1])
    assert chosen.axes == ("epoch", "batch") and chosen.data == {(1, 0): 4, (1, 1): 6}
    assert len(losses.where(epoch=9)) == 0


def test_one_value(losses: AxisSeries[float]) -> None:
    assert losses.at(epoch=1, batch=0, label="mse") == 4
    assert (losses.first(), losses.last(), losses.last(sort_by="epoch")) == (0, 7, 7)
    with pytest.raises(InvalidValueError, match="losses has 2 values here, not one"):
        losses.at(epoch=1, batch=0)
    with pytest.raises(UnknownNameError, match="'msee'.*Did you mean 'mse'"):
        losses.at(epoch=1, batch=0, label="msee")
    with pytest.raises(UnknownNameError, match="'epohc'.*Did you mean 'epoch'"):
        losses.where(epohc=1)
    with pytest.raises(UnknownNameError, match="has nothing at"):
        AxisSeries({"a": [0, 1], "b": [0, 1]}, [5, 6]).select(a=0, b=1)


def test_means_count_weights_and_go_on_counting_them(losses: AxisSeries[float]) -> None:
    by_epoch = losses.collapse("batch")
    assert by_epoch.axes == ("epoch", "label")
    assert by_epoch.data == {(0, "mse"): 0.5, (0, "l1"): 1.5, (1, "mse"): 4.5, (1, "l1"): 5.5}
    assert by_epoch.collapse("epoch").data == {"mse": 2.5, "l1": 3.5}
    assert losses.collapse("label", "sum").values().tolist() == [1, 5, 9, 13]
    assert losses.collapse("label", max).values().tolist() == [1, 3, 5, 7]
    with pytest.raises(UnknownNameError, match="'meen'.*Did you mean 'mean'"):
        losses.collapse("label", "meen")
    with pytest.raises(InvalidValueError, match="the only axis"):
        losses.select(batch=0, epoch=0).collapse("label")


def test_a_mean_of_means_counts_the_samples_of_each() -> None:
    coordinates = {"epoch": [0, 0, 1], "batch": [0, 1, 0]}
    series: AxisSeries[float] = AxisSeries(
        coordinates, np.array([1.0, 4.0, 10.0]), weights=np.array([8, 4, 2])
    )
    by_epoch = series.collapse("batch")
    assert by_epoch.values().tolist() == [2.0, 10.0]
    assert by_epoch.mean() == series.mean() == pytest.approx((8 + 16 + 20) / 14)


def test_arrays_are_reduced_element_by_element_or_joined() -> None:
    tensors: AxisSeries[Any] = AxisSeries({"epoch": [0, 0], "batch": [0, 1]}, [np.zeros(2), np.ones(2)])
    assert tensors.collapse("batch").one().tolist() == [0.5, 0.5]
    assert tensors.collapse("batch", "concat").one().tolist() == [0, 0, 1, 1]
    assert tensors.squeeze().axes == ("batch",)
    assert tensors.where(batch=0).squeeze().axes == ("batch",)


def test_a_series_has_a_mean_and_a_sum_of_all(losses: AxisSeries[float]) -> None:
    assert losses.where(label="mse").mean() == 2.5
    assert losses.where(label="mse").sum() == 12
    assert isinstance(losses.mean(), float)
    with pytest.raises(InvalidValueError, match="has no values here"):
        losses.where(epoch=9).mean()


def test_arrays_and_samples_are_joined_and_converted() -> None:
    tensors: AxisSeries[Any] = AxisSeries({"batch": [0, 1]}, [np.zeros(2), np.ones(2)])
    assert tensors.concat().tolist() == [0, 0, 1, 1]
    assert tensors.mean().tolist() == [0.5, 0.5]
    assert torch.equal(tensors.to_format("torch").concat(), torch.tensor([0.0, 0, 1, 1], dtype=torch.float64))
    batches: AxisSeries[Any] = AxisSeries({"batch": [0]}, [SampleData(features=np.ones((2, 1)))])
    assert isinstance(batches.to_format("torch").one().features, torch.Tensor)
    with pytest.raises(InvalidValueError, match="'tensr'"):
        batches.to_format("tensr")


def test_a_data_frame_has_a_column_an_axis(losses: AxisSeries[float]) -> None:
    frame = losses.to_pandas()
    assert list(frame.columns) == ["epoch", "batch", "label", "value"]
    assert frame.groupby("label")["value"].sum().to_dict() == {"mse": 12, "l1": 16}


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.floats(-9, 9)), min_size=1))
def test_collapsing_is_grouping(entries: list[tuple[int, str, float]]) -> None:
    series: AxisSeries[float] = AxisSeries(
        {"n": [e[0] for e in entries], "name": [e[1] for e in entries]}, np.array([e[2] for e in entries])
    )
    expected: dict[str, list[float]] = {}
    for _, name, value in entries:
        expected.setdefault(name, []).append(value)
    assert series.collapse("n", "sum").data == pytest.approx({k: np.sum(v) for k, v in expected.items()})
    assert list(series.collapse("n").data) == list(expected)


def test_printed_it_is_a_table() -> None:
    values = np.arange(8, dtype=np.float32) / 8
    coordinates = {"epoch": [0, 0, 0, 0, 1, 1, 1, 1], "batch": [0, 0, 1, 1] * 2, "label": ["a", "b"] * 4}
    assert str(AxisSeries(coordinates, values)).split("\n") == [
        "AxisSeries(epoch=2, batch=2, label=2; 8 values)",
        "epoch  batch       a       b",
        "    0      0       0  0.1250",
        "    0      1  0.2500  0.3750",
        "    1      0  0.5000  0.6250",
        "    1      1  0.7500  0.8750",
    ]
    assert str(AxisSeries({"name": ["x"], "epoch": [3]}, ["text"])).split("\n")[1:] == [
        "epoch  x",
        "    3  'text'",
    ]
    assert str(AxisSeries({"epoch": range(100)}, np.arange(100))).count("\n") == 22
    assert str(AxisSeries({"epoch": []}, np.arange(0))) == "AxisSeries(epoch=0; 0 values)"


def test_a_notebook_shows_the_first_and_the_last_numbers_and_nothing_of_other_values() -> None:
    numbers = AxisSeries({"epoch": np.arange(50)}, np.arange(50) / 4)
    shown = numbers._repr_html_() or ""
    assert "epoch=50; 50 values" in shown and shown.count("<tr>") == 22
    assert ">12.25<" in shown and ">6.000<" not in shown
    assert AxisSeries({"epoch": np.arange(2)}, ["a", "b"])._repr_html_() is None


def test_what_is_not_there_is_told_by_its_axis() -> None:
    series = AxisSeries({"name": ["r2", "mse"], "epoch": [0, 0]}, np.arange(2.0), where="metrics")
    with pytest.raises(UnknownNameError, match="Unknown name 'nse' in metrics. .* Did you mean 'mse'"):
        series["nse"]
    with pytest.raises(UnknownNameError, match="Unknown epoch 4 in metrics. Available: '0'"):
        series["r2", 4]
    with pytest.raises(UnknownNameError, match=r"metrics has the axes \('name', 'epoch'\), got the key"):
        series["r2", 0, 0]


def test_the_only_value_is_a_number() -> None:
    assert float(AxisSeries({"name": ["r2"]}, np.array([0.5]))) == 0.5
    with pytest.raises(InvalidValueError, match=r"2 values here, not one.*Take one of them: .last\(\)"):
        float(AxisSeries({"name": ["a", "b"]}, np.array([0.5, 1])))
