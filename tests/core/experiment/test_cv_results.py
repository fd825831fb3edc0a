import numpy as np
import pytest

from modularml import CVResults, PhaseGroupResults
from modularml.base.errors import InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.core.execution.recording import Recording
from modularml.core.experiment.phase_results import EvalResults
from modularml.core.experiment.results import results_from_state


def fold(label, *values, metric=None):
    recording = Recording({"mse": "net", "mae": "other"})
    recording.losses.append(np.array([values], np.float32))
    recording.n_samples.append(np.array([4], np.int32))
    if metric is not None:
        recording.log("r2", metric, 0)
    results = PhaseGroupResults(label)
    nested = PhaseGroupResults("inner")
    nested.add(EvalResults("eval", recording, {"net": "net", "other": "net"}))
    results.add(nested)
    return results


@pytest.fixture
def results():
    made = CVResults("CV")
    made.add(fold("fold_0", 1.0, 4.0, metric=0.5))
    made.add(fold("fold_1", 3.0, 6.0))
    return made


def test_scores_have_a_value_for_each_fold_and_nan_where_there_is_none(results):
    scores = results.scores()
    assert scores.keys() == {"inner/eval/mse", "inner/eval/mae", "inner/eval/r2"}
    assert scores["inner/eval/mse"].tolist() == [1.0, 3.0]
    assert scores["inner/eval/r2"][0] == 0.5 and np.isnan(scores["inner/eval/r2"][1])


def test_mean_and_spread_are_those_of_the_folds(results):
    assert results.mean()["inner/eval/mse"] == 2.0
    assert results.std()["inner/eval/mse"] == pytest.approx(np.sqrt(2))
    one = CVResults("one")
    one.add(fold("fold_0", 1.0, 1.0))
    assert np.isnan(one.std()["inner/eval/mse"])


def test_folds_by_index_and_label(results):
    assert results.fold_labels == ["fold_0", "fold_1"] and results.n_folds == 2
    assert results.get_fold(-1) is results.get_fold("fold_1") is results["fold_1"]
    for key in (2, "fold_2"):
        with pytest.raises(UnknownNameError, match="fold"):
            results.get_fold(key)
    with pytest.raises(InvalidTypeError, match="index or label"):
        results.get_fold(None)


def test_losses_are_those_on_the_node(results):
    losses = results.losses("net")
    assert losses.axes == ("fold", "phase", "epoch", "batch", "label")
    assert losses.data == {(f"fold_{i}", "inner/eval", 0, 0, "mse"): 1.0 + 2 * i for i in range(2)}
    named = results.losses("other", phase="inner/eval")
    assert (named.axes, named.axis_values("label")) == (("fold", "epoch", "batch", "label"), ["mae"])
    assert losses.collapse("fold").mean() == 2.0
    with pytest.raises(UnknownNameError, match="node"):
        results.losses("nett")
    with pytest.raises(UnknownNameError, match="phase"):
        results.losses("net", phase="eval")


def test_collect_asks_each_fold(results):
    labels = results.collect(lambda fold: fold.label)
    assert labels.data == {"fold_0": "fold_0", "fold_1": "fold_1"} and labels.axes == ("fold",)
    finals = results.collect(lambda fold: fold["inner"]["eval"].final()["mse"])
    assert finals["fold_1"] == 3.0 and finals.values().mean() == 2.0


def test_collected_series_get_the_axis_of_the_folds(results):
    losses = results.collect(lambda fold: fold["inner"]["eval"].losses())
    assert losses.axes == ("fold", "epoch", "batch", "label") and losses.shape == (2, 1, 1, 2)
    assert losses.at(fold="fold_1", label="mae") == 6.0
    assert losses.where(label="mse").collapse("fold").values().tolist() == [2.0]
    with pytest.raises(InvalidValueError, match=r"put together.*'fold_1': 'str'"):
        results.collect(lambda fold: fold.label if fold.label == "fold_1" else losses)


def test_without_folds_nothing_is_collected():
    assert len(CVResults("empty").collect(lambda fold: fold.label)) == 0


def test_the_summary_is_a_table(results):
    head, first, *rest = results.summary().splitlines()
    assert head.split() == ["mean", "std", "fold_0", "fold_1"]
    assert first.split() == ["inner/eval/mse", "2.000", "1.414", "1.000", "3.000"] and len(rest) == 2
    assert repr(results) == "CVResults(label='CV', folds=2)"


def test_a_dataframe_has_a_row_for_each_fold(results):
    frame = results.to_pandas()
    assert list(frame.index) == ["fold_0", "fold_1"] and frame["inner/eval/mae"].tolist() == [4.0, 6.0]


def test_a_state_gives_them_back(results):
    again = results_from_state(results.get_state())
    assert isinstance(again, CVResults) and again.summary() == results.summary()


def test_no_fold_ran():
    empty = CVResults("CV")
    assert empty.scores() == {} and empty.n_folds == 0 and empty.summary().split() == ["mean", "std"]
