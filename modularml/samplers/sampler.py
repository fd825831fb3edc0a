"""What every sampler is: an epoch's order of rows, as arrays.

It knows no FeatureSet and no tensors: it reads columns of anything that has
`n_samples` and `column(name)`, and hands out positions.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from modularml.base.config import Configurable, from_config, parameters_of, to_config
from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    check_int,
    told_of,
)
from modularml.base.registry import Registry
from modularml.base.rows import SampleSource as SampleSource
from modularml.base.rows import as_names, check_flag, check_seed, group_codes, new_seed
from modularml.display.card import Shown
from modularml.io import codec
from modularml.io.objects import checked_class, no_surprises
from modularml.io.yaml import load_yaml, save_yaml
from modularml.samplers.batching import by_group, by_stratum, cut

sampler_registry: Registry[type[Sampler]] = Registry("sampler")
"""Every sampler class of this package, by name."""


@dataclass(frozen=True, kw_only=True)
class EpochIndex:
    """The rows of all batches of one epoch.

    Batch ``i`` of a role is ``roles[role][offsets[i]:offsets[i + 1]]``.

    Attributes:
        roles: Role -> positions in the source, int64 of shape ``(m,)``, the same m for all.
        offsets: Where batches begin and end, int64 of shape ``(n_batches + 1,)``.
        weights: Role -> a weight a position, float of shape ``(m,)``; None for all 1.
    """

    roles: Mapping[str, np.ndarray]
    offsets: np.ndarray
    weights: Mapping[str, np.ndarray] | None = None

    @property
    def n_batches(self) -> int:
        """How many batches there are."""
        return len(self.offsets) - 1


class Sampler(Shown, Configurable, ABC):
    """Decides which samples make up which batch.

    Args:
        batch_size: The most samples (or pairs, triplets ...) a batch has.
        shuffle: Whether each epoch has an order of its own.
        group_by: Columns; a batch holds only samples that agree in them.
        stratify_by: Columns; every batch holds samples of each combination of values,
            taken in turn.
        strict_stratification: Whether an epoch ends when the first stratum is used up.
        drop_last: Whether a batch smaller than `batch_size` is left out.
        seed: Decides every random choice; None draws a seed and keeps it.
        show_progress: Whether drawing batches may show its progress.
        source: The samples, for looking at batches without an experiment.

    Raises:
        InvalidTypeError, InvalidValueError: If an option is not allowed.
    """

    def __init__(
        self,
        *,
        batch_size: int = 1,
        shuffle: bool = False,
        group_by: str | Sequence[str] | None = None,
        stratify_by: str | Sequence[str] | None = None,
        strict_stratification: bool = True,
        drop_last: bool = False,
        seed: int | None = None,
        show_progress: bool = True,
        source: SampleSource | None = None,
    ) -> None:
        faults = Faults(type(self).__name__)
        faults.attempt(check_int, batch_size, "batch_size")
        faults.attempt(check_seed, seed)
        faults.attempt(as_names, group_by, "group_by")
        faults.attempt(as_names, stratify_by, "stratify_by")
        faults.attempt(check_flag, shuffle, "shuffle")
        faults.attempt(check_flag, strict_stratification, "strict_stratification")
        faults.attempt(check_flag, drop_last, "drop_last")
        faults.attempt(check_flag, show_progress, "show_progress")
        if source is not None:
            faults.attempt(check_source, source)
        if group_by and stratify_by:
            faults.add(
                "group_by and stratify_by exclude each other: "
                "a batch cannot hold one group only and every stratum"
            )
        faults.raise_if_any()
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.group_by = group_by
        self.stratify_by = stratify_by
        self.strict_stratification = strict_stratification
        self.drop_last = drop_last
        self.seed = seed
        self.show_progress = show_progress
        self.source = source
        self._sampled: Any = None
        # An unseeded sampler draws its seed once, so that its order can be repeated, too.
        self._entropy = new_seed() if seed is None else int(seed)

    def _assigned(self, name: str, value: Any) -> Any:
        """Take over what another one made so has, but for the order of one without a seed."""
        arguments = {argument: getattr(self, argument) for argument in parameters_of(type(self))}
        made = type(self)(**arguments | {name: value})
        if name != "seed":
            made._entropy = self._entropy
        vars(self).update(vars(made))
        return getattr(made, name)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("modularml."):
            sampler_registry.register(cls)

    @property
    @abstractmethod
    def role_names(self) -> tuple[str, ...]:
        """The roles that a batch has, e.g. ``("anchor", "pair")``."""

    @property
    def _batching_role(self) -> str:
        """The role whose samples `group_by` and `stratify_by` look at."""
        return self.role_names[0]

    @abstractmethod
    def _draw(
        self, source: SampleSource, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
        """Return what batches are made of: role -> rows, and role -> weights or None.

        Rows are positions in `source`, integers of shape ``(m,)``; weights have the same shape.
        """

    def epoch(self, source: SampleSource, epoch: int) -> EpochIndex:
        """Return the batches of an epoch: always the same for one seed, epoch and source.

        Args:
            source: The samples.
            epoch: The number of the epoch, from 0.

        Raises:
            InvalidValueError: If the samples make no batch.
        """
        with told_of(f"{type(self).__name__} on {source!r}"):
            return self._epoch(source, epoch)

    def _epoch(self, source: SampleSource, epoch: int) -> EpochIndex:
        rng = np.random.default_rng([self._entropy, epoch])
        roles, weights = _check_drawn(self._draw(source, rng), self.role_names, source.n_samples)
        rows = roles[self._batching_role]
        if not len(rows):
            raise self._no_batch(source)
        order = rng.permutation(len(rows)) if self.shuffle else np.arange(len(rows))
        if self.group_by:
            groups = group_codes(source, as_names(self.group_by, "group_by"), "group_by")[0][rows]
            shuffling = rng if self.shuffle else None
            order, offsets = by_group(order, groups, self.batch_size, drop_last=self.drop_last, rng=shuffling)
        else:
            if self.stratify_by:
                strata = group_codes(source, as_names(self.stratify_by, "stratify_by"), "stratify_by")[0][
                    rows
                ]
                order = by_stratum(order, strata, self.batch_size, strict=self.strict_stratification)
            offsets = cut(len(order), self.batch_size, drop_last=self.drop_last)
        if len(offsets) == 1:
            raise self._no_batch(source)
        return EpochIndex(
            roles={role: rows[order[: offsets[-1]]] for role, rows in roles.items()},
            offsets=offsets,
            weights=weights and {role: w[order[: offsets[-1]]] for role, w in weights.items()},
        )

    def _no_batch(self, source: SampleSource) -> InvalidValueError:
        whole = " whole" if self.drop_last else ""
        grouped = f" of one group of {self.group_by!r}" if self.group_by else ""
        text = f"{source.n_samples} samples make no{whole} batch of {self.batch_size}{grouped}."
        return InvalidValueError(text + " Lower batch_size, or leave out drop_last." * self.drop_last)

    def batches(self, source: SampleSource | None = None, epoch: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """Yield the rows of each batch of an epoch: role -> positions in the source.

        Raises:
            StateError: If no source is given here, and none was given to the sampler.
        """
        source = self._bound(source)
        index = self.epoch(source, epoch)
        for start, stop in pairwise(index.offsets.tolist()):
            yield {role: rows[start:stop] for role, rows in index.roles.items()}

    # Looking at batches without an experiment

    @property
    def is_bound(self) -> bool:
        """Whether it has a source."""
        return self.source is not None

    @property
    def is_materialized(self) -> bool:
        """Whether its batches were drawn already."""
        return self._sampled is not None

    def is_materialized_for(self, view: Any) -> bool:
        """Tell whether its batches were drawn from this source."""
        return self.is_materialized and self.source is view

    def bind_sources(self, sources: Sequence[Any]) -> None:
        """Take another source, and forget the batches of the one before.

        Args:
            sources: A list of one FeatureSet or view.

        Raises:
            InvalidValueError: If there are several, or none.
            InvalidTypeError: If it is no FeatureSet and no view.
        """
        if not isinstance(sources, list | tuple) or len(sources) != 1:
            raise InvalidValueError(
                f"{type(self).__name__} draws from one source, as a list of one; got {sources!r}."
            )
        self.source, self._sampled = check_source(sources[0]), None

    def materialize_batches(self, *, epoch: int = 0, show_progress: bool = True) -> None:
        """Draw the batches of an epoch of the source, for `sampled` to show.

        Args:
            epoch: The number of the epoch.
            show_progress: Has no effect: an epoch is drawn by array operations.

        Raises:
            StateError: If there is no source.
        """
        source: Any = self._bound(None)
        self._sampled = source._sampled(self.epoch(source, epoch))

    @property
    def sampled(self) -> Any:
        """The batches of the source, a ``SampledView``; drawn now if they were not yet."""
        if self._sampled is None:
            self.materialize_batches()
        return self._sampled

    def get_stream(self, name: str = "default") -> Sequence[Any]:
        """Return the batches of a stream, ``BatchView`` each."""
        batches: Sequence[Any] = self.sampled.get_stream(name)
        return batches

    def get_batches(self, stream: str | None = None) -> list[Any]:
        """Return the batches of a stream as a list; None for the one there is."""
        return list(self.get_stream("default" if stream is None else stream))

    @property
    def stream_names(self) -> list[str]:
        """The names of its streams: ``default``."""
        return ["default"]

    @property
    def num_streams(self) -> int:
        """How many streams it has."""
        return len(self.stream_names)

    @property
    def num_roles(self) -> int:
        """How many roles a batch has."""
        return len(self.role_names)

    @property
    def num_batches(self) -> int:
        """How many batches there are."""
        return len(self.get_stream())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.sampled)

    def _bound(self, source: Any) -> Any:
        source = self.source if source is None else source
        if source is None:
            raise StateError(f"{self!r} has no source; pass one: batches(source).")
        return source

    def get_config(self) -> dict[str, Any]:
        """Return the options; the source is data, and not among them."""
        return {name: value for name, value in super().get_config().items() if name != "source"}

    def get_state(self) -> dict[str, Any]:
        """Return what decides the order beside the configuration."""
        return {"entropy": self._entropy}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._entropy, self._sampled = int(state["entropy"]), None

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the sampler to a ``.sm.mml`` file and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
        """
        return codec.save(filepath, "sampler", self._tree(), overwrite=overwrite)

    def to_yaml(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the sampler to a YAML file, for people to read, and return its path.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
            ImportError: If PyYAML is not installed.
        """
        return save_yaml(path, self._tree(), overwrite=overwrite)

    def _tree(self) -> dict[str, Any]:
        return {"config": to_config(self), "state": self.get_state()}

    @classmethod
    def load(cls, filepath: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Sampler:
        """Read a sampler from a file.

        Args:
            filepath: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If the file is damaged, of another kind or newer.
            FileNotFoundError: If it is not there.
        """
        with no_surprises(filepath, "sampler"):
            return cls._of_tree(codec.load(filepath, "sampler", symbols=symbols), filepath)

    @classmethod
    def from_yaml(cls, path: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Sampler:
        """Read a sampler from a YAML file; see `load`."""
        tree = load_yaml(path, symbols=symbols)
        with no_surprises(path, "sampler"):
            return cls._of_tree(tree, path)

    @classmethod
    def _of_tree(cls, tree: Mapping[str, Any], path: str | Path) -> Sampler:
        sampler = checked_class(from_config(tree["config"]), cls, path)
        sampler.set_state(tree["state"])
        return sampler


def _check_drawn(drawn: Any, names: Sequence[str], n_samples: int) -> tuple[dict[str, np.ndarray], Any]:
    """Return what `Sampler._draw` returned, which may be a user's own; raise if it is no batch of rows."""
    if not (isinstance(drawn, tuple) and len(drawn) == 2 and isinstance(drawn[0], Mapping)):
        raise InvalidTypeError(
            "_draw must return two things, role -> rows and role -> weights (or None), got "
            f"{reprlib.repr(drawn)}."
        )
    roles = {role: np.asarray(rows) for role, rows in drawn[0].items()}
    if set(roles) != set(names):
        raise InvalidValueError(f"_draw must return rows for the roles {list(names)}, got {list(roles)}.")
    for role, rows in roles.items():
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            raise InvalidTypeError(
                f"_draw must return integers of shape (m,) as the rows of {role!r}, got {rows.dtype} "
                f"of shape {rows.shape}."
            )
        if len(rows) and not (rows.min() >= 0 and rows.max() < n_samples):
            raise InvalidValueError(
                f"_draw returned rows of {role!r} from {rows.min()} to {rows.max()}, but there are "
                f"{n_samples} samples, 0 to {n_samples - 1}."
            )
    weights = drawn[1] and {role: np.asarray(of_role) for role, of_role in drawn[1].items()}
    lengths = {f"rows of {role!r}": len(rows) for role, rows in roles.items()}
    lengths |= {f"weights of {role!r}": len(of_role) for role, of_role in (weights or {}).items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{n} {what}" for what, n in lengths.items())
        raise InvalidValueError(f"_draw must return as many rows for each role, and weights, got {told}.")
    return roles, weights


def check_source(source: Any) -> Any:
    """Return `source` if samples can be read from it, else raise InvalidTypeError."""
    if not hasattr(source, "n_samples") or not callable(getattr(source, "column", None)):
        raise InvalidTypeError(
            f"A source of samples must be a FeatureSet or a view of one, got {source!r} "
            f"({type(source).__name__})."
        )
    return source
