"""Cross-validation: the phases of an experiment, run once for each of several divisions of its data.

It knows neither loops nor screens: a cross-validation is a group whose parts are folds,
and a fold is a group that sets the stage (rows, scalers, weights) for the same phases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modularml.base.config import Configurable, from_config, to_config
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    check_int,
    check_label,
    unknown_name,
)
from modularml.base.keywords import checked_keywords
from modularml.base.rows import as_names, check_seed
from modularml.core import cells
from modularml.core.context import ExperimentContext
from modularml.core.data.columns import one
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.view import FeatureSetView
from modularml.core.experiment import storage
from modularml.core.experiment.cards import plan_table
from modularml.core.experiment.cv_results import CVResults
from modularml.core.experiment.fold_fingerprint import fold_fingerprint
from modularml.core.experiment.history import ExperimentRun
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.staleness import Status
from modularml.core.experiment.state import begin_anew, restored
from modularml.display.card import Html, Shown, card, fields
from modularml.splitters import RandomSplitter, SklearnSplitter, Splitter, as_splitter

QUIET = {"show_sampler_progress": False, "show_training_progress": False, "show_eval_progress": False}


@checked_keywords
@dataclass(frozen=True)
class CVBinding(Configurable):
    """Which rows of a FeatureSet are divided, and how.

    Attributes:
        fs: The FeatureSet, or its label; kept as its label.
        source_splits: The splits whose rows are pooled and divided anew; None pools every row.
        group_by: Columns; rows that agree in them stay together.
        stratify_by: Columns; each fold gets its share of every combination of values.
        train_split_name: The split that phases train on; it has other rows in each fold.
        val_split_name: The split that phases validate on; it has other rows in each fold.
        val_size: The share of the rows that each fold draws anew to validate on. None
            divides the rows into as many parts as there are folds, and validates on each once.
    """

    fs: Any
    source_splits: Any = None
    group_by: Any = None
    stratify_by: Any = None
    train_split_name: str = "train"
    val_split_name: str = "val"
    val_size: float | None = None

    def __post_init__(self) -> None:
        faults = Faults("CVBinding")
        label = self.fs.label if isinstance(self.fs, FeatureSet) else self.fs
        faults.attempt(check_label, label, "FeatureSet of a CVBinding")
        object.__setattr__(self, "fs", label)
        names = None
        if self.source_splits is not None:
            names = faults.attempt(as_names, self.source_splits, "source_splits")
            if names is not None and not names:
                faults.add("source_splits is empty; None pools every row.")
        object.__setattr__(self, "source_splits", None if names is None else list(names))
        for option in ("group_by", "stratify_by"):
            faults.attempt(as_names, getattr(self, option), option)
        for name in (self.train_split_name, self.val_split_name):
            faults.attempt(check_label, name, "split")
        if self.train_split_name == self.val_split_name:
            faults.add(f"train_split_name and val_split_name are both {self.train_split_name!r}.")
        if self.val_size is not None and not (
            isinstance(self.val_size, float) and 0 < self.val_size < 1  # also refuses NaN
        ):
            faults.add(f"val_size must be a share between 0 and 1, got {self.val_size!r}.")
        faults.raise_if_any()

    def featureset(self, ctx: ExperimentContext) -> FeatureSet:
        """Return the FeatureSet as it is now."""
        found: FeatureSet = ctx.get_node(self.fs, FeatureSet)
        return found

    def pooled(self, featureset: FeatureSet) -> np.ndarray:
        """Return the rows to divide, each once, int64 of shape ``(n,)``."""
        if self.source_splits is None:
            return featureset.rows
        return np.unique(np.concatenate([featureset.get_split(name).rows for name in self.source_splits]))


@dataclass(frozen=True, kw_only=True)
class FoldRows(Configurable):
    """The rows that a FeatureSet trains and validates on in one fold.

    Attributes:
        fs: The label of the FeatureSet.
        train_split_name: The split to train on.
        val_split_name: The split to validate on.
        train: Its rows, int64 of shape ``(n_train,)``.
        val: Its rows, int64 of shape ``(n_val,)``.
    """

    fs: str
    train_split_name: str
    val_split_name: str
    train: np.ndarray
    val: np.ndarray


class Fold(Group):
    """One fold of a cross-validation: its phases, on rows of its own.

    Args:
        label: Its name, ``fold_0`` and so on.
        phases: What runs, in order.
        rows: The rows of each FeatureSet.
    """

    is_fold = True

    def __init__(
        self, label: str, phases: Sequence[ExperimentPhase | Group], rows: Sequence[FoldRows]
    ) -> None:
        self._label = label
        self.phases = list(phases)
        self.rows = list(rows)

    @property
    def label(self) -> str:
        """Its name."""
        return self._label

    @property
    def all(self) -> list[ExperimentPhase | Group]:
        """What runs, in order."""
        return list(self.phases)

    @contextlib.contextmanager
    def stage(self, experiment: Any) -> Iterator[None]:
        """Have the rows of this fold, scalers fitted to its training rows, and all as before afterwards."""
        with restored(experiment, self.flatten()), contextlib.ExitStack() as folds:
            for rows in self.rows:
                featureset = experiment.ctx.get_node(rows.fs, FeatureSet)
                parts = {rows.train_split_name: rows.train, rows.val_split_name: rows.val}
                folds.enter_context(featureset.in_fold(parts, fit_to=rows.train_split_name))
            yield


class CrossValidation(Shown, Group):
    """Runs phases once for each of several divisions of the data, each time from the initial weights.

    The rows of the bindings' splits are pooled and divided anew. In each fold the train and the
    validation split have that fold's rows, every scaler is fitted to its training rows alone,
    and weights, optimizers, counters and random numbers are those of the start, so that folds
    depend neither on each other nor on their order. Splits, scalers, weights and all else are as
    before afterwards. It runs as any other group does: by `run`, ``exp.run_group``, in a plan,
    and within the phases of another cross-validation, whose training rows it then divides.

    Args:
        label: Its name in plans, results and history.
        bindings: The FeatureSets to divide, each by one `CVBinding`. Equal numbers of rows are
            divided alike.
        n_folds: How many folds there are; not used with a `splitter`.
        seed: Decides how rows are divided.
        phase: What runs in each fold: a phase or a group; None is the plan of the experiment.
        experiment: Whose it is; None is the active one.
        splitter: Any splitter of scikit-learn, or of `modularml.splitters` with two parts, to
            divide by. It is given the groups and strata that a binding names.
        n_jobs: How many folds run at the same time, in processes of their own, by joblib, and so
            on whatever ``joblib.parallel_config`` names: -1 takes every core, 1 stays here.
            Folds of other processes that a stop cut off are left out; `Experiment.resume` goes on
            behind them. With 1 it goes on within the fold, to the last bit.

    Raises:
        InvalidValueError: If a number or a name is not allowed; all faults are told together.
        InvalidTypeError: If an argument is of a wrong type.
    """

    keeps_weights = True

    def __init__(
        self,
        label: str = "CV",
        bindings: Sequence[CVBinding] | CVBinding = (),
        *,
        n_folds: int = 5,
        seed: int = 13,
        phase: ExperimentPhase | Group | None = None,
        experiment: Any = None,
        splitter: Any = None,
        n_jobs: int = 1,
    ) -> None:
        if isinstance(label, CVBinding):
            raise InvalidTypeError(
                "The first argument of CrossValidation is its label; give the rest by name: bindings=..."
            )
        self._label = check_label(label, "CrossValidation")
        if isinstance(bindings, str) or not isinstance(bindings, CVBinding | Sequence):
            raise InvalidTypeError(
                f"{self._where}: bindings must be a CVBinding or a list of them, as CVBinding(fs, 'train'), "
                f"got {bindings!r}."
            )
        self.bindings = [bindings] if isinstance(bindings, CVBinding) else list(bindings)
        self.n_folds, self.seed, self.n_jobs = n_folds, seed, n_jobs
        self.phase = phase
        self.splitter: Splitter | Any = splitter
        self._check(experiment)
        self.ctx = ExperimentContext.get_active() if experiment is None else experiment.ctx
        self._made_in = getattr(self.ctx.experiment, "label", None)

    def _check(self, experiment: Any) -> None:
        faults = Faults(self._where)
        for binding in self.bindings:
            if not isinstance(binding, CVBinding):
                faults.add(InvalidTypeError(f"bindings must hold CVBinding objects, got {binding!r}."))
        if not self.bindings:
            faults.add("it needs at least one CVBinding.")
        labels = [binding.fs for binding in self.bindings if isinstance(binding, CVBinding)]
        for name in sorted({str(name) for name in labels if labels.count(name) > 1}):
            faults.add(f"the FeatureSet {name!r} has several bindings; one divides its rows.")
        if faults.attempt(check_int, self.n_folds, "n_folds") is not None and self.n_folds < 2:
            faults.add(f"n_folds must be at least 2, got {self.n_folds}.")
        faults.attempt(check_seed, self.seed)
        if isinstance(self.n_jobs, bool) or not isinstance(self.n_jobs, int) or self.n_jobs == 0:
            faults.add(f"n_jobs must be a number of processes, or -1 for all cores, got {self.n_jobs!r}.")
        if self.phase is not None and not isinstance(self.phase, ExperimentPhase | Group):
            got = f"{self.phase!r} ({type(self.phase).__name__})"
            faults.add(InvalidTypeError(f"phase must be a phase or a group, got {got}."))
        if experiment is not None and not isinstance(getattr(experiment, "ctx", None), ExperimentContext):
            faults.add(InvalidTypeError(f"experiment must be an Experiment, got {experiment!r}."))
        if self.splitter is not None:
            faults.attempt(as_splitter, self.splitter)
            if any(getattr(binding, "val_size", None) is not None for binding in self.bindings):
                faults.add("val_size and a splitter are two ways to say one thing; give one.")
        faults.raise_if_any()

    @property
    def _where(self) -> str:
        return f"CrossValidation {self._label!r}"

    @property
    def label(self) -> str:
        """Its name."""
        return self._label

    def __repr__(self) -> str:
        return f"CrossValidation(label={self.label!r}, n_folds={self.n_folds})"

    def _card(self) -> Html:
        told = {
            "divides": ", ".join(
                f"{b.fs} ({', '.join(b.source_splits or ['every row'])})" for b in self.bindings
            ),
            "by": self.splitter or f"{self.n_folds} folds",
            "processes": None if self.n_jobs == 1 else self.n_jobs,
        }
        return card("CrossValidation", self.label, fields(told), plan_table(self.all))

    def get_config(self) -> dict[str, Any]:
        """Return everything but the experiment, as plain values."""
        splitter = None if self.splitter is None else as_splitter(self.splitter)
        return {
            "label": self.label,
            "bindings": to_config(self.bindings),
            "n_folds": self.n_folds,
            "seed": self.seed,
            "phase": to_config(self.phase),
            "splitter": to_config(splitter),
            "n_jobs": self.n_jobs,
        }

    # -- what its results are worth ----------------------------------------------------

    def status(self) -> Status:
        """Say whether its results still come from what there is now; see `Experiment.status`.

        Raises:
            StateError: If it belongs to no experiment.
        """
        status: Status = self._experiment().status(self)
        return status

    def consumed(self) -> dict[str, Any]:
        """Return what a run of it would consume now; see `fold_fingerprint`."""
        self._check_phases(self.all, self.ctx)
        config = self.get_config()
        settings = {name: config[name] for name in ("n_folds", "seed", "splitter")}
        settings["bindings"] = {b.fs: {k: v for k, v in vars(b).items() if k != "fs"} for b in self.bindings}
        rows = {}
        for binding in self.bindings:
            featureset = binding.featureset(self.ctx)
            named = as_names(binding.group_by, "group_by") + as_names(binding.stratify_by, "stratify_by")
            columns = [one(name, featureset.columns, where=repr(featureset)) for name in named]
            by = {name: featureset.table.column(name) for name in columns}
            rows[binding.fs] = binding, binding.pooled(featureset), by
        return fold_fingerprint(self, settings, rows)

    # -- running ---------------------------------------------------------------------

    def run(self, *, show_fold_progress: bool = True, **display: Any) -> CVResults:
        """Run every fold, and record all as one run in the history of the experiment.

        Args:
            show_fold_progress: Show what goes on; False shows nothing.
            **display: What is shown meanwhile; see `DisplayOptions`. ``resume=True`` goes on with the last
                run of it where that was stopped, also one of the same label that another process made.

        Returns:
            The results by fold; after a stop those of the folds that began.

        Raises:
            StateError: If there is no experiment, nothing to run, or it runs already.
            UnknownNameError: If a FeatureSet, a split or a column is not there.
            InvalidValueError: If the rows cannot be divided, or no phase reads the divided splits.
        """
        options = display if show_fold_progress else QUIET | display
        results: CVResults = self._experiment().run_group(self, **options)
        return results

    def _experiment(self) -> Any:
        if self.ctx.experiment is None:
            if self._made_in is not None:
                raise StateError(
                    f"{self._where} was made in the experiment {self._made_in!r}, which is gone: nothing "
                    "held it any more. Keep an experiment in a variable as long as it is to run."
                )
            raise StateError(f"{self._where} belongs to no experiment; make an Experiment first, or name it.")
        return self.ctx.experiment

    @property
    def all(self) -> list[ExperimentPhase | Group]:
        """What runs in each fold, in order."""
        if self.phase is not None:
            return [self.phase] if isinstance(self.phase, ExperimentPhase) else self.phase.all
        plan: Group = self._experiment().execution_plan
        return [entry for entry in plan.all if not (isinstance(entry, Group) and entry.holds(self))]

    def holds(self, group: Group) -> bool:
        """Tell whether it is this group, or has it somewhere within."""
        # Without a phase of its own it runs a plan that it may stand in itself.
        return self is group or (self.phase is not None and super().holds(group))

    def refresh(self) -> None:
        """Follow what was defined anew; see `Group.refresh`."""
        if self.phase is not None:
            self.phase = cells.present(self.phase)
        super().refresh()

    def new_results(self) -> CVResults:
        """Return empty results."""
        return CVResults(self.label)

    @contextlib.contextmanager
    def stage(self, experiment: Any) -> Iterator[None]:
        """Begin at the initial weights, write no checkpoints, and have all as before afterwards."""
        with restored(experiment, self.flatten()), experiment.disable_checkpointing():
            begin_anew(experiment)
            yield

    def parts(self) -> list[Fold]:
        """Return the folds, on the rows that the splits have now."""
        entries, ctx = self.all, self.ctx
        self._check_phases(entries, ctx)
        by_binding = [self._divided(binding, binding.featureset(ctx)) for binding in self.bindings]
        numbers = {binding.fs: len(folds) for binding, folds in zip(self.bindings, by_binding, strict=True)}
        if len(set(numbers.values())) > 1:
            raise InvalidValueError(
                f"{self._where}: the FeatureSets have different numbers of folds: {numbers}."
            )
        return [
            Fold(f"fold_{i}", entries, list(rows)) for i, rows in enumerate(zip(*by_binding, strict=True))
        ]

    def _check_phases(self, entries: Sequence[ExperimentPhase | Group], ctx: ExperimentContext) -> None:
        """See that something is there to be validated: a phase that reads what is divided."""
        faults = Faults(self._where)
        phases = [p for e in entries for p in (e.flatten() if isinstance(e, Group) else [e])]
        if not phases:
            faults.add(StateError("there is no phase to run; name one, or add phases to the plan first."))
        read = {
            (ctx.get_node(source.upstream_ref).label, source.split)
            for phase in phases
            for source in phase.input_sources
        }
        for binding in self.bindings:
            featureset = faults.attempt(binding.featureset, ctx)
            if featureset is None:
                continue
            for name in binding.source_splits or ():
                if name not in featureset.available_splits:
                    where = f"FeatureSet {featureset.label!r}"
                    faults.add(unknown_name("source split", name, featureset.available_splits, where=where))
            if (
                phases
                and not isinstance(self.all[0], Group)
                and (binding.fs, binding.train_split_name) not in read
            ):
                splits = sorted(str(split) for label, split in read if label == binding.fs)
                faults.add(
                    f"no phase reads the split {binding.train_split_name!r} of {binding.fs!r} "
                    f"(they read {splits}), so all folds would be alike. Name it: train_split_name=."
                )
        faults.raise_if_any()

    def _divided(self, binding: CVBinding, featureset: FeatureSet) -> list[FoldRows]:
        pooled = binding.pooled(featureset)
        view = featureset.take(pooled)
        return [
            FoldRows(
                fs=binding.fs,
                train_split_name=binding.train_split_name,
                val_split_name=binding.val_split_name,
                train=pooled[train],
                val=pooled[val],
            )
            for train, val in self._divisions(binding, view)
        ]

    def _divisions(self, binding: CVBinding, view: FeatureSetView) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the positions to train and to validate on, of each fold."""
        columns = {"group_by": binding.group_by, "stratify_by": binding.stratify_by}
        if binding.val_size is not None:
            ratios = {"train": 1 - binding.val_size, "val": binding.val_size}
            draws = (
                RandomSplitter(ratios, seed=self.seed + i, **columns).indices(view)
                for i in range(self.n_folds)
            )
            return [(parts["train"], parts["val"]) for parts in draws]
        splitter = self.splitter
        if splitter is None:
            splitter = _k_fold(self.n_folds, self.seed, **columns)
        elif not isinstance(splitter, Splitter):
            splitter = SklearnSplitter(splitter, **columns)
        parts = list(splitter.indices(view).values())
        if len(parts) % 2:
            raise InvalidValueError(
                f"{self._where}: {splitter!r} makes {len(parts)} parts; a fold is one to train on and one to "
                "validate on."
            )
        return list(zip(parts[::2], parts[1::2], strict=True))

    # -- elsewhere -------------------------------------------------------------------

    def elsewhere(self, experiment: Any, should_stop: Callable[[], bool]) -> Iterator[ExperimentRun] | None:
        """Return the runs of the folds as other processes end them, in order; None with one job."""
        return None if self.n_jobs == 1 else self._from_workers(experiment, should_stop)

    def _from_workers(self, experiment: Any, should_stop: Callable[[], bool]) -> Iterator[ExperimentRun]:
        import joblib  # it comes with scikit-learn, and takes as long to import

        tree = storage.tree_of(experiment, history=False)
        # The phases of the plan that are run come with the fold.
        bare = {"plan": to_config(PhaseGroup(experiment.label))}
        tree["config"] = tree["config"] | bare | {"checkpointing": None, "results_config": None}
        jobs = (joblib.delayed(run_fold)(type(experiment), tree, to_config(fold)) for fold in self.parts())
        # Ray's backend hands over all folds at the end, the others each as it is done.
        gives_each = joblib.parallel.get_active_backend()[0].supports_return_generator
        states = joblib.Parallel(self.n_jobs, return_as="generator" if gives_each else "list")(jobs)
        try:
            for state in states:
                yield ExperimentRun.from_state(state)
                if should_stop():
                    return
        finally:
            if gives_each:
                states.close()


