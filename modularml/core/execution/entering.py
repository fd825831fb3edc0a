"""The columns that reach the nodes of a phase, by where they enter the graph.

It knows no loss and no forward call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modularml.backends.torch_losses import Alignment
from modularml.base.errors import InvalidTypeError, StateError
from modularml.core.context import ExperimentContext
from modularml.core.data.reference import FeatureSetReference
from modularml.core.data.table import side_by_side, stack
from modularml.core.execution.columns import Column, JoinedStack, Source, Stack, column_of
from modularml.core.execution.streams import stream_of
from modularml.core.execution.units import Units
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.origin import Entry, Joined, Origin, columns_of, entries_of, origin_of, tree_of


class EnteringData:
    """The columns that reach the nodes, by where they enter the graph.

    Args:
        ctx: Where the labels of their FeatureSets are looked up.
        nodes: The nodes that run.
        roles: Key of each entry -> the roles of its samples.
        devices: Label of each node -> where it computes; the CPU where it is not named.
        rows: Key of each entry -> the rows that the phase may draw.

    Attributes:
        keys: Label of each node -> key of the data whose rows and targets belong to its outputs.
        joined: Key of data that are joined of several entries -> key of the entry whose rows count.
    """

    def __init__(
        self,
        ctx: ExperimentContext,
        nodes: Sequence[GraphNode],
        roles: Mapping[str, Sequence[str]],
        devices: Mapping[str, torch.device],
        rows: Mapping[str, np.ndarray],
    ) -> None:
        self.ctx, self._roles, self.devices, self.rows = ctx, roles, devices, rows
        self._nodes = {node.label: node for node in nodes}
        self._origins = {node.label: origin_of(node, "targets", ctx) for node in nodes}
        self.keys = {label: origin.key for label, origin in self._origins.items()}
        self.joined: dict[str, str] = {}
        for origin in self._origins.values():
            self._note(origin)

    def _note(self, origin: Origin) -> None:
        if isinstance(origin, Joined):
            self.joined[origin.key] = origin.rows.key

    def entries(self, node: str) -> list[str]:
        """Return the keys of all entries whose samples reach a node."""
        return [entry.key for entry in entries_of(self._nodes[node], self.ctx)]

    def roles(self, node: str) -> Sequence[str]:
        """Return the roles of the samples that reach a node."""
        return self._roles[self._origins[node].rows.key]

    def features(self, node: GraphNode, ref: FeatureSetReference, dtype: torch.dtype | None) -> Column:
        """Return the features that a FeatureSet brings to a node, in the dtype that they enter in."""
        source = self._stack(Entry("", ref), "features")
        if dtype is torch.int64 and source.dtype.kind not in "biu":
            raise InvalidTypeError(
                f"{node!r} takes integers, as an embedding does, and {list(ref.features)} hold "
                f"{source.dtype}. Convert the columns to integers before they enter the FeatureSet."
            )
        return column_of(source, Alignment(dtype=dtype), self.devices.get(node.label))

    def targets(self) -> dict[tuple[str, str | None], Source]:
        """Return the targets that belong to the outputs of the nodes.

        Returns:
            By their key, and where they differ in shape by the key of each target.
        """
        return {
            (origin.key, part): self._stack(origin, "targets", column)
            for origin in {origin.key: origin for origin in self._origins.values()}.values()
            if origin.columns("targets")
            for part, column in self._parts(origin)
        }

    def units(self, targets: Mapping[tuple[str, str | None], Source]) -> dict[str, Units]:
        """Return how those targets are scaled, by stream; joined ones have no units of their own."""
        entries = {origin.key: origin for origin in self._origins.values() if isinstance(origin, Entry)}
        return {
            stream_of(key, part=part): Units.of_targets(self.ctx.get_node(entries[key].ref), source)
            for (key, part), source in targets.items()
            if isinstance(source, Stack)
        }

    def _parts(self, origin: Origin) -> list[tuple[str | None, str | None]]:
        """Return key and column of each target where they differ in shape, else one entry for all."""
        if isinstance(origin, Entry):
            table = self.ctx.get_node(origin.ref).table
            names = origin.columns("targets")
            if len({table.column(name).shape[1:] for name in names}) > 1:
                return [(name.split(".")[1], name) for name in names]
        return [(None, None)]

    def taught(self, node: str) -> tuple[str, Source] | None:
        """Return the targets that reach a node, as they are, and the key of their data; None without any."""
        origin = self._origins[node]
        return (origin.key, self._stack(origin, "targets")) if origin.columns("targets") else None

    def names(self, node: str) -> dict[str, tuple[str, ...]]:
        """Return the full names of the columns that reach a node, by domain."""
        return columns_of(self._nodes[node], self.ctx)

    def of_node(self, node: str, domain: str, where: str, column: str | None = None) -> tuple[str, Source]:
        """Return the columns of a domain that reach a node, or one of them, and the key of their entry.

        Raises:
            StateError: If there are none.
            InvalidTypeError: If they hold text.
        """
        origin = origin_of(self._nodes[node], domain, self.ctx)
        if not origin.columns(domain):
            hint = " To compare with what goes in: inputs=['outputs', 'features']." * (domain == "targets")
            raise StateError(f"{where} needs {domain}, but the reference of {origin.key!r} names none.{hint}")
        while column is not None and isinstance(origin, Joined):
            origin = next(part for part in origin.parts if column in part.columns(domain))
        self._note(origin)
        found = self._stack(origin, domain, column)
        if found.dtype.kind not in "biufc":
            raise InvalidTypeError(f"{where}: {domain} of dtype {found.dtype} are no numbers.")
        return origin.key, found

    def merged(self, node: str) -> dict[str, Any]:
        """Return the keys of the entries whose samples reach a node, and where its tags come from."""
        tags = origin_of(self._nodes[node], "tags", self.ctx)
        return {"entries": self.entries(node), "tags": tree_of(tags, "tags")}

    def values(self, key: str, source: Source | None) -> np.ndarray | None:
        """Return what the phase may draw of a source; None where that is of no entry, or of several."""
        return source[self.rows[key]] if isinstance(source, Stack) and key in self.rows else None

    def _stack(self, origin: Origin, domain: str, column: str | None = None) -> Source:
        if isinstance(origin, Joined):
            return JoinedStack([(part.key, self._stack(part, domain)) for part in origin.parts], origin.how)
        table = self.ctx.get_node(origin.ref).table
        names = origin.columns(domain) if column is None else (column,)
        together = side_by_side if domain == "features" else stack
        return Stack({name: table.column(name) for name in names}, together)
