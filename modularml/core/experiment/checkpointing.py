"""Checkpoints: when an experiment writes them by itself, under which names, and which there are.

It knows no file format and no experiment: it decides and keeps the list, others write.
"""

from __future__ import annotations

import contextlib
import string
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from modularml.base.config import Configurable
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    ModularMLWarning,
    StateError,
    UnknownNameError,
    check_choice,
    check_int,
    check_label,
    unknown_name,
)
from modularml.display.card import Shown
from modularml.io.names import safe_name, with_suffix

EXPERIMENT_MOMENTS = (
    "phase_start",
    "phase_end",
    "group_start",
    "group_end",
    "experiment_start",
    "experiment_end",
)
PLACEHOLDERS = ("label",)


class Checkpointing(Shown, Configurable):
    """Writes the state of an experiment to disk at chosen moments.

    Args:
        mode: ``"disk"``; the state of a whole experiment is too large to keep in memory.
        save_on: One or several of ``"phase_start"``, ``"phase_end"``, ``"group_start"``,
            ``"group_end"``, ``"experiment_start"``, ``"experiment_end"``.
        every_n: Write at every n-th of these moments.
        directory: The folder; None is the experiment's checkpoint folder.
        name_template: The name of a checkpoint; ``{label}`` stands for the label of the phase
            or group (``START`` and ``END`` for the experiment). None is ``"{label}"``, and
            ``"{label}_start"`` where a phase or group begins.
        max_to_keep: How many of the checkpoints written so stay on disk; None is all.
        overwrite: Replace a checkpoint of the same name; otherwise that is an error.

    Raises:
        InvalidValueError: If an argument is not allowed; all faults are told together.
    """

    def __init__(
        self,
        *,
        mode: str = "disk",
        save_on: str | Sequence[str] = "phase_end",
        every_n: int = 1,
        directory: str | Path | None = None,
        name_template: str | None = None,
        max_to_keep: int | None = None,
        overwrite: bool = True,
    ) -> None:
        if not isinstance(save_on, str | Sequence):
            raise InvalidTypeError(f"Checkpointing: save_on must be a list of moments, got {save_on!r}.")
        self.mode = mode
        self.save_on = [save_on] if isinstance(save_on, str) else list(save_on)
        self.every_n = every_n
        self.directory = None if directory is None else Path(directory)
        self.name_template = name_template
        self.max_to_keep = max_to_keep
        self.overwrite = bool(overwrite)
        self._check()

    def _check(self) -> None:
        faults = Faults("Checkpointing")
        faults.attempt(check_choice, self.mode, "mode", ("disk",))
        faults.attempt(check_int, self.every_n, "every_n")
        if self.max_to_keep is not None:
            faults.attempt(check_int, self.max_to_keep, "max_to_keep")
        if self.name_template is not None:
            faults.attempt(_check_template, self.name_template)
        if not self.save_on:
            faults.add(f"save_on is empty; allowed are {', '.join(EXPERIMENT_MOMENTS)}.")
        for moment in self.save_on:
            if moment not in EXPERIMENT_MOMENTS:
                faults.add(unknown_name("save_on", moment, EXPERIMENT_MOMENTS))
        faults.raise_if_any()

    def name_at(self, moment: str, label: str) -> str:
        """Return the name of a checkpoint that is written at one of the six moments.

        Args:
            moment: The moment.
            label: The label of the phase or group.
        """
        begins = moment in ("phase_start", "group_start")
        template = self.name_template or ("{label}_start" if begins else "{label}")
        return template.format(label=label)


