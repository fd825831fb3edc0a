"""Splits by conditions: each part holds what meets its conditions."""

from typing import Any

import numpy as np
import pytest

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.predicates import LT
from modularml.splitters import ConditionSplitter


def test_parts_hold_what_meets_their_conditions(cells: Any) -> None:
    parts = ConditionSplitter(early={"cell": LT(5)}, mixed={"kind": [0, 1], "grade": 1}).indices(cells)
    cell, kind, grade = (cells.column(name) for name in ("cell", "kind", "grade"))
    assert parts["early"].tolist() == np.flatnonzero(cell < 5).tolist()
    assert parts["mixed"].tolist() == np.flatnonzero((kind < 2) & (grade == 1)).tolist()


def test_an_empty_part_is_refused_by_name(cells: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"\['none'\] would be empty"):
        ConditionSplitter(none={"cell": 99}).indices(cells)


def test_config_makes_an_equal_splitter() -> None:
    splitter = ConditionSplitter(**{"a part": {"cell": LT(5)}, "b": {"kind": ["x", "y"]}})
    assert from_config(to_config(splitter)) == splitter
    assert repr(ConditionSplitter(a={"cell": LT(5)})) == "ConditionSplitter(a={'cell': LT(value=5)})"


def test_wrong_conditions_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="at least one"):
        ConditionSplitter()
    for wrong in ({}, [1], 3):
        with pytest.raises(InvalidTypeError, match="'a'"):
            ConditionSplitter(a=wrong)  # type: ignore[arg-type]


def test_faults_of_all_parts_are_told_together(cells: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"(?s)2 faults.*kind: .*'b'.*cell: .*'a'"):
        ConditionSplitter(one={"kind": "b"}, two={"cell": "a"}).indices(cells)
