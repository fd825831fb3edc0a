"""What may be searched over in an experiment as an estimator: names, values, and that they are used."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from modularml import Experiment, ExperimentContext, FeatureSet, ModelGraph, ModelNode, Optimizer
from modularml.base.errors import InvalidValueError, StateError
from modularml.models.torch import SequentialMLP

N = 60


class Narrow(nn.Module):
    """A module that keeps its arguments."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Linear(4, width)

    def forward(self, x):
        return self.layer(x)


def samples():
    x = np.random.default_rng(0).standard_normal((N, 4))
    return x, (x[:, 0] > 0).astype(int)


def made(models, loss="mse", **phase):
    exp = Experiment("tuned", ctx=ExperimentContext())
    with exp.ctx.temporary():
        x, y = samples()
        data = FeatureSet.from_dict("data", {"x": x, "y": x.sum(1) if loss == "mse" else y}, "x", "y")
        data.split_random({"train": 0.8, "test": 0.2}, seed=0)
        ModelGraph.chain(data, models, Optimizer("sgd", opt_kwargs={"lr": 0.05}))
        if loss is None:
            exp.execution_plan.add_fit_phase("fit", split="train")
        else:
            exp.execution_plan.add_train_phase("train", split="train", losses=loss, n_epochs=2, **phase)
    return exp.as_estimator()


def test_parameters_are_what_people_search():
    params = made({"first": Narrow(), "mlp": SequentialMLP(hidden_dim=8)}, batch_size=16).get_params()
    expected = {
        "n_epochs": 2,
        "batch_size": 16,
        "optimizer__lr": 0.05,
        "optimizer__momentum": 0,
        "first__width": 3,
        "mlp__hidden_dim": 8,
        "mlp__n_layers": 2,
    }
    assert {name: params[name] for name in expected} == expected


def test_what_is_set_is_used_by_the_next_fit():
    x, y = samples()
    settings = {
        "n_epochs": 3,
        "batch_size": 12,
        "optimizer__lr": 0.01,
        "first__width": 5,
        "mlp__hidden_dim": 6,
    }
    estimator = made({"first": Narrow(), "mlp": SequentialMLP()}).set_params(**settings, random_state=0)
    exp = estimator.fit(x, y).experiment_
    phase = exp.execution_plan["train"]
    assert (phase.n_epochs, phase.input_sources[0].sampler.batch_size) == (3, 12)
    assert exp.model_graph.optimizer.opt_kwargs == {"lr": 0.01}
    nodes = {node.label: node for node in exp.model_graph.topological_nodes()}
    assert nodes["first"].output_shape[-1] == 5
    assert nodes["mlp"].model.init_args["hidden_dim"] == 6
    assert estimator.get_params()["mlp__hidden_dim"] == 6


def test_what_is_not_set_stays_as_it_was():
    x, y = samples()
    base = made({"mlp": SequentialMLP()}).set_params(random_state=0)
    before = base.fit(x, y).predict(x)
    other = clone(base).set_params(mlp__hidden_dim=2)
    other.fit(x, y)
    assert base.get_params()["mlp__hidden_dim"] == 32
    assert np.array_equal(base.fit(x, y).predict(x), before)


def test_a_container_of_modules_has_nothing_to_set():
    x, y = samples()
    estimator = made({"net": nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))})
    assert not [name for name in estimator.get_params() if name.startswith("net__")]
    search = GridSearchCV(estimator, {"optimizer__lr": [0.01, 0.1]}, cv=2).fit(x, y)
    assert search.best_params_["optimizer__lr"] in (0.01, 0.1)


def test_parameters_of_estimators_are_theirs():
    x, y = samples()
    estimator = made({"clf": LogisticRegression()}, loss=None)
    estimator.set_params(clf__C=0.25).fit(x, y)
    assert estimator.experiment_.model_graph.topological_nodes()[0].model.estimator.C == 0.25


def test_scikit_learn_searches_over_them():
    x, y = samples()
    estimator = made({"mlp": SequentialMLP(output_shape=(2,))}, "cross_entropy").set_params(random_state=0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), estimator),
        {
            "experimentclassifier__optimizer__lr": [1e-6, 0.5],
            "experimentclassifier__n_epochs": [10],
        },
        cv=3,
    ).fit(x, y)
    assert search.best_params_["experimentclassifier__optimizer__lr"] == 0.5
    assert search.best_score_ > 0.8


def test_unknown_names_are_refused_with_the_nearest():
    estimator = made({"mlp": SequentialMLP()})
    with pytest.raises(InvalidValueError, match="Did you mean 'mlp__hidden_dim'"):
        estimator.set_params(mlp__hiden_dim=3)
    with pytest.raises(InvalidValueError, match="Did you mean 'n_epochs'"):
        estimator.set_params(n_epoch=3)
    with pytest.raises(ValueError, match=r"Did you mean 'optimizer__lr'\?"):
        estimator.set_params(lr=3)


def test_a_value_that_cannot_be_is_told_by_the_fit():
    with pytest.raises(InvalidValueError, match="n_epochs"):
        made({"mlp": SequentialMLP()}).set_params(n_epochs=0).fit(*samples())


def test_a_tail_with_several_outputs_is_no_estimator():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, x):
            return {"a": self.layer(x), "b": x}

    exp = Experiment("two", ctx=ExperimentContext())
    with exp.ctx.temporary():
        x, y = samples()
        data = FeatureSet.from_dict("data", {"x": x, "y": y}, "x", "y")
        data.split_random({"train": 0.8, "test": 0.2}, seed=0)
        ModelGraph([ModelNode("two", Two(), data)], "sgd").build()
        exp.execution_plan.add_train_phase("train", split="train", losses={"two": {"a": "mse"}})
        with pytest.raises(StateError, match=r"its tail has the outputs \['a', 'b'\]"):
            exp.as_estimator()
