"""Samples that were taken out: their values by domain, by role, and by batch.

They know no FeatureSet: they hold arrays or tensors, and where those came from is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from modularml.backends.backend import Backend
from modularml.base.errors import Faults, InvalidValueError, UnknownNameError, check_choice, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.core.data.columns import DOMAINS, FEATURES, SAMPLE_UUIDS, TAGS, TARGETS
from modularml.core.data.formats import DataFormat, as_array, concatenate, convert

Shape = tuple[int, ...] | dict[str, tuple[int, ...]]


@checked_keywords
@dataclass(frozen=True)
class SampleShapes:
    """The shape of one sample in each domain; a dict of shapes where columns are apart.

    Attributes:
        features: None where there are none, as for the others.
        targets: Of the targets.
        tags: Of the tags.
    """

    features: Shape | None = None
    targets: Shape | None = None
    tags: Shape | None = None


@checked_keywords
class SampleData:
    """The values of some samples, by domain.

    Args:
        data: Domain -> values with one element a sample: an array, a tensor, a list, or a dict
            of such by key. The arguments named after domains say the same.
        sample_uuids: One id a sample, or a function that makes them when they are asked for.
        features: The features, or what a model made of them.
        targets: The targets.
        tags: The tags.
        kind: ``"input"``, or ``"output"`` where the features are what a model put out.

    Raises:
        UnknownNameError: If `data` names another domain.
        InvalidValueError: If domains differ in length, or there are none.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        sample_uuids: Any = None,
        features: Any = None,
        targets: Any = None,
        tags: Any = None,
        kind: str = "input",
    ) -> None:
        named = dict(zip(DOMAINS, (features, targets, tags), strict=True))
        given = {**(data or {}), **{name: values for name, values in named.items() if values is not None}}
        faults = Faults("SampleData")
        for name in given.keys() - set(DOMAINS):
            faults.add(UnknownNameError(unknown_name("domain", name, DOMAINS)))
        lengths: list[tuple[str, int]] = [
            (name, n) for name, values in given.items() for n in _lengths(values)
        ]
        if sample_uuids is not None and not callable(sample_uuids):
            lengths.append((SAMPLE_UUIDS, len(sample_uuids)))
        if not lengths:
            faults.add("there are no samples")
        if len({n for _, n in lengths}) > 1:
            faults.add(f"domains differ in length: {', '.join(f'{k} has {n}' for k, n in lengths)}")
        faults.raise_if_any()
        self.kind = check_choice(kind, "kind", ("input", "output"))
        self.n_samples = lengths[0][1]
        self._values: dict[str, Any] = {name: given[name] for name in DOMAINS if name in given}
        self._uuids = sample_uuids

    @property
    def features(self) -> Any:
        """The features; None if there are none, as for the others."""
        return self._values.get(FEATURES)

    @property
    def targets(self) -> Any:
        """The targets."""
        return self._values.get(TARGETS)

    @property
    def tags(self) -> Any:
        """The tags."""
        return self._values.get(TAGS)

    @property
    def sample_uuids(self) -> Any:
        """An id a sample, or None."""
        if callable(self._uuids):
            self._uuids = self._uuids()
        return self._uuids

    @property
    def outputs(self) -> Any:
        """What a model put out.

        Raises:
            AttributeError: If the kind is not ``"output"``.
        """
        if self.kind != "output":
            raise AttributeError(f"{self!r} is of the kind 'input' and has no outputs; it has features.")
        return self.features

    @property
    def shapes(self) -> SampleShapes:
        """The shape of one sample in each domain."""
        return SampleShapes(**{name: _shape(values) for name, values in self._values.items()})

    def __len__(self) -> int:
        return self.n_samples

    def __repr__(self) -> str:
        shapes = [f"{name}={_shape(values)}" for name, values in self._values.items()]
        return f"SampleData(n_samples={self.n_samples}, {', '.join(shapes)})"

    def to_format(self, fmt: str | DataFormat) -> SampleData:
        """Return the same samples in a format; tags that are no numbers stay arrays, as ids do.

        Raises:
            InvalidValueError: If the format is unknown or needs names that are lost.
        """
        return self._mapped(lambda values: convert(values, fmt))

    def to_backend(self, backend: str | Backend) -> SampleData:
        """Return the same samples as the tensors of a backend, columns apart where they are."""
        fmt = "torch" if Backend.from_value(backend) == Backend.TORCH else "numpy"
        return self._mapped(lambda v: convert(v, f"dict_{fmt}" if isinstance(v, Mapping) else fmt))

    def as_format(self, fmt: str | DataFormat) -> Self:
        """Bring these samples into a format, in place; see `to_format`."""
        self._values = self.to_format(fmt)._values
        return self

    def as_backend(self, backend: str | Backend) -> Self:
        """Make these samples the tensors of a backend, in place; see `to_backend`."""
        self._values = self.to_backend(backend)._values
        return self

    def detach_tensors(self) -> Self:
        """Cut the tensors off from their gradients, in place."""
        self._values = self._mapped(_detached)._values
        return self

    @classmethod
    def concat(cls, *parts: SampleData, fmt: str | DataFormat | None = None) -> SampleData:
        """Return samples one behind the other, with the domains that the first has.

        Args:
            parts: The samples.
            fmt: The format; None keeps that of the parts, which must be one.

        Raises:
            InvalidValueError: If there are no parts, or one lacks a domain.
        """
        if not parts:
            raise InvalidValueError("There are no samples to put one behind the other.")
        if fmt is not None:
            parts = tuple(part.to_format(fmt) for part in parts)
        names = parts[0]._values.keys()
        if any(part._values.keys() != names for part in parts):
            listed = "; ".join(", ".join(part._values) for part in parts)
            raise InvalidValueError(f"Samples with different domains cannot be joined: {listed}.")
        joined = {name: concatenate([part._values[name] for part in parts]) for name in names}
        uuids = [part.sample_uuids for part in parts]
        known = None if any(of_part is None for of_part in uuids) else np.concatenate(uuids)
        return cls(joined, sample_uuids=known, kind=parts[0].kind)

    def _mapped(self, change: Callable[[Any], Any]) -> SampleData:
        """Return these samples with their numbers changed."""
        changed = {n: change(v) if n != TAGS or _is_number(v) else v for n, v in self._values.items()}
        return SampleData(changed, sample_uuids=self._uuids, kind=self.kind)


