"""Attributes that nothing reads are refused where they are set, and what may be set takes effect."""

import copy
import inspect
import pickle
import re
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

import modularml
from modularml import (
    Accelerator,
    AppliedLoss,
    Callback,
    Checkpointing,
    ConcatNode,
    EarlyStopping,
    EvalPhase,
    Evaluation,
    Experiment,
    FeatureSet,
    FitPhase,
    InputBinding,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    PhaseGroup,
    Schedule,
    TrainPhase,
)
from modularml.base.errors import (
    InvalidAttributeError,
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    OptimizerError,
)
from modularml.core.experiment.history import ExperimentRun, History
from modularml.core.experiment.results import PhaseResults
from modularml.models import ScikitModelWrapper
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


@pytest.fixture
def made() -> dict[str, Any]:
    exp = Experiment("made", registration_policy="raise")
    fs = FeatureSet.from_dict("fs", {"x": np.ones((8, 3), np.float32), "y": np.ones(8)}, "x", "y")
    fs.split_random({"train": 0.5, "test": 0.5})
    node = ModelNode("node", nn.Linear(3, 1), fs)
    graph = ModelGraph([node], Optimizer("sgd", opt_kwargs={"lr": 0.1})).build()
    phase = TrainPhase.from_split("train", split="train", losses="mse")
    sampler = phase.input_sources[0].sampler
    other = ModelNode("other", nn.Linear(3, 1), fs)
    return {
        "exp": exp,
        "fs": fs,
        "node": node,
        "graph": graph,
        "phase": phase,
        "sampler": sampler,
        "loss": phase.losses[0],
        "stopping": EarlyStopping(),
        "checkpointing": Checkpointing(),
        "merge": ConcatNode("merge", [node, other]),
    }


@pytest.mark.parametrize(
    ("what", "name", "match"),
    [
        ("node", "optimiser", "mean 'optimizer'"),
        ("graph", "optimiser", "mean 'optimizer'"),
        ("phase", "n_epoch", "mean 'n_epochs'"),
        ("phase", "batchschedule", "mean 'batch_schedule'"),
        ("sampler", "batchsize", "mean 'batch_size'"),
        ("exp", "acelerator", "mean 'accelerator'"),
        ("fs", "lable", "mean 'label'"),
        ("exp", "zzz", "no 'zzz' to set. It has: .*label"),
        ("phase", "active_nodes", "make a new TrainPhase"),
        ("node", "model", r"graph.replace_node\(node, other\)"),
        ("node", "node_id", "others know it by that"),
        ("node", "upstream_ref", "set_upstream_ref"),
        ("node", "is_frozen", "cannot be set: it follows"),
        ("graph", "ctx", "make a new ModelGraph"),
        ("exp", "exp_callbacks", "add_callback"),
        ("exp", "checkpointing", "set_checkpointing"),
    ],
)
def test_what_nothing_reads_is_refused(made: dict[str, Any], what: str, name: str, match: str) -> None:
    before = vars(made[what]).get(name)
    with pytest.raises(InvalidAttributeError, match=match):
        setattr(made[what], name, 3)
    assert vars(made[what]).get(name) is before


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Optimizer("adam"), "opt_kwargs"),
        (Loss("mse"), "loss"),
        (Schedule("cosine_annealing", schedule_kwargs={"T_max": 3}), "schedule_kwargs"),
    ],
)
def test_what_was_made_use_of_already_is_refused(thing: Any, name: str) -> None:
    with pytest.raises(InvalidAttributeError, match=f"'{name}' of .* make a new {type(thing).__name__}"):
        setattr(thing, name, {"lr": 1.0})


def test_an_optimizer_has_no_rate_to_set() -> None:
    with pytest.raises(InvalidAttributeError, match="has no 'lr' to set. It has: schedule"):
        Optimizer("adam").lr = 0.1  # type: ignore[attr-defined]


def test_what_may_be_set_takes_effect_in_the_next_phase(made: dict[str, Any]) -> None:
    exp, graph, phase = made["exp"], made["graph"], made["phase"]
    exp.run_phase(phase)
    phase.n_epochs = 3
    graph.optimizer.schedule = Schedule("step", schedule_kwargs={"step_size": 1})
    rates = exp.run_phase(phase).metrics()["lr"]
    assert rates == pytest.approx([0.1, 0.01, 0.001])
    graph.optimizer = "adam"
    exp.run_phase(phase)
    assert graph.optimizer.name == "adam" and graph.optimizer.is_built


def test_what_may_be_set_is_checked_at_the_line(made: dict[str, Any]) -> None:
    with pytest.raises(OptimizerError, match="mean 'adam'"):
        made["graph"].optimizer = "adma"
    with pytest.raises(OptimizerError, match="'cosine"):
        made["graph"].optimizer.schedule = "cosine_anealing"
    with pytest.raises(InvalidValueError, match="n_epochs"):
        made["phase"].n_epochs = 0