class CheckpointStore:
    """The checkpoints of one experiment: where they go, and which there are.

    Attributes:
        owner: The label of the experiment, for messages.
        paths: Name -> file, oldest first.
        folder: Where they go, or None.
        absent: Names of checkpoints that a loaded experiment had; they are found again in the
            folder that holds them.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.paths: dict[str, Path] = {}
        self.absent: set[str] = set()
        self.folder: Path | None = None
        self._policy: Checkpointing | None = None
        self._n_moments = 0
        self._n_disabled = 0
        self._automatic: list[str] = []

    @property
    def policy(self) -> Checkpointing | None:
        """When checkpoints are written by themselves, or None; a new one counts moments from 0."""
        return self._policy

    @policy.setter
    def policy(self, policy: Checkpointing | None) -> None:
        self._policy, self._n_moments = policy, 0

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """Write none by itself within a ``with`` block."""
        self._n_disabled += 1
        try:
            yield
        finally:
            self._n_disabled -= 1

    def set_folder(self, path: str | Path, *, create: bool) -> None:
        """Choose the folder; see `Experiment.set_checkpoint_dir`."""
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"The checkpoint folder {str(folder)!r} is a file.")
        if not folder.exists() and not create:
            raise FileNotFoundError(f"The checkpoint folder {str(folder)!r} does not exist.")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for name in sorted(self.absent):
            path = with_suffix(folder / safe_name(name), "checkpoint")
            if path.is_file():
                self.paths[name] = path
        self.absent -= self.paths.keys()
        own = {known.resolve() for known in self.paths.values()}
        foreign = [found for found in folder.glob("*.ckpt.mml") if found.resolve() not in own]
        if foreign:
            warnings.warn(
                f"The folder {str(folder)!r} holds {len(foreign)} checkpoint(s) of other runs. They can be "
                "restored by their path.",
                ModularMLWarning,
                stacklevel=3,
            )

    def due(self, moment: str, label: str) -> str | None:
        """Return the name of the checkpoint to write at a moment, or None."""
        policy = self.policy
        if policy is None or self._n_disabled or moment not in policy.save_on:
            return None
        self._n_moments += 1
        return None if self._n_moments % policy.every_n else policy.name_at(moment, label)

    def target(self, name: str, *, automatic: bool, overwrite: bool) -> Path:
        """Return the file for a new checkpoint.

        Raises:
            StateError: If there is no folder.
            InvalidValueError: If the name is taken and `overwrite` is False.
        """
        check_label(name, "checkpoint")
        own = self.policy.directory if self.policy is not None else None
        folder = own or self.folder if automatic else self.folder or own
        if folder is None:
            raise StateError(
                f"Experiment {self.owner!r} has no folder for the checkpoint {name!r}; "
                "call exp.set_checkpoint_dir(path), or use Checkpointing(directory=...)."
            )
        folder.mkdir(parents=True, exist_ok=True)
        path = with_suffix(folder / safe_name(name), "checkpoint")
        if not overwrite and (name in self.paths or path.exists()):
            raise InvalidValueError(
                f"A checkpoint {name!r} is there already, in {str(folder)!r}; use overwrite=True "
                "or another name."
            )
        return path

    def add(self, name: str, path: Path, *, automatic: bool) -> None:
        """Enter a checkpoint that was written, and let the oldest automatic one go if there are too many."""
        self.paths.pop(name, None)
        self.paths[name] = path
        self._automatic = [known for known in self._automatic if known in self.paths and known != name]
        if not automatic or self.policy is None:
            return
        self._automatic.append(name)
        keep = self.policy.max_to_keep
        while keep is not None and len(self._automatic) > keep:
            self.paths.pop(self._automatic.pop(0)).unlink(missing_ok=True)

    def find(self, name_or_path: str | Path) -> Path:
        """Return the file of a checkpoint.

        Raises:
            UnknownNameError: If there is neither such a name nor such a file, or the file is gone.
        """
        where = f"experiment {self.owner!r}"
        path = self.paths.get(str(name_or_path), Path(name_or_path))
        if path.is_file():
            return path
        if str(name_or_path) in self.paths:
            raise UnknownNameError(
                f"The checkpoint {str(name_or_path)!r} of {where} is gone: there is no file {str(path)!r}."
            )
        raise UnknownNameError(unknown_name("checkpoint", str(name_or_path), self.paths, where=where))


def _check_template(template: object) -> None:
    """Raise if a name template is no text, has unknown placeholders, or gives no name."""
    if not isinstance(template, str):
        raise InvalidTypeError(f"name_template must be text such as '{{label}}', got {template!r}.")
    faults = Faults("name_template")
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        for name in names:
            if name not in PLACEHOLDERS:
                faults.add(unknown_name("placeholder", name, PLACEHOLDERS))
        if all(name in PLACEHOLDERS for name in names):
            faults.attempt(check_label, template.format(label="label"), "checkpoint")
    except ValueError as error:
        faults.add(f"{template!r} is no template: {error}.")
    faults.raise_if_any()
