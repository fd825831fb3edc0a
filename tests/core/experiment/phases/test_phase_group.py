import json
from typing import Any

import pytest
from sklearn.linear_model import Ridge

from modularml.base.config import from_config, to_config
from modularml.base.errors import (
    DuplicateLabelError,
    InvalidTypeError,
    InvalidValueError,
    UnknownNameError,
)
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.fit_phase import FitPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.phases.train_phase import TrainPhase


@pytest.fixture
def world(bench: Any) -> Any:
    bench.graph(bench.node("A"), bench.node("B", model=Ridge()))
    return bench


@pytest.fixture
def group(world: Any) -> PhaseGroup:
    """Train, a nested group of eval and fit, eval."""
    fit = FitPhase.from_split("fit", split="train")
    inner = PhaseGroup("inner", [world.evaluate(label="inner_eval"), fit])
    return PhaseGroup("outer", [world.train(), inner, world.evaluate()])


def labels(group: PhaseGroup) -> list[str]:
    return [entry.label for entry in group.all]


# Reading.


def test_what_is_in_a_group_is_listed_in_order(group: PhaseGroup) -> None:
    assert repr(group) == "PhaseGroup(label=outer, entries=3)"
    assert labels(group) == [label for label, _ in group.items()] == ["train", "inner", "eval"]
    assert [entry for _, entry in group.items()] == list(group) == group.all
    assert [phase.label for phase in group.phases] == ["train", "eval"]
    assert [nested.label for nested in group.phase_groups] == ["inner"]
    assert [phase.label for phase in group.flatten()] == ["train", "inner_eval", "fit", "eval"]
    assert len(group) == 3
    assert "train" in group
    assert group["inner"] in group
    assert "fit" not in group
    assert repr(PhaseGroup("empty")) == "PhaseGroup(label=empty, entries=0)"


def test_a_card_calls_data_what_they_are_called_by_now(group: PhaseGroup, world: Any) -> None:
    assert "Sensor train" in group._card()
    world.fs.label = "Renamed"
    assert "Renamed train" in group._card() and "Sensor" not in group._card()


@pytest.mark.parametrize(
    ("key", "label"), [(0, "train"), (-1, "eval"), (-3, "train"), (1, "inner"), ("eval", "eval")]
)
def test_entries_are_found_by_index_and_label(group: PhaseGroup, key: Any, label: str) -> None:
    assert group[key].label == label


def test_accessors_return_the_kind_that_they_name(group: PhaseGroup) -> None:
    assert type(group.get_train_phase("train")) is TrainPhase
    assert type(group.get_eval_phase(-1)) is EvalPhase
    assert group.get_phase(0) is group["train"]
    assert group.get_group(1) is group.get_group("inner")
    assert type(group["inner"].get_phase("fit")) is FitPhase


@pytest.mark.parametrize(
    ("method", "key", "kind", "match"),
    [
        (
            "get_phase",
            "trian",
            UnknownNameError,
            "Unknown phase or group 'trian' in PhaseGroup 'outer'.*'train'",
        ),
        ("get_phase", 3, UnknownNameError, "PhaseGroup 'outer' has 3 entries; there is none at index 3"),
        ("get_phase", -4, UnknownNameError, "none at index -4"),
        (
            "get_phase",
            "inner",
            InvalidTypeError,
            "'inner' in PhaseGroup 'outer' is a PhaseGroup, not a phase",
        ),
        ("get_train_phase", "eval", InvalidTypeError, "'eval' .* is a EvalPhase, not a TrainPhase"),
        ("get_eval_phase", 0, InvalidTypeError, "'train' .* is a TrainPhase, not a EvalPhase"),
        ("get_group", "train", InvalidTypeError, "'train' .* is a TrainPhase, not a group"),
        ("get_phase", 1.0, InvalidTypeError, r"named by its index or label, got 1.0 \(float\)"),
        ("get_phase", True, InvalidTypeError, "named by its index or label, got True"),
        ("remove_phase", "trian", UnknownNameError, "mean 'train'"),
        ("remove_phase", "inner", InvalidTypeError, "'inner' in PhaseGroup 'outer' is a PhaseGroup"),
        ("remove_group", 0, InvalidTypeError, "'train' in PhaseGroup 'outer' is a TrainPhase"),
        ("remove_item", None, InvalidTypeError, "named by its index or label, got None"),
        ("add_phase", "train", InvalidTypeError, "add_phase takes a phase, got 'train'"),
        ("add_group", [], InvalidTypeError, r"add_group takes a PhaseGroup, got \[\]"),
        ("add_item", 3, InvalidTypeError, r"PhaseGroup 'outer' takes phases and groups, got 3 \(int\)"),
    ],
)
def test_a_key_that_leads_nowhere_or_elsewhere_is_told(
    group: PhaseGroup, method: str, key: Any, kind: type[Exception], match: str
) -> None:
    before = group.all
    with pytest.raises(kind, match=match):
        getattr(group, method)(key)
    assert group.all == before


# Changing.


def test_entries_are_removed_by_index_label_and_instance(group: PhaseGroup, world: Any) -> None:
    assert labels(group.remove_phase("eval")) == ["train", "inner"]
    assert labels(group.remove_phase(group[0])) == ["inner"]
    assert labels(group.remove_group(-1)) == []
    again = PhaseGroup("again", [world.train(), world.evaluate(), PhaseGroup("g")])
    assert labels(again.remove_items(["eval", again["g"]])) == ["train"]
    assert labels(again.remove_item(again["train"])) == []
    group.add_phase(world.train())
    assert labels(group.clear()) == []


