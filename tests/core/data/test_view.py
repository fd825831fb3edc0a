"""Views: rows taken, filtered, compared and split, never copied."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from modularml.base.errors import InvalidTypeError, InvalidValueError, ResolutionError, UnknownNameError
from modularml.base.rows import SampleSource
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.view import FeatureSetView
from modularml.predicates import GT
from modularml.splitters import Splitter

ROWS = st.lists(st.integers(0, 59))
same_set = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@same_set
@given(rows=ROWS, data=st.data())
def test_taking_twice_is_taking_once(fs: FeatureSet, rows: list[int], data: st.DataObject) -> None:
    view = fs.take(np.array(rows, int))
    assert view.rows.tolist() == rows
    if rows:
        again = data.draw(st.lists(st.integers(-len(rows), len(rows) - 1)))
        assert view.take(np.array(again, int)).rows.tolist() == [rows[i] for i in again]


@same_set
@given(a=ROWS, b=ROWS)
def test_sets_of_rows_are_sets(fs: FeatureSet, a: list[int], b: list[int]) -> None:
    one, other = fs.take(np.array(a, int)), fs.take(np.array(b, int))
    assert one.take_intersection(other).rows.tolist() == [row for row in a if row in b]
    assert one.take_intersection(other, order="other").rows.tolist() == [row for row in b if row in a]
    assert one.take_difference(other).rows.tolist() == [row for row in a if row not in b]
    assert one.is_disjoint_with(other) == set(a).isdisjoint(b)
    ids = fs.get_sample_uuids()
    assert one.get_overlap_with(other) == [ids[row] for row in a if row in b]


@same_set
@given(rows=st.lists(st.integers(0, 59), unique=True), data=st.data())
def test_ids_find_their_rows(fs: FeatureSet, rows: list[int], data: st.DataObject) -> None:
    view = fs.take(np.array(rows, int))
    wanted = data.draw(st.permutations(rows))
    found = view.take_sample_uuids(fs.get_sample_uuids()[wanted])
    assert found.rows.tolist() == list(wanted)


def test_an_unknown_id_is_refused(fs: FeatureSet) -> None:
    for view in (fs, fs.take([1, 2]), fs.take(np.array([], int))):
        with pytest.raises(UnknownNameError, match="'nobody'"):
            view.take_sample_uuids(["nobody"])


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        ([60], IndexError, "0 and 59, got 60"),
        ([-61], IndexError, "-61"),
        ([[1, 2]], InvalidValueError, "one-dimensional"),
        ([1.5], InvalidTypeError, "integers"),
        ([True, False], InvalidTypeError, "integers.*flatnonzero"),
    ],
)
def test_wrong_rows_are_refused(fs: FeatureSet, rows: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        fs.take(rows)
    with pytest.raises(error):
        FeatureSetView(fs, rows)


def test_filters(fs: FeatureSet) -> None:
    cell, temperature = fs.column("cell"), fs.column("temperature")
    view = fs.filter({"cell": ["cell 1", "cell 2"], "temperature": GT(20)}, label="warm")
    assert view.label == "warm"
    assert (
        view.rows.tolist()
        == np.flatnonzero(np.isin(cell, ["cell 1", "cell 2"]) & (temperature > 20)).tolist()
    )
    assert view.filter({"cell": "cell 1"}).rows.tolist() == [r for r in view.rows if cell[r] == "cell 1"]
    assert (
        fs.filter({"voltage": lambda sample: sample.max() > 4}).n_samples
        == (fs.column("voltage").max(1) > 4).sum()
    )
    assert fs.filter({"sample_uuids": fs.get_sample_uuids()[3]}).rows.tolist() == [3]
    assert fs.filter({"temperature": 1000}).n_samples == 0
    with pytest.raises(InvalidTypeError, match=r"voltage.*\(10,\)"):
        fs.filter({"voltage": 3.0})
    with pytest.raises(UnknownNameError, match="Did you mean 'cell'"):
        fs.filter({"cel": 3})


CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.integers(10, 40),
        "rul": st.floats(0, 100),
        "cell": st.lists(st.sampled_from([f"cell {i}" for i in range(7)])),
        "ok": st.booleans(),
    },
)


@same_set
@given(rows=ROWS, chosen=CONDITIONS)
def test_a_filter_is_the_mask_of_numpy(fs: FeatureSet, rows: list[int], chosen: dict[str, Any]) -> None:
    view = fs.take(np.array(rows, int))
    mask = np.ones(len(rows), bool)
    for key, value in chosen.items():
        column = view.column(key)
        found = {"cell": lambda c, v: np.isin(c, v), "rul": np.greater}.get(key, np.equal)
        mask &= found(column, value)
    conditions = {key: GT(value) if key == "rul" else value for key, value in chosen.items()}
    assert view.filter(conditions).rows.tolist() == view.rows[mask].tolist()
    step_by_step = view
    for key, condition in conditions.items():
        step_by_step = step_by_step.filter({key: condition})
    assert step_by_step == view.filter(conditions)


@same_set
@given(
    rows=st.lists(st.integers(0, 59), min_size=24, unique=True),
    options=st.sampled_from([{}, {"group_by": "cell"}, {"stratify_by": "ok"}]),
    seed=st.integers(0, 9),
)
def test_the_splits_of_a_view_share_it_out(
    fs: FeatureSet, rows: list[int], options: dict[str, str], seed: int
) -> None:
    view = fs.take(np.array(rows, int))
    assume(all((view.column("ok") == ok).sum() >= 4 for ok in (True, False)))
    assume(len(set(view.column("cell"))) >= 2)
    parts = view.split_random(
        {"a": 0.5, "b": 0.5},
        seed=seed,
        **options,
        return_views=True,
        register=False,  # type: ignore[arg-type]
    )
    assert parts is not None
    assert sorted([*parts["a"].rows, *parts["b"].rows]) == sorted(rows)
    assert parts["a"].is_disjoint_with(parts["b"])
    if options == {"group_by": "cell"}:
        assert set(parts["a"].column("cell")).isdisjoint(parts["b"].column("cell"))


def test_selecting_columns_keeps_rows(fs: FeatureSet) -> None:
    view = fs.take([4, 5]).select(features="voltage", targets="*")
    assert view.columns == ("features.voltage.raw", "targets.soh.raw", "targets.rul.raw")
    assert view.rows.tolist() == [4, 5]
    assert view.expand_columns().columns == fs.columns
    with pytest.raises(UnknownNameError, match="'cell'"):
        view.column("cell")
    with pytest.raises(UnknownNameError, match="column 'x'"):
        FeatureSetView(fs, [0], ["x"])


def test_views_of_different_sets_do_not_mix(fs: FeatureSet) -> None:
    other = FeatureSet.from_dict("other", {"x": [1, 2]}, "x")
    for do in (fs.take_intersection, fs.take_difference, fs.is_disjoint_with, fs.get_overlap_with):
        with pytest.raises(InvalidValueError, match="same FeatureSet"):
            do(other.take([0]))

    for compare in (fs.take_intersection, fs.take_difference, fs.is_disjoint_with, fs.get_overlap_with):
        with pytest.raises(InvalidTypeError, match="'Sensor' can be compared with a FeatureSet or"):
            compare(3)  # type: ignore[operator]


def test_nothing_is_taken_of_nothing(fs: FeatureSet) -> None:
    empty = fs.filter({"temperature": 1000})
    assert empty.take([]).n_samples == empty.take_intersection(fs).n_samples == 0
    with pytest.raises(IndexError, match="a view of FeatureSet 'Sensor' has no rows to take"):
        empty.take([0])


def test_rows_and_ids_cannot_be_written_to(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.5, "test": 0.5})
    mine = np.array([3, 1])
    for array in (fs.rows, fs["train"].rows, fs.take(mine).indices, fs.get_sample_uuids()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]
    assert mine.flags.writeable


def test_a_representation_that_is_not_there_is_refused(fs: FeatureSet) -> None:
    for read in (fs.select, fs.get_data, fs.get_features):
        with pytest.raises(UnknownNameError, match="representation 'transformed'"):
            read(rep="transformed")
    assert fs.select(rep="raw").columns == fs.select().columns == fs.columns
    assert fs.select(features=[]).columns == ()
    with pytest.raises(InvalidTypeError, match="list of names, got 3"):
        fs.select(3)  # type: ignore[arg-type]


def test_a_set_is_indexed_by_splits_alone(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.5, "test": 0.5})
    assert "train" in fs and "trian" not in fs and 0 not in fs
    for wrong in (0, ["train"], slice(0, 3), ("train", "test")):
        with pytest.raises(InvalidTypeError, match=r"'Sensor' is indexed by the name of a split.*take\(\["):
            fs[wrong]  # type: ignore[index]
    for column in ("voltage", "features.voltage.raw"):
        with pytest.raises(UnknownNameError, match=rf"{column!r} is a column: column\('{column}'\)"):
            fs[column]
        fs.column(column)


def test_equality_is_of_rows_and_columns(fs: FeatureSet) -> None:
    assert fs.take([1, 2], label="a") == fs.take([1, 2], label="b")
    assert fs.take([1, 2]) != fs.take([2, 1])
    assert fs.take([1, 2]) != fs.take([1, 2]).select(features="voltage")
    assert FeatureSetView.from_featureset(fs) == fs.to_view()
    assert fs.take([1]) != 1


def test_a_repr_is_short(fs: FeatureSet) -> None:
    assert repr(fs.take([1], label="one")) == "FeatureSetView(label='one', source='Sensor', n_samples=1)"
    assert repr(fs.take([1])) == "FeatureSetView(source='Sensor', n_samples=1)"


def test_a_view_becomes_a_set_of_its_own(fs: FeatureSet) -> None:
    own = fs.take([7, 3]).select(features="voltage", targets="soh").to_featureset("own")
    assert isinstance(own, FeatureSet) and own.label == "own"
    assert np.array_equal(own.column("voltage"), fs.column("voltage")[[7, 3]])
    assert own.get_sample_uuids().tolist() == fs.get_sample_uuids()[[7, 3]].tolist()


def test_splitting_without_registering_changes_nothing(fs: FeatureSet) -> None:
    views = fs.split_random({"a": 0.5, "b": 0.5}, return_views=True, register=False)
    assert views is not None and {v.label for v in views.values()} == {"a", "b"}
    assert fs.available_splits == []


def test_a_column_that_is_not_there_is_both_a_key_error_and_a_resolution_error(fs: FeatureSet) -> None:
    for call in (
        lambda: fs.filter({"voltge": 1}),
        lambda: fs.select("voltge"),
        lambda: fs.column("voltge"),
        lambda: fs.reference(features="voltge"),
        lambda: fs.column_reference("voltge"),
        lambda: FeatureSetView(fs, [0], ["voltge"]),
    ):
        for kind in (KeyError, ResolutionError):
            with pytest.raises(kind, match="voltage"):
                call()


def test_a_splitter_of_ones_own_is_held_to_the_rows_there_are(fs: FeatureSet) -> None:
    class Beyond(Splitter):
        def _indices(self, source: SampleSource) -> dict[str, np.ndarray]:
            return {"all and one more": np.arange(source.n_samples + 1)}

    for view, n in ((fs, 60), (fs.take([5, 2, 9]), 3)):
        with pytest.raises(IndexError, match=str(n)):
            view.split(Beyond())
    assert not fs.available_splits
