"""The experiment: what people hold in their hands.

It knows no loop and no file format; it delegates to the runner and to storage.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from modularml.backends.accelerator import Accelerator, as_accelerator
from modularml.base.config import from_config, to_config
from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    StateError,
    UnknownNameError,
    check_label,
    unknown_name,
)
from modularml.base.events import EventBus
from modularml.base.keywords import checked_keywords
from modularml.base.registration import RegistrationPolicy
from modularml.base.rows import check_seed
from modularml.core import cells
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment import storage
from modularml.core.experiment.callback import ExperimentCallback, check_callbacks, without_callback
from modularml.core.experiment.cards import node_table, plan_table
from modularml.core.experiment.checkpointing import Checkpointing
from modularml.core.experiment.checkpoints import Checkpoints
from modularml.core.experiment.comparison import Diff
from modularml.core.experiment.display_options import display_options
from modularml.core.experiment.entries import Entry, own, own_plan, refreshed
from modularml.core.experiment.history import ExperimentRun, History
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.random_stream import RandomStream
from modularml.core.experiment.results import PhaseGroupResults
from modularml.core.experiment.results_config import ResultsConfig
from modularml.core.experiment.resuming import Bookmark, point_in
from modularml.core.experiment.runs import Runs
from modularml.core.experiment.staleness import STALE, Status
from modularml.core.experiment.standing import (
    Run,
    alone,
    diff_of,
    only,
    stale_runs,
    status_of,
    status_to_show,
)
from modularml.core.experiment.state import put_back, take
from modularml.core.topology.model_graph import ModelGraph
from modularml.display.card import Html, Shown, card, remark
from modularml.display.figures import counted
from modularml.display.notice import notice


@checked_keywords
class Experiment(Shown):
    """Runs phases on a model graph, and records, previews, checkpoints and saves what happens.

    Args:
        label: Its name.
        registration_policy: What happens when a node's label is taken: ``"raise"``,
            ``"overwrite"`` or ``"rename"``; None is the default of `ExperimentContext`.
        ctx: The context to bind to; None makes a new, empty one and activates it. Where a cell of
            a notebook that made an experiment of this label is executed again, the new one takes the
            place of that: what other cells defined for it, its plan and its history stay.
        checkpointing: When to write checkpoints by itself.
        callbacks: Hooks at phases, groups and the whole plan.
        accelerator: The device that phases compute on which name none: ``"auto"``, ``"cpu"``,
            ``"cuda:0"``, ``"mps"`` or an `Accelerator`. Weights are where they were afterwards.
        seed: What every random choice follows from: the weights that nodes are built with, the
            order of samplers without a seed, and what is drawn in each epoch of a phase. Each
            has a stream of its own, by its label, whatever else there is and ran before. Weights of a
            module that was made before it came to a node are its maker's: hand over the class, or seed torch
            before making it.
        results_config: Which parts of runs are written to disk after each; None writes nothing.

    Attributes:
        label: Its name.
        ctx: Its context: the nodes and the graph, by label.
        events: The bus on which everything that happens in a run is told.
        random_stream: Its random numbers, apart from the global ones.
        epochs_done: Label of each train phase -> how many epochs it has begun so far.

    Raises:
        InvalidValueError: If the policy is unknown, or the context belongs to another experiment
            and its policy is ``"raise"``.
        InvalidTypeError: If an argument is of a wrong type.
    """

    _fixed: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("ctx", "events", "random_stream"), "it is there from the beginning to the end"),
        "checkpointing": "attach another one by set_checkpointing(...)",
        "exp_callbacks": "change them by add_callback(...) and remove_callback(...)",
        "execution_plan": "change what is in it, as by execution_plan.clear() and add_phase(...)",
    }
    _elsewhere: ClassVar[Mapping[str, str]] = {
        "graph model net": "It is here: exp.model_graph.",
        "data dataset datasets featuresets": "Each is here by its label: exp.feature_sets['data'].",
        "plan phases": "It is here: exp.execution_plan.",
        "add_phase add_train_phase add_eval_phase add_fit_phase add_group": (
            "The plan takes it: exp.execution_plan.add_train_phase('other', split='train', losses='mse')."
        ),
        "fit train": "run_phase(phase) runs a phase, and this the plan: exp.run().",
        "predict predict_proba": "Its graph does: exp.model_graph.predict(new).",
        "evaluate test score": (
            "A phase does: exp.run_phase(EvalPhase.from_split('test', split='test', losses='mse'))."
        ),
        "results losses metrics plot": "A run has them, of a plan by phase: exp.last_run.results['train'].",
        "runs": "They are here: exp.history.",
        "summary": "Its graph has one: exp.model_graph.summary().",
        "to cuda device": "Say where phases compute: exp.accelerator = 'cuda'.",
    }

    def __init__(
        self,
        label: str,
        registration_policy: str | None = None,
        ctx: ExperimentContext | None = None,
        checkpointing: Checkpointing | None = None,
        callbacks: Sequence[ExperimentCallback] | None = None,
        *,
        accelerator: Accelerator | str | None = None,
        seed: int | None = None,
        results_config: ResultsConfig | None = None,
    ) -> None:
        self.label = check_label(label, "Experiment")
        self.results_config: ResultsConfig = self._assigned("results_config", results_config)
        self.accelerator = as_accelerator(accelerator)
        check_seed(seed)
        if ctx is not None and not isinstance(ctx, ExperimentContext):
            raise InvalidTypeError(f"Experiment {label!r}: ctx must be an ExperimentContext, got {ctx!r}.")
        former = cells.made_before("experiment", label) if ctx is None else None
        if former is not None:
            self._succeed(former)
        else:
            self._begin(ExperimentContext(registration_policy=registration_policy) if ctx is None else ctx)
        self._callbacks: list[ExperimentCallback] = self._checked(callbacks)
        self._added_in: dict[int, cells.Cell | None] = {}
        if former is not None:
            self._added_in = former._added_in
            added = [known for known in former._callbacks if id(known) in self._added_in]
            self._callbacks = self._checked([*self._callbacks, *added])
        self.set_checkpointing(checkpointing)
        self._bind(former, registration_policy)
        self.ctx.seed = seed
        if ctx is None:
            self.ctx.activate()
        cells.define(self, "experiment", label)

    def _assigned(self, name: str, value: Any) -> Any:
        """Return what an attribute holds that is said to be `value`."""
        if name == "label":
            return check_label(value, "Experiment")
        if name == "accelerator":
            return as_accelerator(value)
        if name == "results_config" and not isinstance(value, ResultsConfig | None):
            raise InvalidTypeError(
                f"Experiment {self.label!r}: results_config must be a ResultsConfig, got {value!r}."
            )
        return ResultsConfig() if name == "results_config" and value is None else value

    def _begin(self, ctx: ExperimentContext) -> None:
        self.ctx = ctx
        self.events = EventBus()
        self.epochs_done: dict[str, int] = {}
        self._plan = PhaseGroup(self.label)
        self._checkpoints = Checkpoints(self.label)
        self._runs = Runs(self._checkpoints)
        self.random_stream = RandomStream(self.label)

    def _succeed(self, former: Experiment) -> None:
        """Take the place of the experiment that the same cell made before."""
        self.ctx, self.events, self.epochs_done = former.ctx, former.events, former.epochs_done
        self._plan, self._runs, self._checkpoints = former._plan, former._runs, former._checkpoints
        self.random_stream = former.random_stream

    def _bind(self, former: Experiment | None, registration_policy: str | None) -> None:
        """Make the context this experiment's, once nothing can go wrong any more."""
        policy = self.ctx.registration_policy
        if registration_policy is not None:
            policy = RegistrationPolicy.from_value(registration_policy)
        present = self.ctx.experiment
        if present is not None and present is not former and policy == RegistrationPolicy.RAISE:
            raise InvalidValueError(
                f"The context belongs to the experiment {present.label!r}, so {self.label!r} cannot have it "
                'too. Leave out ctx for a new one, or take it over: registration_policy="overwrite".'
            )
        if registration_policy is not None:
            self.ctx.set_registration_policy(registration_policy)
        self.ctx.set_experiment(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return an experiment of the same label that shares nothing with this one, and goes on from here.

        Data, graph, weights, plan, history and random numbers are copied, and who listens is not. The
        context of the copy is not active: ``copied.ctx.activate()``.

        Raises:
            StateError: If it is running.
        """
        made = object.__new__(type(self))
        with self._runs.exclusively(self):
            memo[id(self)] = made
            memo[id(self.events)] = EventBus()
            ctx = self.ctx.copied(memo, (), self.ctx.nodes.values())
            ctx.set_experiment(made)
            vars(made).update(copy.deepcopy(vars(self) | {"_added_in": {}}, memo))
            if self.model_graph is not None:
                ctx.register_model_graph(copy.deepcopy(self.model_graph, memo))
        return made

    @classmethod
    def from_active_context(
        cls,
        label: str,
        registration_policy: str | None = None,
        checkpointing: Checkpointing | None = None,
        callbacks: Sequence[ExperimentCallback] | None = None,
        *,
        overwrite: bool = False,
        accelerator: Accelerator | str | None = None,
        seed: int | None = None,
        results_config: ResultsConfig | None = None,
    ) -> Self:
        """Bind a new experiment to the active context and all nodes registered there.

        Args:
            label: Its name.
            registration_policy: What happens when a node's label is taken.
            checkpointing: When to write checkpoints by itself.
            callbacks: Hooks at phases, groups and the whole plan.
            overwrite: Take the context over from the experiment that it belongs to.
            accelerator: The device that phases compute on which name none.
            seed: What every random choice follows from; weights that are built already stay.
            results_config: Which parts of runs are written to disk after each.

        Raises:
            InvalidValueError: If the context belongs to an experiment and `overwrite` is False.
        """
        ctx = ExperimentContext.get_active()
        if ctx.experiment is not None and not overwrite:
            raise InvalidValueError(
                f"The active context belongs to the experiment {ctx.experiment.label!r}. Use overwrite=True "
                f"to take it over, or Experiment({label!r}) for a new one."
            )
        with ctx.use_policy(RegistrationPolicy.OVERWRITE):
            experiment = cls(
                label,
                None,
                ctx,
                checkpointing,
                callbacks,
                accelerator=accelerator,
                seed=seed,
                results_config=results_config,
            )
        if registration_policy is not None:
            ctx.set_registration_policy(registration_policy)
        return experiment

    def __repr__(self) -> str:
        n_phases, n_runs = len(self._plan.flatten()), len(self._runs.history)
        return f"Experiment(label={self.label!r}, phases={n_phases}, runs={n_runs})"

    def _card(self) -> Html:
        runs = len(self._runs.history)
        status = status_to_show(self)
        worth = {entry.phase: entry.state for entry in status}
        parts = [node_table(self.ctx.nodes.values()), plan_table(self._plan.all, worth)]
        parts += [remark(str(entry)) for entry in status if entry.state == STALE]
        return card("Experiment", self.label, *parts, note=counted(runs, "run"))

    # -- what is in it ---------------------------------------------------------------

    @property
    def model_graph(self) -> ModelGraph | None:
        """The model graph, or None."""
        graph: ModelGraph | None = self.ctx.model_graph
        return graph

    @property
    def feature_sets(self) -> dict[str, FeatureSet]:
        """Label of each FeatureSet -> the FeatureSet."""
        nodes = self.ctx.nodes.items()
        return _FeatureSets((label, node) for label, node in nodes if isinstance(node, FeatureSet))

    @property
    def execution_plan(self) -> PhaseGroup:
        """The phases and groups that `run` executes, in order."""
        return self._plan

    @property
    def history(self) -> History:
        """All runs so far, oldest first; a copy of the list."""
        return History(
            self._runs.history,
            name=self.label,
            bus=self.events,
            present=lambda: self._runs.history,
            stale=lambda: stale_runs(self),
        )

    @property
    def last_run(self) -> ExperimentRun | None:
        """The most recent run, or None."""
        return self._runs.history[-1] if self._runs.history else None

    @property
    def exp_callbacks(self) -> list[ExperimentCallback]:
        """The experiment's callbacks, in order of execution."""
        return list(self._callbacks)

    def add_callback(self, callback: ExperimentCallback) -> None:
        """Register a callback; a cell of a notebook that is executed again replaces what it added before.

        Raises:
            InvalidTypeError: If it is no `ExperimentCallback`.
        """
        self._checked([callback])
        self._callbacks = self._checked(cells.add_once(callback, self._callbacks, self._added_in))

    def remove_callback(self, callback: ExperimentCallback | str) -> None:
        """Leave out a callback, by itself or its label.

        Raises:
            UnknownNameError: If it is not there.
        """
        self._callbacks = without_callback(self._callbacks, callback, f"Experiment {self.label!r}")

    def _checked(self, callbacks: Sequence[ExperimentCallback] | None) -> list[ExperimentCallback]:
        return check_callbacks(callbacks, ExperimentCallback, f"Experiment {self.label!r}")

    # -- running ---------------------------------------------------------------------

    def run(
        self, *, fresh: bool = False, stale_only: bool = False, resume: bool = False, **display: Any
    ) -> PhaseGroupResults:
        """Run the whole execution plan and record it in the history.

        A second run goes on from the present weights, and says so where it shows its progress.

        Args:
            fresh: Begin with the weights that the nodes were first trained from, without moments, fits and
                counted epochs. The history stays.
            stale_only: Run only the phases whose results are stale, unfinished or missing, in the
                order of the plan; see `status`. Where there are none, nothing is run or recorded.
            resume: Go on with the last run where it was stopped, if it was; see `resume`.
            **display: What is shown meanwhile; see `DisplayOptions`.

        Returns:
            The results by label; partial ones after a stop.

        Raises:
            StateError: If there is no phase to run, or this experiment is running.
            InvalidValueError: If a phase was defined in another experiment, or both `fresh` and
                `stale_only` are asked for.
            InvalidTypeError: If a display option is unknown.
            CallbackError: If a callback raised; the message names it.
        """
        display_options(display, "fresh", "stale_only", "resume")
        plan = own_plan(self, "run")
        if fresh and (stale_only or resume):
            other = "stale_only" if stale_only else "resume"
            raise InvalidValueError(f"A fresh run does everything again; leave out {other}.")
        if stale_only:
            self._runs.tell_outdated(plan)
            plan = only(plan, set(status_of(self, plan).stale))
            if not len(plan):
                notice(None, f"Nothing is stale in experiment {self.label!r}; nothing was run.")
                return PhaseGroupResults(self.label)
        results: PhaseGroupResults = self._run(plan, display, resume, whole_plan=True, fresh=fresh)
        return results

    def status(self, entry: ExperimentPhase | Group | None = None) -> Status:
        """Say which results of the plan's phases still come from what there is now, and why others do not.

        Args:
            entry: Say it of this phase, group or cross-validation, in the plan or not; None is the plan.

        Returns:
            One entry a phase, which prints as a sentence: *results of 'eval' (run 3) are stale:
            sampler of 'train' changed batch_size 32 -> 64 after it ran*. A cross-validation is one
            entry, as a whole.
        """
        if entry is not None:
            return status_of(self, alone(own(self, entry, None, "status")))
        refreshed(self, self._plan)
        return status_of(self, self._plan)

    def diff(self, before: Run | None = None, after: Run | None = None) -> Diff:
        """Say in which of what they consumed two runs differ, or a run and what there is now.

        Args:
            before: A run, by its index in the history, its id or itself; None is the last one.
            after: The other run; None is what the plan would consume now.

        Raises:
            UnknownNameError: If there is no such run.
        """
        refreshed(self, self._plan)
        return diff_of(self, before, after)

    def run_phase(self, phase: ExperimentPhase, *, resume: bool = False, **display: Any) -> Any:
        """Run one phase, in the plan or not, and record it in the history; see `run`."""
        display_options(display, "resume")
        return self._run(own(self, phase, ExperimentPhase, "run_phase"), display, resume)

    def run_group(self, group: Group, *, resume: bool = False, **display: Any) -> PhaseGroupResults:
        """Run one group, in the plan or not, and record it in the history; see `run`."""
        display_options(display, "resume")
        results: PhaseGroupResults = self._run(own(self, group, Group, "run_group"), display, resume)
        return results

    def _run(self, entry: Entry, display: Mapping[str, Any], resume: bool, **how: Any) -> Any:
        __tracebackhide__ = True  # from here to a phase tracebacks tell the user nothing
        self._checkpoints.check(entry)
        point = self._runs.point(self._state_in) if resume else None
        if point is not None:
            return self._runs.go_on(self, point, entry, display)
        return self._runs.begin(self, entry, display, **how)

    def _state_in(self, checkpoint: str) -> Mapping[str, Any]:
        state: Mapping[str, Any] = storage.read_checkpoint(self._checkpoints.find(checkpoint))["state"]
        return state

    def resume(self, checkpoint: str | Path | None = None, **display: Any) -> Any:
        """Go on with the last run where it ended before it was done, in this process or another.

        Everything is as it was there: weights, optimizers, random numbers, the samplers' places,
        callbacks, results so far. What comes of it is what would have come without the pause, on a
        CPU to the last bit. A run that was stopped goes on after its last batch; one that failed, was
        interrupted or killed goes on where its newest checkpoint was written. The record of the
        run is gone on with, too, and says that it was resumed.

        Args:
            checkpoint: Go on from this checkpoint, a name or a path; None is the newest place.
            **display: What is shown meanwhile; see `DisplayOptions`.

        Returns:
            The results of the whole run.

        Raises:
            StateError: If there is nothing to go on with, or the plan is another one.
        """
        display_options(display, "checkpoint")
        if checkpoint is not None:
            self.restore_checkpoint(checkpoint)
        point = self._runs.point(self._state_in)
        if point is None:
            newest = self._checkpoints.of_others()[-1:]
            hint = "".join(
                f" Its folder holds one of another run: exp.resume({str(one)!r})." for one in newest
            )
            raise StateError(
                f"Experiment {self.label!r} has no run to resume: the last one completed, or it failed and "
                f"wrote no checkpoint before (see Checkpointing).{hint}"
            )
        refreshed(self, self._plan)
        return self._runs.go_on(self, point, None, display)

    def preview_phase(self, phase: ExperimentPhase, **display: Any) -> Any:
        """Run one phase and leave no trace.

        Weights, optimizers, frozen flags, random numbers, epochs counted and callbacks are
        restored, also when the phase raises. Nothing is recorded, no checkpoint is written and
        no experiment callback is called.

        Args:
            phase: The phase.
            **display: What is shown meanwhile; see `DisplayOptions`.

        Returns:
            Its results.
        """
        return self._runs.preview(self, own(self, phase, ExperimentPhase, "preview_phase"), display)

    def preview_group(self, group: Group, **display: Any) -> PhaseGroupResults:
        """Run one group and leave no trace; see `preview_phase`."""
        entry = own(self, group, Group, "preview_group")
        results: PhaseGroupResults = self._runs.preview(self, entry, display)
        return results

    def preview_run(self, **display: Any) -> PhaseGroupResults:
        """Run the whole plan and leave no trace; see `preview_phase`."""
        results: PhaseGroupResults = self._runs.preview(self, own_plan(self, "preview_run"), display)
        return results

    def request_stop(self) -> bool:
        """End the run that goes on after its present batch: from a callback, or from any thread.

        The run is recorded as ``"stopped"``, with its results so far and who asked
        (``metadata["stopped_by"]``), and `resume` goes on with it. ``exec_ctx.request_stop()`` of a
        callback ends its phase only, as completed.

        Returns:
            Whether there is a run to stop.
        """
        return self._runs.request_stop()

    @property
    def is_running(self) -> bool:
        """Whether a run or a preview goes on."""
        return self._runs.is_running

    # -- checkpoints -----------------------------------------------------------------

    @property
    def checkpointing(self) -> Checkpointing | None:
        """When checkpoints are written automatically, or None."""
        return self._checkpoints.policy

    def set_checkpointing(self, checkpointing: Checkpointing | None) -> None:
        """Attach or replace the checkpointing configuration; None writes none.

        Raises:
            InvalidTypeError: If it is something else.
            InvalidValueError: If it is made for a phase.
        """
        self._checkpoints.attach(checkpointing)

    def set_checkpoint_dir(self, path: str | Path, *, create: bool = True) -> None:
        """Choose the folder for checkpoints.

        Args:
            path: The folder.
            create: Make it if it is not there.

        Raises:
            FileNotFoundError: If it is not there and `create` is False.
            NotADirectoryError: If it is a file.
        """
        self._checkpoints.set_folder(path, create=create)

    @property
    def available_checkpoints(self) -> dict[str, Path]:
        """Name of each checkpoint of this experiment -> its file, oldest first.

        Those of a phase are called ``"<phase>/<name>"``.
        """
        return dict(self._checkpoints.paths)

    @property
    def best_checkpoints(self) -> dict[str, str]:
        """Label of each phase that watches for it -> the name of its best checkpoint."""
        return dict(self._checkpoints.best)

    def checkpoint_meta(self, name_or_path: str | Path) -> dict[str, Any]:
        """Return the facts kept with a checkpoint: those of `save_checkpoint`, or when it was written.

        Raises:
            UnknownNameError: If there is neither such a name nor such a file.
            FileFormatError: If the file is no whole checkpoint.
        """
        self._checkpoints.settle()
        meta: dict[str, Any] = storage.read_checkpoint(self._checkpoints.find(name_or_path))["meta"]
        return meta

    def save_checkpoint(
        self, name: str, *, overwrite: bool = False, meta: Mapping[str, Any] | None = None
    ) -> Path:
        """Write the present state to the checkpoint folder.

        Args:
            name: The name to restore it by.
            overwrite: Replace a checkpoint of that name.
            meta: Plain facts of your own to keep with it.

        Returns:
            The path of the file.

        Raises:
            StateError: If no folder is set.
            InvalidValueError: If the name is taken and `overwrite` is False.
        """
        return self._checkpoints.save(self, self._runs.bookmark, name, overwrite=overwrite, meta=meta or {})

    def restore_checkpoint(self, name_or_path: str | Path) -> None:
        """Return to the state of a checkpoint: weights, optimizers, random numbers, history.

        A checkpoint of a graph (`ModelGraph.save_checkpoint`) brings back what it has: the graph's state.

        Args:
            name_or_path: The name of one of `available_checkpoints`, ``"last"`` for the newest, ``"best"``,
                ``"<phase>/last"`` or ``"<phase>/best"``, or the path of a file.

        Raises:
            UnknownNameError: If there is neither such a name nor such a file.
            FileFormatError: If the file is no whole checkpoint; nothing is changed then.
            GraphError: If it is of another graph; nothing is changed then.
            StateError: If this experiment is running.
        """
        self._checkpoints.settle()
        path = self._checkpoints.find(name_or_path)
        is_whole = storage.restore_checkpoint(self, path)
        if is_whole and self._runs.bookmark.point is not None:
            # Read again when it is asked for: it holds as much as the experiment itself.
            self._runs.bookmark = Bookmark(checkpoint=str(path))

    def disable_checkpointing(self) -> contextlib.AbstractContextManager[None]:
        """Write no checkpoints by itself within a ``with`` block."""
        return self._checkpoints.disabled()

    def as_estimator(self) -> Any:
        """Return the training of this experiment as an estimator of scikit-learn.

        Its ``fit(X, y)`` makes a new experiment like this one on other samples, with new weights
        and scalers fitted to them, and runs the plan's training and fitting; see
        `modularml.core.experiment.estimator`. Several targets stand side by side in ``y``,
        ``(n_samples, n_targets)``, in the order of the FeatureSet, and in what it predicts.

        Returns:
            A classifier where the tail is one or is trained by a loss over classes, else a regressor.

        Raises:
            StateError: If there is no graph, nothing to train, several FeatureSets or several tails, features
                or targets that are no numbers, several targets of a classifier, or weights of samples.
        """
        # Its classes are scikit-learn's, which takes seconds to import.
        estimator: Any = importlib.import_module("modularml.core.experiment.estimator")
        return estimator.estimator_of(self)

    # -- configuration, state, files ---------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the structure: label, policy, plan, checkpointing and callbacks, as plain values."""
        return {
            "label": self.label,
            "registration_policy": self.ctx.chosen_policy,
            "plan": to_config(self._plan),
            "checkpointing": to_config(self.checkpointing),
            "callbacks": [to_config(callback) for callback in self._callbacks],
            "accelerator": to_config(self.accelerator),
            "seed": self.ctx.seed,
            "results_config": to_config(self.results_config),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, ctx: ExperimentContext | None = None) -> Self:
        """Make an experiment from what `get_config` returned.

        Args:
            config: The structure.
            ctx: The context that holds the nodes it names; None is the active one.

        Raises:
            UnknownNameError: If the plan names nodes that are not there.
            InvalidValueError: If the context belongs to an experiment and the policy is ``"raise"``.
        """
        ctx = ctx or ExperimentContext.get_active()
        with ctx.temporary():
            plan = from_config(config["plan"])
            experiment = cls(
                config["label"],
                config["registration_policy"],
                ctx,
                from_config(config["checkpointing"]),
                [from_config(callback) for callback in config["callbacks"]],
                accelerator=from_config(config.get("accelerator")),
                seed=config.get("seed"),
                results_config=from_config(config.get("results_config")),
            )
        experiment._plan = plan
        return experiment

    def to_yaml(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write plan, graph and settings to a YAML file, for people to read; no weights, data or history.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
            ImportError: If PyYAML is not installed.
            InvalidTypeError: If it holds what only a file can hold, as an estimator is.
        """
        return storage.save_as_yaml(self, path, overwrite=overwrite)

    @classmethod
    def from_yaml(cls, path: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Self:
        """Make the experiment of a YAML file in the active context, which must have its FeatureSets.

        Args:
            path: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            StateError: If the active context belongs to an experiment.
            FileFormatError: If it is no such file.
        """
        made: Self = storage.experiment_of_yaml(cls, path, symbols=symbols)
        return made

    def get_state(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return a copy of everything that runs change: graph, counters, random numbers, history.

        Callbacks of the experiment and of the phases of its plan are asked for their states too.

        Args:
            tensors: Include the outputs and targets that the results of runs hold.
        """
        return take(self) | {
            "unfinished": self._runs.bookmark.get_state(),
            "history": [run.get_state(tensors=tensors) for run in self._runs.history],
            "checkpoints": {name: str(path) for name, path in self._checkpoints.paths.items()},
            "best_checkpoints": dict(self._checkpoints.best),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Return to what `get_state` returned; nodes are matched by label.

        Raises:
            GraphError: If the state belongs to another graph; nothing is changed then.
            StateError: If this experiment is running.
        """
        present = {run.id: run for run in self._runs.history}
        history = History(present.get(r["id"]) or ExperimentRun.from_state(r) for r in state["history"])
        checkpoints = {name: Path(path) for name, path in state["checkpoints"].items()}
        best = dict(state["best_checkpoints"])
        bookmark = Bookmark(point=point_in(state), checkpoint=state["unfinished"]["checkpoint"])
        with self._runs.exclusively(self):
            put_back(self, state)
            self._runs.history, self._runs.bookmark = history, bookmark
            self._checkpoints.paths, self._checkpoints.best = checkpoints, best

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the experiment to one file: data, graph, weights, plan, history.

        Args:
            filepath: Where to; ``.exp.mml`` is appended when missing.
            overwrite: Replace a file that is there.

        Returns:
            The path of the file.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
            OSError: If it cannot be written; what was there before stays whole.
        """
        return storage.save_experiment(self, filepath, overwrite=overwrite)

    @classmethod
    def load(
        cls,
        filepath: str | Path,
        *,
        checkpoint_dir: str | Path | None = None,
        overwrite: bool = False,
        symbols: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read an experiment from a file, into the active context.

        No code of the file is run. What is identical to an object of the active context
        is not doubled; what differs replaces it; each is told.

        Args:
            filepath: The file.
            checkpoint_dir: The folder that its checkpoints are in now.
            overwrite: Take over the active context from the experiment it belongs to. A cell of a
                notebook that is executed again takes it over from the one that it loaded before.
            symbols: Name -> class or function, for those of your own that are not defined
                in this session.

        Raises:
            StateError: If the active context belongs to an experiment and `overwrite` is False.
            FileFormatError: If the file is not a whole experiment; nothing is changed then.
        """
        made: Self
        made, absent = storage.load_experiment(
            cls, filepath, checkpoint_dir=checkpoint_dir, overwrite=overwrite, symbols=symbols
        )
        made._checkpoints.absent = absent
        return made


class _FeatureSets(dict[str, FeatureSet]):
    """FeatureSets by label."""

    def __missing__(self, label: object) -> FeatureSet:
        raise UnknownNameError(unknown_name("FeatureSet", label, self, where="this experiment"))
