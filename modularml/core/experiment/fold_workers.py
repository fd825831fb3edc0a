"""Folds that run at the same time, in processes of their own or wherever joblib sends them.

It knows no division of rows and no results: a fold goes out as a configuration, and its record comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from modularml.base.config import from_config, to_config
from modularml.core.context import ExperimentContext
from modularml.core.experiment import storage
from modularml.core.experiment.display_options import QUIET
from modularml.core.experiment.fold import Fold
from modularml.core.experiment.history import ExperimentRun
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.state import phase_states, set_phase_states


def runs_of(
    folds: Sequence[Fold], n_jobs: int, experiment: Any, should_stop: Callable[[], bool]
) -> Iterator[ExperimentRun]:
    """Yield the runs of folds as other processes end them, in order.

    Args:
        folds: The folds.
        n_jobs: How many run at the same time, as joblib counts.
        experiment: Whose they are, as it is now.
        should_stop: Tells whether those that are left are to be left out.
    """
    import joblib  # it comes with scikit-learn, and takes as long to import

    tree = storage.tree_of(experiment, history=False)
    # The phases of the plan that are run come with the fold.
    bare = {"plan": to_config(PhaseGroup(experiment.label))}
    tree["config"] = tree["config"] | bare | {"checkpointing": None, "results_config": None}
    jobs = (
        joblib.delayed(run_fold)(type(experiment), tree, to_config(fold), phase_states(fold))
        for fold in folds
    )
    # Ray's backend hands over all folds at the end, the others each as it is done.
    gives_each = joblib.parallel.get_active_backend()[0].supports_return_generator
    states = joblib.Parallel(n_jobs, return_as="generator" if gives_each else "list")(jobs)
    try:
        for state in states:
            yield ExperimentRun.from_state(state)
            if should_stop():
                return
    finally:
        if gives_each:
            states.close()


def run_fold(
    cls: Any, tree: Mapping[str, Any], fold: Mapping[str, Any], states: Mapping[str, Any]
) -> dict[str, Any]:
    """Run a fold in a process of its own and return the state of its record.

    Args:
        cls: The class of the experiment.
        tree: The experiment, as `storage.tree_of` returns it.
        fold: The configuration of the fold.
        states: What its phases have that no configuration holds, as the order of samplers without a seed.
    """
    ctx = ExperimentContext(registration_policy="raise")
    with ctx.temporary():
        experiment = storage.experiment_of(cls, tree, ctx)
        made: Fold = from_config(fold)
        set_phase_states(made, states)
        with experiment.disable_checkpointing():
            experiment.run_group(made, **QUIET)
    state: dict[str, Any] = experiment.last_run.get_state()
    return state
