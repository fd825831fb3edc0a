"""What a deep copy of each thing is: independent of the original, which it leaves as it is."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from torch import nn

from modularml import (
    ConcatNode,
    Experiment,
    ExperimentCallback,
    ExperimentContext,
    FeatureSet,
    FitPhase,
    ModelGraph,
    ModelNode,
    Optimizer,
    Schedule,
)
from modularml.base.errors import StateError
from modularml.base.registration import RegistrationPolicy
from modularml.core.experiment.display_options import QUIET
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


class Lab:
    """Two branches, a merge, a head of torch and a schedule; a plan of training and evaluation."""

    def __init__(self) -> None:
        self.exp = Experiment("lab", seed=3)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 1))
        self.data = FeatureSet.from_dict("data", {"x": x, "y": y}, "x", "y")
        self.data.split_random({"train": 0.75, "test": 0.25}, seed=1)
        left = ModelNode("left", nn.Linear(3, 4), self.data)
        right = ModelNode("right", SequentialMLP(output_shape=(4,), hidden_dim=4, dropout=0.3), self.data)
        merged = ConcatNode("merged", [left, right])
        self.head = ModelNode("head", SequentialMLP(hidden_dim=4), merged)
        schedule = Schedule("StepLR", schedule_kwargs={"step_size": 1})
        optimizer = Optimizer("adam", opt_kwargs={"lr": 0.01}, schedule=schedule)
        self.graph = ModelGraph([left, right, merged, self.head], optimizer).build()
        sampler = SimpleSampler(batch_size=8, shuffle=True)
        plan = self.exp.execution_plan
        plan.add_train_phase("train", split="train", sampler=sampler, losses="mse", n_epochs=2)
        plan.add_eval_phase("eval", split="test", losses="mse")


@pytest.fixture
def lab() -> Lab:
    ExperimentContext().activate()
    lab = Lab()
    lab.exp.run(**QUIET)
    return lab


def weights_of(graph: Any) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in graph.get_optimizer_parameters().values()]


def losses_of(results: Any) -> list[Any]:
    return [results["train"].losses().data, results["eval"].losses().data]


def test_an_experiment_goes_on_apart_from_its_copy_and_alike(lab: Lab) -> None:
    copied = copy.deepcopy(lab.exp)
    assert (copied.label, len(copied.history), copied.ctx.experiment) == ("lab", 1, copied)
    assert copied.model_graph == lab.graph
    assert copied.model_graph is not lab.graph
    assert list(copied.ctx.nodes) == list(lab.exp.ctx.nodes)
    assert not set(map(id, copied.ctx.nodes.values())) & set(map(id, lab.exp.ctx.nodes.values()))
    assert copied.status().stale == []
    before = weights_of(lab.graph)
    theirs = copied.run(**QUIET)
    assert all(map(np.array_equal, weights_of(lab.graph), before))
    assert len(lab.exp.history) == 1
    assert losses_of(theirs) == losses_of(lab.exp.run(**QUIET))
    assert copied.epochs_done == lab.exp.epochs_done == {"train": 4}
    assert copied.model_graph == lab.graph


def test_the_copy_of_an_experiment_has_data_of_its_own_and_no_listeners(lab: Lab) -> None:
    heard: list[Any] = []
    lab.exp.events.subscribe(heard.append)
    copied = copy.deepcopy(lab.exp)
    copied.ctx.get_node("data").table.column("features.x.raw")[0] = 7
    assert lab.exp.status().stale == []
    assert copied.status().stale == ["train", "eval"]
    copied.run(**QUIET)
    assert heard == []
    assert ExperimentContext.get_active() is lab.exp.ctx


def test_a_running_experiment_is_not_copied(lab: Lab) -> None:
    class Copying(ExperimentCallback):
        def on_phase_start(self, *, experiment: Any, phase: Any) -> None:
            with pytest.raises(StateError, match="is running"):
                copy.deepcopy(experiment)
            self.snapshot = copy.deepcopy(experiment.model_graph)

    watch = Copying(label="copying")
    lab.exp.add_callback(watch)
    lab.exp.run_phase(lab.exp.execution_plan["train"], **QUIET)
    assert watch.snapshot != lab.graph


def test_a_graph_shares_its_data_with_its_copy_and_nothing_else(lab: Lab) -> None:
    copied = copy.deepcopy(lab.graph)
    assert copied == lab.graph
    assert lab.exp.model_graph is lab.graph
    assert copied.ctx is not lab.exp.ctx
    assert copied.ctx.get_node("data") is lab.data
    x = np.ones((2, 3))
    before = lab.graph.predict(x)
    assert np.array_equal(copied.predict(x), before)
    other = Experiment("other", ctx=copied.ctx)
    with other.ctx.temporary():
        other.execution_plan.add_train_phase("train", split="train", losses="mse", n_epochs=1)
    other.run(**QUIET)
    assert np.array_equal(lab.graph.predict(x), before)
    assert not np.array_equal(copied.predict(x), before)
    assert lab.exp.status().stale == []


def test_a_copied_graph_trains_as_the_original_would_have(lab: Lab) -> None:
    copied = copy.deepcopy(lab.graph)
    assert copied.optimizer is not None
    assert copied.optimizer.rate == lab.graph.optimizer.rate
    for graph in (copied, lab.graph):
        for parameter in graph.get_optimizer_parameters().values():
            parameter.grad = parameter.detach().clone()
        graph.optimizer.step()
        graph.optimizer.move_on()
    assert copied == lab.graph
    assert copied.optimizer.rate == lab.graph.optimizer.rate


def test_a_node_is_copied_without_disturbing_the_graph(lab: Lab) -> None:
    copied = copy.deepcopy(lab.head)
    assert copied.context is lab.exp.ctx
    assert copied.node_id != lab.head.node_id
    assert lab.exp.ctx.get_node("head") is lab.head
    copied.module.requires_grad_(False)
    lab.exp.run(**QUIET)
    copied.label = "second head"
    lab.exp.ctx.register(copied)
    lab.graph.replace_node("head", copied)
    lab.exp.execution_plan.clear().add_eval_phase("eval", split="test", losses="mse")
    lab.exp.run(**QUIET)
    assert lab.graph.tail_nodes == [copied]


def test_a_set_is_copied_with_its_splits_and_scalers(lab: Lab) -> None:
    lab.data.fit_transform("StandardScaler", domain="features", fit_to_split="train")
    copied = copy.deepcopy(lab.data)
    assert copied.table == lab.data.table
    assert copied.available_splits == ["train", "test"]
    assert copied.context is lab.exp.ctx
    copied.table.column("features.x.raw")[0] = 7
    copied.undo_all_transforms("features")
    assert lab.data.scaler_records
    assert not np.array_equal(copied.table.column("features.x.raw"), lab.data.table.column("features.x.raw"))
    assert lab.exp.ctx.get_node("data") is lab.data
    copied.label = "again"
    lab.exp.ctx.register(copied)
    assert lab.exp.ctx.get_node(copied.reference()) is copied
    assert lab.exp.ctx.get_node(lab.data.reference(rep="raw")) is lab.data


def test_a_phase_runs_where_the_original_does_with_settings_of_its_own(lab: Lab) -> None:
    train = lab.exp.execution_plan["train"]
    copied = copy.deepcopy(train)
    assert copied.ctx is lab.exp.ctx
    assert copied.input_sources[0].sampler is copied.input_sources[1].sampler
    copied.input_sources[0].sampler.batch_size = 4
    assert train.input_sources[0].sampler.batch_size == 8
    assert lab.exp.run_phase(copied, **QUIET).n_epochs == 2


def test_a_plan_a_loss_a_result_and_a_history_are_copied(lab: Lab) -> None:
    plan = copy.deepcopy(lab.exp.execution_plan)
    assert [entry.label for entry in plan] == ["train", "eval"]
    lab.exp.run_group(plan, **QUIET)
    loss = copy.deepcopy(plan["train"].losses[0])
    assert loss.context is lab.exp.ctx
    results = copy.deepcopy(lab.exp.last_run.results)
    assert losses_of(results) == losses_of(lab.exp.last_run.results)
    assert len(copy.deepcopy(lab.exp.history)) == 2


def test_an_estimator_is_copied_with_what_it_was_fitted_to() -> None:
    exp = Experiment("fit")
    x = np.arange(12.0).reshape(6, 2)
    data = FeatureSet.from_dict("data", {"x": x, "y": x.sum(axis=1)}, "x", "y")
    data.split_random({"train": 0.5, "test": 0.5}, seed=0)
    node = ModelNode("line", LinearRegression(), data)
    graph = ModelGraph([node]).build()
    exp.run_phase(FitPhase.from_split("fit", split="train"))
    copied = copy.deepcopy(graph)
    node.model.estimator.coef_[:] = 0
    assert not np.array_equal(copied.predict(x), graph.predict(x))
    assert np.allclose(copied.predict(x).ravel(), x.sum(axis=1))


THINGS: list[Callable[[Lab], Any]] = [
    lambda lab: lab.exp,
    lambda lab: lab.graph,
    lambda lab: lab.head,
    lambda lab: lab.data,
    lambda lab: lab.exp.execution_plan,
]


@pytest.mark.parametrize("policy", RegistrationPolicy.ALLOWED)
@pytest.mark.parametrize("thing", THINGS, ids=["experiment", "graph", "node", "set", "plan"])
def test_a_copy_enters_nothing_under_any_policy(lab: Lab, policy: str, thing: Callable[[Lab], Any]) -> None:
    lab.exp.ctx.set_registration_policy(policy)
    before = dict(lab.exp.ctx.nodes), lab.exp.model_graph, lab.exp.execution_plan.all
    copy.deepcopy(thing(lab))
    after = dict(lab.exp.ctx.nodes), lab.exp.model_graph, lab.exp.execution_plan.all
    assert [list(before[0]), *before[1:]] == [list(after[0]), *after[1:]]
    assert all(before[0][label] is node for label, node in after[0].items())


def test_copies_are_made_in_any_thread(lab: Lab) -> None:
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(copy.deepcopy(lab.graph)))
    thread.start()
    thread.join()
    assert made[0] == lab.graph
