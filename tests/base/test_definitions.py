"""What is defined under a name by now, whether it is another version, and what an object is made with."""

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from modularml.base.config import Configurable
from modularml.base.definitions import defined, newer, own_definitions, version

SOURCE = """
from torch import nn
LIMIT = 3
def loss(a, b, scale=1.0):
    '''Square.'''
    return scale * ((a - b) ** 2).mean()
class Base(nn.Module):
    width = 4
    def size(self):
        return [self.width for _ in range(2)]
    @property
    def double(self):
        return 2 * self.width
    @classmethod
    def of(cls):
        return cls()
class Net(Base):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    class Inner:
        pass
"""


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    made = types.ModuleType("a_module_of_mine")
    sys.modules["a_module_of_mine"] = made
    exec(SOURCE, vars(made))
    yield made
    del sys.modules["a_module_of_mine"]


def define(module: types.ModuleType, old: str = "", new: str = "") -> None:
    assert old in SOURCE
    exec(SOURCE.replace(old, new), vars(module))


def test_what_a_module_defines_itself_is_found_by_name(module: Any) -> None:
    assert defined("a_module_of_mine", "Net") is module.Net
    assert defined("a_module_of_mine", "Net.Inner") is module.Net.Inner
    assert defined("a_module_of_mine", "nn") is None
    assert defined("a_module_of_mine", "LIMIT") is None
    assert defined("no_such_module", "Net") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [("", ""), ("LIMIT = 3", "LIMIT = 4\n\n"), ("'''Square.'''", "'''The square.'''"), ("Base", "Base")],
)
def test_the_same_once_more_is_no_other_version(module: Any, old: str, new: str) -> None:
    net, loss = module.Net, module.loss
    define(module, old, new)
    assert module.Net is not net
    assert newer(net) is None
    assert newer(loss) is None


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("loss", "** 2", "** 4"),
        ("loss", "scale=1.0", "scale=2.0"),
        ("loss", ".mean()", ".sum()"),
        ("Base", "width = 4", "width = 5"),
        ("Base", "range(2)", "range(3)"),
        ("Base", "2 * self", "3 * self"),
        ("Base", "return cls()", "return None"),
        ("Net", "nn.ReLU", "nn.Tanh"),
        ("Net", "class Net(Base)", "class Net(nn.Module)"),
    ],
)
def test_another_text_is_another_version(module: Any, name: str, old: str, new: str) -> None:
    before = {each: getattr(module, each) for each in ("loss", "Base", "Net")}
    define(module, old, new)
    assert {each for each, found in before.items() if newer(found) is not None} == {name}
    assert newer(before[name]) is getattr(module, name)


def test_what_is_defined_no_more_or_as_something_else_has_no_newer_version(module: Any) -> None:
    net, loss = module.Net, module.loss
    del module.Net
    exec("class loss: pass", vars(module))
    assert newer(net) is None
    assert newer(loss) is None
    assert newer(lambda: 1) is None


def test_a_version_is_of_the_text_and_not_of_the_place(module: Any) -> None:
    before = version(module.loss)
    define(module, "LIMIT = 3", "\n\n\nLIMIT = 3")
    assert version(module.loss) == before
    define(module, "** 2", "** 3")
    assert version(module.loss) != before


class Holder(Configurable):
    """Something that is described by its argument."""

    def __init__(self, held: Any = None) -> None:
        self.held = held


def half(x: Any) -> Any:
    return x / 2


def test_a_class_is_found_with_those_it_derives_from(module: Any) -> None:
    assert own_definitions(module.Net()) == [module.Net, module.Base]


HOLDERS: list[Callable[[Any], Any]] = [
    lambda held: Holder(held),
    lambda held: Holder([{"a": (held,)}]),
    lambda held: Holder(functools.partial(held)),
    lambda held: make_pipeline(StandardScaler(), FunctionTransformer(held)),
]


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_function_is_found_wherever_an_object_keeps_it(holder: Callable[[Any], Any]) -> None:
    assert half in own_definitions(holder(half))


def test_modules_are_looked_through_and_libraries_left_out(module: Any) -> None:
    found = own_definitions(nn.Sequential(nn.Linear(2, 2), nn.ModuleList([module.Net()])))
    assert found == [module.Net, module.Base]
    assert own_definitions(nn.Sequential(nn.Linear(2, 2))) == []


def test_what_holds_itself_or_very_much_is_no_trouble() -> None:
    circle = Holder()
    circle.held = [circle, list(range(100_000))]
    assert own_definitions(circle) == [Holder]


def test_what_an_object_wraps_for_itself_is_what_is_defined(module: Any) -> None:
    net = module.Net()
    for known in (net.size, module.Net.size):

        @functools.wraps(known)
        def wrapper(*args: Any) -> Any:
            return known(*args)  # noqa: B023

        net.sizes = wrapper
        assert wrapper in own_definitions(net)
        assert newer(wrapper) is None
    define(module, "self.width for", "self.width + 1 for")
    assert newer(net.sizes) is module.Base.size
