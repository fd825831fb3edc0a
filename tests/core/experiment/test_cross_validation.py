import gc

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from modularml import (
    CrossValidation,
    CVBinding,
    EvalPhase,
    Experiment,
    ExperimentCallback,
    ExperimentContext,
    FeatureSet,
    InputBinding,
    PhaseGroup,
)
from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    SplitOverlapWarning,
    StateError,
    UnknownNameError,
)
from modularml.base.events import RunStarted
from modularml.callbacks import Evaluation

# -- what a fold is ------------------------------------------------------------------


def test_each_pooled_row_is_validated_once_and_never_trained_on_meanwhile(study, watched):
    pooled = np.sort(np.concatenate([study.data["train"].rows, study.data["val"].rows]))
    test = study.data["test"].rows
    results, seen = watched(study)
    assert results.n_folds == len(seen) == 5
    assert np.array_equal(np.sort(np.concatenate([rows["val"] for rows, _, _ in seen])), pooled)
    for rows, _, _ in seen:
        assert np.array_equal(np.sort(np.concatenate([rows["train"], rows["val"]])), pooled)
        assert np.array_equal(rows["test"], test)


def test_the_plan_tells_which_phases_are_one_in_several_folds(study):
    plans = []
    study.exp.events.subscribe(lambda event: plans.append(event.plan) if type(event) is RunStarted else None)
    study.cv(n_folds=3).run()
    of = {}
    for entry in plans[0]:
        of.setdefault(entry.family, []).append(entry.path)
    assert of["CV", "train"] == [("CV", f"fold_{i}", "train") for i in range(3)]
    assert of["CV", "eval"] == [("CV", f"fold_{i}", "eval") for i in range(3)]
    study.exp.run()
    assert [entry.family for entry in plans[1]] == [entry.path for entry in plans[1]]


def test_each_fold_evaluates_rows_of_its_own_also_without_a_training_between(study):
    plan, rows = study.exp.execution_plan, study.data["train"].rows
    plan.clear()
    before, alone, after = (
        EvalPhase.from_split(label, split="train", losses=[study.loss])
        for label in ("before", "alone", "after")
    )
    cv = study.cv(n_folds=3, phase=alone)
    plan.add_items([before, cv, after])
    results = study.exp.run()
    for i, fold in enumerate(cv.parts()):
        found = results["CV"][f"fold_{i}"]["alone"].stacked_tensors("net", "rows")
        assert np.array_equal(found, fold.rows[0].train)
    for label in ("before", "after"):
        assert np.array_equal(results[label].stacked_tensors("net", "rows"), rows)


def test_folds_begin_at_the_initial_weights_also_after_training(study, watched):
    initial = study.node.model.get_weights()
    study.exp.run()
    _, seen = watched(study)
    for _, _, weights in seen:
        for name, values in weights.items():
            assert np.array_equal(values, initial[name])


def test_everything_is_as_before_afterwards(study, digest_of):
    study.exp.run()
    data = study.data.get_state()
    before = digest_of(
        [study.graph.get_state(), data["table"]["columns"], data["splits"], study.exp.epochs_done]
    )
    study.cv().run()
    data = study.data.get_state()
    after = digest_of(
        [study.graph.get_state(), data["table"]["columns"], data["splits"], study.exp.epochs_done]
    )
    assert after == before


def test_everything_is_as_before_after_an_error_too(study, digest_of):
    before = digest_of([study.graph.get_state(), study.data.get_state()["splits"]])

    class Fails(ExperimentCallback):
        def on_phase_end(self, *, experiment, phase):
            if len(experiment.last_run.phases) == 4:
                raise RuntimeError("no")

    study.exp.add_callback(Fails())
    with pytest.raises(RuntimeError, match="no"):
        study.cv().run()
    assert digest_of([study.graph.get_state(), study.data.get_state()["splits"]]) == before
    run = study.exp.last_run
    assert run.status == "failed" and [child.label for child in run.children] == ["fold_0", "fold_1"]


def test_the_same_seed_gives_the_same_results(study):
    first, second = study.cv().run().scores(), study.cv().run().scores()
    assert first.keys() == {"train/mse", "eval/mse"}
    for name, values in first.items():
        assert np.array_equal(values, second[name])
    assert not np.array_equal(study.cv(seed=14).run().scores()["eval/mse"], first["eval/mse"])


# -- how rows are divided --------------------------------------------------------------


