"""What every callback of the library promises, found by reflection."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import modularml.callbacks
from modularml import Callback, EvalPhase, ExperimentCallback
from modularml.base.config import from_config, to_config
from modularml.base.errors import CallbackError
from modularml.callbacks import EarlyStopping, Evaluation, MetricCallback
from modularml.core.experiment.callback import check_callbacks
from tests.callbacks.conftest import Regression


@pytest.fixture
def regression() -> Regression:
    return Regression()


class Count(MetricCallback):
    def compute(self, *, results: Any, **_: Any) -> float:
        return float(results.n_epochs)


def subclasses(base: type) -> Iterator[type]:
    for cls in base.__subclasses__():
        yield cls
        yield from subclasses(cls)


def shipped(base: type) -> list[type]:
    assert modularml.callbacks
    return sorted(
        (cls for cls in subclasses(base) if cls.__module__.startswith("modularml.")), key=lambda c: c.__name__
    )


def made(cls: type, regression: Regression) -> Any:
    """Return a callback of the class, with what it needs."""
    if cls is Evaluation:
        return Evaluation(eval_phase=EvalPhase.from_split("val", split="test", losses=[regression.loss]))
    if cls is EarlyStopping:
        return EarlyStopping(monitor="mse", patience=1, min_delta=9.0)  # so that it stops
    if cls is MetricCallback:
        return Count("n")
    return cls()


CLASSES = [*shipped(Callback), *shipped(ExperimentCallback)]


def test_some_are_found() -> None:
    assert {Evaluation, EarlyStopping, MetricCallback} <= set(CLASSES)


@pytest.mark.parametrize("cls", [Callback, ExperimentCallback, *CLASSES])
def test_hooks_take_keywords_of_the_base(cls: type) -> None:
    base = Callback if issubclass(cls, Callback) else ExperimentCallback
    for hook in base.hooks:
        own = inspect.signature(getattr(cls, hook)).parameters.values()
        asked = set(inspect.signature(getattr(base, hook)).parameters)
        assert {p.name for p in own} == asked or any(p.kind is p.VAR_KEYWORD for p in own)
        assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in own if p.name != "self")


@pytest.mark.parametrize("cls", CLASSES)
def test_configuration_and_state_make_the_same_again(cls: type, regression: Regression) -> None:
    callback = made(cls, regression)
    again = from_config(to_config(callback))
    assert again == callback and again.label == callback.label
    regression.exp.run_phase(regression.train(callback, n_epochs=2))
    again.set_state(callback.get_state())
    assert again.get_state() == callback.get_state()


@pytest.mark.parametrize("cls", CLASSES)
def test_what_is_not_overridden_is_not_called(cls: type) -> None:
    base = Callback if issubclass(cls, Callback) else ExperimentCallback
    for hook in base.hooks:
        overridden = getattr(cls, hook) is not getattr(base, hook)
        assert cls.listens(hook) is overridden  # type: ignore[attr-defined]
    assert check_callbacks([], base, "here") == []


@pytest.mark.parametrize("cls", shipped(Callback))
def test_it_leaves_every_flag_as_it_was(cls: type, regression: Regression) -> None:
    module = regression.node.module
    before = [p.requires_grad for p in module.parameters()], regression.node.is_frozen
    seen: list[Any] = []

    class Watch(Callback):
        def on_batch_end(self, **_: Any) -> None:
            seen.append([p.requires_grad for p in module.parameters()])

    regression.exp.run_phase(regression.train(made(cls, regression), Watch(), n_epochs=2))
    assert all(all(flags) for flags in seen) and len(seen) == 8
    assert ([p.requires_grad for p in module.parameters()], regression.node.is_frozen) == before


@pytest.mark.parametrize("cls", shipped(Callback))
def test_every_callback_hears_of_an_exception(cls: type, regression: Regression) -> None:
    heard: list[str] = []

    callback = made(cls, regression)

    class Heard(type(callback)):  # type: ignore[misc]
        def on_exception(self, *, exception: BaseException, **_: Any) -> None:
            heard.append(type(exception).__name__)

    class Bad(Callback):
        def on_epoch_end(self, **_: Any) -> None:
            raise RuntimeError("no")

    callback.__class__ = Heard
    with pytest.raises(CallbackError, match="'Bad' raised in on_epoch_end: RuntimeError: no"):
        regression.exp.run_phase(regression.train(callback, Bad()))
    assert heard == ["CallbackError"]
