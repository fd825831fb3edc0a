"""Digests of arrays: equal for equal contents, told anew after any change."""

from pathlib import Path

import numpy as np
import pytest

from modularml import FeatureSet
from modularml.core.context import ExperimentContext
from modularml.io.digests import digests


@pytest.mark.parametrize("n", [10, 50_001])
def test_equal_contents_have_equal_digests_and_any_change_shows(n: int) -> None:
    array = np.random.default_rng(0).standard_normal((n, 3))
    [before] = digests([array])
    assert digests([array, array.copy(), np.asfortranarray(array)]) == [before] * 3
    array[[0, n // 2]] = array[[n // 2, 0]]
    [swapped] = digests([array])
    array[n - 1, 2] += 1
    [changed] = digests([array])
    assert len({before, swapped, changed}) == 3
    assert before.startswith(f"float64 ({n}, 3) ")


def test_dtype_and_shape_count() -> None:
    array = np.zeros(6, np.int32)
    assert len(set(digests([array, array.reshape(2, 3), array.view(np.float32)]))) == 3


def test_an_array_mapped_from_a_file_has_the_digest_that_it_had_in_memory(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((20_000, 2))
    fs = FeatureSet.from_dict(
        "Sensor", {"x": x, "name": [f"s{i}" for i in range(20_000)]}, "x", tag_keys="name"
    )
    with ExperimentContext().temporary():
        loaded = FeatureSet.load(fs.save(tmp_path / "sensor"))
    assert loaded is not fs
    for name in fs.columns:
        assert digests([fs.table.column(name)]) == digests([loaded.table.column(name)])
