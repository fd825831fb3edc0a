import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from modularml import (
    AppliedLoss,
    CrossValidation,
    CVBinding,
    Experiment,
    ExperimentContext,
    FeatureSet,
    InputBinding,
    ModelGraph,
    Optimizer,
)
from modularml.base.errors import InvalidValueError, StateError
from modularml.callbacks import EarlyStopping, Evaluation
from modularml.models.torch import SequentialMLP

N = 120


def samples(seed=0):
    x = np.random.default_rng(seed).standard_normal((N, 4))
    return x, x @ np.array([1.0, -2.0, 0.5, 3.0]) * 50 + 7


def regression():
    """A scaled network that is trained, evaluated and cross-validated."""
    exp = Experiment("regression", ctx=ExperimentContext())
    with exp.ctx.temporary():
        x, y = samples()
        data = FeatureSet.from_dict("data", {"x": x, "y": y}, "x", "y")
        data.split_random({"train": 0.8, "test": 0.2}, seed=0)
        for domain in ("features", "targets"):
            data.fit_transform("StandardScaler", domain=domain, fit_to_split="train")
        ModelGraph.chain(data.reference(rep="transformed"), {"net": SequentialMLP()}, optimizer="adam")
        plan = exp.execution_plan
        plan.add_train_phase("train", split="train", losses="mse", n_epochs=25, batch_size=16)
        plan.add_eval_phase("test", split="test", losses="mse")
        plan.add_group(CrossValidation(bindings=CVBinding(data, "train", val_split_name="test")))
    return exp


def tagged():
    """A network on a FeatureSet with tags, which neither X nor y has."""
    exp = Experiment("tagged", ctx=ExperimentContext())
    with exp.ctx.temporary():
        x, y = samples()
        data = FeatureSet.from_dict("data", {"x": x, "y": y, "site": np.arange(N) // 4}, "x", "y", "site")
        data.split_random({"train": 0.8, "test": 0.2}, seed=0)
        ModelGraph.chain(data, {"net": SequentialMLP()}, optimizer="adam")
        exp.execution_plan.add_train_phase("train", split="train", losses="mse", n_epochs=2)
    return exp


def classification(model=None, loss="cross_entropy"):
    exp = Experiment("classification", ctx=ExperimentContext())
    with exp.ctx.temporary():
        x, _ = samples()
        kind = (x[:, 0] > 0).astype(np.int64)
        data = FeatureSet.from_dict("data", {"x": x, "kind": kind}, "x", "kind")
        data.split_random({"train": 0.8, "test": 0.2}, seed=0)
        if not isinstance(model, LogisticRegression):
            net = SequentialMLP(output_shape=(5,)) if model is None else model
            ModelGraph.chain(data, {"net": net}, Optimizer("adam", opt_kwargs={"lr": 0.01}))
            exp.execution_plan.add_train_phase(
                "train", split="train", losses=loss, n_epochs=40, batch_size=16
            )
        else:
            ModelGraph.chain(data, {"net": model})
            exp.execution_plan.add_fit_phase("fit", split="train")
    return exp


@pytest.fixture
def in_doubles():
    """Have networks compute in float64.

    One row alone and among others may differ in the last digit of float32, on some processors, and
    `check_methods_subset_invariance` allows less.
    """
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(regression, id="network"),
        pytest.param(classification, id="classes"),
        pytest.param(lambda: classification(LogisticRegression()), id="estimator"),
    ],
)
def test_it_passes_what_scikit_learn_asks_of_an_estimator(make, in_doubles):
    skipped = "SCIPY_ARRAY_API"  # asked of estimators that compute on other arrays than numpy's
    for check in check_estimator(make().as_estimator(), on_fail=None, on_skip=None):
        why = str(check["exception"])
        assert check["status"] == "passed" or skipped in why, f"{check['check_name']}: {why}"


def test_it_predicts_in_original_units_and_leaves_the_experiment_as_it_is(digest_of):
    exp = regression()
    before = digest_of([exp.get_state(), exp.ctx.get_node("data").get_state()["splits"]])
    x, y = samples(1)
    active = ExperimentContext.get_active()
    estimator = exp.as_estimator().set_params(random_state=0).fit(x, y * 10)
    assert estimator.score(*(part * scale for part, scale in zip(samples(2), (1, 10), strict=True))) > 0.9
    assert digest_of([exp.get_state(), exp.ctx.get_node("data").get_state()["splits"]]) == before
    assert ExperimentContext.get_active() is active
    assert [run.status for run in estimator.experiment_.history] == ["completed"]


