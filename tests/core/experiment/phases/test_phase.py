"""What holds for every kind of phase."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from torch import nn

from modularml.base.config import from_config, to_config
from modularml.base.errors import (
    DuplicateLabelError,
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    UnknownNameError,
)
from modularml.callbacks import EarlyStopping
from modularml.core.context import ExperimentContext
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.experiment import Experiment
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.fit_phase import FitPhase
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.training.optimizer import Optimizer
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

KINDS = [TrainPhase, EvalPhase, FitPhase]


@pytest.fixture
def world(bench: Any) -> Any:
    """A trained node A, and beside it an estimator B."""
    bench.graph(bench.node("A"), bench.node("B", model=Ridge()))
    return bench


def options(kind: type) -> dict[str, Any]:
    sampler = {"sampler": SimpleSampler(batch_size=16, seed=1)} if kind is TrainPhase else {}
    return {"split": "train", **sampler}


def make(world: Any, kind: type, **changed: Any) -> Any:
    return kind.from_split(**({"label": "p", "losses": [world.loss()]} | options(kind) | changed))


def direct(world: Any, kind: type, **changed: Any) -> Any:
    phase = make(world, kind)
    return kind(**({"label": "p", "input_sources": phase.input_sources, "losses": phase.losses} | changed))


@pytest.mark.parametrize("kind", KINDS)
def test_from_split_binds_every_active_head(world: Any, kind: type) -> None:
    phase = make(world, kind)
    assert [binding.node_ref.node_label for binding in phase.input_sources] == ["A", "B"]
    assert {binding.split for binding in phase.input_sources} == {"train"}
    assert phase.active_nodes == [world.ctx.get_node(label).node_id for label in "AB"]
    assert phase.ctx is world.ctx
    assert repr(phase) == f"{kind.__name__}(label='p')"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"split": "trian"}, InvalidValueError, "Unknown split 'trian' in FeatureSet 'Sensor'.*mean 'train'"),
        ({"split": None}, InvalidValueError, "Unknown split None .*without a split takes all rows"),
        ({"active_nodes": ["C"]}, InvalidValueError, "Unknown active node 'C'. Available: 'A', 'B'"),
        ({"active_nodes": ["Sensor"]}, InvalidValueError, "Unknown active node 'Sensor'"),
        ({"active_nodes": []}, InvalidValueError, "active_nodes is empty; None takes all nodes"),
        ({"active_nodes": "A"}, InvalidTypeError, "active_nodes must be a list of nodes, got 'A'"),
        ({"losses": "mse"}, InvalidValueError, "one loss for the tails .* name its node"),
        ({"losses": ["mse"]}, InvalidValueError, "one loss for the tails .* name its node"),
        ({"losses": [3]}, InvalidTypeError, "a loss is an AppliedLoss, or .* got 3"),
        ({"callbacks": [print]}, InvalidTypeError, "callback.* must be .*Callback"),
        ({"label": ""}, InvalidValueError, "label of an? .* must be printable"),
        ({"label": 3}, InvalidTypeError, "label of an? .* must be a string, got 3"),
    ],
)
def test_a_mistake_is_told_where_it_is_made(
    world: Any, kind: type, changed: Any, error: Any, match: str
) -> None:
    with pytest.raises(error, match=match) as caught:
        make(world, kind, **changed)
    assert kind.__name__ in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_bindings_are_as_many_as_heads(world: Any, kind: type) -> None:
    bindings = make(world, kind).input_sources
    for wrong, match in [
        ([], r"(?s)2 faults.*'A' needs an InputBinding for 'Sensor'.*'B' needs"),
        (bindings[:1], "'B' needs an InputBinding for 'Sensor'"),
        ([*bindings, bindings[0]], "'A' has 2 bindings for 'Sensor'"),
    ]:
        with pytest.raises(InvalidValueError, match=match):
            direct(world, kind, input_sources=wrong)
    for wrong in ("A", ["A"], 3):
        with pytest.raises(InvalidTypeError, match="input_sources must"):
            direct(world, kind, input_sources=wrong)
    with pytest.raises(
        InvalidValueError, match="Unknown node of an InputBinding 'B'. Available: 'A'|no active node"
    ):
        direct(world, kind, active_nodes=["A"])


@pytest.mark.parametrize("kind", KINDS)
def test_losses_have_labels_of_their_own_and_active_nodes(world: Any, kind: type) -> None:
    with pytest.raises(DuplicateLabelError, match="two losses have the label 'mse'; give each its own"):
        make(world, kind, losses=[world.loss(), world.loss()])
    world.ctx.register(other := world.node("C", register=False))
    with pytest.raises(InvalidValueError, match="Unknown node of the loss 'mse': 'C'. Available: 'A', 'B'"):
        make(world, kind, losses=[world.loss(other)])


def test_all_faults_are_told_together(world: Any) -> None:
    bindings = [InputBinding.for_evaluation(node="A", split="train")]
    with pytest.raises(InvalidValueError) as caught:
        TrainPhase(
            "p",
            input_sources=bindings,
            losses=[],
            n_epochs=1.5,
            result_recording="lots",  # type: ignore[arg-type]
        )
    for part in (
        "TrainPhase 'p' has 5 faults",
        "the head node 'B' needs an InputBinding",
        "n_epochs must be an int of at least 1, got 1.5",
        "Unknown result_recording 'lots'. Available: 'all', 'last', 'none'",
        "at least one loss",
        "the binding of 'A' has no sampler",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_graph_there_is_no_phase(kind: type) -> None:
    with (
        ExperimentContext().temporary(),
        pytest.raises(StateError, match="'p': the active experiment has no Model"),
    ):
        kind.from_split("p", losses=[], **options(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_heads_of_several_featuresets_get_the_split_of_their_own(bench: Any, kind: type) -> None:
    more = bench.data("More", seed=1)
    bench.graph(bench.node("A"), bench.node("B", bench.ref(more), Ridge()))
    options = {"losses": [bench.loss()]} if kind is TrainPhase else {}
    active = ["A"] if kind is TrainPhase else None
    phase = kind.from_split("p", split="train", active_nodes=active, **options)
    assert [b.upstream_ref.node_label for b in phase.input_sources] == ["Sensor", "More"][: 2 - bool(active)]
    more.clear_splits()
    more.split_random({"fit": 0.5, "rest": 0.5})
    with pytest.raises(
        InvalidValueError, match="Unknown split 'train' in FeatureSet 'More'.*'fit'.*an InputBinding for each"
    ):
        kind.from_split("q", split="train", **options)


def test_heads_of_several_featuresets_are_in_step(bench: Any) -> None:
    more = bench.data("More", seed=1)
    bench.graph(bench.node("A"), bench.node("B", bench.ref(more)))
    phase = bench.train({"A": "mse", "B": "mse"}, sampler=SimpleSampler(batch_size=16, shuffle=True))
    _, results = bench.drain(phase)
    at = {
        label: np.searchsorted(np.sort(rows), rows)
        for label, rows in ((name, results.stacked_tensors(name, "rows")) for name in "AB")
    }
    assert np.array_equal(at["A"], at["B"])


def test_active_nodes_bring_those_that_feed_them(bench: Any) -> None:
    bench.graph(*bench.chain(nn.Linear(4, 2), nn.Linear(2, 2), nn.Linear(2, 1)))
    with pytest.raises(
        InvalidValueError, match=r"(?s)need 'A', which feeds them.*need 'B', which feeds them"
    ):
        bench.evaluate(active_nodes=["C"])
    phase = bench.evaluate(
        [bench.loss("A", inputs=["outputs", "outputs"])], active_nodes=["B", bench.ctx.get_node("A").node_id]
    )
    assert [bench.ctx.get_node(node).label for node in phase.active_nodes] == ["A", "B"]
    _, results = bench.drain(phase)
    assert set(results.recording.tensors[0].outputs) == {"A", "B"}


# Configurations.


class Quiet(Callback):
    pass


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        *((kind, {}) for kind in KINDS),
        *((kind, {"callbacks": [Quiet(execution_order=2), Quiet("other")]}) for kind in KINDS),
        *((kind, {"active_nodes": ["B", "A"]}) for kind in KINDS),
        (EvalPhase, {"batch_size": np.int64(7)}),
        (TrainPhase, {"n_epochs": np.int64(7), "result_recording": "last", "nan": "warn", "compile": True}),
        (FitPhase, {"freeze_after_fit": False}),
    ],
)
def test_what_a_configuration_describes_is_the_same_phase(world: Any, kind: type, changed: Any) -> None:
    phase = make(world, kind, **changed)
    twin = from_config(to_config(phase))
    assert type(twin) is kind
    assert twin == phase
    assert twin.get_config() == phase.get_config()
    assert twin != make(world, kind, label="other")
    tree = phase.get_config()
    if "callbacks" not in changed:  # a user's class stands there itself
        assert json.loads(json.dumps(tree)) == json.loads(json.dumps(twin.get_config()))


def test_heads_keep_sharing_a_sampler_without_a_seed(bench: Any) -> None:
    bench.graph(bench.node("A"), bench.node("B"))
    losses = [bench.loss("A", label="a"), bench.loss("B", label="b")]
    twin = from_config(to_config(bench.train(losses, sampler=SimpleSampler(batch_size=8, shuffle=True))))
    assert len({id(binding.sampler) for binding in twin.input_sources}) == 1
    _, results = bench.drain(twin)
    (record,) = results.recording.tensors
    assert np.array_equal(record.rows["A"], record.rows["B"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_is_for_good(world: Any, kind: type) -> None:
    with pytest.raises(AttributeError):
        make(world, kind).label = "other"


# The graph may change after the definition.


@pytest.mark.parametrize("kind", KINDS)
def test_a_phase_follows_nodes_and_data_that_are_renamed(world: Any, kind: type) -> None:
    phase = make(world, kind, active_nodes=["A", "B"])
    config = phase.get_config()
    world.ctx.get_node("A").label = "Net"
    world.fs.label = "Cell"
    if kind is not FitPhase:
        world.drain(FitPhase.from_split("fit", split="train"))
    _, results = world.drain(phase)
    assert results.recording.loss_nodes == {"mse": "Net"}
    assert phase.diagram().mermaid.count("'Net'") == 1
    assert phase.get_config() != config
    assert from_config(to_config(phase)) == phase


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_graph_no_longer_fits_is_told_before_it_runs(world: Any, kind: type) -> None:
    phase = make(world, kind)
    with world.ctx.use_policy("overwrite"):
        world.node("C")
        world.graph()
    with pytest.raises(InvalidValueError, match=rf"{kind.__name__} 'p'.*'C' needs an InputBinding|faults"):
        phase.execute(world.scope())


@pytest.mark.parametrize("kind", KINDS)
def test_data_that_are_gone_are_told_before_it_runs(world: Any, kind: type) -> None:
    world.drain(make(world, FitPhase))
    phase = make(world, kind)
    world.ctx.remove_node(label="Sensor")
    with pytest.raises((GraphError, RuntimeError), match="Sensor"):
        phase.execute(world.scope())


def test_a_phase_belongs_to_its_experiment(world: Any) -> None:
    phase = make(world, EvalPhase)
    with (
        ExperimentContext().temporary(),
        pytest.raises(InvalidValueError, match="defined in another experiment"),
    ):
        Experiment("other").run_phase(phase)


def test_an_unbuilt_graph_is_refused(bench: Any) -> None:
    ModelGraph([bench.node("A", model=SequentialMLP())], Optimizer("sgd"))
    for phase in (bench.train(), bench.evaluate([bench.loss()])):
        with pytest.raises(
            StateError, match=r"Phase '\w+': The nodes \['A'\] are not built; call graph.build"
        ):
            phase.execute(bench.scope())


def test_an_estimator_that_is_not_fitted_is_named_before_it_runs(world: Any) -> None:
    with pytest.raises(StateError, match="EvalPhase 'p': the estimator of 'B' is not fitted yet; run"):
        make(world, EvalPhase).execute(world.scope())
    world.drain(FitPhase.from_split("fit", split="train"))
    world.drain(make(world, EvalPhase))


def test_callbacks_are_added_and_removed_in_their_order(bench: Any) -> None:
    bench.graph(bench.node("A"))
    phase = bench.train()
    late, early = Callback(), EarlyStopping(monitor="mse", execution_order=-1)
    phase.add_callback(late)
    phase.add_callback(early)
    assert phase.callbacks == [early, late]
    with pytest.raises(UnknownNameError, match="Unknown callback 'Calback' in TrainPhase.*'Callback'"):
        phase.remove_callback("Calback")
    with pytest.raises(InvalidTypeError, match="callbacks must be of class Callback, got 3"):
        phase.add_callback(3)  # type: ignore[arg-type]
    phase.remove_callback("Callback")
    phase.remove_callback(early)
    assert phase.callbacks == []


def test_a_list_of_callbacks_that_was_changed_is_checked_before_a_run(bench: Any) -> None:
    bench.graph(bench.node("A"))
    phase = bench.train()
    phase.callbacks.extend([Callback(), EarlyStopping(monitor="mse", execution_order=-1)])
    bench.exp.run_phase(phase)
    assert [callback.execution_order for callback in phase.callbacks] == [-1, 0]
    phase.callbacks.append(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="callbacks must be of class Callback, got 3"):
        bench.exp.run_phase(phase)
