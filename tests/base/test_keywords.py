"""Misspelt keywords are refused with the nearest match, everywhere in the public API."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import modularml
from modularml.base.errors import InvalidTypeError
from modularml.base.keywords import checked, checked_keywords

PACKAGES = [
    importlib.import_module(f"modularml{name}")
    for name in ("", ".samplers", ".splitters", ".scalers", ".callbacks", ".models", ".models.torch")
]


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


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Kettle(volum=2), "Kettle.*'volum'. Did you mean 'volume'?"),
        (lambda: Kettle().heat(watts=1, second=2), "heat.*'second'. Did you mean 'seconds'?"),
        (lambda: Kettle.of_volume(volum=2), "of_volume.*Did you mean 'volume'?"),
        (lambda: Kettle(zzz=2), "It takes: volume."),
        (lambda: Kettle().heat(1, 0), "boil.*'wats'. Did you mean 'watts'?"),
    ],
)
def test_a_misspelt_keyword_is_refused_with_the_nearest(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidTypeError, match=words):
        call()


def test_other_type_errors_stay_as_they_are() -> None:
    with pytest.raises(TypeError, match="^got an unexpected keyword argument 'inside'$"):
        Kettle().boil(1)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Kettle().heat()  # type: ignore[call-arg]


def test_signatures_stay_visible() -> None:
    assert list(inspect.signature(Kettle).parameters) == ["volume"]
    assert list(inspect.signature(Kettle.heat).parameters) == ["self", "watts", "seconds"]


def test_a_function_is_checked_once() -> None:
    once = checked(lambda a: a)
    assert checked(once) is once


def public_callables() -> Iterator[tuple[str, Any]]:
    """Every public class's constructor and the public methods and class methods that take keywords."""
    for package in PACKAGES:
        for name in getattr(package, "__all__", ()):
            cls = getattr(package, name)
            if not inspect.isclass(cls) or not cls.__module__.startswith("modularml."):
                continue
            is_module = hasattr(cls, "register_forward_hook")
            for method, member in inspect.getmembers(cls, callable):
                if method == "__init__" or not (method.startswith(("_", "on_")) or is_module):
                    yield f"{package.__name__}.{name}.{method}", member


def takes_named(member: Any) -> bool:
    function = inspect.unwrap(getattr(member, "__func__", member))
    if not inspect.isfunction(function) or not function.__module__.startswith("modularml."):
        return False
    parameters = list(inspect.signature(function).parameters.values())[1:]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return bool(named) and all(p.kind is not p.VAR_KEYWORD for p in parameters)


CALLABLES = {name: member for name, member in public_callables() if takes_named(member)}


def test_the_public_api_is_found() -> None:
    assert len(CALLABLES) > 150
    assert modularml.Experiment.run_phase  # takes display options, which are checked by themselves


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_every_public_callable_completes_the_error(name: str) -> None:
    function = getattr(CALLABLES[name], "__func__", CALLABLES[name])
    if inspect.isgeneratorfunction(inspect.unwrap(function)):
        pytest.skip("a context manager or a generator: Python refuses the keyword when it is called")
    assert hasattr(function, "__wrapped__"), f"{name} is not checked"
