import pytest
from sklearn.metrics import get_scorer_names

from modularml.base.goals import goal_of_name


@pytest.mark.parametrize("name", get_scorer_names())
def test_every_scorer_of_scikit_learn_is_the_better_the_greater(name: str) -> None:
    assert goal_of_name(name) == goal_of_name(f"val_{name}") == "max"


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "val_loss",
        "val-MSE",
        "MeanSquaredError",
        "log_loss",
        "brier_score_loss",
        "mean_absolute_error",
    ],
)
def test_losses_and_errors_are_the_better_the_smaller(name: str) -> None:
    assert goal_of_name(name) == "min"


@pytest.mark.parametrize("name", ["MulticlassAccuracy", "BinaryF1Score", "R2Score", "AUROC", "val_iou"])
def test_scores_are_known_in_any_spelling(name: str) -> None:
    assert goal_of_name(name) == "max"


@pytest.mark.parametrize("name", ["", "width", "val_x", "lr", "accurate", "negative", "\u00e9"])
def test_nothing_is_guessed_of_other_names(name: str) -> None:
    assert goal_of_name(name) is None
