"""Tables in and out: pandas, Arrow, and what speaks Arrow."""

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from modularml.base.errors import InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.interchange import from_arrow, to_arrow, to_pandas


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cycle": np.repeat([7, 3, 5], 4),
            "time": np.tile([3, 1, 2, 0], 3),
            "voltage": np.arange(12.0),
            "soh": np.repeat([0.9, 0.8, 0.7], 4),
            "site": np.repeat(["a", "b", None], 4),
            "day": [1, 1, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4],
        }
    )


def test_a_row_is_a_sample() -> None:
    fs = FeatureSet.from_pandas("P", frame(), ["voltage", "time"], "soh", tag_cols=["cycle", "site"])
    assert fs.n_samples == 12
    assert fs.get_tags("dict_list")["site"] == ["a"] * 4 + ["b"] * 4 + [""] * 4
    np.testing.assert_array_equal(fs.column("voltage"), np.arange(12.0))


def test_a_group_is_a_sample_in_the_order_of_the_frame() -> None:
    fs = FeatureSet.from_df(
        "P", frame(), "voltage", "soh", group_by="cycle", tag_cols=["cycle", "site"], sort_by="time"
    )
    assert fs.column("voltage").tolist() == [[3, 1, 2, 0], [7, 5, 6, 4], [11, 9, 10, 8]]
    assert fs.column("soh").shape == (3, 4)
    assert fs.get_tags("dict_list") == {"cycle": [7, 3, 5], "site": ["a", "b", ""]}


def test_groups_of_arrays_are_arrays_of_them() -> None:
    series = pd.DataFrame({"g": [0, 1, 0, 1], "v": [np.full(3, float(i)) for i in range(4)]})
    fs = FeatureSet.from_pandas("P", series, "v", group_by="g", tag_cols="g")
    assert fs.column("v").tolist() == [[[0.0] * 3, [2.0] * 3], [[1.0] * 3, [3.0] * 3]]

    for cells in ([np.zeros(2)] * 4, [[1, 2]] * 4):
        with pytest.raises(InvalidValueError, match="'T': The cells of 'a' hold arrays"):
            FeatureSet.from_pandas("T", series.assign(a=cells), "v", group_by="g", tag_cols="a")


def test_what_pyarrow_cannot_read_is_told() -> None:
    with pytest.raises(InvalidValueError, match="'P': pyarrow cannot read the DataFrame.*i128"):
        FeatureSet.from_arrow("P", pl.DataFrame({"x": pl.Series([1], dtype=pl.Int128)}), "x")


def test_what_a_frame_is_asked_for_and_does_not_have_as_a_column_is_told_where_it_is() -> None:
    df = pd.DataFrame({"a": [1, 2], "b": [3, 4], 0: [5, 6]})
    with pytest.raises(UnknownNameError, match=r"Unknown column 'b'.*in its index: pass df.reset_index\(\)"):
        FeatureSet.from_pandas("x", df.set_index("b"), ["a"], tag_cols="b")
    with pytest.raises(InvalidTypeError, match=r"feature_cols must be .* got 0. df.rename\(columns=str\)"):
        FeatureSet.from_pandas("x", df, ["a", 0])
    assert FeatureSet.from_pandas("x", df.rename(columns=str), ["a", "0"]).n_samples == 2


def test_one_row_of_a_frame_is_told_from_a_frame() -> None:
    df = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with pytest.raises(InvalidValueError, match=r"A Series is one row or one column.*df.iloc\[\[0\]\]"):
        FeatureSet.from_arrow("x", df.iloc[0], "a")


