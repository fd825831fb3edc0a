"""What a file names is bound to what is passed or defined, and nothing is imported for it."""

import linecache
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.base import BaseEstimator

from modularml.base.config import Configurable
from modularml.io.symbols import Symbol, bind, describe, ufunc_home


class Net(torch.nn.Module):
    """Stands for a user's module."""

    class Inner(torch.nn.Module):
        """A class within a class."""

    def forward(self, x):
        return x


class Plain:
    """A class that no file may name by itself."""


class Own(Configurable):
    def __init__(self, n=1):
        self.n = n


class OwnEstimator(BaseEstimator):
    pass


def own_function(x):
    return x


@pytest.fixture(autouse=True)
def this_module_is_loaded(monkeypatch):
    module = types.ModuleType("module_of_a_user")
    for value in (Net, Net.Inner, Plain, Own, OwnEstimator, own_function):
        monkeypatch.setattr(value, "__module__", module.__name__)
        setattr(module, value.__qualname__, value)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def named(module, name):
    return Symbol(name=name, module=module, source="")


@pytest.mark.parametrize("cls", [Net, Net.Inner, Own, OwnEstimator, torch.nn.Linear, torch.optim.SGD])
def test_a_class_of_a_known_kind_is_found_where_it_is_defined(cls):
    assert bind(describe(cls), {}) is cls


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"), ("posix", "system"), ("subprocess", "Popen"), ("subprocess", "run"),
        ("builtins", "eval"), ("builtins", "exec"), ("builtins", "type"), ("builtins", "object"),
        ("shutil", "rmtree"), ("sys", "exit"),
        ("os", "environ"), ("os.path", "join"), ("torch", "load"), ("torch.hub", "load"), ("numpy", "load"),
        ("module_of_a_user", "Plain"), ("module_of_a_user", "own_function"), ("module_of_a_user", "sys"),
        ("module_of_a_user", "Net.forward"), ("module_of_a_user", "Net.__init__.__globals__"),
        ("", "Net"), ("", ""),
        ("module_of_a_user", ""), ("module_of_a_user", "Net.__class__"), ("module_of_a_user", "__builtins__"),
        ("torch", "nn.Linear"), ("__main__", "__builtins__.eval"), ("__main__", "os.system"),
    ],
)  # fmt: skip
def test_nothing_else_is_found(module, name):
    assert bind(named(module, name), {}) is None


@pytest.mark.parametrize("module", ["this", "antigravity", "modularml.nowhere", "turtle", "idlelib.run"])
def test_nothing_is_imported(module):
    assert bind(named(module, "Net"), {}) is None
    assert module not in sys.modules


def test_no_code_of_a_module_runs_when_it_is_asked(this_module_is_loaded):
    def __getattr__(name):
        raise AssertionError("this would import more")

    this_module_is_loaded.__getattr__ = __getattr__
    assert bind(named("module_of_a_user", "Missing"), {}) is None


def test_a_name_that_is_only_imported_there_is_not_defined_there(this_module_is_loaded):
    this_module_is_loaded.Linear = torch.nn.Linear
    assert bind(named("module_of_a_user", "Linear"), {}) is None


def test_a_function_is_found_in_main_alone(monkeypatch):
    main = sys.modules["__main__"]
    monkeypatch.setattr(own_function, "__module__", "__main__")
    monkeypatch.setattr(main, "own_function", own_function, raising=False)
    monkeypatch.setattr(main, "run", subprocess.run, raising=False)
    assert bind(named("__main__", "own_function"), {}) is own_function
    assert bind(named("__main__", "run"), {}) is None


@pytest.mark.parametrize("name", ["elsewhere.Outer.Net", "Outer.Net", "Net"])
def test_what_is_passed_comes_first_by_any_of_its_names(name):
    assert bind(named("elsewhere", "Outer.Net"), {name: Plain}) is Plain


def test_source_is_kept_for_reading():
    assert describe(own_function).source == "def own_function(x):\n    return x\n"
    assert "Stands for a user's module" in describe(Net).source
    assert describe(len).source == ""


def test_source_follows_the_code_that_a_reload_exchanges():
    def replaced(x):
        return 2 * x

    def reloaded(x):
        return x

    assert "2 * x" in describe(replaced).source
    replaced.__code__ = reloaded.__code__
    assert "def reloaded" in describe(replaced).source


def test_the_source_of_a_class_in_a_notebook_is_found_by_its_methods():
    """`inspect` looks for a class in the file of its module, and a cell has none."""
    cell = textwrap.dedent("""
        import torch

        class Other:
            def forward(self): ...

        class CellNet(torch.nn.Module):
            def forward(self, x):
                return x
        """)
    name = "/tmp/ipykernel_1/2.py"
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    scope = {"__name__": "__main__"}
    exec(compile(cell, name, "exec"), scope)
    assert describe(scope["CellNet"]).source.startswith("class CellNet(torch.nn.Module):")
    assert describe(scope["CellNet"]).source.endswith("return x")


def test_a_ufunc_is_named_by_the_library_that_has_it_and_found_there():
    for value, home in ((np.log1p, "numpy"), (expit, "scipy.special")):
        named = describe(value)
        assert (named.module, named.source) == (home, "")
        assert bind(named, {}) is value
    own = np.frompyfunc(lambda x: x, 1, 1)
    assert ufunc_home(own) is None
    for name in ("frompyfunc", "load", "nothing"):
        assert bind(Symbol(name=name, module="numpy", source=""), {}) is None
