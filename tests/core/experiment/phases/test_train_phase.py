import copy
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.preprocessing import OrdinalEncoder
from torch import nn

from modularml.base.config import same_tree
from modularml.base.errors import InvalidTypeError, InvalidValueError, ModularMLWarning, StateError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.experiment import Experiment
from modularml.core.experiment.phases.train_phase import ResultRecording, TrainPhase
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.optimizer import Optimizer
from modularml.models import ScikitModelWrapper
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


def test_binding_by_hand_and_by_split_is_the_same(bench: Any) -> None:
    bench.graph(bench.node("A"))
    sampler = SimpleSampler(batch_size=16, shuffle=True, seed=5)
    binding = InputBinding.for_training(node="A", sampler=sampler, split="train")
    by_hand = TrainPhase("train", input_sources=[binding], losses=[bench.loss()], n_epochs=2)
    assert by_hand == bench.train(n_epochs=2)
    assert by_hand.n_epochs == 2
    assert by_hand.result_recording == ResultRecording.ALL == "all"


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        (
            {"n_epochs": 0},
            InvalidValueError,
            "TrainPhase 'train': n_epochs must be an int of at least 1, got 0",
        ),
        ({"n_epochs": 2.0}, InvalidTypeError, "TrainPhase 'train': n_epochs must be an int"),
        ({"nan": "rise"}, InvalidValueError, "Unknown nan 'rise'.*mean 'raise'"),
        (
            {"compile": "yes"},
            InvalidTypeError,
            "TrainPhase 'train': compile must be True or False, got 'yes'",
        ),
        ({"result_recording": "al"}, InvalidValueError, "Unknown result_recording 'al'.*mean 'all'"),
        ({"losses": []}, InvalidValueError, "TrainPhase 'train': it needs at least one loss"),
        ({"losses": "mze"}, InvalidValueError, "TrainPhase 'train': Unknown loss 'mze'.*mean 'mse'"),
    ],
)
def test_options_are_checked(bench: Any, changed: Any, error: Any, match: str) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(error, match=match):
        bench.train(**changed)


def test_losses_and_optimizers_by_name_are_those_at_length(bench: Any) -> None:
    bench.graph(bench.node("A"), optimizer=None)
    bench.ctx.remove_model_graph()
    ModelGraph(optimizer="sgd").build()
    phase = bench.train("mse")
    assert phase == bench.train([bench.loss()]) == bench.train({"A": "mse"})
    _, results = bench.drain(phase)
    assert results.loss_labels == ["mse"]
    assert TrainPhase.from_config(phase.get_config()) == phase