def test_groups_without_an_order_keep_their_rows() -> None:
    fs = FeatureSet.from_pandas("P", frame(), "voltage", group_by=["cycle", "site"])
    assert fs.column("voltage").tolist() == np.arange(12.0).reshape(3, 4).tolist()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (
            {"group_by": "cycle", "tag_cols": "sight", "sort_by": "tim"},
            UnknownNameError,
            "(?s)'P'.* 2 faults.*'tim'",
        ),
        ({"group_by": "cycle", "tag_cols": "day"}, InvalidValueError, "one value a group.*'day'.*1 and 2"),
        ({"group_by": "cycl"}, UnknownNameError, "Did you mean 'cycle'"),
        ({"sort_by": "time"}, InvalidValueError, "group_by"),
        ({"tag_cols": "sight"}, UnknownNameError, "Did you mean 'site'"),
        ({"group_by": 3}, InvalidTypeError, "group_by"),
    ],
)
def test_wrong_columns_are_refused(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        FeatureSet.from_pandas("P", frame(), "voltage", "soh", **options)


def test_groups_of_unequal_size_are_refused() -> None:
    with pytest.raises(
        InvalidValueError, match=r"'P': The groups have between 3 and 4 rows \(most 4, cycle=7 has 3\)"
    ):
        FeatureSet.from_pandas("P", frame()[1:], "voltage", "soh", group_by="cycle")
    by_tags = FeatureSet.from_pandas("T", frame()[1:], "cycle", group_by="cycle", tag_cols=["cycle"])
    assert by_tags.n_samples == 3
    with pytest.raises(InvalidValueError, match="'E'.*no values"):
        FeatureSet.from_pandas("E", frame()[:0], "voltage", group_by="cycle")


def test_what_is_no_frame_is_refused() -> None:
    for wrong, named in (({"a": [1]}, "dict"), (pd.Series([1]), "pandas.Series"), (pl.DataFrame(), "polars")):
        with pytest.raises(InvalidTypeError, match=f"'P': A pandas DataFrame is needed.*{named}.*from_arrow"):
            FeatureSet.from_pandas("P", wrong, "a")
    with pytest.raises(InvalidTypeError, match="'P'.*speaks Arrow.*dict"):
        FeatureSet.from_arrow("P", {"a": [1]}, "a")
    several = datasets.DatasetDict(train=datasets.Dataset.from_dict({"a": [1]}))
    with pytest.raises(InvalidTypeError, match=r"DatasetDict holds several tables, \['train'\]"):
        FeatureSet.from_arrow("P", several, "a")
    with pytest.raises(InvalidTypeError, match="DataFrame; data frames .* from_pandas"):
        FeatureSet.from_dict("P", frame(), "voltage")


def test_a_name_stands_for_one_column() -> None:
    doubled = pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"])
    with pytest.raises(InvalidValueError, match="2 columns are named 'a'"):
        FeatureSet.from_pandas("P", doubled, ["a", "b"])
    assert FeatureSet.from_pandas("one", doubled, "b").n_samples == 1
    with pytest.raises(InvalidValueError, match="several columns named 'x'"):
        FeatureSet.from_arrow("P", pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"]), "x")


def test_keys_may_be_an_index_or_an_array() -> None:
    fs = FeatureSet.from_pandas("P", frame(), frame().columns[1:3], np.array(["soh"]))
    assert fs.get_all_keys(include_domain_prefix=False, include_rep_suffix=False) == [
        "time",
        "voltage",
        "soh",
    ]
    data = {"x": [1], "y": [2]}
    assert FeatureSet.from_dict("D", data, data.keys()).n_samples == 1
    with pytest.raises(InvalidTypeError, match="list of names"):
        FeatureSet.from_dict("S", data, {"x", "y"})


def test_a_tag_with_as_many_values_in_every_group_keeps_them() -> None:
    fs = FeatureSet.from_pandas("P", frame(), "voltage", group_by="cycle", tag_cols=["time", "site"])
    assert fs.column("time").tolist() == [[3, 1, 2, 0]] * 3
    assert fs.column("site").tolist() == ["a", "b", ""]


def relation(columns: dict[str, Any]) -> Any:
    return duckdb.from_arrow(pa.table(columns))


@pytest.mark.parametrize("make", [pa.table, pl.DataFrame, pd.DataFrame, relation, datasets.Dataset.from_dict])
def test_whatever_speaks_arrow_is_read(make: Any) -> None:
    columns = {"n": [1, 2, 3], "x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "t": ["a", None, "c"]}
    fs = FeatureSet.from_arrow("P", make(columns), "x", "n", "t")
    assert fs.get_data(fmt="dict_list", include_domain_prefix=False, include_rep_suffix=False) == {
        "x": columns["x"],
        "n": [1, 2, 3],
        "t": ["a", "", "c"],
    }


def test_lists_of_unequal_length_are_refused() -> None:
    for ragged in ([[1], [2, 3]], [[1], None]):
        with pytest.raises(InvalidValueError, match="'x' differ in length"):
            from_arrow(pa.table({"x": ragged}))


def test_arrow_gives_back_what_it_got(fs: FeatureSet) -> None:
    again = FeatureSet.from_pyarrow_table("again", fs.to_arrow())
    assert again.table == fs.table
    assert again.get_sample_uuids().tolist() == fs.get_sample_uuids().tolist()
    with pytest.raises(InvalidValueError, match="'voltage'"):
        FeatureSet.from_pyarrow_table("wrong", pa.table({"voltage": [1, 2]}))


def test_deep_samples_survive_arrow() -> None:
    deep = np.arange(24.0).reshape(2, 3, 4)
    assert np.array_equal(from_arrow(to_arrow({"deep": deep}))["deep"], deep)


def test_others_read_a_set_by_themselves(fs: FeatureSet) -> None:
    frame = pl.DataFrame(fs)
    assert frame.columns == [*fs.columns, "sample_uuids"]
    assert np.array_equal(frame["features.voltage.raw"].to_numpy(), fs.column("voltage"))
    pd.testing.assert_frame_equal(to_pandas(fs.get_data()), fs.to_pandas())


def test_rows_that_a_dataset_has_chosen_are_read() -> None:
    chosen = datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0]}).select([2, 0])
    assert FeatureSet.from_arrow("P", chosen, "x").column("x").tolist() == [3.0, 1.0]


