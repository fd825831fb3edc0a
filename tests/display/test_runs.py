"""Runs as they are shown: means, bands and fewer points."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modularml.display.run_rows import comparison_table
from modularml.display.run_table import run_table
from modularml.display.runs import CurveView, RunView, changes, epoch_means, predecessors, sampled

floats = st.floats(-1e6, 1e6) | st.just(np.nan)


def curve(y: np.ndarray, phase: str = "train", name: str = "mse") -> CurveView:
    return CurveView(phase=phase, name=name, per="epoch", x=np.arange(1.0, len(y) + 1), y=y)


def run(label: str = "run", **given: object) -> RunView:
    made = {"id": "1", "label": label, "status": "completed", "duration_s": 1.0, "final": {}}
    about = {"started_at": datetime(2026, 1, 2, tzinfo=UTC), "read_curves": tuple}
    return RunView(**{**made, **about, **given})


@given(arrays(float, st.integers(1, 400), elements=floats), st.integers(4, 80))
def test_fewer_points_keep_both_ends_and_every_extreme(y: np.ndarray, max_points: int) -> None:
    drawn = sampled(curve(y), max_points)
    assert len(drawn.x) <= max(max_points, 4)
    assert (drawn.x[0], drawn.x[-1]) == (1, len(y)) and (np.diff(drawn.x) > 0).all()
    assert np.array_equal(drawn.y, y[drawn.x.astype(int) - 1], equal_nan=True)
    if np.isfinite(y).any():
        assert (np.nanmin(drawn.y), np.nanmax(drawn.y)) == (np.nanmin(y), np.nanmax(y))


@given(st.lists(st.integers(0, 4), max_size=8))
def test_the_mean_over_an_epoch_is_that_over_its_samples(n_batches: list[int]) -> None:
    n = sum(n_batches)
    losses, sizes = np.random.default_rng(n).random((n, 2)), np.arange(1, n + 1)
    epochs, means = epoch_means(losses, sizes, n_batches)
    assert epochs.tolist() == [i for i, size in enumerate(n_batches) if size]
    parts = np.split(np.arange(n), np.cumsum(n_batches)[:-1]) if n_batches else []
    wanted = [np.average(losses[part], axis=0, weights=sizes[part]) for part in parts if len(part)]
    assert means == pytest.approx(np.array(wanted).reshape(-1, 2))


def test_folds_are_drawn_as_their_mean_within_a_band() -> None:
    folds = [curve(np.array([4.0, 2.0])), curve(np.array([6.0, 4.0, np.nan, 3.0]))]
    children = tuple(run(read_curves=lambda fold=fold: (fold,)) for fold in folds)
    (mean,) = run(children=children).curves
    assert mean.x.tolist() == [1, 2, 3, 4]
    assert mean.y.tolist()[:2] == [5, 3] and np.isnan(mean.y[2]) and mean.y[3] == 3
    assert mean.low is not None and mean.high is not None
    assert (mean.low[0], mean.high[0]) == (4, 6) and np.isnan(mean.low[2])


def test_a_run_is_held_against_the_last_of_its_label() -> None:
    first, other = run(config={"lr": 0.1}), run("other", config={"lr": 9.0})
    second = run(config={"lr": 0.2}, metadata={"torch": "3"})
    assert predecessors([first, other, second]) == [None, None, first]
    assert [str(d) for d in changes(second, first) or ()] == ["lr: 0.1 → 0.2", "torch: – → 3"]
    assert changes(first, None) is None and changes(run(), first) is None
    third = run(config={"test": {"upstream": {"fit": "1"}, "z": {"lr": 0.3}}})
    fourth = run(config={"test": {"upstream": {"fit": "2"}, "z": {"lr": 0.4}}}, metadata={"torch": "3"})
    assert [d.path[-1] for d in changes(fourth, third) or ()] == ["lr", "torch", "fit"]


def test_how_a_run_went_is_told_in_words_and_is_no_setting() -> None:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    resumed = [{"at": at, "where": "'train', epoch 2", "after": "stopped"}]
    metadata = {
        "continues": {"cycle/train": {"epochs_before": 1200}},
        "resumed": resumed,
        "stopped_by": "Stop",
    }
    second = run(config={"lr": 0.1}, metadata=metadata)
    assert second.facts == {
        "continues": "cycle/train after 1,200 epochs",
        "resumed": "2026-01-02 03:04 at 'train', epoch 2, stopped before",
        "stopped_by": "Stop",
    }
    assert [str(d) for d in changes(second, run(config={"lr": 0.1})) or ()] == [
        "cycle/train.epochs before: – → 1200"
    ]
    assert run(metadata={"resumed": [3], "continues": "?"}).facts == {"resumed": "[3]", "continues": "?"}


class Source:
    """Runs that were made by hand."""

    name = "lab"

    def __init__(self, *runs: RunView) -> None:
        self.views = lambda: list(runs)
        self.follow = lambda _: lambda: None


def test_a_comparison_leaves_out_columns_that_no_terminal_has_room_for() -> None:
    configs = [{f"a_rather_long_setting_{i}": i + n for i in range(6)} for n in range(2)]
    final = {("train", f"a_rather_long_metric_{i}"): 0.5 for i in range(6)}
    text = comparison_table([Source(*(run(config=config, final=final) for config in configs))])
    *lines, more = text.split("\n")
    assert {len(line) for line in lines} <= set(range(121)) and "setting_0" in text and "metric_0" in text
    n_shown = len(lines[0].split()) - 4
    assert more == f"{12 - n_shown} more columns: to_pandas()"


def test_last_values_are_called_by_their_phases_alone_and_stay_on_a_line() -> None:
    final = {(f"a group of things/train {i}", "cross_entropy"): 0.5 for i in range(5)}
    assert run_table([run(final=final)]).endswith(
        "  train 0/cross_entropy 0.5000, train 1/cross_entropy 0.5000, train 2/cross_entropy 0.5000, …"
    )
    same = {(f"fold {i}/train", "mse"): 0.5 for i in range(2)}
    assert run_table([run(final=same)]).endswith("  fold 0/train/mse 0.5000, fold 1/train/mse 0.5000")


def test_scores_are_better_when_they_are_higher() -> None:
    goals = [curve(np.ones(1), name=name).goal for name in ("val_loss", "val_accuracy", "F1", "scoreboard")]
    assert goals == ["min", "max", "max", "min"]
