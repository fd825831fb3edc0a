"""Runs a cross-validation on a local cluster, and says whether it gives what one process gives.

Called in a process of its own as ``python clusters.py dask`` or ``ray``. It ends with the code
`NO_CLUSTER` where the cluster itself does not start, as Ray's on a machine that is too busy.
"""

import sys

import joblib
import numpy as np

from modularml import (
    AppliedLoss,
    CrossValidation,
    CVBinding,
    EvalPhase,
    Experiment,
    FeatureSet,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    TrainPhase,
)
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

NO_CLUSTER = 77


def study() -> Experiment:
    exp = Experiment("study")
    x = np.random.default_rng(0).standard_normal((60, 3))
    data = FeatureSet.from_dict("data", {"x": x, "y": x.sum(axis=1)}, "x", "y")
    data.split_random({"train": 0.8, "val": 0.2})
    ModelGraph([ModelNode("net", SequentialMLP(), data)], Optimizer("adam")).build()
    loss = AppliedLoss(Loss("mse"), on="net", inputs=["outputs", "targets"])
    sampler = SimpleSampler(batch_size=16, shuffle=True, seed=3)
    plan = exp.execution_plan
    plan.add_phase(TrainPhase.from_split("train", split="train", sampler=sampler, losses=[loss], n_epochs=2))
    plan.add_phase(EvalPhase.from_split("eval", split="val", losses=[loss]))
    return exp


def compare() -> None:
    exp = study()  # its context holds it weakly
    given = {"bindings": CVBinding("data", ["train", "val"]), "n_folds": 3, "experiment": exp}
    here, there = (CrossValidation(**given, n_jobs=n).run(show_fold_progress=False) for n in (1, 2))
    for name, values in here.scores().items():
        assert np.allclose(there.scores()[name], values, rtol=1e-5), name
    print("the same scores:", *here.scores())


def on_dask() -> None:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        compare()


def on_ray() -> None:
    import ray
    from ray.util.joblib import register_ray

    # Slow machines start its agents slower than it expects.
    patience = {"agent_register_timeout_ms": 120_000}
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _system_config=patience)
    except Exception as error:  # noqa: BLE001 - it raises bare Exception
        print(error, file=sys.stderr)
        sys.exit(NO_CLUSTER)
    register_ray()
    with joblib.parallel_config(backend="ray"):
        compare()
    ray.shutdown()


if __name__ == "__main__":
    {"dask": on_dask, "ray": on_ray}[sys.argv[1]]()
