"""Values: whatever people have, one clean array a column."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.core.data.values import as_column, check_feeds

NUMBERS = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=4),
)


@given(NUMBERS)
def test_an_array_is_kept_and_not_copied(array: np.ndarray) -> None:
    assert np.shares_memory(as_column(array), array)


@given(NUMBERS)
def test_a_list_of_samples_is_the_array(array: np.ndarray) -> None:
    for listed in (list(array), array.tolist(), tuple(array)):
        column = as_column(listed)
        np.testing.assert_array_equal(column, array)
        assert column.flags.c_contiguous


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (torch.arange(3.0, requires_grad=True), [0.0, 1.0, 2.0]),
        (torch.arange(3.0, dtype=torch.bfloat16), [0.0, 1.0, 2.0]),
        ([torch.ones(2, requires_grad=True), torch.zeros(2)], [[1.0, 1.0], [0.0, 0.0]]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.array([1, None], dtype="Int64"), [1.0, np.nan]),
        (range(3), [0, 1, 2]),
        (np.array([[1], [2]]), [1, 2]),
        ([np.array([1.0]), np.array([2.0])], [1.0, 2.0]),
        (np.arange(6)[::-2], [5, 3, 1]),
        (np.arange(3, dtype=">i4"), [0, 1, 2]),
        (np.array([1, None, 2.5], object), [1.0, np.nan, 2.5]),
        (np.array([[1, 2], [3, 4]], object), [[1, 2], [3, 4]]),
        (pd.Series([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ([True, False], [True, False]),
    ],
)
def test_many_kinds_of_numbers_will_do(values: Any, expected: list[Any]) -> None:
    column = as_column(values)
    np.testing.assert_array_equal(column, expected)
    assert column.flags.c_contiguous and column.dtype.isnative and column.dtype.kind in "biuf"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "bc"], np.array(["a", "bc"])),
        (np.array(["a", None], object), np.array(["a", ""])),
        (pd.Series(["a", None]), np.array(["a", ""])),
        (pd.Categorical(["x", "y"]), np.array(["x", "y"])),
        (np.array([b"a"]), np.array(["a"])),
        ([datetime.date(2024, 1, 2)], np.array(["2024-01-02"], "M8[us]")),
        (pd.to_datetime(["2024-01-02"]), np.array(["2024-01-02"], "M8[ns]")),
        ([datetime.timedelta(seconds=1)], np.array([1_000_000], "m8[us]")),
        ([True, False], np.array([True, False])),
        ([1, 2], np.array([1, 2])),
        (["a", np.nan, None], np.array(["a", "", ""])),
        ([b"a", None], np.array(["a", ""])),
        ([["a", "b"], ["c", None]], np.array([["a", "b"], ["c", ""]])),
        (np.array(["2024", "NaT"], "M8[Y]"), np.array(["2024-01-01", "NaT"], "M8[D]")),
        (np.array(["2024-01-01T05"], "M8[h]"), np.array(["2024-01-01T05"], "M8[s]")),
        (np.array(["NaT"], "M8"), np.array(["NaT"], "M8[s]")),
        (np.array([2], "m8[W]"), np.array([14 * 86400], "m8[s]")),
    ],
)
def test_text_dates_and_bools_are_kept(values: Any, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(as_column(values), expected)


def test_nan_is_a_number() -> None:
    assert np.isnan(as_column([1.0, np.nan])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ([], InvalidValueError, "empty list"),
        (np.zeros((0, 3)), InvalidValueError, r"no values.*\(0, 3\)"),
        (np.zeros((3, 0)), InvalidValueError, r"no values"),
        ([[1, 2], [3]], InvalidValueError, r"ragged.*0 has shape \(2,\), sample 1 has shape \(1,\)"),
        ([np.zeros(2), np.zeros(2), np.zeros(3)], InvalidValueError, "sample 2"),
        ([[[1, 2], [3, 4]], [[1], [2, 3]]], InvalidValueError, "sample 1 is ragged itself"),
        ([1j], InvalidTypeError, "complex.*real"),
        ((i for i in range(3)), InvalidTypeError, "one element a sample"),
        (["a", 1], InvalidTypeError, r"objects \(str, int\).* one kind"),
        ([1, 2.0, "3"], InvalidTypeError, r"objects \(int, float, str\)"),
        ([b"a", "b"], InvalidTypeError, r"objects \(bytes, str\)"),
        ([datetime.date(2024, 1, 1), 1], InvalidTypeError, r"objects \(date, int\)"),
        ([b"\xff"], InvalidValueError, "no UTF-8"),
        ([2**70, 1], InvalidTypeError, "more than 64 bits"),
        (scipy.sparse.eye(3).tocsr(), InvalidTypeError, r"sparse \(csr_matrix\).*toarray"),
        (np.array([1], "m8[M]"), InvalidTypeError, "time spans in the unit 'M'; possible are 'W'"),
        (np.array([1], "m8[ps]"), InvalidTypeError, "'ps'"),
        ([object()], InvalidTypeError, r"objects \(object\)"),
        ([{"a": 1}], InvalidTypeError, "objects"),
        (np.float64(3), InvalidTypeError, "single value"),
        ("abc", InvalidTypeError, "one element a sample"),
        (np.ma.masked_less(np.arange(3), 1), InvalidTypeError, "masked"),
        ({"a": 1}, InvalidTypeError, "one element a sample"),
        (3, InvalidTypeError, "single value"),
        (np.zeros(2, np.longdouble), InvalidTypeError, "float128"),
        (np.zeros(2, "i4,f8"), InvalidTypeError, "i4"),
    ],
)
def test_what_is_no_column_is_refused(values: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        as_column(values)


@pytest.mark.parametrize("values", [[object()], [1, "a", object()]])
def test_objects_are_refused_with_what_would_do(values: Any) -> None:
    with pytest.raises(InvalidTypeError, match="a column holds numbers, bools, text, dates or time spans"):
        as_column(np.array(values, object))


def test_a_list_that_is_ragged_within_is_told_once() -> None:
    with pytest.raises(InvalidValueError, match="sample 0 is ragged itself; all"):
        as_column([[[1], [2, 3]]] * 3)


def test_dates_with_a_time_zone_become_those_of_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    date = datetime.datetime(2024, 1, 2, 1, tzinfo=zone)
    for values in ([date], np.array([date, None], object)):
        assert as_column(values)[0] == np.datetime64("2024-01-01T23:00")


def test_decimals_are_numbers() -> None:
    assert as_column([Decimal("1.5"), Decimal(2)]).tolist() == [1.5, 2.0]


def test_only_numbers_and_bools_feed_a_model() -> None:
    columns = {"features.x.raw": np.ones(2), "features.b.raw": np.ones(2, bool)}
    check_feeds(columns, "node")
    others = {"features.c.raw": np.array(["a"]), "targets.d.raw": np.array(["2024"], "M8[D]")}
    with pytest.raises(
        InvalidTypeError,
        match=r"(?s)node has 2 faults.*'features.c.raw' holds text \(<U1\).*OrdinalEncoder.*dates",
    ):
        check_feeds(columns | others, "node")
