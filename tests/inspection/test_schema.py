"""The schema of configurations: what is written keeps to it, and what cannot be read does not."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jsonschema import Draft202012Validator

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
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    PhaseGroup,
    SimilarityCondition,
    TrainPhase,
    config_schema,
)
from modularml.callbacks import EarlyStopping, Evaluation
from modularml.cli.main import main
from modularml.models.torch import SequentialMLP
from modularml.predicates import GT
from modularml.samplers import PairedSampler, SimpleSampler
from modularml.splitters import ConditionSplitter, RandomSplitter


class Own(EarlyStopping):
    """A callback of a user's own, which a file names by its class."""


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    ExperimentContext().activate()
    exp = Experiment("exp", checkpointing=Checkpointing(save_on="phase_end"), seed=3)
    data = FeatureSet.from_dict("data", {"x": np.ones((12, 3)), "y": np.ones(12)}, "x", "y")
    data.split_random({"train": 0.5, "test": 0.5}, seed=1)
    first = ModelNode("first", SequentialMLP(output_shape=(1, 2), dropout=0.1), data)
    second = ModelNode("second", torch.nn.Linear(3, 2), data, Optimizer(torch.optim.Adam))
    both = ConcatNode("both", [first, second], concat_axis=1)
    head = ModelNode("head", SequentialMLP(output_shape=(1, 1)), both)
    ModelGraph([first, second, both, head], Optimizer("sgd", opt_kwargs={"lr": float("inf")})).build()
    losses = [AppliedLoss(Loss("huber", loss_kwargs={"delta": 0.5}), on=head)]
    test = EvalPhase.from_split("test", split="test", losses=losses)
    callbacks = [Evaluation(eval_phase=test), EarlyStopping(monitor="loss"), Own(monitor="loss")]
    train = TrainPhase.from_split(
        "train", split="train", losses=losses, sampler=SimpleSampler(batch_size=3), callbacks=callbacks,
        clip_norm=1.0, checkpointing=Checkpointing(best="loss"),
    )  # fmt: skip
    exp.execution_plan.add_item(PhaseGroup("group", [train]))
    exp.execution_plan.add_item(test)
    exp.execution_plan.add_item(
        CrossValidation("cv", CVBinding(data, ["train"]), n_folds=2, phase=copy.deepcopy(train))
    )
    return exp


OBJECTS: dict[str, Callable[[Experiment], Any]] = {
    "experiment": lambda exp: exp,
    "graph": lambda exp: exp.model_graph,
    "phase": lambda exp: exp.execution_plan["test"],
    "group": lambda exp: exp.execution_plan["group"],
    "sampler": lambda exp: SimpleSampler(batch_size=3, shuffle=True, seed=1),
    "pairs": lambda exp: PairedSampler({"features.x": SimilarityCondition("similar", 0.5)}),
    "splitter": lambda exp: RandomSplitter({"a": 0.5, "b": 0.5}, seed=1),
    "conditions": lambda exp: ConditionSplitter(a={"x": GT(3)}, b={"x": [1, 2]}),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_written_keeps_to_it(
    validator: Draft202012Validator, experiment: Experiment, name: str, tmp_path: Path
) -> None:
    path = OBJECTS[name](experiment).to_yaml(tmp_path / "written.yaml")
    assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []


def put(*place: str | int, value: Any) -> Callable[[Any], None]:
    def change(tree: Any) -> None:
        for step in place[:-1]:
            tree = tree[step]
        tree[place[-1]] = value

    return change


TRAIN = ("config", "plan", "phases", 0, "phases", 0)
MODEL = ("model_graph", "nodes", 0, "model")
BROKEN: dict[str, Callable[[Any], Any]] = {
    "unknown type": put(*TRAIN, "$type", value="TrainFase"),
    "code as a type": put(*MODEL, "$type", value="os.system"),
    "unknown parameter": put(*TRAIN, "n_epoch", value=3),
    "text for a number": put(*TRAIN, "n_epochs", value="three"),
    "number for a bool": put(*TRAIN, "compile", value=1),
    "null for text": put(*TRAIN, "nan", value=None),
    "no list": put(*TRAIN, "input_sources", value="data"),
    "no object in a list": put(*TRAIN, "input_sources", value=["data"]),
    "deep in a loss": put(*TRAIN, "losses", 0, "loss", "reductoin", value="sum"),
    "deep in a sampler": put(*TRAIN, "input_sources", 0, "sampler", "batch_size", value=[6]),
    "a parameter is missing": lambda tree: tree["config"]["plan"].pop("label"),
    "unknown key of the experiment": put("config", "sede", value=3),
    "no plan": lambda tree: tree["config"].pop("plan"),
    "no graph": lambda tree: tree.pop("model_graph"),
    "unknown key of a node": put("model_graph", "nodes", 0, "upstream", value=None),
    "a node is missing its label": lambda tree: tree["model_graph"]["nodes"][0].pop("label"),
    "a shape of text": put("model_graph", "featuresets", "data", "features.x.raw", "shape", value="3"),
    "an unknown tag": put(*MODEL, "input_shape", value={"$pickle": "gASV"}),
    "an array": put(*TRAIN, "losses", 0, "class_weight", value={"$array": "arrays/0.safetensors"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_does_not(
    validator: Draft202012Validator, experiment: Experiment, name: str, tmp_path: Path
) -> None:
    broken = yaml.safe_load(experiment.to_yaml(tmp_path / "written.yaml").read_text())
    BROKEN[name](broken)
    assert not validator.is_valid(broken)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["export", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == config_schema()
    assert main(["export", "--schema", "-o", str(tmp_path / "schema.json")]) == 0
    assert json.loads((tmp_path / "schema.json").read_text()) == config_schema()
    assert main(["export", "--schema", "-o", str(tmp_path)]) == 2


@pytest.mark.parametrize("line", ["export", "export --schema x", "export --schema --format json"])
def test_the_command_wants_a_file_or_the_schema(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert "--schema" in capsys.readouterr().err