# -- where it runs ----------------------------------------------------------------------


def test_it_is_one_run_with_a_child_for_each_fold(study):
    study.cv(n_folds=3).run()
    assert len(study.exp.history) == 1
    run = study.exp.last_run
    assert [child.label for child in run.children] == ["fold_0", "fold_1", "fold_2"]
    for child in run.children:
        assert child.status == "completed"
        assert [phase.path for phase in child.phases] == [(child.label, "train"), (child.label, "eval")]
        assert run.started_at <= child.started_at <= child.ended_at <= run.ended_at


def test_a_file_keeps_the_folds(study, tmp_path):
    results = study.cv(n_folds=2).run()
    path = study.exp.save(tmp_path / "study")
    ExperimentContext().activate()
    loaded = Experiment.load(path).last_run
    assert [child.label for child in loaded.children] == ["fold_0", "fold_1"]
    for name, values in results.scores().items():
        assert np.array_equal(loaded.results.scores()[name], values)


def test_it_stands_in_a_plan_and_in_a_file_as_any_other_group(study, tmp_path):
    study.exp.execution_plan.add_group(study.cv(n_folds=2))
    results = study.exp.run()
    assert results.labels == ["train", "eval", "CV"] and results["CV"].n_folds == 2
    path = study.exp.save(tmp_path / "study")
    ExperimentContext().activate()
    loaded = Experiment.load(path)
    again = loaded.execution_plan["CV"]
    assert again.get_config() == study.exp.execution_plan["CV"].get_config()
    assert loaded.run_group(again).n_folds == 2


def test_nested_within_the_training_rows_of_each_fold(study):
    inner = CrossValidation(
        label="inner", bindings=CVBinding(study.data, "train"), n_folds=2, phase=study.exp.execution_plan
    )
    inside = []

    class Notes(ExperimentCallback):
        def on_phase_start(self, *, experiment, phase):
            inside.append(set(study.data["train"].rows) | set(study.data["val"].rows))

    outer_train = [set(fold.rows[0].train) for fold in study.cv(n_folds=2).parts()]
    study.exp.add_callback(Notes())
    plan = PhaseGroup("outer plan", [inner, *study.exp.execution_plan.all])
    results = study.cv(n_folds=2, phase=plan).run()
    assert results["fold_1"]["inner"].n_folds == 2
    # Four phases of the inner folds, then the two of the outer one.
    for fold, rows in enumerate(outer_train):
        assert all(seen == rows for seen in inside[fold * 6 : fold * 6 + 4])


def test_an_estimator_is_fitted_anew_in_each_fold(make_study):
    study = make_study(model=LinearRegression())
    study.exp.execution_plan.clear()
    plan = study.exp.execution_plan
    plan.add_fit_phase("fit", input_sources=_evaluation("train"), losses=[study.loss])
    plan.add_phase(EvalPhase.from_split("eval", split="val", losses=[study.loss]))
    scores = study.cv().run().scores()
    assert scores["eval/mse"].shape == (5,) and np.all(scores["eval/mse"] < 1e-8)
    assert not study.node.model.is_fitted and not study.node.is_frozen


def _evaluation(split):
    return [InputBinding.for_evaluation(node="net", split=split)]


def test_a_stop_keeps_the_folds_so_far(study):
    class Stops(ExperimentCallback):
        def on_phase_end(self, *, experiment, phase):
            if len(experiment.last_run.phases) == 3:
                stop[0]()

    stop = []
    study.exp.events.subscribe(lambda event: stop.append(event.stop) if hasattr(event, "stop") else None)
    study.exp.add_callback(Stops())
    results = study.cv().run()
    assert results.fold_labels == ["fold_0", "fold_1"]
    assert study.exp.last_run.status == "stopped"


def test_a_preview_leaves_no_trace(study):
    results = study.exp.preview_group(study.cv(n_folds=2))
    assert results.n_folds == 2 and not study.exp.history


# -- wrong input -------------------------------------------------------------------------