def test_tags_of_the_featureset_are_left_out():
    x, y = samples(seed=1)
    exp = tagged()
    assert exp.as_estimator().fit(x, y).predict(x).shape == y.shape
    (node,) = exp.model_graph.head_nodes
    assert node.featureset_refs[0].tags  # those of the experiment stay


def test_an_experiment_with_a_seed_is_a_repeatable_estimator():
    x, y = samples()
    exp = regression()
    assert exp.as_estimator().random_state is None
    exp.ctx.seed = 5
    first, second = (clone(exp.as_estimator()).fit(x, y) for _ in range(2))
    assert first.random_state == 5
    assert np.array_equal(first.predict(x), second.predict(x))


def test_the_random_state_decides_and_clones_share_nothing():
    x, y = samples()
    first = regression().as_estimator().set_params(random_state=3).fit(x, y)
    second = clone(first).fit(x, y)
    assert second.experiment_ is not first.experiment_
    assert np.array_equal(first.predict(x), second.predict(x))
    other = clone(first).set_params(random_state=4).fit(x, y)
    assert not np.array_equal(first.predict(x), other.predict(x))


def test_scikit_learn_searches_and_cross_validates():
    x, y = samples()
    estimator = regression().as_estimator().set_params(random_state=0)
    assert cross_val_score(estimator, x, y, cv=2).min() > 0
    search = GridSearchCV(estimator, {"random_state": [0, 1]}, cv=2).fit(x, y)
    assert search.best_score_ > 0


def test_classes_have_the_names_that_they_were_given():
    x, _ = samples()
    names = np.array(["low", "high"])[(x[:, 0] > 0).astype(int)]
    for exp in (classification(), classification(LogisticRegression())):
        estimator = exp.as_estimator().fit(x, names)
        assert list(estimator.classes_) == ["high", "low"]
        assert (estimator.predict(x) == names).mean() > 0.9


@pytest.mark.parametrize(
    ("loss", "model"), [("cross_entropy", (5,)), ("nll", (5,)), ("bce_with_logits", (1,))]
)
def test_what_a_likelihood_trained_has_probabilities(loss, model):
    x, _ = samples()
    names = np.array(["low", "high"])[(x[:, 0] > 0).astype(int)]
    exp = classification(SequentialMLP(output_shape=model), loss)
    estimator = exp.as_estimator().set_params(random_state=0).fit(x, names)
    probabilities = estimator.predict_proba(x)
    assert probabilities.shape == (N, 2)
    assert np.allclose(probabilities.sum(1), 1)
    assert (estimator.classes_[probabilities.argmax(1)] == estimator.predict(x)).all()
    assert cross_val_score(estimator, x, names, cv=2, scoring="roc_auc").min() > 0.8


def test_probabilities_are_those_of_the_loss_that_trained():
    assert not hasattr(classification(loss="multi_margin").as_estimator(), "predict_proba")
    x, _ = samples()
    exp = classification(nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), "bce")
    estimator = exp.as_estimator().fit(x, x[:, 0] > 0)
    outputs = estimator.experiment_.model_graph.predict(x).ravel()
    assert np.allclose(estimator.predict_proba(x)[:, 1], outputs)


def test_a_pickle_predicts_the_same():
    x, y = samples()
    estimator = regression().as_estimator().fit(x, y)
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(again.predict(x), estimator.predict(x))
    assert len(again.experiment_.history) == 1


def test_an_evaluation_while_training_has_its_share_of_the_samples():
    exp = regression()
    with exp.ctx.temporary():
        watched = [Evaluation.from_split(split="test", losses="mse"), EarlyStopping(patience=2)]
        exp.execution_plan.clear().add_train_phase(
            "train", split="train", losses="mse", n_epochs=3, callbacks=watched
        )
    x, y = samples()
    fitted = exp.as_estimator().fit(x, y).experiment_.ctx.get_node("data")
    assert {name: view.n_samples for name, view in fitted.splits.items()} == {"train": 96, "test": 24}


def test_several_scalar_keys_are_the_columns_of_x():
    exp = Experiment("keys", ctx=ExperimentContext())
    x, y = samples()
    with exp.ctx.temporary():
        columns = {"a": x[:, 0], "b": x[:, 1], "y": y}
        data = FeatureSet.from_dict("data", columns, ["a", "b"], "y")
        ModelGraph.chain(data, {"ridge": Ridge()})
        exp.execution_plan.add_fit_phase("fit", input_sources=_all_rows("ridge"))
    estimator = exp.as_estimator().fit(x[:, :2], y)
    expected = Ridge().fit(x[:, :2], y).predict(x[:, :2])
    assert np.allclose(estimator.predict(x[:, :2]), expected)
    with pytest.raises(InvalidValueError, match="X has 4 columns, and the features"):
        exp.as_estimator().fit(x, y)


