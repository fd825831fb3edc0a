"""Wrong input is refused at its line, by an error of ours that says what, what came and what is allowed.

One row a case: what is done, and what the message must name.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from modularml import (
    AppliedLoss,
    Checkpointing,
    ConcatNode,
    CrossValidation,
    CVBinding,
    EvalPhase,
    Experiment,
    ExperimentContext,
    FeatureSet,
    FitPhase,
    InputBinding,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    PhaseGroup,
    Scaler,
    Schedule,
    TrainPhase,
    wrap_model,
)
from modularml.base.errors import ModularMLError
from modularml.callbacks import EarlyStopping, Evaluation
from modularml.samplers import PairedSampler, SimpleSampler
from modularml.splitters import RandomSplitter

X, Y = np.arange(24.0).reshape(8, 3), np.arange(8.0)


class Bench:
    """A small experiment, as a row finds it."""

    def __init__(self) -> None:
        ExperimentContext().activate()
        self.exp = Experiment("bench", registration_policy="raise")
        self.fs = FeatureSet.from_dict("data", {"x": X, "y": Y}, "x", "y")
        self.fs.split_random({"train": 0.5, "test": 0.5}, seed=1)
        self.node = ModelNode("net", torch.nn.Linear(3, 1), self.fs)
        self.graph = ModelGraph([self.node], "sgd", "graph").build()

    def train(self, **arguments: Any) -> TrainPhase:
        return TrainPhase.from_split("train", **{"split": "train", "losses": "mse", **arguments})

    def data(self, values: Any = X, targets: Any = Y, **arguments: Any) -> FeatureSet:
        given = {"feature_keys": "x", "target_keys": "y", **arguments}
        return FeatureSet.from_dict("other", {"x": values, "y": targets}, **given)


def sampler(**arguments: Any) -> SimpleSampler:
    return SimpleSampler(**arguments)


def splits(ratios: Any, **arguments: Any) -> RandomSplitter:
    return RandomSplitter(ratios, **arguments)


ROWS: dict[str, tuple[Callable[[Bench], Any], list[str]]] = {
    # data
    "data: no dict": (lambda b: FeatureSet.from_dict("o", [1], "x"), ["'o'", "list", "dict"]),
    "data: empty": (lambda b: FeatureSet.from_dict("o", {}, "x"), ["'o'", "empty"]),
    "data: label empty": (lambda b: FeatureSet.from_dict("", {"x": X}, "x"), ["FeatureSet", "''"]),
    "data: label a number": (lambda b: FeatureSet.from_dict(3, {"x": X}, "x"), ["FeatureSet", "3"]),
    "data: label taken": (lambda b: FeatureSet.from_dict("data", {"x": X}, "x"), ["'data'", "taken"]),
    "data: unknown key": (lambda b: b.data(feature_keys="xx"), ["'xx'", "'other'", "'x'"]),
    "data: key twice": (lambda b: b.data(feature_keys=["x", "x"]), ["'x'", "'other'"]),
    "data: key with a dot": (lambda b: FeatureSet.from_dict("o", {"a.b": X}, "a.b"), ["'a.b'"]),
    "data: ragged": (lambda b: b.data([[1.0], [1.0, 2.0]], [1.0, 2.0]), ["'x'", "'other'"]),
    "data: lengths": (lambda b: b.data(X, Y[:3]), ["8", "3"]),
    "data: no samples": (lambda b: b.data([], []), ["'x'", "'other'"]),
    "data: objects": (lambda b: b.data([{}] * 8), ["'x'"]),
    "data: unknown format": (lambda b: b.fs.get_features(fmt="xml"), ["'xml'", "numpy"]),
    "data: unknown column": (lambda b: b.fs.select(features="z"), ["'z'"]),
    "data: unknown split": (lambda b: b.fs["trian"], ["'trian'", "'train'", "Did you mean"]),
    "data: rows beyond": (lambda b: b.fs.take([99]), ["99"]),
    "data: filter unknown": (lambda b: b.fs.filter(conditions={"z": 1}), ["'z'"]),
    "data: not a collection": (lambda b: FeatureSet("o", {"x": X}), ["'o'", "dict"]),
    # splits
    "split: shares": (lambda b: splits({"a": 0.5, "b": 0.6}), ["1.1"]),
    "split: beyond": (lambda b: splits({"a": 1.5, "b": -0.5}), ["1.5"]),
    "split: none": (lambda b: splits({}), ["RandomSplitter"]),
    "split: nan": (lambda b: splits({"a": float("nan")}), ["nan"]),
    "split: seed": (lambda b: splits({"a": 1.0}, seed="x"), ["'x'"]),
    "split: an empty part": (lambda b: b.fs.split_random({"a": 0.999, "b": 0.001}), ["'b'", "empty"]),
    "split: a column": (lambda b: b.fs.split_random({"a": 1.0}, group_by="site"), ["'site'"]),
    # references and bindings
    "reference: unknown": (lambda b: b.fs.reference(features="volt"), ["'volt'", "data"]),
    "reference: two columns": (lambda b: b.fs.column_reference(), ["data", "2"]),
    "binding: split": (
        lambda b: InputBinding.for_evaluation(node=b.node, upstream=b.fs, split="tset"),
        ["'tset'", "'test'"],
    ),
    "binding: sampler": (
        lambda b: InputBinding.for_training(node=b.node, upstream=b.fs, sampler="simple"),
        ["'simple'"],
    ),
    "binding: node": (
        lambda b: InputBinding.for_evaluation(node="nett", upstream=b.fs),
        ["'nett'", "'net'"],
    ),
    # samplers
    "sampler: batch 0": (lambda b: sampler(batch_size=0), ["batch_size", "0", "at least 1"]),
    "sampler: batch negative": (lambda b: sampler(batch_size=-3), ["batch_size", "-3"]),
    "sampler: batch a float": (lambda b: sampler(batch_size=2.5), ["batch_size", "2.5"]),
    "sampler: batch a bool": (lambda b: sampler(batch_size=True), ["batch_size", "True"]),
    "sampler: shuffle": (lambda b: sampler(shuffle="yes"), ["shuffle", "'yes'"]),
    "sampler: seed": (lambda b: sampler(seed=1.5), ["1.5"]),
    "sampler: keyword": (lambda b: sampler(batchsize=3), ["batchsize", "batch_size"]),
    "sampler: no conditions": (lambda b: PairedSampler({}), ["'pair'", "{}"]),
    # scalers
    "scaler: unknown": (lambda b: Scaler("StandrdScaler"), ["'StandrdScaler'", "'StandardScaler'"]),
    "scaler: argument": (lambda b: Scaler("StandardScaler", {"mean": 1}), ["mean"]),
    "scaler: not fitted": (lambda b: Scaler("StandardScaler").transform(X), ["StandardScaler"]),
    "scaler: domain": (
        lambda b: b.fs.fit_transform("StandardScaler", domain="feature"),
        ["'feature'", "features"],
    ),
    "scaler: key": (
        lambda b: b.fs.fit_transform("StandardScaler", domain="features", keys="z"),
        ["'z'"],
    ),
    "scaler: nothing to undo": (lambda b: b.fs.undo_last_transform("features"), ["features"]),
    # models and nodes
    "model: None": (lambda b: ModelNode("n", None, b.fs), ["'n'", "None"]),
    "model: text": (lambda b: ModelNode("n", "mlp", b.fs), ["'n'", "'mlp'"]),
    "model: wrapped None": (lambda b: wrap_model(None), ["None"]),
    "node: label": (lambda b: ModelNode("", torch.nn.Linear(3, 1), b.fs), ["''"]),
    "node: label taken": (lambda b: ModelNode("net", Ridge(), b.fs), ["'net'", "taken"]),
    "node: upstream": (lambda b: ModelNode("n", Ridge(), "data"), ["'n'", "'data'"]),
    "node: no upstream": (lambda b: ModelNode("n", torch.nn.Linear(3, 1), []), ["'n'", "empty"]),
    "node: optimizer": (lambda b: ModelNode("n", Ridge(), b.fs, "adma"), ["'adma'", "'adam'"]),
    "node: device": (lambda b: ModelNode("n", Ridge(), b.fs, accelerator="gpuu"), ["gpuu"]),
    "merge: one input": (lambda b: ConcatNode("c", [b.node]), ["'c'", "two"]),
    # graphs
    "graph: no nodes": (lambda b: ModelGraph([], register=False), ["at least one node"]),
    "graph: unknown node": (lambda b: ModelGraph(["nett"]), ["'nett'", "'net'"]),
    "graph: node twice": (lambda b: ModelGraph([b.node, b.node]), ["'net'", "twice"]),
    "graph: text": (lambda b: ModelGraph("net"), ["'net'", "list"]),
    "graph: shapes": (
        lambda b: ModelGraph([ModelNode("n", torch.nn.Linear(7, 1), b.fs)], register=False).build(),
        ["'n'", "7"],
    ),
    "graph: predict": (lambda b: b.graph.predict(np.ones((2, 5))), ["'net'", "5"]),
    "graph: nothing to unscale": (lambda b: b.graph.predict(np.ones((2, 3)), nodes=["x"]), ["'x'"]),
    # losses
    "loss: unknown": (lambda b: Loss("msee"), ["'msee'", "'mse'"]),
    "loss: argument": (lambda b: Loss("mse", loss_kwargs={"delt": 1}), ["delt"]),
    "loss: weight nan": (lambda b: AppliedLoss(Loss("mse"), b.node, weight=float("nan")), ["nan"]),
    "loss: weight negative": (lambda b: AppliedLoss(Loss("mse"), b.node, weight=-1), ["-1"]),
    "loss: node": (lambda b: AppliedLoss(Loss("mse"), "nett"), ["'nett'", "'net'"]),
    "loss: input": (
        lambda b: b.train(losses=[AppliedLoss(Loss("mse"), b.node, ["output", "targets"])]),
        ["'output'", "outputs"],
    ),
    # optimizers
    "optimizer: unknown": (lambda b: Optimizer("adma"), ["'adma'", "'adam'"]),
    "optimizer: argument": (lambda b: Optimizer("adam", opt_kwargs={"lrr": 1}), ["lrr", "lr"]),
    "optimizer: value": (lambda b: Optimizer("adam", opt_kwargs={"lr": -1}), ["-1"]),
    "optimizer: nothing": (lambda b: Optimizer(), ["opt", "factory"]),
    "optimizer: no parameters": (lambda b: Optimizer("adam").build({}), ["'adam'", "no parameters"]),
    "schedule: unknown": (lambda b: Schedule("step_lrr"), ["step_lrr"]),
    # phases
    "phase: epochs 0": (lambda b: b.train(n_epochs=0), ["n_epochs", "0"]),
    "phase: epochs a float": (lambda b: b.train(n_epochs=1.5), ["n_epochs", "1.5"]),
    "phase: no losses": (lambda b: b.train(losses=[]), ["'train'", "loss"]),
    "phase: losses None": (lambda b: b.train(losses=None), ["'train'", "loss"]),
    "phase: split": (lambda b: b.train(split="trian"), ["'trian'", "'train'"]),
    "phase: callback": (lambda b: b.train(callbacks=["stop"]), ["'stop'"]),
    "phase: recording": (lambda b: b.train(result_recording="some"), ["'some'", "'last'"]),
    "phase: clip": (lambda b: b.train(clip_norm=-1.0), ["clip_norm", "-1.0"]),
    "phase: accumulate": (lambda b: b.train(accumulate=0), ["accumulate", "0"]),
    "phase: precision": (lambda b: b.train(precision="fp8"), ["'fp8'", "bf16"]),
    "phase: keyword": (lambda b: b.train(epochs=3), ["epochs", "n_epochs"]),
    "phase: active node": (lambda b: b.train(active_nodes=["nett"]), ["'nett'", "'net'"]),
    "phase: sampler and size": (lambda b: b.train(sampler=sampler(), batch_size=3), ["batch_size=3"]),
    "phase: eval split": (lambda b: EvalPhase.from_split("e", split="tset"), ["'tset'", "'test'"]),
    "phase: fit split": (lambda b: FitPhase.from_split("f", split="tset"), ["'tset'", "'test'"]),
    # groups
    "group: entry": (lambda b: PhaseGroup("g", ["train"]), ["'g'", "'train'"]),
    "group: twice": (lambda b: PhaseGroup("g", [b.train(), b.train()]), ["'train'", "already"]),
    "group: unknown": (lambda b: PhaseGroup("g", [b.train()])["trian"], ["'trian'", "'train'"]),
    "group: itself": (lambda b: (g := PhaseGroup("g")).add_group(g), ["'g'", "itself"]),
    # callbacks and checkpoints
    "stopping: patience": (lambda b: EarlyStopping(patience=0), ["patience", "0"]),
    "stopping: monitor": (lambda b: EarlyStopping(monitor=""), ["EarlyStopping", "metric to monitor", "''"]),
    "stopping: all at once": (
        lambda b: EarlyStopping(monitor=3, mode="least", patience=0, min_delta=-1),
        ["4 faults", "got 3 (int)", "'min'", "patience", "min_delta"],
    ),
    "phase: all at once": (
        lambda b: b.train(
            n_epochs=0,
            losses="mes",
            callbacks=[3],
            batch_schedule="zip",
            metrics=["acuracy"],
            checkpointing=3,
            accelerator="cud",
        ),
        [
            "'train' has 7 faults",
            "  - n_epochs",
            "'mse'",
            "  - callbacks must be",
            "'zip_strict'",
            "'accuracy'",
            "  - checkpointing",
            "'cuda'",
        ],
    ),
    "stopping: mode": (lambda b: EarlyStopping(mode="least"), ["'least'", "'min'"]),
    "evaluation: phase": (lambda b: Evaluation(eval_phase="eval"), ["'eval'"]),
    "checkpointing: moment": (lambda b: Checkpointing(save_on="epoch"), ["'epoch'", "'epoch_end'"]),
    "checkpointing: every": (lambda b: Checkpointing(every_n=0), ["every_n", "0"]),
    "checkpoint: no folder": (lambda b: b.exp.save_checkpoint("a"), ["'a'", "set_checkpoint_dir"]),
    "checkpoint: unknown": (lambda b: b.exp.restore_checkpoint("a"), ["'a'", "'bench'"]),
    # experiments
    "experiment: label": (lambda b: Experiment("\n"), ["Experiment"]),
    "experiment: policy": (lambda b: Experiment("e", registration_policy="rase"), ["'rase'", "'raise'"]),
    "experiment: seed": (lambda b: Experiment("e", seed="one"), ["'one'"]),
    "experiment: empty plan": (lambda b: b.exp.run(), ["'bench'", "empty"]),
    "experiment: run keyword": (
        lambda b: b.exp.run_phase(b.train(), show_trainig_progress=False),
        ["'show_trainig_progress'", "'show_training_progress'"],
    ),
    "experiment: display value": (
        lambda b: b.exp.run_phase(b.train(), show_training_progress="no"),
        ["show_training_progress", "'no'"],
    ),
    "experiment: no phase": (lambda b: b.exp.run_phase("train"), ["run_phase", "'train'"]),
    "experiment: nothing to resume": (lambda b: b.exp.resume(), ["'bench'", "resume"]),
    "experiment: callback": (lambda b: b.exp.add_callback(3), ["3"]),
    # cross-validation
    "cv: one fold": (lambda b: CrossValidation(bindings=CVBinding("data"), n_folds=1), ["n_folds", "1"]),
    "cv: no bindings": (lambda b: CrossValidation(bindings=[]), ["'CV'", "CVBinding"]),
    "cv: names": (lambda b: CVBinding("data", train_split_name="a", val_split_name="a"), ["'a'"]),
    "cv: split and columns": (
        lambda b: CVBinding("data", ["trian"], group_by="xx", stratify_by="z"),
        ["3 faults", "'trian'", "'train'", "'xx'", "'z'", "'x'"],
    ),
    "cv: share": (lambda b: CVBinding("data", val_size=2.0), ["val_size", "2.0"]),
    "cv: jobs": (lambda b: CrossValidation(bindings=CVBinding("data"), n_jobs=0), ["n_jobs", "0"]),
}


@pytest.mark.parametrize(("do", "named"), ROWS.values(), ids=ROWS)
def test_wrong_input_is_refused_and_named(do: Callable[[Bench], Any], named: list[str]) -> None:
    bench = Bench()
    nodes, runs = dict(bench.exp.ctx.nodes), list(bench.exp.history)
    with pytest.raises((ModularMLError, IndexError)) as caught:
        do(bench)
    missing = [word for word in named if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"
    assert isinstance(caught.value, ValueError | TypeError | KeyError | RuntimeError | IndexError)
    assert list(bench.exp.history) == runs and bench.exp.ctx.nodes.items() >= nodes.items()


def test_there_are_many() -> None:
    assert len(ROWS) >= 79
