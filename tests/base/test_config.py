import functools
import gc
import importlib
import json
import pkgutil
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modularml
from modularml.base.config import (
    Configurable,
    argument_names,
    from_config,
    same_tree,
    to_config,
    type_registry,
)
from modularml.base.errors import InvalidValueError, StateError, UnknownNameError
from modularml.samplers import SimpleSampler

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
)


class Point(Configurable):
    def __init__(self, x: Any, y: Any = 2, *, extra: Any = None) -> None:
        self.x, self.y, self.extra = x, y, extra


class Forgetful(Configurable):
    def __init__(self, size: int, depth: int = 1) -> None:
        self.width = size


@given(plain, plain)
def test_what_a_configuration_describes_is_equal_to_what_it_was_read_from(x: Any, extra: Any) -> None:
    point = Point(x, extra=extra)
    assert Point.from_config(point.get_config()) == point
    assert from_config(to_config(point)) == point
    assert json.loads(json.dumps(point.get_config())) == point.get_config()


@given(plain)
def test_a_tree_of_plain_values_is_itself(tree: Any) -> None:
    assert to_config(tree) == tree
    assert from_config(tree) == tree
    assert same_tree(tree, tree)


def test_nested_objects_are_tagged_and_found_again() -> None:
    outer = Point([Point(1), {"a": Point(2)}], (Point(3),))
    twin = from_config(to_config(outer))
    assert twin == outer
    assert isinstance(twin.x[1]["a"], Point)
    assert isinstance(twin.y, tuple)


def test_a_class_of_a_user_stands_there_itself_and_one_of_ours_by_name() -> None:
    assert to_config(Point(1))["$type"] is Point
    assert to_config(SimpleSampler(seed=1))["$type"] == "SimpleSampler"
    assert type_registry["SimpleSampler"] is SimpleSampler
    assert all(cls.__module__.startswith("modularml.") for cls in type_registry.values())


def test_objects_of_other_classes_or_arguments_are_not_equal() -> None:
    class Twin(Point):
        pass

    assert Point(1) == Point(1)
    assert Point(1) != Point(2)
    assert Point(1) != Twin(1)
    assert Point(1) != 1


def test_arrays_among_the_arguments_compare_by_value() -> None:
    assert Point(np.arange(3.0)) == Point(np.arange(3.0))
    assert Point(np.array([1.0, np.nan])) == Point(np.array([1.0, np.nan]))
    assert Point(np.arange(3.0)) != Point(np.arange(3))
    assert Point(np.arange(3.0)) != Point(np.arange(4.0))
    assert Point([1, np.arange(2)]) != Point(3)
    assert repr(Point(1, extra=np.arange(2)))


def test_only_what_differs_from_the_default_is_shown() -> None:
    assert repr(Point(1)) == "Point(x=1)"
    assert repr(Point(1, 2.0, extra=False)) == "Point(x=1, y=2.0, extra=False)"


def test_an_argument_that_is_not_kept_is_told_when_asked_for_and_does_not_break_the_repr() -> None:
    with pytest.raises(StateError, match=r"Forgetful cannot be described.*\['size', 'depth'\].*self.size"):
        Forgetful(3).get_config()
    assert repr(Forgetful(3)).startswith("Forgetful(")


def test_a_configuration_can_name_only_what_is_known() -> None:
    with pytest.raises(UnknownNameError, match="Unknown parameter 'z' in Point"):
        Point.from_config({"x": 1, "z": 2})
    with pytest.raises(UnknownNameError, match="Unknown type 'os.system'"):
        from_config({"$type": "os.system"})
    with pytest.raises(InvalidValueError, match="must name a configurable class"):
        from_config({"$type": int})


def test_things_with_a_life_are_kept_by_identity_in_sets() -> None:
    assert len({Point(1), Point(1)}) == 2


def test_a_class_that_was_defined_anew_can_go() -> None:
    def redefined() -> weakref.ref[type]:
        class Cell(Configurable):
            def __init__(self, x: int = 1) -> None:
                self.x = x

        assert repr(Cell()) == "Cell()"
        return weakref.ref(Cell)

    before = redefined()
    gc.collect()
    assert before() is None


def test_every_class_is_found_by_its_name_in_a_process_that_has_loaded_none() -> None:
    for module in pkgutil.walk_packages(modularml.__path__, "modularml."):
        if not module.name.startswith(("modularml.widgets", "modularml.cli")):
            importlib.import_module(module.name)
    names = [name for name, cls in type_registry.items() if cls.__module__.startswith("modularml.")]
    assert {"CrossValidation", "ConcatNode", "SumNode", "Checkpointing", "EarlyStopping"} < set(names)
    program = "from modularml.base.config import _registered; import sys; [*map(_registered, sys.argv[1:])]"
    subprocess.run([sys.executable, "-c", program, *names], check=True)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda y_true, /, y_pred, *rest, weight=1, **more: None, ("y_true", "y_pred")),
        (functools.partial(lambda a, b: None, 1), ("b",)),
        (max, ()),  # written in C
    ],
    ids=["all kinds", "partial", "C"],
)
def test_the_arguments_of_a_function_that_go_by_position_are_named(function: Any, names: Any) -> None:
    assert argument_names(function) == names