@pytest.mark.parametrize(
    ("what", "name", "value", "match"),
    [
        ("node", "accelerator", "cpux", "mean 'cpu'"),
        ("node", "upstream_refs", [3], "must be a FeatureSet, a reference"),
        ("graph", "label", "", "non-empty"),
        ("phase", "losses", "msee", "TrainPhase 'train': Unknown loss 'msee'.*mean 'mse'"),
        ("phase", "callbacks", 3, "TrainPhase 'train': callbacks must be a list"),
        ("phase", "input_sources", [3], "TrainPhase 'train': input_sources must hold InputBinding"),
        ("phase", "metrics", ["acuracy"], "TrainPhase 'train': Unknown metric.*mean 'accuracy'"),
        ("phase", "checkpointing", 3, "must be a Checkpointing"),
        ("phase", "accelerator", "cpux", "mean 'cpu'"),
        ("phase", "clip_norm", -1, "TrainPhase 'train': clip_norm must be a positive number"),
        ("phase", "nan", "rise", "TrainPhase 'train': Unknown nan"),
        ("loss", "weight", "1", "Loss 'mse' on 'node': weight must be a number"),
        ("loss", "inputs", ["output"], "mean 'outputs'"),
        ("loss", "loss", "msee", "mean 'mse'"),
        ("exp", "accelerator", 3, "An accelerator is"),
        ("exp", "results_config", "out", "results_config must be a ResultsConfig"),
        ("stopping", "patience", 0, "EarlyStopping: patience must be"),
        ("checkpointing", "every_n", 0, "Checkpointing: every_n must be"),
        ("merge", "target_strategy", "frist", "mean 'first'"),
        ("merge", "pad_mode", "mirror", "ConcatNode 'merge': Unknown pad_mode"),
    ],
)
def test_an_argument_that_is_assigned_is_checked_as_by_the_constructor(
    made: dict[str, Any], what: str, name: str, value: Any, match: str
) -> None:
    before = vars(made[what]).get(name)
    with pytest.raises(ModularMLError, match=match):
        setattr(made[what], name, value)
    assert vars(made[what]).get(name) is before


def test_an_argument_that_is_assigned_means_what_it_means_to_the_constructor(made: dict[str, Any]) -> None:
    made["node"].accelerator = made["exp"].accelerator = "cpu"
    assert made["node"].accelerator == made["exp"].accelerator == Accelerator("cpu")
    phase, node, merge = made["phase"], made["node"], made["merge"]
    phase.losses, phase.metrics, phase.checkpointing = {"node": "mae"}, "r2", Checkpointing()
    assert [loss.label for loss in phase.losses] == ["mae"]
    phase.losses[0].inputs = {"input": "outputs", "target": "targets"}
    phase.callbacks = [made["stopping"], EarlyStopping(monitor="mae", execution_order=0)]
    assert [callback.execution_order for callback in phase.callbacks] == [0, 1]
    made["stopping"].monitor, made["stopping"].patience = "r2", 2
    results = made["exp"].run_phase(phase)
    assert (results.loss_labels, results.metric_names()) == (["mae"], ["r2"])
    assert len(phase.checkpointing.saved_keys) == 1
    merge.target_strategy = node
    assert merge.target_strategy == merge.upstream_refs[0]
    merge.upstream_refs = [merge.upstream_refs[1], node]
    assert [ref.node_label for ref in merge.upstream_refs] == ["other", "node"]


def test_an_object_that_is_assigned_an_argument_keeps_the_rest(made: dict[str, Any]) -> None:
    stopping = made["stopping"]
    stopping.set_state(stopping.get_state() | {"best": 0.5, "best_epoch": 3})
    stopping.min_delta = 1
    assert (stopping.best_value, stopping.best_epoch, stopping.min_delta) == (0.5, 3, 1.0)


def test_classes_of_ones_own_and_torch_modules_take_any() -> None:
    class Counting(Callback):
        def on_epoch_end(self, **_: Any) -> None:
            self.n = getattr(self, "n", 0) + 1

    counting, network = Counting(), SequentialMLP()
    counting.on_epoch_end()
    counting.other = network.other = 3  # type: ignore[attr-defined]
    assert (counting.n, counting.other, network.other) == (1, 3, 3)


def test_copies_and_pickles_are_made_as_before() -> None:
    sampler = SimpleSampler(batch_size=3)
    assert copy.deepcopy(sampler) == pickle.loads(pickle.dumps(sampler)) == sampler
    sampler.batch_size = 4
    assert sampler.batch_size == 4


# What is not there, and what others call something that is.


