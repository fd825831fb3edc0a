import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modularml.backends.torch_losses import Alignment, LossInput, loss_classes
from modularml.base.errors import LossError, ModularMLWarning
from modularml.core.training.loss import Loss


def outputs_of(shape: tuple[int, ...], name: str = "outputs") -> LossInput:
    return LossInput(name=name, shape=shape, dtype=torch.float32, is_output=True)


def data_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, name: str = "targets") -> LossInput:
    return LossInput(name=name, shape=shape, dtype=dtype, is_output=False)


def inputs_for(name: str, n: int = 6, c: int = 4) -> tuple[torch.Tensor, ...]:
    """Inputs that the loss of that name takes, as torch documents them."""
    torch.manual_seed(0)
    scores, same = torch.randn(n, c), torch.rand(n, c)
    labels = torch.arange(n) % c
    signs = torch.ones(n)
    return {
        "cross_entropy": (scores, labels),
        "nll": (scores.log_softmax(1), labels),
        "multi_margin": (scores, labels),
        "multi_label_margin": (scores, torch.tensor([[1, 3, -1, 0]] * n)),
        "bce": (same, same.round()),
        "kl_div": (scores.log_softmax(1), same.softmax(1)),
        "gaussian_nll": (scores, same, same + 1),
        "cosine_embedding": (scores, same, signs),
        "margin_ranking": (scores, same, torch.ones(n, c)),
        "triplet_margin": (scores, same, scores + 1),
        "triplet_margin_with_distance": (scores, same, scores + 1),
    }.get(name, (scores, same))


# Names.


@pytest.mark.parametrize("name", sorted(loss_classes()))
def test_every_loss_of_torch_is_found_by_the_ways_to_write_it(name: str) -> None:
    cls = loss_classes()[name]
    for spelling in (name, cls.__name__, cls.__name__.removesuffix("Loss").lower(), name.replace("_", "-")):
        assert Loss(spelling).name == name
    assert Loss(cls).name == name


