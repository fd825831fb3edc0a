"""What every torch model that builds itself does, seen on a small network of one's own."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from modularml.models.torch import TorchBaseModel
from modularml.models.torch.module import dry_run


class Net(TorchBaseModel):
    """A net of the user's own, with a batch norm (buffers) and a dropout (randomness)."""

    def __init__(self, *, input_shape=None, output_shape=None, width=8):
        super().__init__(input_shape=input_shape, output_shape=output_shape, width=width)

    def build_layers(self, input_shape, output_shape):
        width = self.init_args["width"]
        self.hidden = nn.Sequential(nn.Linear(input_shape[-1], width), nn.BatchNorm1d(width), nn.Dropout(0.5))
        self.last = nn.Linear(width, (output_shape or (1,))[-1])

    def forward(self, x):
        return self.last(self.hidden(x))


class Ready(TorchBaseModel):
    """A net whose layers exist from the start."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)


class Own(TorchBaseModel):
    """A net with a `build` and properties of its own."""

    def __init__(self, *, input_shape=None, output_shape=None, width=8):
        super().__init__(input_shape=input_shape, output_shape=output_shape, width=width)
        self._input_shape, self._output_shape, self.width = input_shape, output_shape, width
        self._built = False

    @property
    def input_shape(self):
        return self._input_shape

    @property
    def output_shape(self):
        return self._output_shape

    @property
    def is_built(self):
        return self._built

    def build(self, input_shape=None, output_shape=None, *, force=False):
        self._input_shape, self._output_shape = input_shape, output_shape
        self.layers = nn.Sequential(nn.Linear(input_shape[-1], self.width), nn.Linear(self.width, 1))
        self._built = True

    def forward(self, x):
        return self.layers(x)


class Deeper(Own):
    def build(self, input_shape=None, output_shape=None, *, force=False):
        super().build(input_shape, output_shape, force=force)
        self.last = nn.Linear(1, 1)

    def forward(self, x):
        return self.last(super().forward(x))


class Careful(Net):
    def build(self, input_shape=None, output_shape=None, *, force=False):
        super().build(input_shape, output_shape or (1,), force=force)


class ReturnsText(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, str]:
        return {"said": "nothing"}


@pytest.fixture
def net() -> Net:
    model = Net(output_shape=(2,))
    model.build((4,))
    return model


def test_shapes_are_known_after_the_build(net: Net) -> None:
    assert (net.input_shape, net.output_shape, net.backend) == ((4,), (2,), "torch")
    assert net.module is net


def test_layers_may_exist_before_the_build() -> None:
    model = Ready()
    assert not model.is_built
    model.build((3, 4), (9,))
    assert model.output_shape == (3, 2)


@pytest.mark.parametrize("cls", [Own, Deeper, Careful])
def test_a_class_may_have_a_build_of_its_own(cls: type[TorchBaseModel], tmp_path: Path) -> None:
    model = cls(width=3)
    assert not model.is_built
    model.build((4,), (1,))
    assert (model.is_built, model.input_shape, model.output_shape) == (True, (4,), (1,))
    before = model.get_weights()
    model.build((4,), (1,))
    with pytest.raises(ValueError, match="its input_shape is"):
        model.build((5,), (1,))
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.reset_weights()
    assert all(np.array_equal(w, before[n]) for n, w in model.get_weights().items())
    twin = cls.load(model.save(tmp_path / "own"))
    assert (twin.input_shape, twin.init_args["width"]) == ((4,), 3)
    assert all(np.array_equal(w, before[n]) for n, w in twin.get_weights().items())
    model.build((4,), (1,), force=True)
    assert not all(np.array_equal(w, before[n]) for n, w in model.get_weights().items())


def test_a_class_with_a_build_of_its_own_is_told_what_its_layers_refuse() -> None:
    class Wrong(Own):
        def forward(self, x):
            return self.layers(x[:, :2])

    with pytest.raises(ValueError, match=r"Wrong.forward\(\) raised"):
        Wrong().build((4,), (1,))


def test_building_again_changes_nothing_unless_forced(net: Net) -> None:
    before = net.get_weights()
    net.build((4,))
    assert all(np.array_equal(w, before[n]) for n, w in net.get_weights().items())
    net.build((4,), force=True)
    assert not np.array_equal(net.get_weights()["last.weight"], before["last.weight"])


def test_a_forced_build_takes_other_shapes() -> None:
    model = Net()
    model.build((4,), (2,))
    with pytest.raises(ValueError, match=r"\(4,\).*\(5,\).*force=True"):
        model.build((5,))
    model.build((5,), (3,), force=True)
    assert (model.input_shape, model.output_shape) == ((5,), (3,))


def test_the_constructors_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="has 2 faults"):
        Net(input_shape=(4,), output_shape=(2,)).build((5,), (3,))
    model = Net(input_shape=(4,), output_shape=(2,))
    model.build((4,), (1, 2))  # ones do not count
    assert model.output_shape == (2,)


def test_without_an_input_shape_it_says_so() -> None:
    with pytest.raises(ValueError, match="Net needs an input_shape"):
        Net().build()


def test_building_looks_at_the_model_without_touching_it() -> None:
    torch.manual_seed(0)
    model = Net()
    model.build((4,))
    after_build = torch.rand(1)
    torch.manual_seed(0)
    Net().build_layers((4,), None)
    assert torch.equal(after_build, torch.rand(1))
    assert all(m.training for m in model.modules())
    assert model.hidden[1].num_batches_tracked == 0


def test_weights_are_copies_and_hold_buffers(net: Net) -> None:
    weights = net.get_weights()
    net(torch.randn(8, 4))  # moves the running mean
    assert not np.array_equal(weights["hidden.1.running_mean"], net.get_weights()["hidden.1.running_mean"])
    net.set_weights(weights)
    for name, value in net.get_weights().items():
        assert np.array_equal(value, weights[name]), name


def test_weights_are_set_in_place(net: Net) -> None:
    parameter = net.last.weight
    net.set_weights({n: np.ones_like(w) for n, w in net.get_weights().items()})
    assert net.last.weight is parameter
    assert (parameter == 1).all()
    assert parameter.requires_grad


def test_wrong_weights_are_all_told(net: Net) -> None:
    weights = net.get_weights()
    weights["last.wieght"] = weights.pop("last.weight")
    weights["last.bias"] = np.zeros(7)
    before = net.last.bias.clone()
    with pytest.raises(ValueError, match="3 faults") as told:
        net.set_weights(weights)
    for words in ("Did you mean 'last.weight'", "'last.bias' has shape (2,), but (7,)", "is missing"):
        assert words in str(told.value)
    assert torch.equal(net.last.bias, before)


def test_reset_returns_to_the_build(net: Net) -> None:
    first = net.get_weights()
    net.set_weights({n: w + 1 for n, w in first.items()})
    net.reset_weights()
    assert all(np.array_equal(w, first[n]) for n, w in net.get_weights().items())


def test_the_state_makes_a_twin(net: Net) -> None:
    net(torch.randn(8, 4))
    twin = Net.from_config(net.get_config())
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    twin.set_state(net.get_state())
    assert torch.equal(torch.rand(1), expected), "global randomness was touched"
    x = torch.randn(3, 4)
    assert torch.equal(twin.eval()(x), net.eval()(x))


def test_the_state_before_the_build_unbuilds() -> None:
    model = Net()
    state = model.get_state()
    assert state == {"input_shape": None, "output_shape": None, "weights": None, "initial": None}
    model.build((4,))
    model.set_state(state)
    assert (model.is_built, model.input_shape) == (False, None)
    with pytest.raises(RuntimeError, match="Net is not built"):
        model.reset_weights()


def test_a_state_of_other_shapes_builds_anew(net: Net) -> None:
    other = Net()
    other.build((5,), (3,))
    other.set_state(net.get_state() | {"weights": net.get_weights()})
    assert (other.input_shape, other.output_shape) == ((4,), (2,))
    assert np.array_equal(other.get_weights()["last.weight"], net.get_weights()["last.weight"])


def test_models_are_themselves_in_equality_and_repr(net: Net) -> None:
    assert net != copy.deepcopy(net)
    assert repr(Net(output_shape=(2,), width=8)) == "Net(output_shape=(2,))"
    assert net.get_init_args() == {"input_shape": None, "output_shape": (2,), "width": 8}


def test_a_deep_copy_is_independent(net: Net) -> None:
    twin, before = copy.deepcopy(net), net.get_weights()
    twin.set_weights({n: w + 1 for n, w in before.items()})
    assert all(np.array_equal(w, before[n]) for n, w in net.get_weights().items())


@pytest.mark.parametrize(
    ("module", "error", "match"),
    [
        (ReturnsText(), TypeError, "ReturnsText returns a dict of .*none of it is a tensor"),
        (nn.Flatten(0), ValueError, "must stay the batch"),
    ],
)
def test_a_dry_run_wants_tensors_by_batch(module: nn.Module, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        dry_run(module, (3, 4))


def test_what_holds_no_entry_for_each_sample_is_no_output() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 3, num_layers=2, batch_first=True)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            outputs, (hidden, _) = self.lstm(x)
            return {"tags": outputs, "hidden": hidden, "penalty": outputs.mean()}

    # The state has as many layers as the first batch has samples.
    assert dry_run(Tagger(), (5, 4)) == {"tags": (5, 3)}


def test_a_dry_run_follows_the_modules_dtype() -> None:
    assert dry_run(nn.Linear(4, 2).double(), (4,)) == (2,)
