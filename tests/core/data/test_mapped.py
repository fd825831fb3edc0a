"""A set in a file: rows of it are chosen, looked at and taken without its columns being copied."""

import tracemalloc
from pathlib import Path

import numpy as np

from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.summary import count_gaps
from modularml.samplers import SimpleSampler

N_SAMPLES, N_VALUES = 20_000, 256


def test_no_column_is_copied_where_only_rows_are_chosen(tmp_path: Path) -> None:
    data = {"x": np.zeros((N_SAMPLES, N_VALUES), np.float32), "cell": np.arange(N_SAMPLES) % 100}
    path = FeatureSet.from_dict("big", data, "x", None, "cell").save(tmp_path / "big")
    with ExperimentContext().temporary():
        fs = FeatureSet.load(path)
        tracemalloc.start()
        fs.split_random({"train": 0.8, "test": 0.2}, group_by="cell")
        few = fs["test"].filter({"cell": [int(fs["test"].column("cell")[0])]}).take([1, 2])
        batches = iter(SimpleSampler(batch_size=100, shuffle=True, source=fs["train"]))
        next(batches)["default"].materialize_batch(features="x")
        fs["train"].to_torch_dataset(features="x")[[1, 2, 3]]
        count_gaps(fs, "features.x.raw")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert few.n_samples == 2
    assert not fs.column("x").flags.writeable
    assert peak < fs.column("x").nbytes / 4
