from dataclasses import dataclass

import pytest
from torch import nn
from torch.nn import functional as F

from modularml.base.errors import Faults
from modularml.core.context import ExperimentContext
from modularml.core.training.applied_loss import AppliedLoss
from modularml.core.training.loss import Loss
from modularml.core.training.losses import applied_losses


@dataclass(eq=False)
class Node:
    label: str = "MLP"
    node_id: str = "818054a3"


@pytest.mark.parametrize("short", ["mse", nn.MSELoss, Loss("mse"), F.mse_loss])
def test_one_loss_is_for_the_only_tail(short: object) -> None:
    faults = Faults("P")
    (applied,) = applied_losses(short, [Node()], faults)
    faults.raise_if_any()
    assert (applied.on, applied.inputs) == ("MLP", ["outputs", "targets"])
    assert applied.loss.name in ("mse", "mse_loss")


def test_losses_by_node_get_labels_of_their_own() -> None:
    context = ExperimentContext()
    for label in ("A", "B"):
        context.register(Node(label, label))
    with context.temporary():
        found = applied_losses({"A": "mse", "B": "mse"}, [], Faults("P"))
        assert [(loss.on, loss.label) for loss in found] == [("A", "mse/A"), ("B", "mse/B")]
        assert applied_losses({"A": "mse", "B": "mae"}, [], Faults("P"))[1].label == "mae"
    assert applied_losses(None, [], Faults("P")) == []


def test_losses_of_the_only_tail_may_be_listed_by_name() -> None:
    node, own = Node(), AppliedLoss("huber", Node())
    made = applied_losses(["mse", own, Loss("l1")], [node], Faults("P"))
    assert [loss.label for loss in made] == ["mse", "huber", "l1"]
    assert made[1] is own


def test_shortened_losses_with_faults_are_told_together() -> None:
    for losses, tails, match in [
        ("mse", [Node("A"), Node("B")], r"tails \['A', 'B'\].*losses=\{'A': ...\}"),
        ("mze", [Node()], "mean 'mse'"),
        ({"C": "mze", "D": "mse"}, [], "(?s)2 faults"),
        (3, [], r"AppliedLoss, or for the only tail a name, a class or a function, got 3 \(int\)"),
        (["mse"], [Node("A"), Node("B")], r"tails \['A', 'B'\]"),
    ]:
        faults = Faults("P")
        assert not [loss for loss in applied_losses(losses, tails, faults) if isinstance(loss, AppliedLoss)]
        with pytest.raises((ValueError, TypeError, KeyError), match=match):
            faults.raise_if_any()
