"""Formats: the same values in every form."""

from typing import Any

import numpy as np
import pytest
import torch

from modularml.base.errors import InvalidValueError
from modularml.core.data.formats import DataFormat, export

A, B = np.arange(6.0).reshape(3, 2), np.arange(6.0, 12.0).reshape(3, 2)
BESIDE = np.stack([A, B], axis=1)


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [
        ("dict", {"a": A, "b": B}),
        (DataFormat.DICT_NUMPY, {"a": A, "b": B}),
        ("dict_list", {"a": A.tolist(), "b": B.tolist()}),
        ("dict_torch", {"a": torch.from_numpy(A), "b": torch.from_numpy(B)}),
        ("np", BESIDE),
        ("NUMPY", BESIDE),
        ("list", BESIDE.tolist()),
        ("torch", torch.from_numpy(BESIDE)),
    ],
)
def test_forms(fmt: Any, expected: Any) -> None:
    got = export({"a": A, "b": B}, fmt)
    assert type(got) is type(expected)
    for mine, theirs in zip(
        got.values() if isinstance(got, dict) else [got],
        expected.values() if isinstance(expected, dict) else [expected],
        strict=True,
    ):
        assert type(mine) is type(theirs)
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("fmt", ["pandas", "pd", "df"])
def test_frames(fmt: str) -> None:
    frame = export({"a": A, "n": np.arange(3)}, fmt)
    assert frame["n"].tolist() == [0, 1, 2]
    assert np.array_equal(np.stack(frame["a"]), A)


def test_arrays_are_not_copied_needlessly() -> None:
    assert export({"a": A}, "dict")["a"] is A
    assert np.shares_memory(export({"a": A}, "numpy"), A)


def test_a_read_only_array_makes_a_tensor_of_its_own() -> None:
    frozen = A.copy()
    frozen.flags.writeable = False
    tensor = export({"a": frozen}, "torch")
    tensor += 1
    assert np.array_equal(frozen, A)


@pytest.mark.parametrize("fmt", ["numpie", "tf", None, 3])
def test_an_unknown_format_is_refused(fmt: Any) -> None:
    with pytest.raises(InvalidValueError, match="Unknown data format.*'numpy'"):
        export({"a": A}, fmt)
