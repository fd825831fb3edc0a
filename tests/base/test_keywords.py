"""Misspelt keywords are refused with the nearest match, everywhere in the public API."""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import modularml
from modularml.base.config import Configurable
from modularml.base.errors import InvalidTypeError
from modularml.base.keywords import checked, checked_keywords
from modularml.core.experiment.comparison import Diff
from modularml.core.experiment.history import History
from modularml.core.experiment.staleness import PhaseStatus, Status
from modularml.core.topology.summary import GraphSummary
from modularml.display.diagram import Diagram
from modularml.inspection.comparing import Comparison
from modularml.inspection.facts import FileFacts

PACKAGES = [
    importlib.import_module(f"modularml{name}")
    for name in ["", *(f".{package}" for package in modularml._PACKAGES), ".models.torch"]
]
HANDED_OUT = [Comparison, Diagram, Diff, FileFacts, GraphSummary, History, PhaseStatus, Status]


@checked_keywords
class Kettle:
    """Something with keywords."""

    def __init__(self, *, volume: float = 1.0) -> None:
        self.volume = volume

    def heat(self, watts: int, seconds: int = 1) -> int:
        return self.boil(wats=watts) if seconds == 0 else watts * seconds

    def boil(self, watts: int) -> int:
        raise TypeError("got an unexpected keyword argument 'inside'")

    @classmethod
    def of_volume(cls, volume: float) -> "Kettle":
        return cls(volume=volume)

    @contextlib.contextmanager
    def kept_warm(self, watts: int) -> Iterator[int]:
        yield watts

    def seconds(self, until: int) -> Iterator[int]:
        yield from range(until)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Kettle(volum=2), "Kettle.*'volum'. Did you mean 'volume'?"),
        (lambda: Kettle().heat(watts=1, second=2), "heat.*'second'. Did you mean 'seconds'?"),
        (lambda: Kettle.of_volume(volum=2), "of_volume.*Did you mean 'volume'?"),
        (lambda: Kettle(zzz=2), "It takes: volume."),
        (lambda: Kettle().kept_warm(wats=2), "kept_warm.*Did you mean 'watts'?"),
        (lambda: Kettle().seconds(untill=2), "seconds.*Did you mean 'until'?"),
        (lambda: Kettle().heat(1, 0), "boil.*'wats'. Did you mean 'watts'?"),
    ],
)
def test_a_misspelt_keyword_is_refused_with_the_nearest(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidTypeError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Kettle(2), r"^Kettle\(\) takes nothing by position, got 2. By name: volume.$"),
        (
            lambda: modularml.Optimizer("adam", 0.1),
            r"takes opt by position, got 'adam', 0.1. By name: opt_kwargs",
        ),
        (
            lambda: modularml.samplers.SimpleSampler(32),
            r"^SimpleSampler\(\) takes nothing .* By name: batch_size, ",
        ),
        (
            lambda: modularml.TrainPhase("t", []),
            r"^TrainPhase\(\) takes label by .* By name: input_sources, ",
        ),
    ],
)
def test_what_goes_by_name_is_told_where_too_much_comes_by_position(
    call: Callable[[], Any], words: str
) -> None:
    with pytest.raises(InvalidTypeError, match=words):
        call()


def test_other_type_errors_stay_as_they_are() -> None:
    with pytest.raises(TypeError, match="^got an unexpected keyword argument 'inside'$"):
        Kettle().boil(1)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Kettle().heat()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3 were given"):
        Kettle.of_volume(1.0, 2.0)  # type: ignore[call-arg]


def test_signatures_stay_visible() -> None:
    assert list(inspect.signature(Kettle).parameters) == ["volume"]
    assert list(inspect.signature(Kettle.heat).parameters) == ["self", "watts", "seconds"]


def test_a_function_is_checked_once() -> None:
    once = checked(lambda a: a)
    assert checked(once) is once


def public_functions() -> Iterator[tuple[str, Any]]:
    """Every public function, and the constructor and the public methods of every public class."""
    for package in PACKAGES:
        for name in getattr(package, "__all__", dir(package)):
            found = getattr(package, name)
            if name.startswith("_") or not getattr(found, "__module__", "").startswith("modularml."):
                continue
            if inspect.isfunction(found) and package is not modularml.predicates:
                yield f"{package.__name__}.{name}", found
            if inspect.isclass(found) and (package is modularml or issubclass(found, Configurable)):
                yield from methods_of(found, f"{package.__name__}.{name}")
    for cls in HANDED_OUT:
        yield from (
            (method, member) for method, member in methods_of(cls, cls.__name__) if "__" not in method
        )


def methods_of(cls: type, name: str) -> Iterator[tuple[str, Any]]:
    is_module = hasattr(cls, "register_forward_hook")
    for method, member in inspect.getmembers(cls, callable):
        if method == "__init__" or not (method.startswith(("_", "on_")) or is_module):
            yield f"{name}.{method}", getattr(member, "__func__", member)


def takes_named(member: Any) -> bool:
    function = inspect.unwrap(member)
    if not inspect.isfunction(function) or not function.__module__.startswith("modularml."):
        return False
    parameters = inspect.signature(function).parameters
    named = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return bool({p.name for p in named} - {"self", "cls"}) and not any_name


CALLABLES = {name: member for name, member in public_functions() if takes_named(member)}


def test_the_public_api_is_found() -> None:
    assert len(CALLABLES) > 500
    assert {"modularml.inspect", "modularml.ExperimentContext.use_policy"} < CALLABLES.keys()
    assert modularml.Experiment.run_phase  # takes display options, which are checked by themselves


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_every_public_callable_refuses_a_misspelt_keyword_itself(name: str) -> None:
    with pytest.raises(
        InvalidTypeError, match="got an unexpected keyword argument 'mispelt'. (Did|It takes)"
    ):
        CALLABLES[name](None, mispelt=1)  # refused before anything is done, so that None will do as self


def test_a_method_that_is_inherited_bears_the_name_of_the_class_that_was_asked() -> None:
    class Samovar(Kettle):
        pass

    with pytest.raises(InvalidTypeError, match=r"^Samovar.boil\(\) got .*'wats'. Did you mean 'watts'"):
        Samovar().boil(wats=3)


def test_what_goes_by_position_is_not_offered_as_a_keyword() -> None:
    with pytest.raises(InvalidTypeError, match="'experiment'. It takes its arguments by position."):
        modularml.compare(experiment="a")  # type: ignore[call-arg]


def test_what_is_passed_on_is_told_where_it_goes() -> None:
    with pytest.raises(
        InvalidTypeError, match=r"'lr'. It takes: opt, .* What is passed on goes to opt_kwargs=\{'lr': 0.1\}"
    ):
        modularml.Optimizer("adam", lr=0.1)  # type: ignore[call-arg]
    with pytest.raises(InvalidTypeError, match=r"loss_kwargs=\{'delta': 0.5\}"):
        modularml.Loss("huber", delta=0.5)  # type: ignore[call-arg]


def test_the_check_is_passed_by_in_the_traceback_of_an_error() -> None:
    with pytest.raises(TypeError) as caught:
        Kettle().heat(None)  # type: ignore[arg-type]
    shown = [entry.name for entry in caught.traceback.filter(caught)]
    assert "heat" in shown and "call" not in shown
