from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from modularml.base.errors import LossError
from modularml.core.context import ExperimentContext
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.loss import Loss


@dataclass(eq=False)
class Node:
    label: str = "MLP"
    node_id: str = "818054a3"


def test_the_seed_form() -> None:
    applied = AppliedLoss(loss=Loss("mse", backend="torch"), on=Node(), inputs=["outputs", "targets"])
    assert applied.label == "mse"
    assert applied.node_id[:8] == "818054a3"
    assert (applied.node_label, applied.weight, applied.arguments) == ("MLP", 1.0, ("outputs", "targets"))


def test_a_node_is_found_by_label_or_id_and_described_by_label() -> None:
    context = ExperimentContext()
    node = Node()
    context.register(node)
    with context.temporary():
        for on in ("MLP", node.node_id, node):
            applied = AppliedLoss("mse", on, weight=2.0, label="error")
            assert applied.node_id == node.node_id
            assert applied.get_config()["on"] == "MLP"
            assert AppliedLoss.from_config(applied.get_config()) == applied
        with pytest.raises(KeyError, match="Did you mean 'MLP'"):
            AppliedLoss("mse", "MPL")


def test_named_inputs_come_in_the_order_of_the_loss() -> None:
    inputs = {"negative": "outputs.negative", "anchor": "outputs.anchor", "positive": "outputs.positive"}
    applied = AppliedLoss("triplet_margin", Node(), inputs)
    assert applied.arguments == ("outputs.anchor", "outputs.positive", "outputs.negative")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"weight": -1}, "at least 0"),
        ({"weight": float("nan")}, "finite"),
        ({"weight": float("inf")}, "finite"),
        ({"weight": "1"}, "must be a number"),
        ({"weight": True}, "must be a number"),
        ({"inputs": ["outputs", "target"]}, "Did you mean 'targets'"),
        ({"inputs": ["outputs", 3]}, "Unknown input 3"),
        ({"inputs": ["outputs."]}, "<role>"),
        ({"inputs": ["module.a"]}, "must be 'module'"),
        ({"sample_weight": "weights"}, "Unknown input 'weights'.* its domain: 'tags.weights'"),
        ({"inputs": []}, "inputs is empty"),
        ({"inputs": {"input": "outputs", "taget": "targets"}}, "Did you mean 'target'"),
        ({"inputs": {"target": "targets"}}, "lacks 'input'"),
        ({"label": ""}, "non-empty"),
    ],
)
def test_mistakes_in_an_applied_loss_are_refused(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        AppliedLoss("mse", Node(), **arguments)


def test_several_mistakes_are_told_together() -> None:
    with pytest.raises(LossError) as told:
        AppliedLoss("mse", Node(), ["output", "target"], weight=-1)
    assert "'mse' on 'MLP' has 3 faults" in str(told.value)


@pytest.mark.parametrize("arguments", [{"loss": 3}, {"on": 3}, {"on": None}, {"inputs": 3}, {"trainable": 1}])
def test_other_types_in_an_applied_loss_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="must be a"):
        AppliedLoss(**{"loss": "mse", "on": Node()} | arguments)


def between(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square()


def underestimated(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    return (y_true - y_pred).clamp(min=0)


def test_a_loss_that_takes_targets_first_is_given_them_so() -> None:
    AppliedLoss(underestimated, Node(), ["targets", "outputs"])
    AppliedLoss(underestimated, Node(), {"y_pred": "outputs", "y_true": "targets"})


@pytest.mark.parametrize(
    ("loss", "inputs", "match"),
    [
        (underestimated, ("outputs", "targets"), r"y_true first.*: inputs=\['targets', 'outputs'\]"),
        ("cosine_embedding", ("outputs", "outputs"), "takes input1, input2, target: .*'target'"),
        ("mse", ("outputs",), r"inputs=\['outputs'\]; it takes input, target: missing"),
        (F.mse_loss, ("outputs", "targets", "tags.w", "tags.v", "tags.u", "tags.t", "tags.s"), "too many"),
        (between, ("outputs", "targets", "features"), "it takes outputs, targets: too many"),
    ],
)
def test_inputs_are_as_many_as_the_loss_takes(loss: object, inputs: tuple[str, ...], match: str) -> None:
    with pytest.raises(LossError, match=match):
        AppliedLoss(Loss(loss), Node(), inputs)
