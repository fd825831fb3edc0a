"""Names and selectors of columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import InvalidTypeError, InvalidValueError, ResolutionError, UnknownNameError
from modularml.core.data.columns import (
    DOMAINS,
    REPS,
    Column,
    complete,
    doubled_keys,
    key_fault,
    match,
    one,
    select,
    short_names,
)

KEYS = st.text(st.characters(exclude_characters=".*", exclude_categories=("C", "Z")), min_size=1, max_size=8)
COLUMNS = st.builds(Column, st.sampled_from(DOMAINS), KEYS, st.sampled_from(REPS))
NAMES = [
    "features.voltage.raw",
    "features.voltage.transformed",
    "features.current.raw",
    "targets.soh.raw",
    "tags.cell.raw",
]


@given(COLUMNS)
def test_a_name_is_read_as_it_is_written(column: Column) -> None:
    assert Column.parse(str(column)) == column


@given(st.lists(COLUMNS, unique=True, min_size=1))
def test_a_full_name_selects_itself_and_a_key_all_that_bear_it(columns: list[Column]) -> None:
    names = list(map(str, columns))
    for column in columns:
        assert match(str(column), names) == [str(column)]
        assert set(match(column.key, names)) >= {n for n in names if Column.parse(n).key == column.key}
    assert match("*", names) == names


@given(st.lists(COLUMNS, unique=True), st.booleans(), st.booleans())
def test_short_names_tell_columns_apart(columns: list[Column], domain: bool, rep: bool) -> None:
    short = short_names(list(map(str, columns)), domain=domain, rep=rep)
    assert len(set(short.values())) == len(columns)


@pytest.mark.parametrize(
    "name", ["voltage", "features.voltage", "a.b.c.d", "inputs.voltage.raw", "", "tags..raw", 3]
)
def test_what_is_no_column_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError):
        Column.parse(name)


@pytest.mark.parametrize("key", ["", " ", "a.b", "*", "v*", "line\nbreak", 3, None])
def test_keys_are_checked(key: object) -> None:
    assert key_fault(key) is not None
    assert key_fault("Spannung [mV] & <b>") is None


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("voltage", NAMES[:2]),
        ("voltage.raw", NAMES[:1]),
        ("features.voltage", NAMES[:2]),
        ("features.*", NAMES[:3]),
        ("*.raw", [NAMES[0], *NAMES[2:]]),
        ("*t.raw", [NAMES[2]]),
        ("*.*.transformed", [NAMES[1]]),
    ],
)
def test_parts_may_be_left_out_or_be_wild(selector: str, found: list[str]) -> None:
    assert match(selector, NAMES) == found


def test_signs_of_other_languages_are_just_signs() -> None:
    assert match("U [mV]", ["features.U [mV].raw", "features.U m.raw"]) == ["features.U [mV].raw"]
    with pytest.raises(UnknownNameError):
        match("volt?ge", NAMES)


def test_an_unmatched_selector_is_told_with_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"No entries in FeatureSet 'A' match selector 'voltge'.*'voltage'"
    ):
        match("voltge", NAMES, where="FeatureSet 'A'")
    with pytest.raises(UnknownNameError, match="'transformed'"):
        match("current", NAMES, rep="transformed")
    with pytest.raises(UnknownNameError):
        match("soh", NAMES, domain="features")
    with pytest.raises(InvalidTypeError):
        match(3, NAMES)  # type: ignore[arg-type]


def test_a_representation_that_is_named_counts_before_the_one_for_all() -> None:
    assert select(NAMES, {"features": NAMES[1]}, rep="raw") == (NAMES[1],)
    with pytest.raises(UnknownNameError, match="There is 'features.current.raw'; name it so"):
        match("current", NAMES, rep="transformed")


def test_one_means_one() -> None:
    assert one("current", NAMES) == "features.current.raw"
    with pytest.raises(ResolutionError, match="2 columns.*voltage.raw.*voltage.transformed"):
        one("voltage", NAMES)


def test_nothing_mentioned_is_everything_and_an_empty_list_is_nothing() -> None:
    assert select(NAMES, {"features": None}) == tuple(NAMES)
    assert select(NAMES, {"features": []}) == ()
    assert select(NAMES, {"tags": "cell", "features": ["current", "voltage.raw"]}) == (
        NAMES[0],
        NAMES[2],
        NAMES[4],
    )
    with pytest.raises(InvalidValueError, match="'scaled'"):
        select(NAMES, {}, rep="scaled")


def test_unnamed_domains_come_whole() -> None:
    assert complete(NAMES, {"features": "voltage.raw"}) == {
        "features": ("features.voltage.raw",),
        "targets": ("targets.soh.raw",),
        "tags": ("tags.cell.raw",),
    }
    assert complete(NAMES, {"tags": []})["tags"] == ()
    assert complete(NAMES, {None: "soh"}, rep="raw")["features"] == (NAMES[0], NAMES[2])
    assert complete(NAMES, {}, rep="transformed")["features"] == (NAMES[1], NAMES[2])


def test_doubled_keys_are_found_unless_they_are_meant() -> None:
    assert doubled_keys(NAMES, ["voltage", None]) == ["voltage"]
    assert doubled_keys(NAMES[2:], [None]) == []
    assert doubled_keys(NAMES, [["voltage.raw", "voltage.transformed"]]) == []
