"""Curves keep their peaks, gaps and ends, whatever the numbers are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modularml.base.errors import InvalidValueError
from modularml.display.curves import COLOURS, MAX_POINTS, colours_of, curve_svg, is_wide, on_the_right
from modularml.display.drawing import text_width

NAMESPACE = "{http://www.w3.org/2000/svg}"
VALUES = arrays(np.float64, st.integers(0, 700), elements=st.floats(width=64))


def paths(picture: str) -> list[list[list[tuple[float, float]]]]:
    """The curves of a picture: for each, its unbroken pieces as (x, y)."""
    found = []
    for element in ElementTree.fromstring(picture).iter(f"{NAMESPACE}path"):
        if element.get("fill") == "none":
            pieces = [piece for piece in element.get("d").split("M") if piece]
            found.append([[tuple(map(float, p.split())) for p in piece.split("L")] for piece in pieces])
    return found


def texts(picture: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(picture).iter(f"{NAMESPACE}text")]


@example(series={"": np.array([8.9e298])}, log=True)
@given(st.dictionaries(st.text(max_size=50), VALUES, max_size=9), st.booleans())
def test_any_numbers_give_a_picture_inside_its_frame(series, log):
    picture = curve_svg(series, log=log)
    root = ElementTree.fromstring(picture)
    width, height = float(root.get("width")), float(root.get("height"))
    curves = paths(picture)
    assert len(curves) in (0, len(series))
    for curve in curves:
        points = [point for piece in curve for point in piece]
        assert len(points) <= MAX_POINTS
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
        assert points == sorted(points, key=lambda point: point[0])
    assert not re.search(r"\b(?:nan|inf)\b", "".join(re.findall(r' d="([^"]*)"', picture)))


@given(arrays(np.float64, st.integers(201, 5_000), elements=st.floats(0, 1)))
def test_thinning_keeps_both_ends_and_the_extremes(values):
    (drawn,) = paths(curve_svg({"loss": values}))
    (full,) = paths(curve_svg({"loss": [values[0], values.max(), values.min(), values[-1]]}))
    ys = [y for _, y in drawn[0]]
    (first, top, bottom, last) = (y for _, y in full[0])
    assert (ys[0], min(ys), max(ys), ys[-1]) == (first, top, bottom, last)


def test_nan_and_infinite_values_are_gaps_and_lone_points_are_dots():
    picture = curve_svg({"loss": [3.0, 2.0, np.nan, 1.5, -np.inf, 1.0, 0.5]})
    (curve,) = paths(picture)
    assert [len(piece) for piece in curve] == [2, 1, 2]
    assert picture.count("h0") == 1


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show():
    (curve,) = paths(curve_svg({"loss": [1.0, 0.1, 0.0, -1.0, 0.01]}, log=True))
    assert [len(piece) for piece in curve] == [2, 1]
    (line,) = paths(curve_svg({"loss": 10.0 ** -np.arange(5)}, log=True))[0]
    steps = np.diff([y for _, y in line])
    assert np.ptp(steps) < 0.2


@pytest.mark.parametrize(
    ("values", "log", "ticks"),
    [
        ([0.0, 1.0], False, ["0", "0.5", "1"]),
        ([3e-5, 1e-5], False, ["1e-05", "2e-05", "3e-05"]),
        ([7.0, 7.0], False, ["6.8", "7", "7.2"]),
        ([1e-6, 1.0], True, ["1e-06", "0.0001", "0.01", "1"]),
        ([0.3, 1.2], True, ["0.5", "1"]),
    ],
)
def test_ticks_are_round_numbers(values, log, ticks):
    shown = texts(curve_svg({"loss": values}, log=log))
    assert shown[: len(ticks)] == ticks


@pytest.mark.parametrize("n", [2, 200, 2_000, 2_000_000])
def test_the_count_at_the_end_is_not_cut_off(n):
    picture = ElementTree.fromstring(curve_svg({"loss": np.linspace(0.0, 0.5, n)}))
    (last,) = [e for e in picture.iter(f"{NAMESPACE}text") if e.text == str(n)]
    assert float(last.get("x")) + text_width(str(n), 11) / 2 < float(picture.get("width")) + 0.1


def test_few_epochs_are_counted_one_by_one():
    shown = texts(curve_svg({"loss": [3.0, 2.0, 2.5, 2.0, 2.0, 2.2]}))
    assert [text for text in shown if text.isdigit()][-6:] == list("123456")


def test_a_curve_may_have_another_colour_than_that_of_its_place():
    numbers = colours_of(["a", "b", "val_loss", "r2"], ["a", "b"], "val_loss")
    assert numbers == {"a": 0, "val_loss": 1, "b": 2, "r2": 3}
    assert colours_of(["a", "b"], ["a", "b"], "val_loss") == {"a": 0, "val_loss": 1, "b": 2}
    picture = curve_svg({"a": [1, 2], "b": [2, 3]}, colours={"a": 0, "b": len(COLOURS) + 2})
    drawn = ElementTree.fromstring(picture).iter(f"{NAMESPACE}path")
    found = [(one.get("stroke"), one.get("stroke-dasharray")) for one in drawn if one.get("fill") == "none"]
    assert found == [(COLOURS[0], None), (COLOURS[2], "5 3")]


def test_a_long_legend_leaves_room_for_its_curves():
    picture = curve_svg({f"a rather long name of a curve {i}": [i, i + 1] for i in range(8)}, width=300)
    heights = [y for curve in paths(picture) for piece in curve for _, y in piece]
    assert max(heights) - min(heights) > 60


def test_legend_names_each_curve_with_its_last_value():
    shown = texts(curve_svg({"train": [2.0, 0.123456], "<val>": [1.0, np.nan], "none": []}))
    assert shown[-3:] == ["train 0.1235", "<val> nan", "none"]


@given(
    st.lists(st.sampled_from(["mse", "val_mse", "val_loss", "focal_loss", "val_r2", "accuracy"]), unique=True)
)
def test_metrics_have_an_axis_of_their_own_where_there_are_losses(names):
    metrics = [name for name in names if name in ("val_r2", "accuracy")]
    assert on_the_right(names, ["mse"]) == (metrics if len(metrics) < len(names) else [])


@pytest.mark.parametrize(
    ("values", "told"),
    [([3.2, 0.09], True), ([3.2, np.nan, 0.2], False), ([3.2, 0.0], False), ([5, -1], False), ([], False)],
)
def test_what_a_linear_axis_would_lay_on_its_ground_is_wide(values, told):
    assert is_wide({"loss": values}) is told
    assert is_wide({"loss": values, "r2": [-4.0, 1.0]}, right=["r2"]) is told


def test_a_curve_at_the_right_leaves_the_left_axis_to_the_others():
    loss, score = [1e-3, 1e-6, 1e-7], [-100.0, 0.5, 1.0]
    (alone,) = paths(curve_svg({"loss": loss}, log=True))
    picture = curve_svg({"loss": loss, "r2": score}, right=["r2"], log=True)
    drawn, beside = paths(picture)
    assert [y for _, y in drawn[0]] == [y for _, y in alone[0]]
    assert len(beside[0]) == 3  # a logarithmic axis would have left out what is negative
    assert texts(picture)[-2:] == ["loss 1.000e-07", "r2 (right) 1.000"]
    assert {"1e-07", "-100", "0"} <= set(texts(picture))


def test_what_stands_behind_a_curve_has_its_colour_and_a_place_on_the_axes():
    picture = curve_svg({"a": [1.0, 2.0], "b": [0.0, 1.0]}, behind={"b": [[5.0, 4.0, 3.0]]}, last={"b": 7.0})
    elements = ElementTree.fromstring(picture).iter(f"{NAMESPACE}path")
    faint, a, b = [e for e in elements if e.get("fill") == "none"]
    assert faint.get("stroke") == b.get("stroke") != a.get("stroke")
    assert (faint.get("opacity"), a.get("opacity")) == ("0.4", None)
    assert {"4", "3", "a 2.000", "b 7.000"} <= set(texts(picture))


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [np.nan, np.inf]}])
def test_without_a_single_value_it_says_so(series):
    assert "no values" in texts(curve_svg(series))


def test_integers_bools_and_lists_are_numbers_too():
    assert curve_svg({"a": [1, 2]}) == curve_svg({"a": np.array([1, 2])}) == curve_svg({"a": [1.0, 2.0]})


@pytest.mark.parametrize("values", [[[1.0, 2.0]], 3.0, ["a", "b"], [None, 1.0], [1j]])
def test_anything_else_is_refused_by_name(values):
    with pytest.raises(InvalidValueError, match="curve 'loss'"):
        curve_svg({"loss": values})