def test_faults_are_told_together(study):
    with pytest.raises(
        InvalidValueError, match=r"n_folds(.|\n)*n_jobs(.|\n)*phase must be a phase or a group"
    ):
        CrossValidation(bindings=study.binding(), n_folds=1, n_jobs=0, phase="train")
    with pytest.raises(InvalidValueError, match=r"both 'a'(.|\n)*val_size must be a share"):
        CVBinding(study.data, train_split_name="a", val_split_name="a", val_size=1.5)
    with pytest.raises(InvalidValueError, match="several bindings"):
        CrossValidation(bindings=[study.binding(), study.binding()])
    for given in ("train", None, 3):
        with pytest.raises(InvalidTypeError, match=rf"'CV': bindings must be a CVBinding or .*got {given!r}"):
            CrossValidation(bindings=given)
    with pytest.raises(InvalidTypeError, match="experiment must be an Experiment"):
        CrossValidation(bindings=study.binding(), experiment="study")
    with pytest.raises(InvalidValueError, match="two ways"):
        CrossValidation(bindings=study.binding(val_size=0.2), splitter=KFold(3))


def test_unknown_names_are_told_with_the_nearest(study):
    with pytest.raises(ValueError, match="Unknown source split 'trian' .*Did you mean 'train'"):
        CVBinding(study.data, ["trian", "val"])
    with pytest.raises(ValueError, match="no phase reads the split 'fit' of 'data'"):
        study.cv(study.binding(train_split_name="fit")).run()
    cv = study.cv()
    study.data.clear_splits()
    with pytest.raises(ValueError, match="Unknown source split 'train'"):
        cv.run()


def test_rows_that_are_trained_on_and_evaluated_in_one_fold_are_warned_of(study):
    plan = study.exp.execution_plan
    plan.add_eval_phase("late", split="test", losses=[study.loss])
    n = len(study.data["test"])
    told = rf"'late' reads split 'test' of 'data', .* all {n} of its rows are divided.*val_split_name='test'"
    pooled = study.cv(CVBinding(study.data, ["train", "test"]), n_folds=2)
    with pytest.warns(SplitOverlapWarning, match=told) as caught:
        pooled.run()
    assert [one.filename for one in caught] == [__file__]
    plan.remove_phase("late")
    plan["train"].add_callback(Evaluation.from_split(split="test", losses=[study.loss]))
    with pytest.warns(SplitOverlapWarning, match="an evaluation in 'train' reads split 'test'"):
        pooled.run()
    study.cv(n_folds=2).run()  # rows that are not divided are evaluated in every fold alike
    study.cv(
        CVBinding(study.data, ["train", "test"], val_split_name="test"), n_folds=2, phase=plan["train"]
    ).run()


def test_parts_of_what_a_fold_has_are_no_leak(study):
    study.data["train"].split_random({"fit": 0.8, "stop": 0.2}, seed=0)
    study.exp.execution_plan.add_eval_phase("early", split="stop", losses=[study.loss])
    study.cv(n_folds=2).run()


def test_a_featureset_that_the_active_experiment_does_not_have_is_told_at_the_line(study):
    with pytest.raises(UnknownNameError, match="CVBinding: Unknown node 'dta'.*Did you mean 'data'"):
        CVBinding("dta")
    with pytest.raises(InvalidTypeError, match="CVBinding: 'net' is a ModelNode; a FeatureSet is needed"):
        CVBinding("net")
    with pytest.raises(InvalidValueError, match=r"Unknown node 'dta'(.|\n)*both 'val'"):
        CVBinding("dta", train_split_name="val")
    Experiment("other")
    with pytest.raises(UnknownNameError, match="Unknown node 'data'"):
        CVBinding("data")
    assert CVBinding(study.data).fs == "data"  # which knows its own experiment


def test_there_must_be_something_to_run(study):
    study.exp.execution_plan.clear()
    with pytest.raises(StateError, match="no phase to run"):
        study.cv().run()


def test_the_label_may_come_first(make_study):
    study = make_study()
    cv = CrossValidation("cv", CVBinding(study.data, ["train"]))
    assert (cv.label, len(cv.bindings)) == ("cv", 1)
    with pytest.raises(InvalidTypeError, match="first argument of CrossValidation is its label"):
        CrossValidation(CVBinding(study.data, ["train"]))
    with pytest.raises(InvalidValueError, match="at least one CVBinding"):
        CrossValidation("cv")


def test_one_whose_experiment_is_gone_says_so():
    exp = Experiment("short-lived")
    fs = FeatureSet.from_dict("fs", {"x": np.ones((8, 2)), "y": np.ones(8)}, "x", "y")
    cv = CrossValidation("cv", CVBinding(fs))
    del exp
    gc.collect()
    with pytest.raises(StateError, match="made in the experiment 'short-lived', which is gone"):
        cv.run()