def test_an_equal_phase_is_not_the_phase(group: PhaseGroup, world: Any) -> None:
    twin = world.evaluate()
    assert twin == group["eval"]
    with pytest.raises(UnknownNameError, match="Unknown phase or group 'eval'"):
        group.remove_phase(twin)


def test_several_are_added_and_removed_all_or_none(group: PhaseGroup, world: Any) -> None:
    before = labels(group)
    with pytest.raises(DuplicateLabelError):
        group.add_items([world.train(label="new"), world.train()])
    with pytest.raises(ZeroDivisionError):
        group.add_items(world.train(label=f"new {1 / n}") for n in (1, 0))
    with pytest.raises(UnknownNameError):
        group.remove_items(["train", "evil"])
    assert labels(group) == before


def test_a_phase_that_is_added_without_rows_says_how_to_name_them(world: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"TrainPhase 't': say which rows it takes: split='train'"):
        PhaseGroup("plan").add_train_phase("t", losses="mse", batch_size=8)


def test_methods_that_change_a_group_can_be_chained(world: Any) -> None:
    phase = world.train()
    arguments = {"input_sources": phase.input_sources, "losses": phase.losses}
    bindings = {"input_sources": world.evaluate().input_sources}
    group = (
        PhaseGroup("plan")
        .add_train_phase("t1", **arguments, n_epochs=5)
        .add_train(label="t2", **arguments)
        .add_training(label="t3", **arguments)
        .add_eval_phase("e1", **bindings, losses=phase.losses)
        .add_eval("e2", **bindings)
        .add_evaluation(label="e3", **bindings)
        .add_fit_phase("f1", **bindings)
        .add_fit("f2", **bindings)
        .add_phase(phase)
        .add_group(PhaseGroup("g"))
        .remove_phase("t3")
        .remove_group("g")
    )
    assert labels(group) == ["t1", "t2", "e1", "e2", "e3", "f1", "f2", "train"]
    assert group.get_train_phase("t1").n_epochs == 5
    assert [type(entry).kind for entry in group.phases] == ["train"] * 2 + ["eval"] * 3 + ["fit"] * 2 + [
        "train"
    ]


def test_a_label_stands_once_in_a_group_and_may_stand_again_in_a_nested_one(world: Any) -> None:
    phase = world.train()
    group = PhaseGroup("g", [phase])
    with pytest.raises(
        DuplicateLabelError, match="An item already exists with label 'train' in PhaseGroup 'g'"
    ):
        group.add_phase(world.train())
    with pytest.raises(DuplicateLabelError):
        group.add_group(PhaseGroup("train"))
    nested = PhaseGroup("nested", [world.train()])
    assert [p.label for p in group.add_group(nested).flatten()] == ["train", "train"]


def test_a_group_cannot_contain_itself_however_deep() -> None:
    outer, middle, inner = (PhaseGroup(label) for label in ("outer", "middle", "inner"))
    outer.add_group(middle.add_group(inner))
    for item in (outer, middle, inner):
        with pytest.raises(InvalidValueError, match="PhaseGroup 'inner' cannot contain itself"):
            inner.add_group(item)
    with pytest.raises(InvalidValueError, match="through 'outer' or directly"):
        middle.add_item(outer)
    assert labels(inner) == []


@pytest.mark.parametrize("label", ["", None, "\n"])
def test_a_group_has_a_label(label: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match="label of a PhaseGroup must"):
        PhaseGroup(label)


def test_what_is_read_is_a_copy(group: PhaseGroup) -> None:
    group.all.clear()
    group.phases.clear()
    for label, _ in group.items():
        group.remove_item(label)
    assert len(group) == 0


# Configurations.


def test_what_a_configuration_describes_is_the_same_group(group: PhaseGroup) -> None:
    twin = from_config(to_config(group))
    assert twin == group
    assert [type(entry) for entry in twin.flatten()] == [type(entry) for entry in group.flatten()]
    assert PhaseGroup.from_config(group.get_config()) == group
    assert json.loads(json.dumps(to_config(group))) == json.loads(json.dumps(to_config(twin)))
    assert twin.remove_phase("eval") != group
    with pytest.raises(UnknownNameError, match="Unknown parameter 'phase' in PhaseGroup.*mean 'phases'"):
        PhaseGroup.from_config({"label": "g", "phase": []})
    with pytest.raises(AttributeError):
        group.label = "other"  # type: ignore[misc]


def test_a_phase_is_added_by_its_split(world: Any) -> None:
    loss = world.loss()
    plan = PhaseGroup("plan")
    plan.add_train_phase("train", split="train", losses=[loss], n_epochs=3, batch_size=16)
    plan.add_eval_phase("eval", split="test", losses=[loss])
    plan.add_fit_phase("fit", split="train")
    train, evaluation, fit = plan.all
    assert type(train) is TrainPhase and train.n_epochs == 3
    assert {binding.split for binding in train.input_sources} == {"train"}
    assert {binding.split for binding in evaluation.input_sources} == {"test"}
    assert type(fit) is FitPhase