def test_aliases_keep_the_name_that_people_wrote() -> None:
    assert Loss("MAE").name == "mae"
    assert torch.equal(Loss("mae")(torch.ones(2), torch.zeros(2)), torch.ones(2))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"loss": "mze"}, "Did you mean 'mse'"),
        ({"loss": "cros_entropy"}, "Did you mean 'cross_entropy'"),
        ({}, "either a loss"),
        ({"loss": "mse", "factory": nn.MSELoss}, "either a loss"),
        ({"loss": "huber", "loss_kwargs": {"dleta": 1}}, "Did you mean 'delta'"),
        ({"loss": "mse", "loss_kwargs": {"reduction": "sum"}}, "reduction= to Loss itself"),
        ({"loss": F.mse_loss, "loss_kwargs": {"a": 1}}, "not with a function"),
        ({"loss": "mse", "backend": "scikit"}, "'scikit'"),
    ],
)
def test_mistakes_in_a_loss_are_refused_where_they_are_made(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(LossError, match=match):
        Loss(**arguments)


def test_other_types_and_words_are_refused() -> None:
    with pytest.raises(TypeError, match="loss must be"):
        Loss(3)
    with pytest.raises(ValueError, match="Did you mean 'mean'"):
        Loss("mse", reduction="meen")


# Values: our forms against torch's modules.


@pytest.mark.parametrize("name", sorted(loss_classes()))
def test_the_scalar_is_what_torchs_module_gives(name: str) -> None:
    inputs = inputs_for(name)
    expected = loss_classes()[name](reduction="batchmean" if name == "kl_div" else "mean")(*inputs)
    assert torch.equal(Loss(name).build().scalar(*inputs), expected)


@pytest.mark.parametrize("name", sorted(loss_classes()))
def test_values_per_sample_average_to_the_scalar(name: str) -> None:
    inputs, forms = inputs_for(name), Loss(name).build()
    each = forms.per_sample(*inputs)
    assert each.shape == (len(inputs[0]),)
    torch.testing.assert_close(each.mean(), forms.scalar(*inputs))


@pytest.mark.parametrize("name", sorted(loss_classes()))
def test_a_sum_is_a_sum(name: str) -> None:
    inputs, forms = inputs_for(name), Loss(name, reduction="sum").build()
    torch.testing.assert_close(forms.per_sample(*inputs).sum(), forms.scalar(*inputs))
    torch.testing.assert_close(loss_classes()[name](reduction="sum")(*inputs), forms.scalar(*inputs))


@pytest.mark.parametrize("name", sorted(loss_classes()))
def test_a_loss_describes_itself(name: str) -> None:
    loss = Loss(name, reduction="sum")
    assert Loss.from_config(loss.get_config()) == loss


def test_arguments_reach_the_loss() -> None:
    a, b = torch.zeros(4), torch.full((4,), 3.0)
    assert Loss("huber", loss_kwargs={"delta": 2.0}).build().scalar(a, b) == F.huber_loss(a, b, delta=2.0)
    weighted = Loss("cross_entropy", loss_kwargs={"weight": [1, 5]})
    scores, labels = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    expected = F.cross_entropy(scores, labels, weight=torch.tensor([1.0, 5.0]))
    assert torch.equal(weighted.build().scalar(scores, labels), expected)


@pytest.mark.parametrize(("reduction", "shape"), [("none", (3, 2)), ("mean", ()), ("sum", ())])
def test_a_call_reduces_as_it_was_asked(reduction: str, shape: tuple[int, ...]) -> None:
    a, b = torch.randn(3, 2), torch.randn(3, 2)
    for loss in (Loss("mse", reduction=reduction), Loss(lambda o, t: (o - t) ** 2, reduction=reduction)):
        torch.testing.assert_close(loss(a, b), F.mse_loss(a, b, reduction=reduction))
        assert loss(a, b).shape == shape


@pytest.mark.parametrize(
    "loss",
    [
        Loss(lambda o, t: (o - t) ** 2),
        Loss(lambda o, t: ((o - t) ** 2).mean()),
        Loss(nn.MSELoss()),
        Loss(factory=nn.MSELoss),
        Loss(nn.MSELoss(reduction="none")),
    ],
)
def test_functions_modules_and_factories_are_losses(loss: Loss) -> None:
    a, b = torch.randn(3, 2), torch.randn(3, 2)
    torch.testing.assert_close(loss.build().scalar(a, b), F.mse_loss(a, b))


def test_the_sum_of_a_module_is_a_sum_by_either_word() -> None:
    a, b = torch.randn(3, 2), torch.randn(3, 2)
    for loss in (Loss(nn.MSELoss(reduction="sum")), Loss(nn.MSELoss(), reduction="sum")):
        torch.testing.assert_close(loss.build().scalar(a, b), F.mse_loss(a, b, reduction="sum"))


def test_a_function_written_in_c_is_a_loss() -> None:
    a, b = torch.randn(3), torch.randn(3)
    assert torch.equal(Loss(torch.dist).build().scalar(a, b), torch.dist(a, b))


def test_a_deep_copy_computes_the_same() -> None:
    loss, a, b = Loss("huber"), torch.randn(3), torch.randn(3)
    expected = loss.build().scalar(a, b)
    assert torch.equal(copy.deepcopy(loss).build().scalar(a, b), expected)


def test_a_function_is_named_after_itself() -> None:
    assert Loss(F.mse_loss).name == "mse_loss"
    assert Loss(lambda o, t: o).name == "loss"


def test_a_function_that_returns_one_number_cannot_be_weighted_by_sample() -> None:
    forms = Loss(lambda o, t: (o - t).mean()).build()
    with pytest.raises(LossError, match="Return one value per sample"):
        forms.per_sample(torch.zeros(3), torch.zeros(3))


def test_a_function_that_returns_no_tensor_is_named() -> None:
    def broken(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return 1.0

    with pytest.raises(LossError, match="'broken' must return a tensor"):
        Loss(broken).build().scalar(torch.zeros(3), torch.zeros(3))


# Shapes.


@pytest.mark.parametrize("output", [(), (1,), (1, 1)])
@pytest.mark.parametrize("target", [(), (1,), (1, 1)])
def test_single_values_are_compared_one_by_one(output: tuple[int, ...], target: tuple[int, ...]) -> None:
    a, b = torch.randn(5, *output), torch.randn(5, *target)
    _, align = Loss("mse").align([outputs_of(output), data_of(target)])
    assert align.apply(b).shape == a.shape
    torch.testing.assert_close(F.mse_loss(a, align.apply(b)), F.mse_loss(a.flatten(), b.flatten()))


def test_outputs_are_left_alone_where_data_can_follow() -> None:
    outputs, targets = Loss("mse").align([outputs_of((1, 3)), data_of((3, 1), torch.float64)])
    assert not outputs.is_needed
    assert targets == Alignment(shape=(1, 3), dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("name", ["cross_entropy", "nll", "multi_margin"])
@pytest.mark.parametrize("output", [(4,), (1, 4), (4, 1)])
def test_labels_meet_scores(name: str, dtype: torch.dtype, output: tuple[int, ...]) -> None:
    scores, labels = torch.randn(6, *output), (torch.arange(6) % 2).reshape(6, 1).to(dtype)
    a, b = Loss(name).align([outputs_of(output), data_of((1,), dtype)])
    value = Loss(name).build().scalar(a.apply(scores), b.apply(labels))
    assert torch.equal(value, loss_classes()[name]()(scores.reshape(6, 4), labels.flatten().long()))


def test_labels_meet_maps_of_scores() -> None:
    a, b = Loss("cross_entropy").align([outputs_of((4, 5)), data_of((1, 5), torch.int64)])
    assert not a.is_needed
    assert b.shape == (5,)


def test_probabilities_are_targets_of_cross_entropy_too() -> None:
    a, b = Loss("cross_entropy").align([outputs_of((1, 4)), data_of((4,), torch.float64)])
    assert (a.shape, b.shape, b.dtype) == ((4,), None, torch.float32)


def test_two_class_targets_become_floats_for_bce() -> None:
    _, b = Loss("bce_with_logits").align([outputs_of((1, 1)), data_of((1,), torch.int64)])
    assert b == Alignment(shape=(1, 1), dtype=torch.float32)


def test_a_list_of_labels_meets_scores() -> None:
    a, b = Loss("multi_label_margin").align([outputs_of((1, 4)), data_of((4,), torch.int32)])
    assert (a.shape, b.dtype) == ((4,), torch.int64)


def test_vectors_are_flattened_and_signs_are_one_a_sample() -> None:
    one, two, sign = Loss("cosine_embedding").align(
        [outputs_of((1, 8), "outputs.a"), outputs_of((1, 8), "outputs.b"), data_of((1,), torch.int64)]
    )
    assert (one.shape, two.shape, sign.shape, sign.dtype) == ((8,), (8,), (), torch.float32)


def test_a_function_gets_targets_that_cannot_broadcast_by_accident() -> None:
    _, b = Loss(lambda o, t: (o - t) ** 2).align([outputs_of((1, 1)), data_of((1,))])
    assert b.shape == (1, 1)
    _, free = Loss(lambda o, t: o).align([outputs_of((3,)), data_of((1,), torch.int64)])
    assert not free.is_needed


@pytest.mark.parametrize(
    ("name", "output", "target", "dtype", "words"),
    [
        ("mse", (3,), (2,), torch.float32, ["(n, 3)", "(n, 2)", "output_shape=(2,)"]),
        ("mse", (3,), (1,), torch.int64, ["cross_entropy"]),
        ("cross_entropy", (1, 1), (1,), torch.int64, ["(n, 1, 1)", "bce_with_logits"]),
        ("cross_entropy", (4,), (2,), torch.int64, ["(n, 4)", "(n, 2)", "4 classes"]),
        ("cross_entropy", (4,), (1,), torch.float32, ["integer class labels", "float32"]),
        ("multi_label_margin", (4,), (4,), torch.float32, ["integer class labels"]),
        ("triplet_margin", (4,), (5,), torch.float32, ["(n, 4)", "(n, 5)"]),
    ],
)
def test_shapes_that_do_not_fit_are_told_with_the_way_out(
    name: str, output: tuple[int, ...], target: tuple[int, ...], dtype: torch.dtype, words: list[str]
) -> None:
    with pytest.raises(LossError) as told:
        Loss(name).align([outputs_of(output), data_of(target, dtype)], where="'MLP'")
    for word in [f"Loss '{name}' on 'MLP'", *words]:
        assert word in str(told.value)


def test_three_inputs_are_too_many_for_labels() -> None:
    with pytest.raises(LossError, match="3 inputs"):
        Loss("nll").align([outputs_of((3,)), data_of((1,)), data_of((1,))])


class Focal(nn.Module):
    """A loss of one's own that keeps its argument."""

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        each = F.cross_entropy(outputs, targets, reduction="none")
        return (1 - torch.exp(-each)) ** self.gamma * each


@pytest.mark.parametrize(
    "loss",
    [
        Loss(nn.CrossEntropyLoss(label_smoothing=0.1)),
        Loss(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0, 1.0]), reduction="sum")),
        Loss("cross_entropy", loss_kwargs={"weight": torch.tensor([1.0, 2.0, 5.0, 1.0])}),
        Loss(Focal(3.0)),
        Loss(Focal, loss_kwargs={"gamma": 0.5}),
    ],
    ids=["smoothing", "weight", "kwargs", "own", "class"],
)
def test_a_loss_that_is_an_object_comes_back_from_a_file(loss: Loss, tmp_path: Path) -> None:
    scores, labels = inputs_for("cross_entropy")
    again = Loss.load(loss.save(tmp_path / "loss"), symbols={"Focal": Focal})
    assert again == loss
    assert torch.equal(again.build().scalar(scores, labels), loss.build().scalar(scores, labels))
    assert torch.equal(again.build().per_sample(scores, labels), loss.build().per_sample(scores, labels))


def test_a_function_that_raises_is_told_with_the_shapes_that_came() -> None:
    scores, labels = inputs_for("cross_entropy")
    forms = Loss(Focal()).build()
    with pytest.raises(RuntimeError) as caught:
        forms.scalar(scores, labels[:, None])
    assert (
        "Loss 'focal' was called with (6, 4) torch.float32, (6, 1) torch.int64" in caught.value.__notes__[0]
    )


class Centers(nn.Module):
    """A loss with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(3, 4))

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - self.centers[targets[:, 0]]).pow(2).sum(1)


def test_parameters_of_a_loss_that_nothing_trains_are_told() -> None:
    for make in (lambda: Loss(Centers()), lambda: Loss(Centers), lambda: Loss(factory=Centers).build()):
        with pytest.warns(ModularMLWarning, match="'centers' has parameters .* no optimizer"):
            make()
    loss = Loss(Centers().requires_grad_(False))
    assert loss.has_tensors  # they must be where its inputs are
