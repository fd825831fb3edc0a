"""Batches that a sampler drew: rows by role, of which the values are taken when asked for.

They know no sampler, only what it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from modularml.base.errors import Faults, InvalidValueError, UnknownNameError, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.core.data.batch import Batch, RoleData
from modularml.core.data.formats import DataFormat
from modularml.core.data.reader import Selector
from modularml.samplers import EpochIndex


@checked_keywords
class BatchView:
    """The rows of one batch.

    Args:
        source: The FeatureSet or the view that the rows belong to.
        role_indices: Role -> positions in the source, int64 of shape ``(n_samples,)``.
        role_indice_weights: Role -> a weight a position; None for all 1.

    Raises:
        InvalidValueError: If roles or their weights differ in length.
    """

    def __init__(
        self,
        source: Any,
        role_indices: Mapping[str, np.ndarray],
        role_indice_weights: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.source = source
        self.role_indices = dict(role_indices)
        ones = {role: np.ones(len(rows)) for role, rows in role_indices.items()}
        self.role_indice_weights = ones | dict(role_indice_weights or {})
        faults, n = Faults("BatchView"), self.n_samples
        for role, weights in self.role_indice_weights.items():
            if role not in ones or not len(weights) == len(ones[role]) == n:
                faults.add(f"role {role!r} needs {n} rows and as many weights")
        faults.raise_if_any()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles."""
        return tuple(self.role_indices)

    @property
    def n_samples(self) -> int:
        """How many samples each role has."""
        return len(next(iter(self.role_indices.values()), ()))

    @property
    def role_masks(self) -> dict[str, np.ndarray]:
        """Role -> 0 where the weight of a sample is 0, else 1."""
        return {role: (weights != 0).astype(float) for role, weights in self.role_indice_weights.items()}

    def __len__(self) -> int:
        return self.n_samples

    def __repr__(self) -> str:
        return f"BatchView(roles={list(self.roles)}, n_samples={self.n_samples})"

    def get_role_view(self, role: str) -> Any:
        """Return the rows of a role as a view, labelled as the role.

        Raises:
            UnknownNameError: If there is no such role.
        """
        if role not in self.role_indices:
            raise UnknownNameError(unknown_name("role", role, self.roles))
        return self.source.take(self.role_indices[role], label=role)

    def materialize_batch(
        self,
        fmt: str | DataFormat = DataFormat.NUMPY,
        *,
        node: Any = None,
        columns: Selector = None,
        features: Selector = None,
        targets: Selector = None,
        tags: Selector = None,
        rep: str | None = None,
    ) -> Batch:
        """Return the values of the batch; the other arguments are those of ``to_sample_data``.

        Args:
            fmt: The form.
            node: A head node: the batch has the columns that it reads of this FeatureSet.
            columns: Selectors of any domain.
            features: Selectors of features.
            targets: Selectors of targets.
            tags: Selectors of tags.
            rep: Only this representation.

        Raises:
            InvalidValueError: If the node reads nothing of this FeatureSet.
        """
        if node is not None:
            columns = self._read_by(node)
        chosen: dict[str, Any] = {
            "columns": columns,
            "features": features,
            "targets": targets,
            "tags": tags,
            "rep": rep,
        }
        data = {role: self.get_role_view(role).to_sample_data(fmt, **chosen) for role in self.roles}
        return Batch(
            batch_size=self.n_samples,
            role_data=RoleData(data),
            shapes={role: samples.shapes for role, samples in data.items()},
            role_weights=self.role_indice_weights,
            role_masks=self.role_masks,
        )

    def _read_by(self, node: Any) -> list[str]:
        featureset = self.source.source
        for ref in node.featureset_refs:
            if ref.node_id == featureset.node_id:
                return list(ref.columns)
        raise InvalidValueError(f"{node!r} reads nothing of {featureset!r}.")


class BatchStream(Sequence[BatchView]):
    """The batches of one epoch, made as they are asked for.

    Args:
        source: The FeatureSet or the view that was sampled.
        drawn: What the sampler drew of it.
    """

    def __init__(self, source: Any, drawn: EpochIndex) -> None:
        self.source, self.drawn = source, drawn

    def __len__(self) -> int:
        return self.drawn.n_batches

    @overload
    def __getitem__(self, i: int) -> BatchView: ...
    @overload
    def __getitem__(self, i: slice) -> list[BatchView]: ...
    def __getitem__(self, i: int | slice) -> BatchView | list[BatchView]:
        if isinstance(i, slice):
            return [self[j] for j in range(len(self))[i]]
        i = range(len(self))[i]
        rows = slice(self.drawn.offsets[i], self.drawn.offsets[i + 1])
        weights = self.drawn.weights
        return BatchView(
            self.source,
            {role: positions[rows] for role, positions in self.drawn.roles.items()},
            weights and {role: of_role[rows] for role, of_role in weights.items()},
        )

    def __repr__(self) -> str:
        return f"BatchStream(n_batches={len(self)}, roles={list(self.drawn.roles)})"


@checked_keywords
class SampledView:
    """Streams of batches that belong together.

    Args:
        streams: Name -> batches.
    """

    def __init__(self, streams: Mapping[str, Sequence[BatchView]]) -> None:
        self._streams = dict(streams)

    @property
    def stream_names(self) -> list[str]:
        """The names of the streams."""
        return list(self._streams)

    @property
    def num_streams(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    @property
    def num_batches(self) -> int:
        """How many batches the streams have together: those of the shortest."""
        return min(map(len, self._streams.values()), default=0)

    def get_stream(self, name: str) -> Sequence[BatchView]:
        """Return the batches of a stream.

        Raises:
            UnknownNameError: If there is none of that name.
        """
        if name not in self._streams:
            raise UnknownNameError(unknown_name("stream", name, self._streams))
        return self._streams[name]

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[dict[str, BatchView]]:
        for i in range(self.num_batches):
            yield {name: stream[i] for name, stream in self._streams.items()}

    def __repr__(self) -> str:
        return f"SampledView(streams={self.stream_names}, num_batches={self.num_batches})"