@pytest.fixture
def names() -> dict[str, Any]:
    """What the sentences speak of: all that is public, and an experiment that ran its plan."""
    exp = Experiment("first", registration_policy="raise")
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    fs = FeatureSet.from_dict("data", {"x": x, "y": x.sum(1)}, "x", "y")
    fs.split_random({"train": 0.5, "test": 0.5})
    models = {"scaler": StandardScaler(), "mlp": SequentialMLP(hidden_dim=2)}
    graph = ModelGraph.chain(fs, models, optimizer="sgd")
    watch = Evaluation.from_split(split="test", losses="mse")
    exp.execution_plan.add_fit_phase("fit", split="train")
    exp.execution_plan.add_train_phase("train", split="train", losses="mse", callbacks=[watch])
    exp.run(show_training_progress=False)
    own = {
        "exp": exp,
        "fs": fs,
        "graph": graph,
        "node": graph.nodes["scaler"],
        "phase": exp.execution_plan["train"],
        "new": {"x": x},
    }
    run = {"run": exp.last_run, "results": exp.last_run.results["train"]}  # type: ignore[union-attr]
    public = {name: getattr(modularml, name) for name in modularml.__all__}
    return public | {one.__name__: one for one in (SimpleSampler, LogisticRegression)} | own | run


ELSEWHERE = [
    pytest.param(cls, names.split(), sentence, id=f"{cls.__name__}-{names.split()[0]}")
    for cls in (
        Experiment,
        ModelGraph,
        ModelNode,
        ScikitModelWrapper,
        TrainPhase,
        EvalPhase,
        FitPhase,
        PhaseResults,
        ExperimentRun,
        FeatureSet,
        Evaluation,
        PhaseGroup,
        History,
        ModelNode,
        AppliedLoss,
        InputBinding,
        EarlyStopping,
    )
    for names, sentence in cls._elsewhere.items()
]


@pytest.mark.parametrize(("cls", "others", "sentence"), ELSEWHERE)
def test_what_others_call_so_is_where_the_sentence_says(
    names: dict[str, Any], cls: Any, others: list[str], sentence: str
) -> None:
    taken = {*dir(cls), *inspect.signature(cls).parameters}
    assert not taken & set(others)
    found = re.search(r": (.+)\.$", sentence)
    assert found is not None
    code = found[1]
    exec(f"dict({code})" if re.match(r"\w+=", code) else code, names)


@pytest.mark.parametrize(
    ("read", "match"),
    [
        ("exp.graph", "^Experiment has no 'graph'. It is here: exp.model_graph.$"),
        ("exp.predict", "exp.model_graph.predict"),
        ("phase.epochs", "^TrainPhase has no 'epochs'. Did you mean 'n_epochs'?"),
        ("results.loss", "results.epoch_losses"),
        ("run.results.train", r"it is here: results\['train'\]"),
        ("graph.nodes['mlp'].create_input_binding", "InputBinding.for_training"),
        ("results.execution_contexts", r"results.batches\('mlp'\)"),
        ("graph.qqqq", "^ModelGraph has no 'qqqq'.$"),
        ("graph.nodes['scaler'].estimator", r"graph.nodes\['scaler'\].model.estimator"),
        ("graph.nodes['scaler'].model.coef_", "The estimator has what it learnt"),
    ],
)
def test_what_is_read_and_not_there_is_told_with_what_is_meant(
    names: dict[str, Any], read: str, match: str
) -> None:
    with pytest.raises(AttributeError, match=match):
        eval(read, names)


def test_keywords_and_what_is_set_are_told_so_too(names: dict[str, Any]) -> None:
    rate = r"'lr'.* The optimizer has it: Optimizer\('adam', opt_kwargs="
    with pytest.raises(InvalidTypeError, match=r"TrainPhase\(\) got an unexpected keyword argument " + rate):
        names["exp"].execution_plan.add_train_phase("other", split="train", losses="mse", lr=0.1)
    with pytest.raises(InvalidTypeError, match=r"ModelGraph.chain\(\) got an unexpected .*" + rate):
        ModelGraph.chain(names["fs"], [SequentialMLP()], lr=0.1)  # type: ignore[call-arg]
    with pytest.raises(InvalidAttributeError, match="has no 'lr' to set. The optimizer has it"):
        names["phase"].lr = 0.1


def test_who_only_asks_whether_something_is_there_is_answered(names: dict[str, Any]) -> None:
    exp, phase = names["exp"], names["phase"]
    assert not hasattr(exp, "graph") and getattr(exp, "graph", 3) == 3
    assert copy.copy(phase).label == copy.deepcopy(phase).label == "train"
    with pytest.raises(InvalidAttributeError) as told:
        exp.graph  # noqa: B018
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)


def test_the_error_of_a_property_is_its_own() -> None:
    class Odd(Experiment):
        @property
        def odd(self) -> int:
            return [].size  # type: ignore[attr-defined, no-any-return]

    with pytest.raises(AttributeError, match="'list' object has no attribute 'size'"):
        Odd("odd").odd  # noqa: B018
