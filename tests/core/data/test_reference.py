"""References: labels that a context turns into data, or says why it cannot."""

from dataclasses import replace

import pytest

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidValueError, ModularMLWarning, ResolutionError, UnknownNameError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import (
    FeatureSetColumnReference,
    FeatureSetReference,
    FeatureSetSplitReference,
    GraphNodeReference,
    ModelOutputReference,
)


def test_a_reference_names_columns_and_leaves_the_rest_whole(fs: FeatureSet) -> None:
    ref = fs.reference(features="voltage", targets="soh")
    assert ref == FeatureSetReference(
        "Sensor",
        fs.node_id,
        features=("features.voltage.raw",),
        targets=("targets.soh.raw",),
        tags=("tags.cell.raw", "tags.day.raw", "tags.ok.raw"),
    )
    assert fs.reference(["voltage", "tags.cell"]).targets == ("targets.soh.raw", "targets.rul.raw")
    assert fs.reference(tags=[]).tags == ()
    assert fs.reference().columns == fs.columns
    with pytest.raises(UnknownNameError, match="Did you mean 'voltage'"):
        fs.reference(features="voltag")


def test_it_resolves_to_a_view_of_all_rows(fs: FeatureSet, context: ExperimentContext) -> None:
    view = fs.reference(features="voltage", targets="soh", tags=[]).resolve()
    assert view == fs.select(features="voltage", targets="soh")
    with ExperimentContext().temporary():
        with pytest.raises(ResolutionError, match="'Sensor' leads nowhere"):
            fs.reference().resolve()
        assert fs.reference().resolve(context) == fs.to_view()


def test_a_label_comes_first_and_an_id_finds_what_was_renamed(
    fs: FeatureSet, context: ExperimentContext
) -> None:
    ref = fs.reference()
    fs.label = "Renamed"
    assert context.nodes == {"Renamed": fs}
    assert ref.resolve().source is fs
    context.clear()
    with context.dont_register():
        twin = fs.copy(label="Sensor")
    context.register(twin)
    assert ref.resolve().source is twin


def test_what_is_gone_is_named(fs: FeatureSet, context: ExperimentContext) -> None:
    fs.fit_transform("StandardScaler", domain="targets", keys="soh")
    ref = fs.reference(targets="soh.transformed", tags=[])
    fs.undo_all_transforms()
    with pytest.raises(ResolutionError, match="'targets.soh.transformed'"):
        ref.resolve()

    class Node:
        label, node_id = "Model", "1"

    context.register(Node())
    with pytest.raises(ResolutionError, match="'Model' is a Node, not a FeatureSet"):
        FeatureSetReference("Model", "1").resolve()
    with pytest.raises(ResolutionError, match="'Model' is a Node, not a FeatureSet"):
        FeatureSetColumnReference.from_string("Model.x")


def test_two_representations_are_warned_of_unless_one_is_chosen(fs: FeatureSet) -> None:
    fs.fit_transform("StandardScaler", domain="features", keys="voltage")
    with pytest.warns(ModularMLWarning, match="'voltage'; choose one with rep=") as caught:
        ref = fs.reference(features="voltage")
    assert caught[0].filename == __file__
    assert ref.features == ("features.voltage.raw", "features.voltage.transformed")
    assert fs.reference(features="voltage.raw").features == ("features.voltage.raw",)
    transformed = fs.reference(rep="transformed")
    assert transformed.features == (
        "features.voltage.transformed",
        "features.current.raw",
        "features.temperature.raw",
    )
    assert transformed.targets == ("targets.soh.raw", "targets.rul.raw")


def test_splits_are_referred_to(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.5, "test": 0.5})
    ref = FeatureSetSplitReference(
        "Sensor", fs.node_id, features=("features.voltage.raw",), split_name="train"
    )
    assert ref.resolve() == fs["train"].select(features="voltage")
    assert replace(ref, features=()).resolve() == fs["train"]
    assert ref.to_string() == "Sensor.train"
    with pytest.raises(ResolutionError, match="Did you mean 'train'"):
        replace(ref, split_name="trian").resolve()


def test_one_column_is_referred_to(fs: FeatureSet) -> None:
    ref = fs.column_reference(feature="voltage")
    assert ref.to_string() == "Sensor.features.voltage.raw"
    assert ref.to_string("/", include_node_id=True) == f"Sensor({fs.node_id})/features/voltage/raw"
    assert ref.resolve().columns == ("features.voltage.raw",)
    assert fs.column_reference("targets.soh.raw") == FeatureSetColumnReference(
        "Sensor", fs.node_id, "targets", "soh"
    )
    for wrong, says in (("*", "these are 8"), ("volt", "'volt'")):
        with pytest.raises(ResolutionError, match=says):
            fs.column_reference(wrong)
    with pytest.raises(ResolutionError, match="these are 8"):
        fs.column_reference()


@pytest.mark.parametrize("label", ["Sensor", "A.features", "a.b c"])
def test_a_column_is_read_from_text_whatever_the_label(fs: FeatureSet, label: str) -> None:
    fs.label = label
    ref = fs.column_reference(target="soh")
    assert FeatureSetColumnReference.from_string(ref.to_string()) == ref
    assert FeatureSetColumnReference.from_string(f"{label}.soh") == ref
    for wrong in ("nobody.soh", f"{label}.so", f"{label}.*"):
        with pytest.raises(ResolutionError):
            FeatureSetColumnReference.from_string(wrong)


@pytest.mark.parametrize(
    "ref",
    [
        GraphNodeReference("a", "1"),
        FeatureSetReference("a", "1", features=("features.x.raw",)),
        FeatureSetSplitReference("a", "1", split_name="train"),
        FeatureSetColumnReference("a", "1", "tags", "t"),
        ModelOutputReference("a", "1", "anchor", "targets"),
    ],
)
def test_references_are_values(ref: GraphNodeReference) -> None:
    again = from_config(to_config(ref))
    assert again == ref and hash(again) == hash(ref) and repr(again) == repr(ref)
    assert {ref: 1}[again] == 1
    with pytest.raises(AttributeError):
        ref.node_label = "b"  # type: ignore[misc]


def test_an_output_is_told_by_role_and_domain() -> None:
    assert ModelOutputReference("MLP", "1").to_string() == "MLP.default.outputs"


def test_a_misspelt_representation_is_refused(fs: FeatureSet) -> None:
    with pytest.raises(InvalidValueError, match="'transformd'"):
        fs.reference(rep="transformd")
