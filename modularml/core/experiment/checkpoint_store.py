"""Which checkpoints an experiment has, under which names, and where new ones go.

It knows no file format and no experiment: it keeps the list, others write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from modularml.base.errors import (
    InvalidValueError,
    StateError,
    UnknownNameError,
    check_label,
    unknown_name,
    warn,
)
from modularml.core.experiment.checkpointing import EXPERIMENT, Checkpointing
from modularml.io.names import safe_name, with_suffix


class CheckpointStore:
    """The checkpoints of one experiment: where they go, and which there are.

    Attributes:
        owner: The label of the experiment, for messages.
        paths: Name -> file, oldest first.
        folder: Where they go, or None.
        absent: Name -> former file, of the checkpoints that a loaded experiment had; they are found
            again in the folder that holds them.
        best: Label of a phase -> name of its best checkpoint.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.paths: dict[str, Path] = {}
        self.absent: dict[str, str] = {}
        self.best: dict[str, str] = {}
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
        self.paths |= {name: path for name, path in moved(self.absent, folder).items() if path.is_file()}
        self.absent = {name: path for name, path in self.absent.items() if name not in self.paths}
        others = self.of_others()
        if others:
            warn(
                f"The folder {str(folder)!r} holds {len(others)} checkpoint(s) of other runs. They can be "
                "restored by their path, and a run that was broken off is gone on with by it: "
                f"exp.resume({str(others[-1])!r}) from the newest."
            )

    def of_others(self) -> list[Path]:
        """Return the checkpoints in the folder that it does not know, those of phases too, oldest first."""
        if self.folder is None:
            return []
        own = {known.resolve() for known in self.paths.values()}
        files = [*self.folder.glob("*.ckpt.mml"), *self.folder.glob("*/*.ckpt.mml")]
        return sorted(
            (f for f in files if f.resolve() not in own), key=lambda f: (f.stat().st_mtime_ns, f.name)
        )

    def due(self, moment: str, label: str) -> str | None:
        """Return the name of the checkpoint to write at a moment, or None."""
        policy = self.policy
        if policy is None or self._n_disabled or moment not in policy.moments(EXPERIMENT):
            return None
        self._n_moments += 1
        return None if self._n_moments % policy.every_n else policy.name_at(moment, label)

    @property
    def is_disabled(self) -> bool:
        """Whether none is written by itself now."""
        return self._n_disabled > 0

    def folder_of(self, phase: str, own: Path | None) -> Path | None:
        """Return the folder for the checkpoints of a phase: its own one, or one within that of the others."""
        if own is not None:
            return own
        folder = self.folder or (self.policy.directory if self.policy is not None else None)
        return None if folder is None else folder / safe_name(phase)

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
        path = self.paths.get(self._named(str(name_or_path)), Path(name_or_path))
        if path.is_file():
            return path
        if str(name_or_path) in self.paths:
            raise UnknownNameError(
                f"The checkpoint {str(name_or_path)!r} of {where} is gone: there is no file {str(path)!r}."
            )
        raise UnknownNameError(unknown_name("checkpoint", str(name_or_path), self.paths, where=where))

    def _named(self, name: str) -> str:
        """Return the name that ``"last"``, ``"best"``, ``"<phase>/last"`` ... stands for."""
        phase, _, alias = name.rpartition("/")
        if name in self.paths or alias not in ("best", "last"):
            return name
        if alias == "best":
            best = list(self.best.values()) if not phase else [self.best.get(phase, name)]
            return best[0] if len(best) == 1 else name
        known = [known for known in self.paths if not phase or known.startswith(f"{phase}/")]
        return known[-1] if known else name


def moved(paths: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Return where files lie if what they lay in is `folder` now: those of phases have a folder in it."""
    found = {}
    for name, path in paths.items():
        here = folder / Path(path).name
        within = folder / Path(path).parent.name / Path(path).name
        found[name] = here if here.is_file() or not within.is_file() else within
    return found
