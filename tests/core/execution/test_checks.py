import warnings
from typing import Any

import numpy as np
import pytest

from modularml.base.errors import Faults, InvalidValueError, ModularMLWarning
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.checks import Input, check_finite


def noted(bench: Any, fs: Any, nan: str = "raise", n_heads: int = 1) -> str:
    heads = [bench.node(label, bench.ref(fs), register=False) for label in "AB"[:n_heads]]
    bindings = [
        InputBinding(node_ref=head.reference(), upstream_ref=head.featureset_refs[0], split="train")
        for head in heads
    ]
    inputs = [
        Input(key=h.label, node=h, refs=h.featureset_refs, binding=b, view=b.resolve_input_view())
        for h, b in zip(heads, bindings, strict=True)
    ]
    faults = Faults("Phase 'p'")
    check_finite(inputs, faults, "Phase 'p'", nan)
    try:
        faults.raise_if_any()
    except InvalidValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("chunk_bytes", [1, 50, 2**20])
def test_every_row_that_enters_is_looked_at_however_much_is_looked_at_at_once(
    bench: Any, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr("modularml.core.data.reader._CHUNK_BYTES", chunk_bytes)
    fs = bench.data("Bad")
    x, rows = fs.table.column("features.x.raw"), fs.get_split("train").rows
    x[fs.get_split("test").rows] = np.nan
    assert noted(bench, fs) == ""
    for place in (0, 17, -1):
        x[rows[place], 2] = -np.inf
    assert "'features.x.raw' of split 'train' holds 3 values that are NaN or infinite, of 192" in noted(
        bench, fs
    )


def test_a_column_of_two_heads_is_told_once(bench: Any) -> None:
    fs = bench.data("Bad")
    fs.table.column("targets.y.raw")[fs.get_split("train").rows[5]] = np.nan
    assert noted(bench, fs, n_heads=2).count("targets.y.raw") == 1


def test_one_warning_tells_all_columns(bench: Any) -> None:
    fs = bench.data("Bad")
    row = fs.get_split("train").rows[0]
    fs.table.column("targets.y.raw")[row] = np.nan
    fs.table.column("features.x.raw")[row, 1] = np.inf
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert noted(bench, fs, nan="warn") == ""
    (warning,) = caught
    assert warning.category is ModularMLWarning
    assert "'features.x.raw' of split 'train' holds 1 values" in str(warning.message)
    assert "'targets.y.raw' of split 'train' holds 1 values" in str(warning.message)
