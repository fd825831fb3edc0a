"""Runs of several experiments side by side, of live ones and of files alike.

It knows of a live experiment that it has a history, and no more.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

from modularml.base.errors import InvalidTypeError
from modularml.base.keywords import checked, checked_keywords
from modularml.base.optional import optional
from modularml.display.live import show_runs
from modularml.display.run_book import RunBook
from modularml.display.run_rows import comparison_table, run_rows
from modularml.display.runs import RunSource
from modularml.inspection.reading import inspect
from modularml.inspection.run_views import FileRuns


class HasHistory(Protocol):
    """A live experiment."""

    @property
    def history(self) -> RunSource:
        """Its runs, as a source of its own."""
        ...


@checked_keywords
class Comparison:
    """The runs of several sources; a notebook shows it as a browser of runs.

    Args:
        sources: Where the runs come from.
    """

    def __init__(self, sources: list[RunSource]) -> None:
        self.sources = sources
        met: Counter[str] = Counter()
        for source in sources:
            met[source.name] += 1
            if met[source.name] > 1:
                source.name = f"{source.name} ({met[source.name]})"

    def to_html(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the browser of these runs to one file, which needs no server, kernel or network.

        Args:
            path: The file.
            overwrite: Replace the file if it is there.

        Raises:
            FileExistsError: If it is there and `overwrite` is False.
        """
        return RunBook(self.sources).save(path, overwrite=overwrite)

    def to_pandas(self) -> Any:
        """Return a row a run: where it is from, how it ended, the settings that differ, the last values.

        Raises:
            ImportError: If pandas is not installed.
        """
        return optional("pandas", "data", "to_pandas() of a Comparison").DataFrame(run_rows(self.sources))

    def __str__(self) -> str:
        return comparison_table(self.sources)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return show_runs(RunBook(self.sources), repr(self))

    def __repr__(self) -> str:
        lines = []
        for source in self.sources:
            lines.append(f"  {source.name}")
            lines += [f"    [{i}] {run.label}: {run.status}" for i, run in enumerate(source.views())]
        return "\n".join([f"Comparison({len(self.sources)} sources)", *lines])


@checked
def compare(*experiments: HasHistory | str | os.PathLike[str]) -> Comparison:
    """Browse the runs of several experiments together.

    What is live is followed; files are read once, without loading what is in them.

    Args:
        *experiments: Experiments, and paths of ``.mml`` files with runs. Of one label, or one file name,
            the second is told from the first as ``"name (2)"``.

    Raises:
        FileFormatError: If a file is cut short, changed or newer.
        OSError: If a file is not there or cannot be read.
        InvalidTypeError: If something is neither an experiment nor a path.
    """
    if not experiments:
        raise InvalidTypeError("compare() takes experiments and files with runs, got nothing.")
    return Comparison([_source(given) for given in experiments])


def _source(given: Any) -> RunSource:
    if isinstance(given, str | os.PathLike):
        return FileRuns(inspect(given))
    if not hasattr(given, "history"):
        raise InvalidTypeError(f"compare() takes experiments and paths of files, got {given!r}.")
    source: RunSource = given.history
    return source
