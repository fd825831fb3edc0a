from typing import Any

import pytest
import torch

from modularml.backends.accelerator import Accelerator, as_accelerator
from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError


def machine(monkeypatch: pytest.MonkeyPatch, n_cuda: int, mps: bool = False) -> None:
    """Pretend that torch sees these devices; nothing is moved to them here."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("device", "name"),
    [("cpu", "cpu"), ("CUDA", "cuda:0"), ("cuda:1", "cuda:1"), ("gpu:1", "cuda:1"), ("mps", "mps")],
)
def test_a_device_has_torchs_name(device: str, name: str) -> None:
    accelerator = Accelerator(device)
    assert accelerator.torch_device_str() == name
    assert Accelerator.from_config(accelerator.get_config()) == accelerator


def test_short_ways() -> None:
    assert Accelerator.cpu() == Accelerator()
    assert Accelerator.cuda(2) == Accelerator.gpu(2) == Accelerator("gpu:2")
    assert Accelerator.mps() == as_accelerator("mps")
    assert as_accelerator(None) is None


@pytest.mark.parametrize(
    ("n_cuda", "mps", "found"),
    [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda:0"), (1, True, "cuda:0")],
)
def test_auto_is_the_first_gpu_that_there_is(monkeypatch: Any, n_cuda: int, mps: bool, found: str) -> None:
    machine(monkeypatch, n_cuda, mps)
    assert Accelerator("auto").torch_device() == torch.device(found)
    assert Accelerator("auto").is_available()


def test_a_device_that_is_not_there_is_told_with_those_that_are(monkeypatch: Any) -> None:
    machine(monkeypatch, 2)
    assert Accelerator("cuda:1").torch_device() == torch.device("cuda:1")
    for wrong in ("cuda:2", "mps"):
        assert not Accelerator(wrong).is_available()
        with pytest.raises(StateError, match=rf"'{wrong}' is not available .*'cpu', 'cuda:0', 'cuda:1'\]"):
            Accelerator(wrong).torch_device()


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ("cdua", InvalidValueError, "Unknown device 'cdua'.*mean 'cuda'"),
        ("cuda:x", InvalidValueError, "got 'cuda:x'"),
        ("cpu:1", InvalidValueError, "got 'cpu:1'"),
        (3, InvalidTypeError, "got 3"),
    ],
)
def test_what_is_no_device_is_refused(wrong: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        as_accelerator(wrong)


def test_tensors_and_modules_are_moved() -> None:
    tensor, module = torch.ones(3), torch.nn.Linear(3, 1)
    assert Accelerator().move_torch_tensor(tensor) is tensor
    assert Accelerator().setup_torch_model(module) is module


@pytest.mark.parametrize(
    ("device", "name"), [("cpu", "cpu"), ("cpu:0", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")]
)
def test_a_device_of_torch_is_a_device(device: str, name: str) -> None:
    given = torch.device(device)
    assert Accelerator(given).torch_device_str() == name
    found = as_accelerator(given)
    assert found is not None and found.torch_device_str() == name
