"""When checkpoints are written by themselves, under which names, and which of a phase there are.

It knows no experiment: others ask whether one is due, and write it.
"""

from __future__ import annotations

import math
import string
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from modularml.base.config import Configurable
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    UnknownNameError,
    check_choice,
    check_int,
    check_label,
    unknown_name,
)
from modularml.display.card import Shown
from modularml.io import codec


@dataclass(frozen=True)
class Level:
    """Where a `Checkpointing` is attached: when it can write there, and what names may say."""

    name: str
    moments: tuple[str, ...]
    default: str
    placeholders: tuple[str, ...]


EXPERIMENT = Level(
    "an experiment",
    ("phase_start", "phase_end", "group_start", "group_end", "experiment_start", "experiment_end"),
    "phase_end",
    ("label",),
)
PHASE = Level(
    "a phase",
    ("phase_start", "epoch_start", "batch_start", "batch_end", "epoch_end", "phase_end"),
    "epoch_end",
    ("phase", "epoch", "batch"),
)
_MOMENTS = tuple(dict.fromkeys(EXPERIMENT.moments + PHASE.moments))
_PLACEHOLDERS = EXPERIMENT.placeholders + PHASE.placeholders
_ALIASES = ("best", "last")


def is_better(value: float, best: float, mode: str, min_delta: float = 0.0) -> bool:
    """Tell whether a value is better than the best so far; anything is better than NaN."""
    if math.isnan(best):
        return not math.isnan(value)
    return (best - value if mode == "min" else value - best) > min_delta


