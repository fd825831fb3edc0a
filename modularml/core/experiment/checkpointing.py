"""When an experiment writes checkpoints by itself, and under which names.

It knows no file format and no experiment: it decides, the experiment writes.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

from modularml.base.config import Configurable
from modularml.base.errors import Faults, check_choice, check_int, unknown_name

EXPERIMENT_MOMENTS = (
    "phase_start",
    "phase_end",
    "group_start",
    "group_end",
    "experiment_start",
    "experiment_end",
)
PLACEHOLDERS = ("label",)


class Checkpointing(Configurable):
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
        faults = Faults("Checkpointing")
        self.mode = check_choice(mode, "mode", ("disk",))
        self.save_on = [save_on] if isinstance(save_on, str) else list(save_on)
        self.every_n = check_int(every_n, "Checkpointing: every_n")
        self.directory = None if directory is None else Path(directory)
        self.name_template = name_template
        self.max_to_keep = None if max_to_keep is None else check_int(max_to_keep, "Checkpointing: max_to_keep")
        self.overwrite = bool(overwrite)
        if not self.save_on:
            faults.add(f"save_on is empty; allowed are {EXPERIMENT_MOMENTS}.")
        for moment in self.save_on:
            if moment not in EXPERIMENT_MOMENTS:
                faults.add(unknown_name("save_on", moment, EXPERIMENT_MOMENTS))
        for name in _placeholders(name_template or ""):
            if name not in PLACEHOLDERS:
                faults.add(unknown_name("placeholder", name, PLACEHOLDERS, where="name_template"))
        faults.raise_if_any()
        self._n_moments = 0
        self.written: list[str] = []

    def name_at(self, moment: str, label: str) -> str | None:
        """Return the name of the checkpoint to write at this moment, or None for no checkpoint.

        Args:
            moment: One of the six moments; it is counted.
            label: The label of the phase or group.
        """
        if moment not in self.save_on:
            return None
        self._n_moments += 1
        if self._n_moments % self.every_n:
            return None
        begins = moment in ("phase_start", "group_start")
        template = self.name_template or ("{label}_start" if begins else "{label}")
        return template.format(label=label)


def _placeholders(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