def test_features_that_are_no_numbers_are_told_at_once():
    exp = Experiment("text", ctx=ExperimentContext())
    with exp.ctx.temporary():
        data = FeatureSet.from_dict(
            "data", {"a": [1.0, 2.0], "site": ["x", "y"], "y": [0.0, 1.0]}, ["a", "site"], "y"
        )
        data.fit_transform(OneHotEncoder(), domain="features", keys="site")
        ref = data.reference(features=["a", "features.site.transformed"])
        ModelGraph.chain(ref, {"ridge": Ridge()})
        exp.execution_plan.add_fit_phase("fit", input_sources=_all_rows("ridge"))
    with pytest.raises(StateError, match=r"the features \['site'\] do not"):
        exp.as_estimator()


def _all_rows(node):
    return [InputBinding.for_evaluation(node=node)]


def test_what_cannot_be_an_estimator_says_why():
    with pytest.raises(StateError, match="no model graph"):
        Experiment("bare", ctx=ExperimentContext()).as_estimator()
    exp = regression()
    exp.execution_plan.clear()
    with pytest.raises(StateError, match="no TrainPhase and no FitPhase"):
        exp.as_estimator()


def several(model, reps=("raw", "raw"), losses="mse"):
    """Two targets, of which some may be scaled; a network or an estimator."""
    exp = Experiment("several", ctx=ExperimentContext())
    with exp.ctx.temporary():
        x, y = samples()
        data = FeatureSet.from_dict("data", {"x": x, "a": y, "b": -y + x[:, 0]}, "x", ["a", "b"])
        data.split_random({"train": 0.8, "test": 0.2}, seed=0)
        data.fit_transform("StandardScaler", domain="targets", fit_to_split="train")
        names = [f"targets.{key}.{rep}" for key, rep in zip("ab", reps, strict=True)]
        ref = data.reference(features="x", targets=names)
        ModelGraph.chain(ref, {"net": model}, "adam" if isinstance(model, SequentialMLP) else None)
        plan = exp.execution_plan
        if isinstance(model, SequentialMLP):
            plan.add_train_phase("train", split="train", losses=losses, n_epochs=30, batch_size=8)
        else:
            plan.add_fit_phase("fit", split="train")
    return exp


@pytest.mark.parametrize(
    "reps",
    [
        pytest.param(("raw", "raw"), id="raw"),
        pytest.param(("transformed", "transformed"), id="scaled"),
        pytest.param(("raw", "transformed"), id="one-scaled"),
    ],
)
def test_several_targets_stand_side_by_side_in_their_order_and_units(reps):
    x, y = samples(1)
    both = np.stack([y * 3 + 9, x[:, 1]], axis=1)
    estimator = several(Ridge(alpha=0), reps).as_estimator()
    predicted = clone(estimator).fit(x, both).predict(x)
    assert predicted.shape == (N, 2)
    assert np.allclose(predicted, both, atol=1e-4)
    assert cross_val_score(estimator, x, both, cv=2).min() > 0.99
    search = GridSearchCV(estimator, {"net__alpha": [0.0, 1e4]}, cv=2, scoring="neg_mean_absolute_error")
    assert search.fit(x, both).best_params_ == {"net__alpha": 0.0}
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(again.predict(x[:3]), search.predict(x[:3]))


def test_a_network_learns_several_targets():
    x, y = samples(1)
    both = np.stack([y, x[:, 1]], axis=1)
    exp = several(SequentialMLP(), ("transformed", "transformed"))
    assert exp.as_estimator().set_params(random_state=0).fit(x, both).score(x, both) > 0.9


def test_what_is_meant_by_a_parameter_is_told_once():
    with pytest.raises(InvalidValueError) as error:
        several(Ridge()).as_estimator().set_params(alpha=3)
    assert str(error.value).count("Did you mean 'net__alpha'?") == 1


def test_what_does_not_hold_the_targets_is_told():
    x, y = samples()
    estimator = several(Ridge()).as_estimator()
    with pytest.raises(InvalidValueError, match=r"y has 1 columns, and the targets {'a': \(\), 'b': \(\)}"):
        estimator.fit(x, y)
    exp = several(SequentialMLP(output_shape=(2,)), losses="bce")
    with pytest.raises(StateError, match=r"one of classes has one target.*\['a', 'b'\]"):
        exp.as_estimator()


def test_weights_of_samples_which_x_and_y_lack_are_told_at_once():
    exp = tagged()
    with exp.ctx.temporary():
        loss = AppliedLoss("mse", "net", sample_weight="tags.site")
        exp.execution_plan["train"].losses = [loss]
    with pytest.raises(StateError, match="its phase 'train' has a sample_weight, and X and y hold"):
        exp.as_estimator()
