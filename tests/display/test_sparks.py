"""Pictures the size of a word keep the shape of what they show, in images and in words."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from modularml.display.sparks import course, histogram
from tests.opened import opened


def points(html: str) -> list[tuple[float, float]]:
    path = ElementTree.fromstring(opened(html))[0].get("d")
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


@pytest.mark.parametrize(
    ("counts", "words", "n_bars"), [([0, 7, 14], "▁▅█", 2), ([3], "█", 1), ([0, 0], "▁▁", 0)]
)
def test_a_histogram_has_a_bar_for_each_count_but_none_for_nothing(counts, words, n_bars) -> None:
    html = histogram(counts)
    assert f'alt="{words}"' in html
    assert opened(html).count("v-") == n_bars


def test_a_course_ends_where_the_values_do() -> None:
    html = course(np.array([0.0, np.nan, 4.0, 1.0]))
    assert 'alt="▁█▃"' in html
    (_, first), (_, top), (_, last) = points(html)
    assert top < last < first


@pytest.mark.parametrize(
    "values", [np.linspace(0, 1, 10_000), np.array([2.0, 2.0]), np.array([-1e308, 1e308])]
)
def test_a_course_stays_within_its_picture(values) -> None:
    assert all(0 <= x <= 72 and 0 <= y <= 16 for x, y in points(course(values)))


@pytest.mark.parametrize("values", [[], [1.0], [np.nan, np.inf, 3.0]])
def test_one_value_takes_no_course(values) -> None:
    assert course(np.array(values)) == ""
