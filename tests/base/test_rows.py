"""Groups and seeds: numbers that agree with numpy's slow way of finding them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.base.rows import as_names, check_seed, densify, group_codes, new_seed
from tests.sources import Source

COLUMNS = st.one_of(
    hnp.arrays(np.int64, 12),
    hnp.arrays(np.uint8, 12),
    hnp.arrays(np.bool_, 12),
    hnp.arrays(np.float64, 12, elements=st.floats(allow_nan=False)),
    hnp.arrays("U4", 12),
    hnp.arrays("M8[s]", 12, elements=st.integers(0, 5).map(lambda s: np.datetime64(s, "s"))),
)


@given(COLUMNS)
def test_densify_numbers_values_in_their_order(values: np.ndarray) -> None:
    assert densify(values).tolist() == np.unique(values, return_inverse=True)[1].tolist()


@given(COLUMNS, COLUMNS)
def test_two_columns_group_as_their_pairs_do(a: np.ndarray, b: np.ndarray) -> None:
    codes, n_groups = group_codes(Source(a=a, b=b), ("a", "b"), "group_by")
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    distinct = sorted(set(pairs))
    assert n_groups == len(distinct)
    assert codes.tolist() == [distinct.index(pair) for pair in pairs]


@pytest.mark.parametrize(
    "values", [np.array([2**63 - 1, -(2**63), 0]), np.array([2**64 - 1, 0, 7], np.uint64)]
)
def test_the_widest_integers_do_not_overflow(values: np.ndarray) -> None:
    assert densify(values).tolist() == np.argsort(np.argsort(values)).tolist()


def test_no_rows_make_no_groups() -> None:
    assert group_codes(Source(a=np.array([], int)), ("a",), "group_by")[1] == 0


def test_no_columns_make_one_group() -> None:
    codes, n_groups = group_codes(Source(a=np.arange(3)), (), "group_by")
    assert (codes.tolist(), n_groups) == ([0, 0, 0], 1)


def test_array_columns_are_refused_by_name() -> None:
    with pytest.raises(InvalidValueError, match=r"stratify_by.*'x'.*\(2,\)"):
        group_codes(Source(x=np.zeros((3, 2))), ("x",), "stratify_by")


def test_as_names() -> None:
    assert as_names(None, "group_by") == ()
    assert as_names("a", "group_by") == ("a",)
    assert as_names(["a", "b"], "group_by") == ("a", "b")
    for wrong in (3, ["a", 3]):
        with pytest.raises(InvalidTypeError, match="group_by.*3"):
            as_names(wrong, "group_by")  # type: ignore[arg-type]


def test_seeds() -> None:
    assert check_seed(None) is None
    assert check_seed(np.int32(3)) == 3
    assert new_seed() != new_seed()
    for wrong, error in ((-1, InvalidValueError), (1.0, InvalidTypeError), (True, InvalidTypeError)):
        with pytest.raises(error, match="seed"):
            check_seed(wrong)
