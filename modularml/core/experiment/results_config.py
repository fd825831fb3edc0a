"""Results on disk: which parts of a run are written after it, and where.

It knows no experiment: it is handed the record of a run.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modularml.base.config import Configurable
from modularml.base.errors import InvalidTypeError, ModularMLError, warn
from modularml.core.experiment.history import ExperimentRun
from modularml.core.experiment.phase_results import PhaseResults
from modularml.core.experiment.results import results_by_path
from modularml.io import codec
from modularml.io.names import safe_name


class ResultsConfig(Configurable):
    """Writes each run of an experiment to a folder of its own: ``<results_dir>/<n>_<label>/``.

    ``run.run.mml`` there is the whole record; `ExperimentRun.load` reads it. Previews write nothing.

    Args:
        results_dir: Where to; None writes nothing.
        save_execution: Write the record, with losses, metrics and the outputs that are kept.
        save_metrics: Write a CSV file a phase, with a row an epoch for each loss and metric.
        save_artifacts: Write what callbacks returned as artifacts: figures as PNG, arrays as NPY,
            plain values as JSON; of anything else a warning says that it is not written.

    Raises:
        InvalidTypeError: If `results_dir` is no path.
    """

    def __init__(
        self,
        results_dir: str | Path | None = None,
        save_execution: bool = True,
        save_metrics: bool = False,
        save_artifacts: bool = True,
    ) -> None:
        if results_dir is not None and not isinstance(results_dir, str | Path):
            raise InvalidTypeError(f"ResultsConfig: results_dir must be a path, got {results_dir!r}.")
        self.results_dir = None if results_dir is None else Path(results_dir)
        self.save_execution = bool(save_execution)
        self.save_metrics = bool(save_metrics)
        self.save_artifacts = bool(save_artifacts)

    @contextlib.contextmanager
    def written(self, record: ExperimentRun) -> Iterator[None]:
        """Write a run when the ``with`` block ends, however it ends; its own exception comes first."""
        try:
            yield
        except BaseException as error:
            try:
                self.write(record)
            except (OSError, ModularMLError) as failure:
                error.add_note(f"its results could not be written: {type(failure).__name__}: {failure}")
            raise
        self.write(record)

    def write(self, record: ExperimentRun) -> Path | None:
        """Write a run, and return its folder.

        Raises:
            OSError: If the folder cannot be written.
        """
        if self.results_dir is None:
            return None
        folder = _new_folder(self.results_dir, record.label)
        if self.save_execution:
            codec.save(folder / "run", "run", {"run": record.get_state()})
        for path, results in results_by_path(record.results):
            name = "_".join(map(safe_name, path))
            if self.save_metrics:
                _write_curves(folder / f"{name}.csv", results)
            if self.save_artifacts:
                _write_artifacts(folder, name, results)
        return folder


def _new_folder(above: Path, label: str) -> Path:
    above.mkdir(parents=True, exist_ok=True)
    taken = [entry.name.partition("_")[0] for entry in above.iterdir()]
    n = 1 + max((int(number) for number in taken if number.isdecimal()), default=-1)
    while True:  # another process may write here, too
        folder = above / f"{n}_{safe_name(label)}"
        try:
            folder.mkdir()
        except FileExistsError:
            n += 1
        else:
            return folder


def _write_curves(path: Path, results: PhaseResults) -> None:
    curves = results.curves()
    n_rows = max((len(curve) for curve in curves.values()), default=0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *curves])
        for epoch in range(n_rows):
            values = [curve[epoch] if epoch < len(curve) else np.nan for curve in curves.values()]
            writer.writerow([epoch, *("" if np.isnan(value) else repr(float(value)) for value in values)])


def _write_artifacts(folder: Path, phase: str, results: PhaseResults) -> None:
    for (name, epoch, batch), artifact in results.artifacts().items():
        at = "".join(f"_{place}{i}" for place, i in (("epoch", epoch), ("batch", batch)) if i is not None)
        _write_artifact(folder / f"{phase}_{safe_name(name)}{at}", name, artifact)


def _write_artifact(stem: Path, name: str, artifact: Any) -> None:
    def path(suffix: str) -> Path:
        return stem.with_name(stem.name + suffix)

    if hasattr(artifact, "savefig"):
        artifact.savefig(path(".png"))
        return
    array = artifact.detach().cpu().numpy() if hasattr(artifact, "detach") else artifact
    if isinstance(array, np.ndarray) and array.dtype.kind != "O":
        np.save(path(".npy"), array, allow_pickle=False)
        return
    try:
        text = json.dumps(codec.to_plain(artifact), ensure_ascii=False)
    except (ModularMLError, ValueError):
        warn(f"The artifact {name!r} of {type(artifact).__name__} is not written: no file can hold it.")
        return
    path(".json").write_text(text, encoding="utf-8")
