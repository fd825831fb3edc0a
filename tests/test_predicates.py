"""Predicates: what they say of a column is what Python says of each value."""

import datetime
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.io import codec
from modularml.predicates import (
    EQ,
    GT,
    GTE,
    LT,
    LTE,
    NE,
    In,
    Lambda,
    NotIn,
    Predicate,
    as_predicate,
    match_all,
)
from modularml.splitters import ConditionSplitter

COMPARISONS = [
    (EQ, operator.eq),
    (NE, operator.ne),
    (LT, operator.lt),
    (LTE, operator.le),
    (GT, operator.gt),
    (GTE, operator.ge),
]
SMALL = st.integers(-3, 3)


@pytest.mark.parametrize(("predicate", "compare"), COMPARISONS)
@given(values=hnp.arrays(np.int64, 8, elements=SMALL), value=SMALL)
def test_comparisons(
    predicate: type[Predicate], compare: Callable[[Any, Any], bool], values: np.ndarray, value: int
) -> None:
    expected = [compare(v, value) for v in values.tolist()]
    assert predicate(value)(values).tolist() == expected  # type: ignore[call-arg]


@given(values=hnp.arrays(np.int64, 8, elements=SMALL), members=st.lists(SMALL))
def test_membership(values: np.ndarray, members: list[int]) -> None:
    expected = [v in members for v in values.tolist()]
    assert In(members)(values).tolist() == expected
    assert NotIn(members)(values).tolist() == [not e for e in expected]


def test_text_dates_and_bools_compare() -> None:
    assert EQ("b")(np.array(["a", "b"])).tolist() == [False, True]
    assert LT("b")(np.array(["a", "b"])).tolist() == [True, False]
    days = np.array(["2024-01-01", "2024-01-03"], "M8[D]")
    assert GT("2024-01-02")(days).tolist() == [False, True]
    assert In([datetime.date(2024, 1, 1)])(days).tolist() == [True, False]
    assert EQ(True)(np.array([True, False])).tolist() == [True, False]


