import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modularml.backends.torch_losses import Alignment
from modularml.base.errors import InvalidValueError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution import columns as module
from modularml.core.execution.columns import Deferred, Stack, column_of

ROWS = [slice(3, 9), torch.tensor([5, 0, 0, 11])]


def source(*dtypes: str, writeable: bool = True) -> Stack:
    rng = np.random.default_rng(0)
    columns = {f"c{i}": (rng.random((12, 3)) * 9).astype(dtype) for i, dtype in enumerate(dtypes)}
    for column in columns.values():
        column.flags.writeable = writeable
    return Stack(columns)


def test_columns_stack_row_by_row_as_they_do_whole() -> None:
    two = source("float32", "int64")
    whole = np.stack(list(two.columns.values()), axis=1)
    assert two.shape == whole.shape[1:]
    assert two.dtype == whole.dtype
    assert two.n_bytes == whole.nbytes
    for rows in ([4, 1], slice(2, 7), slice(None)):
        assert np.array_equal(two[rows], whole[rows])


def test_columns_of_different_shapes_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="different sample shapes"):
        Stack({"a": np.zeros((4, 2)), "b": np.zeros((4, 3))})


@pytest.mark.parametrize("dtypes", [("float32",), ("float64",), ("int16",), ("float32", "float64")])
@pytest.mark.parametrize("dtype", [None, torch.float32])
@pytest.mark.parametrize("writeable", [True, False])
def test_what_is_deferred_equals_what_is_whole(
    monkeypatch: pytest.MonkeyPatch, dtypes: tuple[str, ...], dtype: Any, writeable: bool
) -> None:
    made = source(*dtypes, writeable=writeable)
    alignment = Alignment(shape=(3 * len(dtypes),), dtype=dtype)
    whole = column_of(made, alignment)
    assert isinstance(whole, torch.Tensor)
    assert dtype in (None, whole.dtype)
    monkeypatch.setattr(module, "WHOLE_BYTES", 1)
    part = column_of(made, alignment)
    is_ready = writeable and len(dtypes) == 1 and (dtype is None or dtypes == ("float32",))
    assert isinstance(part, Deferred) is not is_ready
    for rows in ROWS if isinstance(part, Deferred) else []:
        taken = part.take(rows)
        assert torch.equal(taken, whole[rows])
        assert taken.dtype == whole.dtype
        assert part.row_bytes >= taken[:1].nbytes


def test_what_fits_as_it_is_stays_where_it_is() -> None:
    made = source("float32")
    column = column_of(made, Alignment(dtype=torch.float32))
    assert column.data_ptr() == made.columns["c0"].ctypes.data


@pytest.mark.parametrize("chunk_bytes", [1, 2**20])
def test_no_tensor_leads_into_memory_that_may_not_be_written(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", chunk_bytes)
    made = source("float32", writeable=False)
    before = made[:].copy()
    column = column_of(made, Alignment())
    for rows in ROWS:
        (column.take(rows) if isinstance(column, Deferred) else column[rows]).zero_()
    assert np.array_equal(made[:], before)


TRAINING = """
import resource, sys
from pathlib import Path
import torch
from modularml import *
from modularml.samplers import SimpleSampler

torch.set_num_threads(1)
experiment = Experiment("big")
fs = FeatureSet.load(sys.argv[1])
node = ModelNode("A", torch.nn.Linear({n_values}, 1), fs.reference(features={features!r}, targets="y"))
ModelGraph([node], Optimizer("sgd", opt_kwargs={{"lr": 1e-4}})).build()
loss = AppliedLoss(Loss("mse"), on=node)
binding = InputBinding.for_training(node=node, sampler=SimpleSampler(batch_size=256, shuffle=True, seed=1))
phase = TrainPhase("train", input_sources=[binding], losses=[loss], n_epochs=1)
node.module(torch.zeros(2, {n_keys}, {n_values}, requires_grad=True)).sum().backward()
status = Path("/proc/self/status").read_text().split()
data = int(status[status.index("VmData:") + 1])
# The bytes that a process may have beside the files it maps.
resource.setrlimit(resource.RLIMIT_DATA, (data * 1024 + {budget}, -1))
results = experiment.run_phase(phase)
print(results.batch_losses().shape, torch.isfinite(torch.tensor(results.batch_losses())).all().item())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of data memory is Linux's")
@pytest.mark.parametrize(("dtype", "n_keys"), [("float32", 1), ("float64", 1), ("float64", 2)])
def test_a_mapped_set_trains_in_less_memory_than_it_has(tmp_path: Path, dtype: str, n_keys: int) -> None:
    n_rows, n_values = 2**15, 2**10 * 4 // np.dtype(dtype).itemsize * 4 // n_keys
    values = np.ones((n_rows, n_values), dtype)
    features = {f"x{i}": values for i in range(n_keys)}
    with ExperimentContext().temporary():
        fs = FeatureSet.from_dict("big", features | {"y": np.ones((n_rows, n_keys, 1))}, list(features), "y")
    path = fs.save(tmp_path / "big")
    size = n_keys * values.nbytes
    assert size == 2**29
    code = TRAINING.format(n_values=n_values, features=list(features), n_keys=n_keys, budget=size // 2)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    path.unlink()
    assert done.stdout == "(128,) True\n", done.stderr
