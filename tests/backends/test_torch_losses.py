"""Alignment as a property: whatever ones stand in a shape, values meet the values they belong to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from modularml.backends.torch_losses import LossInput, align, find_loss, loss_classes, loss_name
from modularml.base.errors import LossError

dims = st.lists(st.integers(2, 4), max_size=3).map(tuple)


@st.composite
def with_ones(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with dimensions of length 1 put in anywhere."""
    out: list[int] = []
    for n in (*shape, None):
        out += [1] * draw(st.integers(0, 2))
        out += [] if n is None else [n]
    return tuple(out)


def outputs(shape: tuple[int, ...]) -> LossInput:
    return LossInput(name="outputs", shape=shape, dtype=torch.float32, is_output=True)


def targets(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> LossInput:
    return LossInput(name="targets", shape=shape, dtype=dtype, is_output=False)


@given(data=st.data(), shape=dims)
def test_values_meet_their_values(data: st.DataObject, shape: tuple[int, ...]) -> None:
    a, b = data.draw(with_ones(shape)), data.draw(with_ones(shape))
    x, y = torch.randn(5, *a), torch.randn(5, *b, dtype=torch.float64)
    for kind in ("values", "free"):
        how_x, how_y = align(kind, [outputs(a), targets(b)], where="")
        assert not how_x.is_needed
        assert how_y.apply(y).shape == x.shape
        assert how_y.apply(y).dtype == x.dtype
        torch.testing.assert_close(F.l1_loss(x, how_y.apply(y)), F.l1_loss(x.flatten(), y.flatten().float()))


@given(data=st.data(), n_classes=st.integers(2, 5), places=dims.filter(lambda s: len(s) < 3))
def test_scores_meet_their_labels(data: st.DataObject, n_classes: int, places: tuple[int, ...]) -> None:
    a, b = data.draw(with_ones((n_classes, *places))), data.draw(with_ones(places))
    x, y = torch.randn(5, *a), torch.randint(n_classes, (5, *b), dtype=torch.int32)
    how_x, how_y = align("classes", [outputs(a), targets(b, torch.int32)], where="")
    expected = F.cross_entropy(x.reshape(5, n_classes, *places), y.reshape(5, *places).long())
    torch.testing.assert_close(F.cross_entropy(how_x.apply(x), how_y.apply(y)), expected)


@given(a=dims, b=dims)
def test_other_values_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    if a != b:
        with pytest.raises(LossError, match="value by value"):
            align("values", [outputs(a), targets(b)], where="Loss 'mse'")


def test_an_input_that_fits_is_left_alone() -> None:
    for how in align("values", [outputs((1, 3)), targets((1, 3), torch.float32)], where=""):
        x = torch.zeros(2, 1, 3)
        assert not how.is_needed
        assert how.apply(x) is x


def test_two_outputs_of_several_roles_meet_each_other() -> None:
    hows = align("values", [outputs((1, 3)), outputs((3,))], where="")
    assert [how.shape for how in hows] == [None, (1, 3)]


def test_no_inputs_are_refused() -> None:
    with pytest.raises(LossError, match="at least one input"):
        align("values", [], where="Loss 'mse'")


def test_names_and_classes_are_one_to_one() -> None:
    for name, cls in loss_classes().items():
        assert loss_name(cls) == name
        assert find_loss(name) == (name, cls)
