"""Summaries: a line a column, a line a split, and no markup from labels."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler

from modularml.core.data.featureset import FeatureSet
from modularml.core.data.summary import count_gaps, summarize

DAYS = np.array(["2024-01-01", "NaT", "2024-01-02"], "M8[D]")


def test_text_has_a_line_about_everything(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.8, "test": 0.2})
    lines = fs.summary().splitlines()
    assert lines[0] == "FeatureSet(label='Sensor', n_samples=60)"
    for name in fs.columns:
        assert sum(line.startswith(f"{name} ") for line in lines) == 1
    assert any(re.fullmatch(r"train +48 +80\.0%", line) for line in lines)
    assert any("6 values: cell 0, cell 1, cell 2, ..." in line for line in lines)
    assert any("2024-01-01 to 2024-02-29" in line for line in lines)
    assert any(re.search(r"tags.ok.raw .* \d+% true", line) for line in lines)
    assert "voltage" not in fs.take([1, 2]).select(features="current").summary()


def test_what_is_not_finite_is_told() -> None:
    fs = FeatureSet.from_dict("A", {"x": [np.nan, 1.0, 3.0], "y": [np.nan] * 3}, "x", "y")
    lines = [line.split() for line in fs.summary().splitlines()[2:]]
    assert [line[3] for line in lines] == ["1", "3"]
    assert lines[1][4:] == ["none", "is", "finite"]
    fs = FeatureSet.from_dict(
        "B", {"x": [np.nan, 1.0, np.inf], "t": ["a", "", ""], "d": DAYS}, "x", None, ["t", "d"]
    )
    lines = fs.summary().splitlines()[2:]
    assert [line.split()[3] for line in lines] == ["1", "2", "1"]
    assert lines[0].endswith("1 to 1, mean 1; 1 infinite")
    assert lines[1].endswith("1 value: a") and lines[2].endswith("2024-01-01 to 2024-01-02")


def test_of_many_columns_both_ends_are_told_and_what_is_missing_between() -> None:
    rng = np.random.default_rng(0)
    columns = {f"c{i}": rng.random(5) for i in range(1000)}
    for i, n in enumerate((500, 400, 300, 200)):
        columns[f"c{n}"][: i + 1] = np.nan if i else np.inf
    fs = FeatureSet.from_dict("Wide", columns, list(columns)[:-1], "c999")
    lines = fs.summary().splitlines()[2:]
    assert [line.split()[0] for line in lines] == [
        *(f"features.c{i}.raw" for i in range(10)),
        "...",
        *(f"features.c{i}.raw" for i in range(990, 999)),
        "targets.c999.raw",
    ]
    told = "missing or infinite in 4 columns: features.c200.raw, features.c300.raw, features.c400.raw, ..."
    assert re.fullmatch(rf"\.\.\. 980 more +9  {re.escape(told)}", lines[10])
    assert told in fs._repr_html_() and "features.c500.raw" not in fs._repr_html_()
    few = fs.select(features=[f"c{i}" for i in range(195, 254)])  # and the target
    assert "more" not in few.summary() and "features.c225.raw" in few.summary()
    whole = FeatureSet.from_dict("Whole", dict.fromkeys(columns, columns["c0"]), list(columns))
    assert whole.summary().splitlines()[12].split() == ["...", "980", "more", "0"]


def test_a_mean_that_is_zero_but_for_rounding_is_zero() -> None:
    x = np.arange(1000.0)
    fs = FeatureSet.from_dict(
        "A", {"x": x, "y": (x - x.mean()) / 3 / x.std(), "z": x - x.mean() + 1e-9}, list("xyz")
    )
    means = [line.rpartition("mean ")[2] for line in fs.summary().splitlines()[2:]]
    assert means[:2] == ["499.5", "0"] and float(means[2]) != 0


def test_numbers_stand_under_each_other_and_one_is_one() -> None:
    fs = FeatureSet.from_dict("A", {"x": np.arange(1200.0)}, "x")
    fs.split_random({"train": 0.9, "test": 0.1}, seed=0)
    *_, head, train, test = fs.summary().split("\n\n")[1].splitlines()
    assert len(head) == len(train) == len(test)
    assert repr(fs.summary()) == fs.summary()  # a notebook quotes no lines
    assert "1,200 samples" in fs._repr_html_() and "1 sample<" in fs.take([0])._repr_html_()


def test_lines_are_lines_whatever_text_they_hold() -> None:
    data = {"温度": [1, 20240101], "n": ["a\nb\tc", "x" * 500], "e\u0301": [0.5, 1.0]}
    fs = FeatureSet.from_dict("A", data, ["温度", "e\u0301"], None, "n")
    lines = fs.summary().splitlines()
    assert len(lines) == 1 + 1 + 3 and max(map(len, lines)) <= 80
    assert lines[2].endswith("1 to 20240101, mean 1.012e+07")  # whole numbers are told as they are
    assert lines[4].endswith("2 values: a b c, xxxxxxx…xxxxxxxx") and " text " in lines[4]
    # Wide characters take two cells of a terminal, combining ones none.
    at = lines[1].index("shape")
    assert [_cells(line.partition("()")[0]) for line in lines[2:]] == [at] * 3


def _cells(text: str) -> int:
    return len(text) + text.count("温") + text.count("度") - text.count("\u0301")


def test_html_is_sound_and_has_a_picture_of_each_number(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.8, "test": 0.2})
    html = fs._repr_html_()
    tree = ElementTree.fromstring(html)
    assert len(tree.findall(".//img")) == 6 * 3
    assert "<script" not in html


def test_whole_numbers_have_a_bar_each() -> None:
    fs = FeatureSet.from_dict("A", {"x": np.arange(10) % 4, "one": np.ones(10, int)}, ["x", "one"])
    assert [column.bins for column in summarize(fs, {})] == [((3, 3, 2, 2),), ((10,),)]


def test_labels_are_no_markup() -> None:
    fs = FeatureSet.from_dict("<b>&'\"", {"<i>x": [1, 2], "t": ["<script>", "&"]}, "<i>x", None, "t")
    fs.add_split(fs.take([0], label="</table>"))
    tree = ElementTree.fromstring(fs._repr_html_())
    assert not tree.findall(".//i") and not tree.findall(".//script") and not tree.findall(".//b")
    assert "</table>" in [cell.text for cell in tree.iter("td")]


def test_a_view_without_rows_has_a_summary(fs: FeatureSet) -> None:
    empty = fs.filter({"temperature": 1000})
    assert "features.voltage.raw" in empty.summary()
    ElementTree.fromstring(empty._repr_html_())


def test_every_split_has_a_histogram_over_the_range_of_all(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.8, "test": 0.2})
    for line in summarize(fs, fs.splits):
        if line.bins:
            everyone, *parts = map(np.array, line.bins)
            assert (sum(parts) == everyone).all() and everyone.sum() == fs.column(line.name).size


def test_gaps_are_counted() -> None:
    x = np.zeros((5, 2))
    x[1] = np.nan
    x[3, 0], x[3, 1] = np.inf, -np.inf
    fs = FeatureSet.from_dict("A", {"x": x, "y": np.arange(5), "z": [1e308] * 5}, ["x", "z"], "y")
    assert [count_gaps(fs, name) for name in fs.columns] == [(1, 1), (0, 0), (0, 0)]
    assert count_gaps(fs.take([0, 2]), "features.x.raw") == (0, 0)


def test_many_rows_are_looked_at_in_chunks(fs: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    fs.table.column("features.voltage.raw")[[3, 40], 2] = np.nan
    fs.add_split(fs.take([40, 7, 3, 50], label="some"))
    before = [
        (d.summary(), count_gaps(d, "features.voltage.raw")) for d in (fs, fs["some"], fs.take(range(20, 50)))
    ]
    monkeypatch.setattr("modularml.core.data.reader._CHUNK_BYTES", 200)
    assert len(list(fs.chunks("features.voltage.raw"))) == 30
    assert [
        (d.summary(), count_gaps(d, "features.voltage.raw")) for d in (fs, fs["some"], fs.take(range(20, 50)))
    ] == before
    for data in (fs, fs["some"], fs.take(range(20, 50))):
        joined = np.concatenate(list(data.chunks("features.voltage.raw")))
        np.testing.assert_array_equal(joined, data.column("features.voltage.raw"))


@pytest.mark.parametrize(
    "values",
    [[2**63] * 3, [-(2**62), 2**62, 0], [1e18, 1e18 + 200, 1e18], [-1.7e308, 1.7e308, 0.0], [0.1] * 3],
)
def test_extreme_numbers_have_a_histogram(values: list[float]) -> None:
    fs = FeatureSet.from_dict("A", {"x": values}, "x")
    (bins,) = summarize(fs, {})[0].bins
    assert sum(bins) == 3


def test_moments_are_told_as_short_as_they_can_be() -> None:
    days = np.array(["2024-01-01", "2024-03-01T12:30"], "M8[us]")
    data = {"x": [1, 2], "d": days, "s": np.array([1, 3], "m8[h]"), "t": ["", ""]}
    fs = FeatureSet.from_dict("A", data, "x", None, ["d", "s", "t"])
    values = [column.values for column in summarize(fs, {})][1:]
    assert values == ["2024-01-01 to 2024-03-01T12:30", "1:00:00 to 3:00:00", "none"]


class Halves:
    """A scaler of one's own, which says nothing of itself."""

    def fit(self, X: np.ndarray) -> "Halves":
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return X / 2


def test_scalers_are_told_with_what_they_were_fitted_to(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.8, "test": 0.2})
    assert "fitted to" not in fs.summary() + fs._repr_html_()
    fs.fit_transform(MinMaxScaler((0, 2)), domain="features", keys="voltage", fit_to_split="train")
    fs.fit_transform(Halves(), domain="targets")
    lines = fs.summary().splitlines()
    told = lines[lines.index("") :]
    assert [re.split("  +", line) for line in told if line.startswith(("scaled", "features", "targets"))] == [
        ["scaled", "by", "fitted to"],
        ["features: voltage", "MinMaxScaler(feature_range=(0, 2))", "train"],
        ["targets: soh, rul", "Halves", "all rows"],
    ]
    assert "<td>MinMaxScaler(feature_range=(0, 2))</td><td>train</td>" in fs._repr_html_()
    assert "fitted to" not in fs["train"].summary()
