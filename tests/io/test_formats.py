"""Files of every released format load for ever."""

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from modularml.io.archive import FORMAT, read_manifest
from modularml.io.codec import load

FORMATS = Path(__file__).parents[1] / "formats"
VALUES = {
    "plain": [None, True, 3, -0.5, "\u00e9 \u2028 <&>", {"$type": "SimpleSampler", "batch_size": 32}],
    "tagged": [(1, (2,)), math.inf, -math.inf, Path("a/b"), datetime(2026, 1, 2, 3, 4, 5, 6, UTC)],
    "escaped": {"$tuple": [1], "$": {"$array": None}},
    "arrays": {
        str(array.dtype): array
        for array in (
            *(
                np.arange(6).astype(dtype).reshape(2, 3)
                for dtype in ["?", "u1", "i2", "f2", "u4", "f4", "i8", "f8", "c8", "c16"]
            ),
            np.array([["a", "b\u00e9"]]),
            np.array([b"ab"]),
            np.array(["2026-01-02", "NaT"], "M8[D]"),
            np.array([5], "m8[ns]"),
            np.array(1.5, "f8"),
        )
    },
}


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_the_values_of_every_format_load(number):
    path = FORMATS / f"v{number}" / "values.md.mml"
    assert read_manifest(path).format == number
    loaded = load(path, "model")
    arrays, expected = loaded.pop("arrays"), VALUES["arrays"]
    assert loaded == {key: value for key, value in VALUES.items() if key != "arrays"}
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert (array.dtype, array.shape, array.tobytes()) == (
            expected[name].dtype,
            expected[name].shape,
            expected[name].tobytes(),
        )
