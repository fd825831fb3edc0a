"""What every splitter is: rows in, named rows out.

It knows no FeatureSet: it reads columns of anything that has `n_samples` and `column(name)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modularml.base.config import Configurable, from_config, to_config
from modularml.base.errors import InvalidValueError, told_of
from modularml.base.registry import Registry
from modularml.base.rows import SampleSource
from modularml.display.card import Shown
from modularml.io import codec
from modularml.io.objects import InYaml, checked_class, no_surprises

splitter_registry: Registry[type[Splitter]] = Registry("splitter")
"""Every splitter class of this package, by name."""


class Splitter(Shown, InYaml, Configurable, ABC):
    """Divides samples into named parts."""

    overlaps_by_design = False
    """Whether its parts may share rows without anybody being warned."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("modularml."):
            splitter_registry.register(cls)

    def indices(self, source: SampleSource) -> dict[str, np.ndarray]:
        """Return the rows of each part.

        Args:
            source: The samples.

        Returns:
            Name -> positions in the source, int64 of shape ``(n_rows,)``.

        Raises:
            InvalidValueError: If there are no samples, or a part would be empty.
        """
        if source.n_samples == 0:
            raise InvalidValueError(f"{self!r} cannot split the 0 samples of {source!r}.")
        with told_of(f"{type(self).__name__} on {source!r}"):
            parts = self._indices(source)
            empty = [name for name, rows in parts.items() if not rows.size]
            if empty:
                raise InvalidValueError(
                    f"the splits {empty} would be empty; each needs a sample. The splitter is {self!r}."
                )
        return parts

    @abstractmethod
    def _indices(self, source: SampleSource) -> dict[str, np.ndarray]:
        """Return the rows of each part, empty ones included."""

    def split(self, view: Any, *, return_views: bool = True) -> dict[str, Any]:
        """Split a FeatureSet or a view of one, and keep nothing.

        Returns:
            Name -> view, or -> positions in it if `return_views` is False.
        """
        parts = self.indices(view)
        return {name: view.take(rows, label=name) for name, rows in parts.items()} if return_views else parts

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the splitter to a ``.sp.mml`` file and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
        """
        return codec.save(filepath, "splitter", to_config(self), overwrite=overwrite)

    @classmethod
    def load(cls, filepath: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Splitter:
        """Read a splitter from a file.

        Args:
            filepath: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If the file is damaged, of another kind or newer.
            FileNotFoundError: If it is not there.
        """
        tree = codec.load(filepath, "splitter", symbols=symbols)
        with no_surprises(filepath, "splitter"):
            return checked_class(from_config(tree), cls, filepath)