def test_only_watching_trains_nothing(bench: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(InvalidValueError, match="it needs at least one loss to minimize"):
        bench.train([bench.loss(trainable=False)])


def test_estimators_alone_are_told_to_be_fitted(bench: Any) -> None:
    bench.graph(bench.node("A", model=Ridge()), optimizer=None)
    with pytest.raises(InvalidValueError, match="no active node holds a torch model to train; .* FitPhase"):
        bench.train()


def test_weights_that_do_not_reach_an_estimator_are_told(bench: Any) -> None:
    model = ScikitModelWrapper(SGDRegressor(), training_mode="partial_fit")
    bench.graph(bench.node("A", bench.ref(targets=["y", "kind"]), model), optimizer=None)
    inputs = ["outputs", "targets.y"]
    for weights in ({"sample_weight": "targets.kind"}, {"class_weight": {0: 2.0}}):
        with pytest.raises(InvalidValueError, match="of 'A' learns by itself, without the weights"):
            bench.train([bench.loss(inputs=inputs, **weights)])
        bench.train([bench.loss(inputs=inputs, trainable=False, **weights)])


def test_a_sampler_is_needed(bench: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(
        InvalidValueError, match=r"binding of 'A' has no sampler; make it with InputBinding.for_train"
    ):
        TrainPhase(
            "p",
            input_sources=[InputBinding.for_evaluation(node="A", split="train")],
            losses=[bench.loss()],
        )
    with pytest.raises(InvalidTypeError, match="sampler must be a Sampler"):
        TrainPhase.from_split("p", split="train", sampler=32, losses=[bench.loss()])  # type: ignore[arg-type]


def test_a_node_that_no_loss_reaches_is_named_unless_it_is_frozen_or_left_out(bench: Any) -> None:
    nodes = bench.chain(nn.Linear(4, 1), nn.Linear(1, 1))
    bench.graph(*nodes)
    with pytest.raises(InvalidValueError, match="no loss reaches the node 'B': put a loss on it"):
        bench.train()
    assert bench.train(active_nodes=["A"]).active_nodes == [nodes[0].node_id]
    nodes[1].freeze()
    bench.drain(bench.train())


def test_without_an_optimizer_of_the_graph_each_node_needs_a_loss_and_is_told_why(bench: Any) -> None:
    first = bench.node("A", optimizer=Optimizer("sgd"))
    bench.graph(first, bench.node("B", first, nn.Linear(1, 1), optimizer=Optimizer("sgd")), optimizer=None)
    with pytest.raises(
        InvalidValueError, match=r"the node 'A'.*graph has no optimizer.*trains them together"
    ):
        bench.train([bench.loss("B")])


def test_when_everything_is_frozen_there_is_nothing_to_train(bench: Any) -> None:
    graph = bench.graph(bench.node("A"))
    phase = bench.train()
    graph.freeze()
    with pytest.raises(InvalidValueError, match="TrainPhase 'train': there is nothing to train"):
        bench.exp.run_phase(phase)
    graph.unfreeze()
    bench.exp.run_phase(phase)


class Freezes(Callback):
    """Freezes a node, in one hook of one epoch."""

    def __init__(self, node: Any, hook: str, epoch: int = 0) -> None:
        super().__init__()
        self.node, self.hook, self.epoch = node, hook, epoch

    def on_phase_start(self, **_: Any) -> None:
        self._act("on_phase_start", 0)

    def on_epoch_start(self, *, exec_ctx: Any, **_: Any) -> None:
        self._act("on_epoch_start", exec_ctx.epoch_idx)

    def on_epoch_end(self, *, exec_ctx: Any, **_: Any) -> None:
        self._act("on_epoch_end", exec_ctx.epoch_idx)

    def _act(self, hook: str, epoch: int) -> None:
        if (hook, epoch) == (self.hook, self.epoch):
            self.node.freeze()


@pytest.mark.parametrize(
    ("hook", "epoch"), [("on_phase_start", 0), ("on_epoch_start", 1), ("on_epoch_end", 1)]
)
def test_a_node_that_is_frozen_while_it_is_trained_is_not_trained_on_in_silence(
    bench: Any, hook: str, epoch: int
) -> None:
    nodes = bench.chain(nn.Linear(4, 2), nn.Linear(2, 1))
    bench.graph(*nodes)
    phase = bench.train([bench.loss("B")], n_epochs=3, callbacks=[Freezes(nodes[0], hook, epoch)])
    with pytest.raises(StateError, match=r"\['A'\] were frozen or unfrozen while it trains.*two phases"):
        bench.exp.run_phase(phase)


def test_a_node_may_be_frozen_for_what_comes_next(bench: Any) -> None:
    nodes = bench.chain(nn.Linear(4, 2), nn.Linear(2, 1))
    bench.graph(*nodes)
    freezes = Freezes(nodes[0], "on_epoch_end", 1)
    bench.exp.run_phase(bench.train([bench.loss("B")], n_epochs=2, callbacks=[freezes]))
    before = copy.deepcopy(nodes[0].module.state_dict())
    bench.exp.run_phase(bench.train([bench.loss("B")]))
    assert all(torch.equal(value, before[name]) for name, value in nodes[0].module.state_dict().items())


def test_text_targets_are_learnt_as_the_error_says() -> None:
    exp = Experiment("words")
    x = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    fs = FeatureSet.from_dict(
        "d", {"x": x, "y": np.array(["cat", "dog", "eel"])[np.arange(30) % 3]}, "x", "y"
    )
    fs.split_random({"train": 0.5, "test": 0.5})
    with pytest.raises(InvalidTypeError) as told:
        ModelGraph.chain(fs, {"net": nn.Linear(4, 3)}, "sgd")
    advised = re.search(r"with (fit_transform\(.*\)), and", str(told.value))
    assert advised is not None
    eval(f"fs.{advised[1]}", {"fs": fs, "OrdinalEncoder": OrdinalEncoder})
    graph = ModelGraph.chain(fs.reference(rep="transformed"), {"net": nn.Linear(4, 3)}, "sgd")
    exp.run_phase(TrainPhase.from_split("train", split="train", losses="cross_entropy", metrics="accuracy"))
    assert graph.predict(x).shape == (30, 1, 3)


# Through an experiment.


def trained(n_runs: int, n_epochs: int, sampler: SimpleSampler) -> tuple[dict[str, Any], np.ndarray]:
    """Weights, optimizer and losses after some runs of some epochs, with shuffle and dropout."""
    torch.manual_seed(0)
    exp = Experiment("halves")
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((50, 4)), "y": rng.standard_normal(50)}
    fs = FeatureSet.from_dict("S", data, "x", "y")
    fs.split_random({"train": 0.9, "test": 0.1})
    node = ModelNode("A", SequentialMLP(output_shape=(1, 1), dropout=0.3), fs)
    graph = ModelGraph([node], Optimizer("adam", opt_kwargs={"lr": 0.01})).build()
    losses = [AppliedLoss("mse", node)]
    phase = TrainPhase.from_split("t", split="train", sampler=sampler, losses=losses, n_epochs=n_epochs)
    found = [exp.run_phase(phase).batch_losses() for _ in range(n_runs)]
    return graph.get_state(), np.concatenate(found)


@pytest.mark.parametrize("seed", [3, None])
def test_ten_epochs_are_five_and_five_bit_for_bit(bench: Any, seed: int | None) -> None:
    sampler = SimpleSampler(batch_size=16, shuffle=True, seed=seed)
    once, losses = trained(1, 10, sampler)
    twice, both = trained(2, 5, sampler)
    assert same_tree(once, twice)
    assert np.array_equal(losses, both)
    assert not same_tree(once, trained(1, 9, sampler)[0])


def test_every_epoch_shuffles_anew_and_a_run_goes_on_where_the_last_one_stopped(bench: Any) -> None:
    bench.graph(bench.node("A"))
    phase = bench.train(n_epochs=2)
    orders = []
    for _ in range(2):
        results = bench.exp.run_phase(phase)
        orders += [tuple(record.rows["A"].tolist()) for record in results.recording.tensors]
    assert len(set(orders)) == 4
    assert orders == [tuple(np.concatenate(bench.rows(phase, epoch)).tolist()) for epoch in range(4)]


def test_what_runs_is_looked_up_in_no_active_context(bench: Any) -> None:
    bench.graph(bench.node("A"))
    module = bench.ctx.get_node("A").module
    before, phase = copy.deepcopy(module), bench.train(n_epochs=3)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(bench.exp.run_phase, phase).result()
    assert not torch.equal(before.weight, module.weight)
    with ExperimentContext().temporary():
        assert bench.exp.run_phase(phase).n_epochs == 3


@pytest.mark.parametrize("nan", ["raise", "warn", "allow"])
def test_values_that_are_not_finite_stop_a_phase_before_its_first_step_unless_it_says_otherwise(
    bench: Any, nan: str
) -> None:
    fs = bench.data("Bad")
    fs.table.column("features.x.raw")[fs.get_split("train").rows[0]] = np.inf
    node = bench.node("A", bench.ref(fs))
    bench.graph(node)
    before = node.model.get_weights()
    phase = bench.train(nan=nan)
    assert phase.get_config()["nan"] == nan
    text = "'features.x.raw' of split 'train' holds 4 values that are NaN or infinite"
    if nan == "raise":
        with pytest.raises(InvalidValueError, match=text):
            bench.drain(phase)
        assert all(np.array_equal(before[name], w) for name, w in node.model.get_weights().items())
        return
    with pytest.warns(ModularMLWarning) as caught:
        bench.drain(phase)
    assert sum(text in str(warning.message) for warning in caught) == (nan == "warn")


def test_without_a_sampler_the_rows_are_shuffled_and_drawn_in_batches(bench: Any) -> None:
    bench.graph(bench.node("A"))
    phase = TrainPhase.from_split("p", split="train", losses=[bench.loss()])
    sampler = phase.input_sources[0].sampler
    assert (sampler.batch_size, sampler.shuffle) == (32, True)
    sized = TrainPhase.from_split("q", split="train", batch_size=8, losses=[bench.loss()])
    assert sized.input_sources[0].sampler.batch_size == 8
    with pytest.raises(InvalidValueError, match="batch_size=8 goes without a sampler"):
        TrainPhase.from_split("r", split="train", batch_size=8, sampler=sampler, losses=[bench.loss()])


def test_heads_of_different_lengths_end_as_the_schedule_says(bench: Any) -> None:
    bench.graph(bench.node("A"), bench.node("B", bench.ref(bench.data("Long", n=200))))
    bindings = [
        InputBinding.for_training(node=label, split="train", sampler=SimpleSampler(batch_size=16))
        for label in "AB"
    ]

    def n_batches(**options: Any) -> int:
        phase = TrainPhase("p", input_sources=bindings, losses={"A": "mse", "B": "mse"}, **options)
        return len(bench.drain(phase)[1].batch_losses("mse/A"))

    assert (n_batches(), n_batches(batch_schedule="zip_cycle")) == (3, 10)
    with pytest.raises(InvalidValueError, match="batch_schedule.*'zip_strict'"):
        n_batches(batch_schedule="alternate")


def test_a_batch_size_of_zero_is_refused(bench: Any) -> None:
    bench.graph(bench.node("A"))
    with pytest.raises(InvalidValueError, match="batch_size"):
        TrainPhase.from_split("train", split="train", batch_size=0, losses="mse")
