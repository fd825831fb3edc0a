"""Collections: shared arrays, ids that stay, faults told together."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from modularml.base.errors import (
    Faults,
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    UnknownColumnError,
    UnknownNameError,
)
from modularml.core.data.columns import Column
from modularml.core.data.sample_collection import SampleCollection

X, Y, TAG = "features.x.raw", "targets.y.raw", "tags.t.raw"


def table() -> SampleCollection:
    return SampleCollection(
        {X: np.arange(12.0).reshape(4, 3), Y: np.arange(4.0), TAG: np.array(["a", "b", "a", "b"])}
    )


def test_it_is_what_it_was_made_of() -> None:
    assert (table().columns, table().n_samples) == ((X, Y, TAG), 4)
    with pytest.raises(UnknownNameError, match="Did you mean 'features.x.raw'"):
        table().column("features.x.rw")


def test_one_column_is_stacked_without_a_copy() -> None:
    t = table()
    assert t.stack([X]).shape == (4, 1, 3) and t.stack([Y]).shape == (4, 1)
    assert np.shares_memory(t.stack([X]), t.column(X))


def test_columns_of_one_shape_are_stacked() -> None:
    t = table().with_columns({"targets.z.raw": np.arange(4)})
    assert t.stack([Y, "targets.z.raw"]).tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    with pytest.raises(InvalidValueError, match=r"features.x.raw \(3,\), targets.y.raw \(\)"):
        t.stack([X, Y])
    with pytest.raises(InvalidTypeError, match="Numbers, text, dates"):
        t.stack([Y, TAG])
    with pytest.raises(InvalidValueError, match="no column"):
        t.stack([])


def test_ids_are_uuids_that_outlive_changes() -> None:
    t = table()
    ids = t.sample_uuids.tolist()
    assert len(set(ids)) == 4
    assert all(uuid.UUID(text).version == 4 and uuid.UUID(text).variant == uuid.RFC_4122 for text in ids)
    assert t.with_columns({"features.z.raw": np.zeros(4)}).sample_uuids.tolist() == ids
    assert t.without([TAG]).sample_uuids.tolist() == ids
    assert t.take(np.array([3, 1]), [Y]).sample_uuids.tolist() == [ids[3], ids[1]]
    assert SampleCollection.from_state(t.get_state()).sample_uuids.tolist() == ids
    assert table().sample_uuids.tolist() != ids


def test_a_change_makes_another_table_of_the_same_arrays() -> None:
    t = table()
    more = t.with_columns({"features.x.transformed": np.zeros((4, 3))})
    assert t.columns == (X, Y, TAG)
    assert more.columns == (X, "features.x.transformed", Y, TAG)
    assert more.column(X) is t.column(X)
    assert more.without(["features.x.transformed"]) == t
    assert t != more
    assert t != t.with_columns({Y: np.zeros(4)})


def test_equality_sees_through_nan() -> None:
    nan = SampleCollection({X: np.array([np.nan, 1])})
    assert nan == SampleCollection({X: np.array([np.nan, 1])})


def test_all_faults_are_told_together() -> None:
    with pytest.raises(
        InvalidValueError, match=r"(?s)FeatureSet 'A' has 3 faults.*'x'.*ragged.*'t'.*differ in length"
    ):
        SampleCollection.from_values(
            {
                Column("features", "x"): [[1], [2, 3]],
                Column("features", "t"): [1j],
                Column("targets", "y"): [1, 2],
                Column("targets", "z"): [1, 2, 3],
            },
            faults=Faults("FeatureSet 'A'"),
        )
    with pytest.raises(InvalidValueError, match="sample_uuids has 3"):
        SampleCollection.from_values(
            {Column("features", "x"): [1, 2]}, faults=Faults("A"), sample_uuids=np.array(["a", "b", "c"])
        )


def test_it_is_made_of_arrow_and_of_lists_alike() -> None:
    values = {X: [[1.0, 2.0], [3.0, 4.0]], TAG: ["a", "b"], "sample_uuids": ["i", "j"]}
    made = SampleCollection(values)
    again = SampleCollection(pa.table(values))
    assert made == again == SampleCollection(made.to_arrow())
    assert made.sample_uuids.tolist() == again.sample_uuids.tolist() == ["i", "j"]
    assert made.get_feature_shapes(include_domain_prefix=False) == {"x.raw": (2,)}


def test_arrays_are_kept_and_not_copied() -> None:
    x = np.zeros((3, 2))
    assert np.shares_memory(SampleCollection({X: x}).column(X), x)


def test_misnamed_columns_are_told_together() -> None:
    with pytest.raises(InvalidValueError, match=r"(?s)SampleCollection has 3 faults.*'x'.*'y.raw'.*ragged"):
        SampleCollection({"x": [1], "y.raw": [2], X: [[1], [2, 3]]})


def test_representations_are_added_and_deleted_in_a_collection_of_its_own() -> None:
    t = table()
    more = t.add_rep("features", "x", "transformed", np.zeros((4, 3)))
    assert "features.x.transformed" in more.columns and "features.x.transformed" not in t.columns
    assert more.sample_uuids.tolist() == t.sample_uuids.tolist()
    assert more.delete_rep("features", "x", "transformed") == t
    assert more.copy(raw_only=True) == t
    assert more.add_rep("features", "x", "raw", np.ones((4, 3)), overwrite=True).column(X).sum() == 12
    with pytest.raises(InvalidValueError, match="there already.*overwrite"):
        t.add_rep("features", "x", "raw", np.zeros((4, 3)))
    with pytest.raises(InvalidValueError, match="needs 4 samples, got 3"):
        t.add_rep("features", "x", "transformed", np.zeros((3, 3)))
    with pytest.raises(InvalidValueError, match="'transformd'"):
        t.add_rep("features", "x", "transformd", np.zeros((4, 3)))
    for call in (t.add_rep, t.delete_rep):
        with pytest.raises(UnknownColumnError):
            call("features", "nope", "raw", *([[1]] if call == t.add_rep else []))
    with pytest.raises(InvalidValueError, match="only column"):
        t.select(X).delete_rep("features", "x", "raw")


def test_a_deep_copy_has_arrays_of_its_own() -> None:
    t = table()
    assert not np.shares_memory(t.copy(deep=True).column(X), t.column(X))
    assert np.shares_memory(t.copy().column(X), t.column(X))


def test_it_knows_its_domains_and_gives_its_columns() -> None:
    t = table()
    assert t.available_domains == ["features", "targets", "tags"] and t.has_tags
    assert not t.select(X).has_tags
    assert list(t.to_dict()) == list(t.columns) and not t.to_dict()[X].flags.writeable


def test_an_arrow_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    t = table()
    path = t.save(tmp_path / "t.arrow")
    back = SampleCollection.load(path)
    assert back == t and back.sample_uuids.tolist() == t.sample_uuids.tolist()
    assert not back.column(X).flags.writeable  # it is mapped
    with pytest.raises(FileExistsError):
        t.save(path)
    path.write_bytes(b"no")
    with pytest.raises(FileFormatError, match=r"t\.arrow is no Arrow IPC file"):
        SampleCollection.load(path)
    with pytest.raises(FileNotFoundError):
        SampleCollection.load(tmp_path / "nowhere")


def test_a_schema_casts_an_arrow_table() -> None:
    arrow = pa.table({Y: [1, 2], "features.x.raw": [1.0, 2.0]})
    schema = pa.schema([(Y, pa.float32()), ("features.x.raw", pa.float64())])
    assert SampleCollection(arrow, schema).column(Y).dtype == np.float32
    with pytest.raises(InvalidValueError, match="schema"):
        SampleCollection(arrow, pa.schema([(Y, pa.float32())]))
    with pytest.raises(InvalidTypeError, match="schema.*dict"):
        SampleCollection({Y: [1]}, schema)


def test_only_the_ids_that_are_asked_for_are_made() -> None:
    t = SampleCollection({X: np.zeros(1000)})
    some = t.ids(np.array([5, 3]))
    assert "sample_uuids" not in vars(t)
    assert some.tolist() == t.sample_uuids[[5, 3]].tolist() == t.ids(np.array([5, 3])).tolist()


@pytest.mark.parametrize("ids", [[["a", "b"], ["c", "d"]], ["a", None], [1.0, np.nan], ["a"]])
def test_ids_are_one_a_sample_and_none_is_missing(ids: Any) -> None:
    with pytest.raises(InvalidValueError, match="sample_uuids"):
        SampleCollection({"features.x.raw": [1, 2], "sample_uuids": ids})
    numbered = SampleCollection({"features.x.raw": [1, 2], "sample_uuids": [7, 8]})
    assert numbered.sample_uuids.tolist() == ["7", "8"]