@checked_keywords
class RoleData(Mapping[str, SampleData]):
    """Samples by role, each role also an attribute; of one role alone, its domains, too.

    Args:
        data: Role -> samples.
    """

    def __init__(self, data: Mapping[str, SampleData]) -> None:
        self._data = dict(data)

    def __getitem__(self, role: str) -> SampleData:
        if role not in self._data:
            raise UnknownNameError(unknown_name("role", role, self._data))
        return self._data[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __getattr__(self, name: str) -> Any:
        data = vars(self).get("_data", {})
        if name in data:
            return data[name]
        if len(data) == 1 and name in (*DOMAINS, SAMPLE_UUIDS, "outputs", "shapes", "n_samples"):
            return getattr(next(iter(data.values())), name)
        raise AttributeError(unknown_name("role", name, data))

    def __repr__(self) -> str:
        return f"RoleData({self._data})"

    def to_format(self, fmt: str | DataFormat) -> RoleData:
        """Return every role in a format; see `SampleData.to_format`."""
        return RoleData({role: data.to_format(fmt) for role, data in self.items()})

    def to_backend(self, backend: str | Backend) -> RoleData:
        """Return every role as the tensors of a backend; see `SampleData.to_backend`."""
        return RoleData({role: data.to_backend(backend) for role, data in self.items()})


@checked_keywords
@dataclass(frozen=True)
class Batch:
    """One batch of samples, in one role or several.

    Attributes:
        batch_size: How many samples each role has.
        role_data: Role -> samples.
        shapes: Role -> the shapes of a sample.
        role_weights: Role -> a weight a sample, shape ``(batch_size,)``.
        role_masks: Role -> 1 where a sample counts and 0 where not, shape ``(batch_size,)``.

    Raises:
        InvalidValueError: If a role has more samples or fewer, or weights, or masks.
    """

    batch_size: int
    role_data: RoleData
    shapes: Mapping[str, SampleShapes]
    role_weights: Mapping[str, np.ndarray]
    role_masks: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        faults = Faults("Batch")
        for role, data in self.role_data.items():
            parts: dict[str, Any] = {
                "samples": data,
                "weights": self.role_weights[role],
                "masks": self.role_masks[role],
            }
            for what, values in parts.items():
                if len(values) != self.batch_size:
                    faults.add(f"role {role!r} has {len(values)} {what}, not {self.batch_size}")
        faults.raise_if_any()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles."""
        return tuple(self.role_data)

    def __len__(self) -> int:
        return self.batch_size

    def to_format(self, fmt: str | DataFormat) -> Batch:
        """Return the batch in a format; see `SampleData.to_format`."""
        return replace(self, role_data=self.role_data.to_format(fmt))

    def to_backend(self, backend: str | Backend) -> Batch:
        """Return the batch as the tensors of a backend; see `SampleData.to_backend`."""
        return replace(self, role_data=self.role_data.to_backend(backend))


def _columns(values: Any) -> Mapping[str, Any]:
    return values if isinstance(values, Mapping) else {"": values}


def _lengths(values: Any) -> list[int]:
    return sorted({len(column) for column in _columns(values).values()})


def _shape(values: Any) -> Shape:
    if isinstance(values, Mapping):
        return {key: np.shape(column)[1:] for key, column in values.items()}
    return tuple(np.shape(values)[1:])


def _is_number(values: Any) -> bool:
    return all(as_array(column).dtype.kind in "biuf" for column in _columns(values).values())


def _detached(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _detached(column) for key, column in values.items()}
    return values.detach() if hasattr(values, "detach") else values
