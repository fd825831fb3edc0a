import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modularml.base.errors import InvalidValueError


@pytest.mark.parametrize("seed", [3, None])
def test_processes_give_what_one_process_gives(study, seed):
    study.exp.execution_plan["train"].input_sources[0].sampler.seed = seed
    here, there = study.cv(n_folds=3).run(), study.cv(n_folds=3, n_jobs=2).run()
    assert there.fold_labels == here.fold_labels
    for name, values in here.scores().items():
        assert np.allclose(there.scores()[name], values, rtol=1e-5)
    run = study.exp.last_run
    assert [phase.path for phase in run.phases][:2] == [("CV", "fold_0", "train"), ("CV", "fold_0", "eval")]
    assert np.array_equal(
        run.children[2].results["eval"].stacked_tensors("net", "rows"),
        study.cv(n_folds=3).parts()[2].rows[0].val,
    )


def test_an_error_in_another_process_is_raised_here(make_study):
    study = make_study(missing=60)
    with pytest.raises(InvalidValueError, match="NaN"):
        study.cv(n_folds=2, n_jobs=2).run()
    assert study.exp.last_run.status == "failed"


@pytest.mark.parametrize("cluster", ["dask", "ray"])
def test_a_cluster_gives_what_one_process_gives(cluster):
    script = Path(__file__).with_name("clusters.py")
    done = subprocess.run([sys.executable, script, cluster], capture_output=True, text=True, timeout=280)
    if done.returncode == 77:
        pytest.skip(f"no local cluster of {cluster} starts here: {done.stderr.splitlines()[-1]}")
    assert "the same scores: train/mse eval/mse" in done.stdout, done.stderr[-3000:]
