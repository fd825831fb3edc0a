"""Classes and functions of the user's own: by name and source text in a file, bound on load.

It knows no file and no tree, and it imports nothing: a name is looked up in what the
caller hands over and in what is defined already.

What a name in a file may be bound to, unless the caller passes it:

- a class that a loaded module defines under that name, if it is a torch module,
  optimizer or schedule, a scikit-learn estimator, a type of numpy's or a `Configurable`;
- a function that ``__main__`` (the notebook or script) defines;
- a ufunc of numpy or scipy, as ``numpy.log1p``, which computes on arrays and nothing else.

So neither ``os.system`` nor any other function of a library can be reached by a file.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from modularml.base.config import Configurable
from modularml.base.definitions import defined

_BASES = (
    ("torch.nn.modules.module", "Module"),
    ("torch.optim.optimizer", "Optimizer"),
    ("torch.optim.lr_scheduler", "LRScheduler"),
    ("sklearn.base", "BaseEstimator"),
    ("numpy", "generic"),  # the dtypes that estimators are made with
)
_UFUNCS = ("numpy", "scipy.special")


@dataclass(frozen=True, kw_only=True)
class Symbol:
    """A class or function as a file names it.

    Attributes:
        name: Its ``__qualname__``, e.g. ``"MyNet"``.
        module: The module that defined it.
        source: Its source text, for reading; empty where none was found.
    """

    name: str
    module: str
    source: str

    @property
    def full_name(self) -> str:
        """Module and name, e.g. ``"__main__.MyNet"``."""
        return f"{self.module}.{self.name}"

    @property
    def short_name(self) -> str:
        """The last part of the name: what it was called where it was defined."""
        return self.name.rpartition(".")[2]


def ufunc_home(value: object) -> str | None:
    """Return the module that has `value` as one of its ufuncs, by its name; None if there is none."""
    if not isinstance(value, np.ufunc):
        return None
    return next((home for home in _UFUNCS if _ufunc(home, value.__name__) is value), None)


def _ufunc(module: str, name: str) -> np.ufunc | None:
    found = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    return found if isinstance(found, np.ufunc) else None


def describe(value: Any) -> Symbol:
    """Return how a file names the class, function or ufunc `value`."""
    home = ufunc_home(value)
    if home is not None:
        return Symbol(name=value.__name__, module=home, source="")
    return Symbol(name=value.__qualname__, module=value.__module__ or "builtins", source=_source(value))


def bind(symbol: Symbol, passed: Mapping[str, Any]) -> Any:
    """Return what `symbol` names: from `passed`, else from what is defined; None if nothing.

    Args:
        symbol: The name.
        passed: What the caller hands over, by full, qualified or short name.
    """
    for name in (symbol.full_name, symbol.name, symbol.short_name):
        if name in passed:
            return passed[name]
    if symbol.module in _UFUNCS:
        ufunc = _ufunc(symbol.module, symbol.name)
        if ufunc is not None:
            return ufunc
    found = defined(symbol.module, symbol.name)
    is_own_function = isinstance(found, FunctionType) and symbol.module == "__main__"
    return found if is_own_function or _is_known_kind(found) else None


def _is_known_kind(found: object) -> bool:
    bases = [vars(sys.modules[module])[name] for module, name in _BASES if module in sys.modules]
    return isinstance(found, type) and issubclass(found, (Configurable, *bases))


# Weak, so that what a re-run cell defines anew can go; with the code, which a reload may exchange.
_sources: WeakKeyDictionary[Any, tuple[tuple[CodeType, ...], str]] = WeakKeyDictionary()


def _source(value: Any) -> str:
    members = vars(value).values() if isinstance(value, type) else (value,)
    codes = tuple(member.__code__ for member in members if isinstance(member, FunctionType))
    if value not in _sources or _sources[value][0] != codes:
        _sources[value] = codes, _read_source(value)
    return _sources[value][1]


def _read_source(value: Any) -> str:
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return _source_from_cell(value) if isinstance(value, type) else ""


def _source_from_cell(cls: type) -> str:
    """Return the text of a class of a notebook, found through the lines of its methods."""
    codes = [member.__code__ for member in vars(cls).values() if isinstance(member, FunctionType)]
    for code in codes:
        text = "".join(linecache.getlines(code.co_filename))
        try:
            nodes = ast.walk(ast.parse(text))
        except SyntaxError:  # a cell with magics
            continue
        for node in nodes:
            if (
                isinstance(node, ast.ClassDef)
                and node.name == cls.__name__
                and node.lineno <= code.co_firstlineno <= (node.end_lineno or 0)
            ):
                return ast.get_source_segment(text, node) or ""
    return ""
