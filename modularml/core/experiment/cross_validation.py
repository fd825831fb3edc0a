"""Cross-validation: the phases of an experiment, run once for each of several divisions of its data.

It knows neither loops nor screens: a cross-validation is a group whose parts are folds.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from modularml.base.config import to_config
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    SplitOverlapWarning,
    StateError,
    check_int,
    check_label,
    unknown_name,
    warn,
)
from modularml.base.rows import as_names, check_seed
from modularml.core import cells
from modularml.core.context import ExperimentContext
from modularml.core.data.columns import one
from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment.cards import plan_table
from modularml.core.experiment.cv_binding import CVBinding, divisions
from modularml.core.experiment.cv_results import CVResults
from modularml.core.experiment.display_options import QUIET
from modularml.core.experiment.fold import Fold, FoldRows
from modularml.core.experiment.fold_fingerprint import fold_fingerprint
from modularml.core.experiment.fold_workers import runs_of
from modularml.core.experiment.history import ExperimentRun
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.staleness import Status
from modularml.core.experiment.state import begin_anew, restored
from modularml.display.card import Html, Shown, card, fields
from modularml.splitters import Splitter, as_splitter


class CrossValidation(Shown, Group):
    """Runs phases once for each of several divisions of the data, each time from the initial weights.

    Those are what the models had when they were first trained: pretrained ones, where such were loaded.
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
    _fixed = ("ctx",)

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
        self.bindings: list[CVBinding] = _as_bindings(bindings, self._where)
        self.n_folds, self.seed, self.n_jobs = n_folds, seed, n_jobs
        self.phase = phase
        self.splitter: Splitter | Any = splitter
        self._check(experiment)
        self.ctx = ExperimentContext.get_active() if experiment is None else experiment.ctx
        self._made_in = getattr(self.ctx.experiment, "label", None)

    def _assigned(self, name: str, value: Any) -> Any:
        probe = copy.copy(self)
        vars(probe)[name] = _as_bindings(value, self._where) if name == "bindings" else value
        probe._check(None)
        return vars(probe)[name]

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

    def _consumed(self) -> dict[str, Any]:
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
        return [entry for entry in plan.all if not (isinstance(entry, Group) and entry._holds(self))]

    def _holds(self, group: Group) -> bool:
        """Tell whether it is this group, or has it somewhere within."""
        # Without a phase of its own it runs a plan that it may stand in itself.
        return self is group or (self.phase is not None and super()._holds(group))

    def _refresh(self) -> None:
        """Follow what was defined anew; see `Group._refresh`."""
        if self.phase is not None:
            self.phase = cells.present(self.phase)
        super()._refresh()

    def _new_results(self) -> CVResults:
        """Return empty results."""
        return CVResults(self.label)

    @contextlib.contextmanager
    def _stage(self, experiment: Any) -> Iterator[None]:
        """Begin at the initial weights, write no checkpoints, and have all as before afterwards."""
        self._warn_of_leaks()
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

    def _warn_of_leaks(self) -> None:
        """Tell of splits that phases read which no fold changes, although their rows are divided."""
        for binding in self.bindings:
            featureset = binding.featureset(self.ctx)
            changed, pooled = {binding.train_split_name, binding.val_split_name}, binding.pooled(featureset)
            for record in featureset.splitter_records:
                changed |= set(record.produced_splits) if record.applied_to in changed else set()
            for reader, split in _read_of(featureset, self.all):
                if split in changed or not (split is None or split in featureset.available_splits):
                    continue
                rows = featureset.rows if split is None else featureset.get_split(split).rows
                n = np.intersect1d(rows, pooled).size
                if n == 0:
                    continue
                what = "all rows" if split is None else f"split {split!r}"
                share = f"all {n}" if n == len(rows) else f"{n}"
                warn(
                    f"{self._where}: {reader} reads {what} of {binding.fs!r}, the same in each fold, but "
                    f"{share} of its rows are divided anew, so that folds train on them, too. For the rows "
                    f"that a fold validates on, say val_split_name={split or 'val'!r}; else leave these out "
                    "of source_splits.",
                    SplitOverlapWarning,
                )

    def _divided(self, binding: CVBinding, featureset: FeatureSet) -> list[FoldRows]:
        pooled = binding.pooled(featureset)
        folds = divisions(
            binding,
            featureset.take(pooled),
            n_folds=self.n_folds,
            seed=self.seed,
            splitter=self.splitter,
            where=self._where,
        )
        return [
            FoldRows(
                fs=binding.fs,
                train_split_name=binding.train_split_name,
                val_split_name=binding.val_split_name,
                train=pooled[train],
                val=pooled[val],
            )
            for train, val in folds
        ]

    # -- elsewhere -------------------------------------------------------------------

    def _runs_elsewhere(
        self, experiment: Any, should_stop: Callable[[], bool]
    ) -> Iterator[ExperimentRun] | None:
        """Return the runs of the folds as other processes end them, in order; None with one job."""
        return None if self.n_jobs == 1 else runs_of(self.parts(), self.n_jobs, experiment, should_stop)


def _as_bindings(given: Any, where: str) -> list[Any]:
    """Return what is given as a list; what that may not hold is told by who checks."""
    if isinstance(given, CVBinding):
        return [given]
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidTypeError(
            f"{where}: bindings must be a CVBinding or a list of them, as CVBinding(fs, 'train'), "
            f"got {given!r}."
        )
    return list(given)


def _read_of(
    featureset: FeatureSet, entries: Iterable[ExperimentPhase | Group]
) -> Iterator[tuple[str, str | None]]:
    """Yield who of the phases, and of the evaluations within them, reads which split of a FeatureSet.

    Those of a cross-validation within are left to that.
    """
    for entry in entries:
        if isinstance(entry, Group):
            yield from () if isinstance(entry, CrossValidation) else _read_of(featureset, entry.all)
            continue
        within = [c.eval_phase for c in entry.callbacks if hasattr(c, "eval_phase")]
        for phase in (entry, *within):
            reader = f"the phase {entry.label!r}" if phase is entry else f"an evaluation in {entry.label!r}"
            of_set = [b for b in phase.input_sources if phase.ctx.get_node(b.upstream_ref) is featureset]
            for split in dict.fromkeys(binding.split for binding in of_set):
                yield reader, split
