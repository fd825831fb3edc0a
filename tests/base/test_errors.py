import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import modularml
from modularml.base import errors
from modularml.base.errors import (
    DuplicateLabelError,
    Faults,
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    ModularMLWarning,
    StateError,
    UnknownNameError,
    check_choice,
    check_int,
    check_label,
    nearest,
    unknown_name,
)
from modularml.core.training.loss import Loss

KINDS = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)]


@pytest.mark.parametrize("cls", KINDS)
def test_every_error_is_drawn_in_the_tree_and_is_also_a_built_in_kind(cls: type) -> None:
    assert cls.__name__ in str(errors.__doc__)
    assert issubclass(cls, ModularMLError | ModularMLWarning)
    if issubclass(cls, ModularMLError) and cls is not ModularMLError:
        assert issubclass(cls, ValueError | TypeError | KeyError | AttributeError | RuntimeError)


def test_an_unknown_name_is_shown_as_written_although_it_is_a_key_error() -> None:
    assert str(UnknownNameError("Unknown split 'x'.")) == "Unknown split 'x'."
    assert str(UnknownNameError()) == ""


def test_an_unknown_name_says_what_came_what_is_allowed_and_what_was_meant() -> None:
    said = unknown_name("split", "trian", ["train", "test"], where="FeatureSet 'S'")
    assert (
        said == "Unknown split 'trian' in FeatureSet 'S'. Available: 'train', 'test'. Did you mean 'train'?"
    )
    assert unknown_name("node", 3, []) == "Unknown node 3. Available: none."


def test_of_a_thousand_names_the_first_are_listed_and_the_nearest_is_told() -> None:
    said = unknown_name("column", "c980x", [f"c{i}" for i in range(1000)])
    assert said.endswith("'c18', 'c19' and 980 more. Did you mean 'c980'?")
    assert "more" not in unknown_name("column", "c980x", [f"c{i}" for i in range(100)])


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_the_nearest_name_is_one_of_the_allowed_and_a_name_is_nearest_to_itself(allowed: list[str]) -> None:
    for name in allowed:
        found = nearest(name, allowed)
        assert found in allowed
        assert found is not None
        assert found.lower() == name.lower()


def test_case_does_not_keep_a_name_from_being_found() -> None:
    assert nearest("ADAM", ["sgd", "adam"]) == "adam"
    assert nearest("n_splits", ["splitter", "n_folds"]) == "n_folds"  # as scikit-learn calls it
    assert nearest("random_state", ["n_folds", "state"]) is None
    assert nearest("qqqq", ["sgd", "adam"]) is None
    assert nearest("adma", ["adadelta", "adamax", "adam", "radam"]) == "adam"
    assert nearest("trian", ["brain", "train"]) == "train"
    assert (
        nearest("cosine", ["linear", "cosine_annealing", "cosine_annealing_warm_restarts"])
        == "cosine_annealing"
    )
    assert nearest("validation", ["train", "val"]) == "val"
    assert nearest("co", ["cosine_annealing"]) is None


# Faults.


def test_no_fault_raises_nothing() -> None:
    Faults("here").raise_if_any()


def test_one_fault_keeps_its_kind_and_gains_its_place() -> None:
    faults = Faults("Phase 'p'")
    faults.add(DuplicateLabelError("two"))
    with pytest.raises(DuplicateLabelError, match="^Phase 'p': two$"):
        faults.raise_if_any()


def test_several_faults_are_told_together_in_order_as_the_kind_that_they_share() -> None:
    faults = Faults("Phase 'p'")
    faults.add(InvalidTypeError("first"))
    faults.add(InvalidTypeError("second"))
    with pytest.raises(InvalidTypeError, match=r"(?s)has 2 faults:.*- first.*- second"):
        faults.raise_if_any()
    faults.add("third")
    with pytest.raises(InvalidValueError, match=r"(?s)3 faults.*- first.*- second.*- third"):
        faults.raise_if_any()


def test_an_attempt_returns_what_the_check_returns_or_notes_why_not() -> None:
    faults = Faults("here")
    assert faults.attempt(check_int, 3, "n") == 3
    faults.raise_if_any()
    assert faults.attempt(check_int, 0, "n", minimum=2) is None
    with pytest.raises(InvalidValueError, match="here: n must be an int of at least 2, got 0"):
        faults.raise_if_any()


def test_an_attempt_hides_no_error_that_is_not_ours() -> None:
    with pytest.raises(ZeroDivisionError):
        Faults("here").attempt(lambda: 1 // 0)


# Checks.


@pytest.mark.parametrize("label", ["MLP", "Größe", "a.b/c\\d", "<b>`x`</b>", "lr 0.1", "'\"", "電池"])
def test_any_printable_text_is_a_label(label: str) -> None:
    assert check_label(label, "node") == label


@pytest.mark.parametrize(
    ("label", "kind"),
    [("", ValueError), ("  ", ValueError), ("a\nb", ValueError), ("\x00", ValueError), (None, TypeError)],
)
def test_what_cannot_name_anything_is_refused_with_what_came(label: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="label of a node must be") as caught:
        check_label(label, "node")
    assert repr(label) in str(caught.value)
    with pytest.raises(kind, match="label of an Experiment must be"):
        check_label(label, "Experiment")


@given(st.integers(-5, 5), st.integers(-5, 5))
def test_an_int_passes_from_its_minimum_on(value: int, minimum: int) -> None:
    if value >= minimum:
        assert check_int(np.int16(value), "n", minimum=minimum) == value
        assert type(check_int(np.int16(value), "n", minimum=minimum)) is int
    else:
        with pytest.raises(InvalidValueError, match=f"at least {minimum}, got {value}"):
            check_int(value, "n", minimum=minimum)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_what_is_no_int_is_a_type_error(value: object) -> None:
    with pytest.raises(InvalidTypeError, match="batch_size must be an int"):
        check_int(value, "batch_size")


@pytest.mark.parametrize("value", ["meen", None, 1, ["mean"]])
def test_a_choice_is_one_of_the_words(value: object) -> None:
    assert check_choice("mean", "reduction", ["mean", "sum"]) == "mean"
    with pytest.raises(InvalidValueError, match="Unknown reduction"):
        check_choice(value, "reduction", ["mean", "sum"])


def test_a_state_error_is_no_value_error() -> None:
    assert not issubclass(StateError, ValueError)


def test_names_of_a_set_are_told_in_one_order_in_every_process() -> None:
    assert "Available: 'a', 'b', 'c', 'd'." in unknown_name("letter", "zzzz", {"d", "b", "a", "c"})


def test_a_fault_that_is_noted_again_is_told_once() -> None:
    faults = Faults("here")
    for _ in range(3):
        faults.add("no such device")
    with pytest.raises(ValueError, match="^here: no such device$"):
        faults.raise_if_any()


def test_all_warnings_are_of_the_line_of_the_user() -> None:
    folder = Path(modularml.__file__).parent
    callers = [path for path in folder.rglob("*.py") if "warnings.warn(" in path.read_text("utf-8")]
    assert callers == [folder / "base" / "errors.py"]


class PReLULoss(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.PReLU()

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.inner(outputs - targets).square()


def test_a_warning_from_deep_within_names_the_file_of_its_caller() -> None:
    with pytest.warns(ModularMLWarning, match="no optimizer trains those of a loss") as caught:
        Loss(PReLULoss())
    assert [one.filename for one in caught] == [__file__]