class Checkpointing(Shown, Configurable):
    """Keeps the state of an experiment at chosen moments: of its plan, or within a phase.

    Given to an `Experiment` it writes files when phases, groups or the plan begin or end. Given to a
    `TrainPhase` it keeps states of epochs or batches, in memory or in files, and knows them by name;
    the experiment knows those in files as ``"<phase>/<name>"``. Every checkpoint is whole: weights,
    optimizers, random numbers, counters and callbacks, and never another checkpoint.

    Args:
        mode: ``"disk"`` or ``"memory"``, which is for phases. None is files in an experiment and
            where a `directory` is given, else memory.
        save_on: One or several of ``"phase_start"`` and ``"phase_end"``; in an experiment
            ``"group_start"``, ``"group_end"``, ``"experiment_start"``, ``"experiment_end"``; in a phase
            ``"epoch_start"``, ``"epoch_end"``, ``"batch_start"``, ``"batch_end"``. None is the end of each
            phase, or of each epoch.
        every_n: Keep every n-th of these moments.
        directory: The folder; None is the experiment's, and within it one for each phase.
        name_template: The name of a checkpoint. In an experiment ``{label}`` stands for the phase or
            group (``START`` and ``END`` for the experiment); in a phase there are ``{phase}``,
            ``{epoch}`` and ``{batch}``. None is ``"{label}"``, or ``"{phase}_epoch{epoch}"`` and the like.
        max_to_keep: How many of them stay, beside the best one; None is all.
        overwrite: Replace a checkpoint of the same name; otherwise that is an error.
        best: A metric or the label of a loss; the epoch in which it is best is kept, whether or not it
            is the n-th, and answers to the name ``"best"``. For phases.
        best_mode: ``"min"`` if lower is better, ``"max"`` if higher is; None follows from the metric, as in
            `EarlyStopping`.
        background: Write files beside the training. The state is copied at its moment; a file that could not
            be written fails the run at its end, or before the next one is written.

    Raises:
        InvalidValueError: If an argument is not allowed; all faults are told together. After the first
            epoch, if nothing logs the metric that is named by `best`.
        InvalidTypeError: If one is of a wrong type.
    """

    def __init__(
        self,
        *,
        mode: str | None = None,
        save_on: str | Sequence[str] | None = None,
        every_n: int = 1,
        directory: str | Path | None = None,
        name_template: str | None = None,
        max_to_keep: int | None = None,
        overwrite: bool = True,
        best: str | None = None,
        best_mode: str | None = None,
        background: bool = False,
    ) -> None:
        if save_on is not None and not isinstance(save_on, str | Sequence):
            raise InvalidTypeError(f"Checkpointing: save_on must be a list of moments, got {save_on!r}.")
        self.mode = mode
        self.save_on = [save_on] if isinstance(save_on, str) else None if save_on is None else list(save_on)
        self.every_n = every_n
        self.directory = None if directory is None else Path(directory)
        self.name_template = name_template
        self.max_to_keep = max_to_keep
        self.overwrite = bool(overwrite)
        self.best, self.best_mode = best, best_mode
        self.background = background
        self._check()
        self._owner: weakref.ref[Any] | None = None
        self._owner_label = ""
        self.settle: Callable[[], None] = _do_nothing
        self.reset()

    def _check(self) -> None:
        faults = Faults("Checkpointing")
        if self.mode is not None:
            faults.attempt(check_choice, self.mode, "mode", ("disk", "memory"))
        faults.attempt(check_int, self.every_n, "every_n")
        if self.max_to_keep is not None:
            faults.attempt(check_int, self.max_to_keep, "max_to_keep")
        if self.name_template is not None:
            faults.attempt(_check_template, self.name_template, _PLACEHOLDERS)
        if self.save_on is not None and not self.save_on and self.best is None:
            faults.add(f"save_on is empty; allowed are {', '.join(_MOMENTS)}.")
        for moment in self.save_on or ():
            if moment not in _MOMENTS:
                faults.add(unknown_name("save_on", moment, _MOMENTS))
        if self.best is not None:
            faults.attempt(check_label, self.best, "metric named by best")
        if self.best_mode is not None:
            faults.attempt(check_choice, self.best_mode, "best_mode", ("min", "max"))
        if not isinstance(self.background, bool):
            faults.add(InvalidTypeError(f"background must be True or False, got {self.background!r}."))
        if self.mode == "memory":
            given = [name for name in ("directory", "background") if getattr(self, name)]
            faults.add(f"{given[0]} goes with files, and mode is 'memory'.") if given else None
        faults.raise_if_any()

    # -- what it is told -----------------------------------------------------------

    def check_for(self, level: Level, where: str) -> None:
        """Raise unless it can be attached at a level.

        Raises:
            InvalidValueError: If a moment or a placeholder does not exist there; all are told.
        """
        faults = Faults(f"The Checkpointing of {where}")
        for moment in self.save_on or ():
            if moment not in level.moments:
                faults.add(unknown_name("save_on", moment, level.moments, where=level.name))
        if self.name_template is not None:
            faults.attempt(_check_template, self.name_template, level.placeholders)
        if level is EXPERIMENT and self.mode == "memory":
            faults.add("mode 'memory' is for phases; an experiment writes to 'disk'.")
        if level is EXPERIMENT and self.best is not None:
            faults.add("best is for phases: give it to the Checkpointing of a TrainPhase.")
        faults.raise_if_any()

    def moments(self, level: Level) -> list[str]:
        """Return when it keeps a checkpoint."""
        return [level.default] if self.save_on is None else self.save_on

    @property
    def in_memory(self) -> bool:
        """Whether a phase keeps its checkpoints in memory."""
        return self.mode == "memory" or (self.mode is None and self.directory is None)

    def name_at(self, moment: str, label: str) -> str:
        """Return the name of a checkpoint of an experiment.

        Args:
            moment: When it is written.
            label: The label of the phase or group.
        """
        begins = moment in ("phase_start", "group_start")
        template = self.name_template or ("{label}_start" if begins else "{label}")
        return template.format(label=label)

    def name_within(self, moment: str, phase: str, epoch: int, batch: int) -> str:
        """Return the name of a checkpoint within a phase; epochs and batches count from 0."""
        scope, _, edge = moment.partition("_")
        default = {
            "phase": "{phase}",
            "epoch": "{phase}_epoch{epoch}",
            "batch": "{phase}_epoch{epoch}_batch{batch}",
        }[scope] + ("_start" if edge == "start" else "")
        return (self.name_template or default).format(phase=phase, epoch=epoch, batch=batch)

    # -- which there are, of a phase -------------------------------------------------

    def bound_to(self, owner: object, label: str) -> Self:
        """Return this, or one like it if another phase keeps its checkpoints here.

        Args:
            owner: The context of the phase.
            label: The label of the phase.
        """
        known = None if self._owner is None else self._owner()
        if known is not None and (known is not owner or self._owner_label != label):
            return type(self).from_config(self.get_config()).bound_to(owner, label)
        self._owner, self._owner_label = weakref.ref(owner), label
        return self

    def reset(self) -> None:
        """Forget all checkpoints and counts; files stay where they are."""
        self._kept: dict[str, Any] = {}
        self._n_moments = 0
        self._best_value: float | None = None
        self._best_key: str | None = None
        self._only_best = False

    @property
    def saved_keys(self) -> list[str]:
        """The names of the checkpoints that a phase has, oldest first."""
        return list(self._kept)

    def has_key(self, key: str) -> bool:
        """Tell whether there is a checkpoint of that name, ``"best"`` and ``"last"`` included."""
        return self._resolved(key) in self._kept

    def get_path(self, key: str) -> Path:
        """Return the file of a checkpoint, by its name, ``"best"`` or ``"last"``.

        Raises:
            UnknownNameError: If there is none.
            StateError: If it is in memory.
        """
        kept = self._found(key)
        if not isinstance(kept, Path):
            raise StateError(f"The checkpoint {key!r} is in memory; get_state({key!r}) returns it.")
        return kept

    def get_state(self, key: str) -> Mapping[str, Any]:
        """Return the state in a checkpoint, by its name, ``"best"`` or ``"last"``.

        Its ``"graph"`` is what `ModelGraph.set_state` takes.

        Raises:
            UnknownNameError: If there is none.
            FileFormatError: If its file is no whole checkpoint.
        """
        kept = self._found(key)
        return codec.load(kept, "checkpoint")["state"] if isinstance(kept, Path) else kept

    def _resolved(self, key: str) -> str | None:
        if key in self._kept or key not in _ALIASES:
            return key
        return self._best_key if key == "best" else next(reversed(self._kept), None)

    def _found(self, key: str) -> Any:
        self.settle()
        name = self._resolved(key)
        if name not in self._kept:
            known = [*self._kept, *(alias for alias in _ALIASES if self.has_key(alias))]
            raise UnknownNameError(unknown_name("checkpoint", key, known))
        return self._kept[name]

    @property
    def best_key(self) -> str | None:
        """The name of the best checkpoint so far, or None."""
        return self._best_key

    def watches(self, metric: str, goal: str) -> bool:
        """Tell whether the file that it calls the best is that of a metric."""
        return (self.best, self.best_mode or goal, self.in_memory) == (metric, goal, False)

    def should_save(self, moment: str) -> bool:
        """Count a moment of a phase, and tell whether a checkpoint is due."""
        if moment not in self.moments(PHASE):
            return False
        self._n_moments += 1
        return self._n_moments % self.every_n == 0

    def improves(self, value: float, goal: str) -> bool:
        """Tell whether the metric of an epoch is the best so far; `goal` says which end is the better one."""
        return self._best_value is None or is_better(value, self._best_value, goal)

    def keep(self, key: str, kept: Any, *, best: float | None = None, is_due: bool = True) -> list[str]:
        """Enter a checkpoint, and return the names of those that have to go for it.

        Args:
            key: Its name.
            kept: Its file, or its state.
            best: The value of the metric, if it is the best so far.
            is_due: Whether it is one of every n, and not kept as the best alone.
        """
        self._kept.pop(key, None)
        self._kept[key] = kept
        gone: list[str] = []
        if best is not None:
            if self._only_best and self._best_key not in (key, None):
                gone.append(str(self._best_key))
            self._best_value, self._best_key, self._only_best = best, key, not is_due
        elif key == self._best_key:
            self._best_value = self._best_key = None  # the file of the best epoch was written over
        others = [name for name in self._kept if name != self._best_key and name not in gone]
        if self.max_to_keep is not None:
            gone += others[: max(len(others) - self.max_to_keep, 0)]
        for name in gone:
            self._kept.pop(name, None)
        return gone

    def begin(self) -> None:
        """A run of the phase begins, in which another epoch may be the best."""
        self._best_value = self._best_key = None
        self._only_best = False

    def forget(self, key: str) -> None:
        """Let go of a checkpoint that could not be written."""
        self._kept.pop(key, None)
        if self._best_key == key:
            self.begin()

    @property
    def progress(self) -> dict[str, Any]:
        """What it must remember to go on elsewhere: counts, the best value, and which files there are."""
        return {
            "n_moments": self._n_moments,
            "best_value": self._best_value,
            "best_key": self._best_key,
            "only_best": self._only_best,
            "files": {key: str(kept) for key, kept in self._kept.items() if isinstance(kept, Path)},
        }

    @progress.setter
    def progress(self, state: Mapping[str, Any]) -> None:
        self._n_moments, self._best_value = state["n_moments"], state["best_value"]
        self._best_key, self._only_best = state["best_key"], state["only_best"]
        files = {key: Path(path) for key, path in state["files"].items()}
        there = {key: path for key, path in files.items() if key not in self._kept and path.is_file()}
        self._kept = {**there, **self._kept}


def _do_nothing() -> None:
    pass


def _check_template(template: object, placeholders: Sequence[str]) -> None:
    """Raise if a name template is no text, has unknown placeholders, or gives no name."""
    if not isinstance(template, str):
        raise InvalidTypeError(
            f"name_template must be text such as '{{{placeholders[0]}}}', got {template!r}."
        )
    faults = Faults("name_template")
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        for name in names:
            if name not in placeholders:
                faults.add(unknown_name("placeholder", name, placeholders))
        if all(name in placeholders for name in names):
            filled = template.format(
                **{name: 0 if name in ("epoch", "batch") else "x" for name in placeholders}
            )
            faults.attempt(check_label, filled, "checkpoint")
    except ValueError as error:
        faults.add(InvalidValueError(f"{template!r} is no template: {error}."))
    faults.raise_if_any()