def run_fold(cls: Any, tree: Mapping[str, Any], fold: Mapping[str, Any]) -> dict[str, Any]:
    """Run a fold in a process of its own and return the state of its record.

    Args:
        cls: The class of the experiment.
        tree: The experiment, as `storage.tree_of` returns it.
        fold: The configuration of the fold.
    """
    ctx = ExperimentContext(registration_policy="raise")
    with ctx.temporary():
        experiment = storage.experiment_of(cls, tree, ctx)
        made: Fold = from_config(fold)
        with experiment.disable_checkpointing():
            experiment.run_group(made, **QUIET)
    state: dict[str, Any] = experiment.last_run.get_state()
    return state


def _k_fold(n_folds: int, seed: int, **columns: Any) -> SklearnSplitter:
    """Return the splitter of scikit-learn that divides into k parts by these columns."""
    kinds = {
        (False, False): "KFold",
        (True, False): "GroupKFold",
        (False, True): "StratifiedKFold",
        (True, True): "StratifiedGroupKFold",
    }
    name = kinds[columns["group_by"] is not None, columns["stratify_by"] is not None]
    # GroupKFold balances whole groups; it draws nothing.
    arguments = {"n_splits": n_folds}
    arguments |= {} if name == "GroupKFold" else {"shuffle": True, "random_state": seed}
    return SklearnSplitter.from_config({"splitter": {"class": name, "arguments": arguments}, **columns})
