import gc
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, LeaveOneGroupOut, RepeatedKFold

from modularml import (
    AppliedLoss,
    CrossValidation,
    CVBinding,
    EvalPhase,
    Experiment,
    ExperimentCallback,
    ExperimentContext,
    FeatureSet,
    InputBinding,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    PhaseGroup,
    TrainPhase,
)
from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError
from modularml.base.events import RunStarted
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

N, SIZE_OF_GROUP = 120, 4


class Study:
    """120 samples in groups of 4 and two classes, scaled; a network with dropout, trained and evaluated."""

    def __init__(self, label="study", model=None, missing=0):
        self.exp = Experiment(label)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((N, 3)).astype(np.float32)
        x[:missing] = np.nan
        data = {"x": x, "y": x.sum(axis=1), "group": np.arange(N) // SIZE_OF_GROUP, "class": x[:, 0] > 0}
        self.data = FeatureSet.from_dict("data", data, "x", "y", ["group", "class"])
        self.data.split_random({"train": 0.6, "val": 0.2, "test": 0.2}, seed=1)
        self.data.fit_transform("StandardScaler", domain="features", fit_to_split="train")
        model = model or SequentialMLP(hidden_dim=4, dropout=0.2)
        self.node = ModelNode("net", model, self.data.reference(features="x", rep="transformed"))
        optimizer = Optimizer("adam", opt_kwargs={"lr": 0.01}) if self.node.backend == "torch" else None
        self.graph = ModelGraph([self.node], optimizer).build()
        self.loss = AppliedLoss(Loss("mse"), on="net", inputs=["outputs", "targets"])
        sampler = SimpleSampler(batch_size=16, shuffle=True, seed=3)
        plan = self.exp.execution_plan
        if self.node.backend == "torch":
            train = {"split": "train", "sampler": sampler, "losses": [self.loss], "n_epochs": 2}
            plan.add_phase(TrainPhase.from_split("train", **train))
        plan.add_phase(EvalPhase.from_split("eval", split="val", losses=[self.loss]))

    def binding(self, **arguments):
        return CVBinding(self.data, ["train", "val"], **arguments)

    def cv(self, binding=None, **arguments):
        return CrossValidation(bindings=[binding or self.binding()], experiment=self.exp, **arguments)


@pytest.fixture
def study():
    return Study()


class Watch(ExperimentCallback):
    """Notes the rows, the scaler's mean and the weights that each fold begins with."""

    def __init__(self, data, node):
        super().__init__(label="watch")
        self.data, self.node, self.seen = data, node, []

    def get_config(self):
        return {"data": None, "node": None}

    def on_phase_start(self, *, experiment, phase):
        if phase.label == "train":
            rows = {name: self.data[name].rows for name in self.data.available_splits}
            scaled = self.data["train"].get_features(features="x", rep="transformed", fmt="numpy")
            self.seen.append((rows, scaled.mean(axis=0), self.node.model.get_weights()))


def watched(study, **arguments):
    watch = Watch(study.data, study.node)
    study.exp.add_callback(watch)
    return study.cv(**arguments).run(), watch.seen


# -- what a fold is ------------------------------------------------------------------


def test_each_pooled_row_is_validated_once_and_never_trained_on_meanwhile(study):
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


def test_scalers_see_the_training_rows_of_their_fold_alone(study):
    _, seen = watched(study)
    for _, mean, _ in seen:
        assert np.allclose(mean, 0, atol=1e-6)


def test_scalers_that_were_fitted_to_all_rows_leak_nothing_either(study):
    study.data.undo_all_transforms()
    study.data.fit_transform("StandardScaler", domain="features")
    _, seen = watched(study)
    assert len(seen) == 5
    for _, mean, _ in seen:
        assert np.allclose(mean, 0, atol=1e-6)


def test_folds_begin_at_the_initial_weights_also_after_training(study):
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


def test_a_split_of_a_divided_split_is_made_anew_of_its_new_rows(study):
    study.data["train"].split_random({"early": 0.5, "late": 0.5})
    _, seen = watched(study)
    for rows, _, _ in seen:
        assert np.array_equal(np.sort(np.concatenate([rows["early"], rows["late"]])), np.sort(rows["train"]))


# -- how rows are divided --------------------------------------------------------------


def groups(study, rows):
    return set((rows // SIZE_OF_GROUP).tolist())


@pytest.mark.parametrize("stratify_by", [None, "class"])
@pytest.mark.parametrize("val_size", [None, 0.3])
def test_groups_stay_together(study, stratify_by, val_size):
    study.data.clear_splits()
    study.data.split_random({"train": 0.75, "val": 0.25}, group_by="group")
    binding = study.binding(group_by="group", stratify_by=stratify_by, val_size=val_size)
    _, seen = watched(study, binding=binding, n_folds=3)
    for rows, _, _ in seen:
        assert not groups(study, rows["train"]) & groups(study, rows["val"])


def test_strata_keep_their_shares(study):
    share = study.data.get_tags(tags="class", fmt="dict")["class"].mean()
    _, seen = watched(study, binding=study.binding(stratify_by="class"), n_folds=4)
    for rows, _, _ in seen:
        of_fold = study.data.take(rows["val"]).get_tags(tags="class", fmt="dict")["class"].mean()
        assert abs(of_fold - share) < 0.1


def test_val_size_draws_for_each_fold_anew(study):
    _, seen = watched(study, binding=study.binding(val_size=0.25), n_folds=3)
    vals = [frozenset(rows["val"].tolist()) for rows, _, _ in seen]
    assert {len(val) for val in vals} == {24} and len(set(vals)) == 3


@pytest.mark.parametrize(
    ("splitter", "binding", "n_folds"),
    [
        (KFold(3), {}, 3),
        (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), {}, 6),
        (LeaveOneGroupOut(), {"group_by": "class"}, 2),
    ],
)
def test_any_splitter_of_scikit_learn_divides(study, splitter, binding, n_folds):
    results, seen = watched(study, binding=study.binding(**binding), splitter=splitter)
    assert results.n_folds == len(seen) == n_folds
    for rows, _, _ in seen:
        assert not set(rows["train"]) & set(rows["val"])


def test_two_featuresets_of_equal_length_are_divided_alike(study):
    twin = study.data.copy(label="twin", restore_splits=True, register=True)
    bindings = [study.binding(), CVBinding(twin, ["train", "val"])]
    study.exp.execution_plan.clear()
    study.exp.ctx.remove_model_graph()
    other = ModelNode("other", SequentialMLP(hidden_dim=3), twin.reference(rep="raw"))
    ModelGraph([study.node, other], Optimizer("sgd", opt_kwargs={"lr": 0.1}), "both").build()
    sampler = SimpleSampler(batch_size=16)
    sources = [
        InputBinding.for_training(node=node, sampler=sampler, split="train") for node in ("net", "other")
    ]
    losses = [
        AppliedLoss(Loss("mse"), on=node, inputs=["outputs", "targets"], label=node)
        for node in ("net", "other")
    ]
    phase = TrainPhase("train", input_sources=sources, losses=losses)
    cv = CrossValidation(bindings=bindings, phase=phase, n_folds=3)
    for fold in cv.parts():
        assert np.array_equal(fold.rows[0].val, fold.rows[1].val)
    assert cv.run().n_folds == 3


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


def test_an_estimator_is_fitted_anew_in_each_fold():
    study = Study(model=LinearRegression())
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


# -- in other processes ------------------------------------------------------------------


def test_processes_give_what_one_process_gives(study):
    here, there = study.cv(n_folds=3).run(), study.cv(n_folds=3, n_jobs=2).run()
    assert there.fold_labels == here.fold_labels
    for name, values in here.scores().items():
        assert np.allclose(there.scores()[name], values, rtol=1e-5)
    run = study.exp.last_run
    assert [phase.path for phase in run.phases][:2] == [("CV", "fold_0", "train"), ("CV", "fold_0", "eval")]
    assert np.array_equal(
        run.children[2].results["eval"].stacked_tensors("net", "rows"),
        study.cv(n_folds=3).parts()[2].rows[0].val,
    )


def test_an_error_in_another_process_is_raised_here():
    study = Study(missing=60)
    with pytest.raises(InvalidValueError, match="NaN"):
        study.cv(n_folds=2, n_jobs=2).run()
    assert study.exp.last_run.status == "failed"


@pytest.mark.parametrize("cluster", ["dask", "ray"])
def test_a_cluster_gives_what_one_process_gives(cluster):
    script = Path(__file__).with_name("clusters.py")
    done = subprocess.run([sys.executable, script, cluster], capture_output=True, text=True, timeout=280)
    if done.returncode == 77:
        pytest.skip(f"no local cluster of {cluster} starts here: {done.stderr.splitlines()[-1]}")
    assert "the same scores: train/mse eval/mse" in done.stdout, done.stderr[-3000:]


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
    cv = study.cv(CVBinding(study.data, ["trian", "val"]))
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        cv.run()
    with pytest.raises(ValueError, match="no phase reads the split 'fit' of 'data'"):
        study.cv(study.binding(train_split_name="fit")).run()


def test_there_must_be_something_to_run(study):
    study.exp.execution_plan.clear()
    with pytest.raises(StateError, match="no phase to run"):
        study.cv().run()


def test_pairs_of_folds_of_k_are_disjoint(study):
    vals = [set(fold.rows[0].val) for fold in study.cv(n_folds=4).parts()]
    assert all(not a & b for a, b in combinations(vals, 2))


def test_the_label_may_come_first():
    study = Study()
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