@pytest.mark.parametrize("none", [np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")])
def test_whatever_says_missing_selects_what_is(none: Any) -> None:
    for values in (np.array([np.nan, 1.0]), np.array(["NaT", "2024"], "M8[D]"), np.array(["", "a"])):
        assert EQ(none)(values).tolist() == [True, False]
        assert NE(none)(values).tolist() == [False, True]
        assert In([none])(values).tolist() == [True, False]


@pytest.mark.parametrize(
    ("values", "predicate"),
    [
        (np.array(["a"]), EQ(1)),
        (np.array([1]), EQ("a")),
        (np.array([1]), In([1, "a"])),
        (np.array([1]), EQ([1, 2])),
        (np.zeros((2, 3)), GT(0)),
        (np.zeros((2, 3)), In([0])),
    ],
)
def test_what_cannot_be_compared_is_refused(values: np.ndarray, predicate: Predicate) -> None:
    with pytest.raises(InvalidTypeError, match="cannot be compared"):
        predicate(values)


def test_a_function_gets_the_column_or_one_sample_at_a_time() -> None:
    assert Lambda(lambda column: column > column.mean())(np.arange(4)).tolist() == [False, False, True, True]
    assert Lambda(lambda sample: sample.sum() > 1)(np.eye(2) * [[1], [2]]).tolist() == [False, True]
    with pytest.raises(InvalidValueError, match=r"4 bools.*int64.*\(\)"):
        Lambda(lambda column: column.sum())(np.arange(4))
    for wrong in (lambda sample: sample > 1, lambda sample: sample.sum()):
        with pytest.raises(InvalidValueError, match=r"one bool for a sample of shape \(2,\), got"):
            Lambda(wrong)(np.eye(2))
    with pytest.raises(InvalidTypeError, match="function"):
        Lambda(3)  # type: ignore[arg-type]


def test_conditions_are_read() -> None:
    def is_odd(column: np.ndarray) -> np.ndarray:
        return column % 2 == 1

    assert as_predicate(3) == EQ(3)
    assert as_predicate("ab") == EQ("ab")
    for several in (
        [1, 2],
        (1, 2),
        {2, 1},
        np.array([1, 2]),
        range(1, 3),
        pd.Series([1, 2]),
        pd.Index([1, 2]),
    ):
        assert as_predicate(several) == In([1, 2])
    assert as_predicate(is_odd) == Lambda(is_odd)
    assert as_predicate(LT(1)) == LT(1)
    assert as_predicate(None) == EQ(None)
    assert as_predicate(np.array(3)) == as_predicate(np.int8(3)) == EQ(3)
    for wrong in ({"a": 1}, (i for i in range(3))):
        with pytest.raises(InvalidTypeError, match="condition"):
            as_predicate(wrong)
    with pytest.raises(InvalidTypeError, match="list of values"):
        In("ab")


@pytest.mark.parametrize(
    "predicate",
    [
        LT(3),
        NotIn(["a"]),
        EQ("x"),
        In({"b", "a"}),
        NE(np.float32(0.5)),
        EQ(None),
        GT(datetime.date(2024, 1, 31)),
        GT(np.datetime64("2024-01")),
        GT(np.datetime64("2024-01-31T00:00:00.000000001")),
        GT(pd.Timestamp("2024-01-31", tz="Europe/Berlin")),
        LTE(datetime.timedelta(days=1, microseconds=3)),
        LTE(np.timedelta64(5, "h")),
        LTE(pd.Timedelta(5, "ns")),
        In(np.array(["2024-01-31", "NaT"], "M8[ns]")),
    ],
    ids=repr,
)
def test_every_predicate_comes_back_from_files_and_text(predicate: Predicate, tmp_path: Path) -> None:
    again = from_config(codec.from_plain(codec.to_plain(to_config(predicate))))
    assert again == predicate and repr(again) == repr(predicate)
    splitter = ConditionSplitter(a={"c": predicate})
    assert ConditionSplitter.load(splitter.save(tmp_path / "s")) == splitter


def test_times_finer_than_microseconds_are_compared_exactly() -> None:
    days = np.datetime64("2024-01-31", "ns") + np.arange(3).astype("m8[ns]")
    assert GT(days[1])(days).tolist() == [False, False, True]
    assert In(days[:2])(days).tolist() == [True, True, False]
    spans = np.arange(3).astype("m8[ns]")
    assert GT(spans[1])(spans).tolist() == GT("1 ns")(spans).tolist() == [False, False, True]
    with pytest.raises(InvalidTypeError, match="time spans or text like '5 s', but not with '5s'"):
        GT("5s")(spans)


class Source:
    n_samples = 4

    def __repr__(self) -> str:
        return "4 samples"

    def column(self, name: str) -> np.ndarray:
        columns = {"n": np.arange(4), "t": np.array(["a", "b", "a", "b"])}
        if name not in columns:
            raise UnknownNameError(f"no column {name!r}")
        return columns[name]


def test_all_conditions_must_hold() -> None:
    assert match_all(Source(), {"n": GT(0), "t": "a"}).tolist() == [False, False, True, False]
    assert match_all(Source(), {}).all()


def test_all_faults_are_told_with_their_columns() -> None:
    with pytest.raises(InvalidTypeError, match=r"(?s)2 faults.*n: .*text.*t: .*3") as caught:
        match_all(Source(), {"n": "text", "t": 3})
    assert isinstance(caught.value, TypeError)
    assert str(caught.value).startswith("The filter of 4 samples")
    with pytest.raises(UnknownNameError, match="'x'"):
        match_all(Source(), {"x": 1})
    with pytest.raises(InvalidTypeError, match="dict"):
        match_all(Source(), [1])  # type: ignore[arg-type]


def test_an_error_in_a_function_names_the_column() -> None:
    def fail(column: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        match_all(Source(), {"n": fail})
    assert "'n'" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.0, np.nan, 2.0]),
        np.array(["a", "", "b"]),
        np.array(["2024-01-01", "NaT", "2024-01-02"], "M8[D]"),
        np.array([1, "NaT", 2], "m8[s]"),
    ],
)
def test_what_is_missing_can_be_selected(values: np.ndarray) -> None:
    assert EQ(None).mask(values).tolist() == [False, True, False]
    assert NE(None).mask(values).tolist() == [True, False, True]
    first = values[0].item() if values.dtype.kind in "fU" else values[0]
    assert In([None, first]).mask(values).tolist() == [True, True, False]
    assert NotIn([None, first]).mask(values).tolist() == [False, False, True]


def test_nothing_is_missing_among_whole_numbers_and_bools() -> None:
    assert not EQ(None).mask(np.arange(3)).any() and not EQ(None).mask(np.ones(3, bool)).any()
    with pytest.raises(InvalidTypeError, match=r"arrays of shape \(2,\)"):
        EQ(None).mask(np.ones((3, 2)))
    with pytest.raises(InvalidTypeError, match="None"):
        LT(None).mask(np.arange(3))


def test_times_are_compared_with_dates_of_any_zone_and_with_time_spans() -> None:
    days = np.array(["2024-01-01T22:00", "2024-01-02T01:00"], "M8[us]")
    zone = datetime.timezone(datetime.timedelta(hours=2))
    assert LT(datetime.datetime(2024, 1, 2, 1, tzinfo=zone)).mask(days).tolist() == [True, False]
    spans = np.array([1, 3], "m8[h]")
    assert GT(datetime.timedelta(hours=2)).mask(spans).tolist() == [False, True]
    with pytest.raises(InvalidTypeError, match="datetime64.*'soon'"):
        EQ("soon").mask(days)