def test_others_read_a_view(fs: FeatureSet) -> None:
    view = fs.take([3, 1]).select(features="temperature")
    assert duckdb.from_arrow(view.to_arrow()).fetchall() == pl.DataFrame(view).rows()
    assert pl.DataFrame(view)["features.temperature.raw"].to_list() == view.column("temperature").tolist()


def test_what_has_to_be_collected_first_is_told() -> None:
    with pytest.raises(InvalidTypeError, match=r"LazyFrame; call its collect\(\) first"):
        FeatureSet.from_arrow("P", pl.DataFrame({"x": [1]}).lazy(), "x")


DATES = pd.to_datetime(["2024-01-01", None, "2024-01-03"])
UTC = np.array(["2023-12-31T23:00", "NaT", "2024-01-02T23:00"], "M8[us]")
KINDS = {
    "categories": (pd.Categorical(["b", None, "a"]), ["b", "", "a"]),
    "categories of numbers": (pd.Categorical([2, None, 1]), [2.0, np.nan, 1.0]),
    "text": (pd.array(["b", None, "a"], dtype="string"), ["b", "", "a"]),
    "whole numbers": (pd.array([2, None, 1], dtype="Int64"), [2.0, np.nan, 1.0]),
    "bools": (pd.array([True, None, False], dtype="boolean"), [1.0, np.nan, 0.0]),
    "dates": (DATES, DATES.to_numpy()),
    "dates in a zone": (DATES.tz_localize("Europe/Berlin"), UTC),
    "time spans": (pd.to_timedelta([1, None, 2], unit="h"), np.array([1, "NaT", 2], "m8[h]")),
    "decimals": ([Decimal("1.5"), None, Decimal(2)], [1.5, np.nan, 2.0]),
}


@pytest.mark.parametrize("domain", ["features", "tags"])
@pytest.mark.parametrize("source", ["pandas", "arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_kept_selectable_and_given_back(
    kind: str, source: str, domain: str, tmp_path: Path
) -> None:
    values, expected = KINDS[kind]
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "c": values})
    features, tags = (["x", "c"], None) if domain == "features" else (["x"], ["c"])
    if source == "pandas":
        fs = FeatureSet.from_pandas("P", frame, features, tag_cols=tags)
    else:
        fs = FeatureSet.from_arrow("P", pa.Table.from_pandas(frame), features, None, tags)
    np.testing.assert_array_equal(fs.column("c"), np.asarray(expected))
    assert fs.filter({"c": None}).rows.tolist() == [1]
    assert fs.filter({"c": fs.column("c")[:1]}).rows.tolist() == [0]
    name = f"{domain}.c.raw"
    assert any(line.startswith(name) and " 1 " in line for line in fs.summary().splitlines())
    assert fs.to_pandas()[name].isna().tolist() == [False, True, False]
    for again in (
        FeatureSet.from_pyarrow_table("arrow", fs.to_arrow()),
        FeatureSet.from_pandas("pandas", fs.to_pandas().rename(columns={name: "c"}), "c"),
        FeatureSet.load(fs.save(tmp_path / "f"), overwrite=True),
    ):
        np.testing.assert_array_equal(again.column("c"), fs.column("c"))


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_a_missing_package_is_told_with_the_cure(
    fs: FeatureSet, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'{package}.*pip install "modularml-jupyter\[data\]"'):
        fs.to_pandas() if package == "pandas" else fs.to_arrow()
