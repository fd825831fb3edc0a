"""Questions to what a phase recorded of its samples: outputs, targets, and the rows that they are of.

It knows no loss and no metric.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modularml.base.errors import (
    InvalidValueError,
    StateError,
    UnknownNameError,
    check_choice,
    told_of,
    unknown_name,
    warn,
)
from modularml.base.keywords import checked_keywords
from modularml.core.context import ExperimentContext
from modularml.core.data.batch import SampleData
from modularml.core.data.columns import SAMPLE_UUIDS, TAGS
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.formats import DataFormat, convert
from modularml.core.data.view import FeatureSetView
from modularml.core.execution.recording import Recording, TensorRecord
from modularml.core.execution.streams import (
    DEFAULT_ROLE,
    label_and_role,
    parts_among,
    roles_among,
    stream_of,
)
from modularml.core.execution.units import Units
from modularml.core.experiment.callback_results import CallbackResult
from modularml.core.experiment.series import AxisSeries
from modularml.core.topology.merge_strategy import join

DOMAINS = ("outputs", "targets", "rows", TAGS, SAMPLE_UUIDS)


@checked_keywords
class RecordedTensors:
    """What was kept of the samples of a phase, by node, domain and role.

    Args:
        label: The label of the phase.
        recording: What was kept.
        heads: Label of each node -> label of the head whose data reaches it.
        units: Head label -> how its targets were scaled meanwhile.
        sources: Head label -> the FeatureSet that its rows are of; it is not kept alive.
        source_labels: Head label -> the label of that FeatureSet, by which it is found in the
            active experiment where the results come from a file.
        merged: Label of each node that the samples of several heads reach -> the keys of those heads,
            and where its tags come from, as `EnteringData.merged` tells it.

    Attributes:
        callback_results: What hooks returned, in order.
    """

    def __init__(
        self,
        label: str,
        recording: Recording,
        heads: Mapping[str, str],
        units: Mapping[str, Units] | None = None,
        sources: Mapping[str, FeatureSet] | None = None,
        source_labels: Mapping[str, str] | None = None,
        merged: Mapping[str, Any] | None = None,
    ) -> None:
        self.label = label
        self.recording = recording
        self.callback_results: list[CallbackResult] = []
        self.heads = dict(heads)
        self.units = dict(units or {})
        self._sources = {head: weakref.ref(source) for head, source in (sources or {}).items()}
        self.source_labels = dict(source_labels or {}) | {
            head: source.label for head, source in (sources or {}).items()
        }
        self.merged = dict(merged or {})

    @property
    def n_dropped_batches(self) -> int:
        """How many batches' outputs had to go to stay within the memory budget."""
        return self.recording.n_dropped

    def tensors(
        self,
        node: Any,
        domain: str = "outputs",
        *,
        role: str = DEFAULT_ROLE,
        fmt: str | DataFormat | None = None,
        unscale: bool = False,
    ) -> AxisSeries[Any]:
        """Return what was recorded of each batch, by ``(epoch, batch)``; see `stacked_tensors`."""
        records = self._records(node, domain, role)
        values = self._values(records, node, domain, role, unscale)
        coordinates, bounds = _batches(records, stream_of(self.heads[_label(node)], role))
        parts = np.split(values, bounds[1:-1])
        given = parts if fmt is None else [convert(part, fmt) for part in parts]
        return AxisSeries(coordinates, given, where=f"{domain} of {_label(node)!r} in {self!r}")

    def stacked_tensors(
        self,
        node: Any,
        domain: str = "outputs",
        *,
        role: str = DEFAULT_ROLE,
        fmt: str | DataFormat | None = None,
        unscale: bool = False,
    ) -> Any:
        """Return what was recorded for a node, shape ``(n_samples, *shape)``, oldest first.

        Args:
            node: A node or its label.
            domain: ``"outputs"``, ``"targets"`` (of the data that reaches the node, in the shape
                of the outputs where they hold as many values, so that the two can be
                subtracted), ``"rows"`` (of its FeatureSet, to look up all else by), or of that
                FeatureSet ``"sample_uuids"`` and ``"tags"``; behind a merge, tags as that joins
                them (``tags_strategy``). One of several outputs is named
                ``"outputs.logits"``, one of several targets by its key, ``"targets.soh"``, and what
                belongs to it of outputs that are one for each target, ``"outputs.soh"``.
            role: The role of the samples, where a sampler drew them in several.
            fmt: ``"numpy"``, ``"torch"`` or ``"list"``; None is an array.
            unscale: Return outputs or targets in the units that the targets had before they
                were scaled, by the scalers that the FeatureSet had during the run. An output with a
                name is that of the target of this key.

        Warns where batches are missing because they had to go for want of room.

        Raises:
            UnknownNameError: If nothing was recorded for the node, or it has no such role, output or target.
            InvalidValueError: If the domain is unknown, the node has no targets, no tensors
                are left at all, there is nothing to unscale, or several outputs and none is named.
            StateError: If the results come from a file that the scalers were too large for, or
                the FeatureSet is gone that tags and ids are read from.
            NotImplementedError: If one of the scalers cannot be inverted.
        """
        values = self._values(self._records(node, domain, role), node, domain, role, unscale)
        return values if fmt is None else convert(values, fmt)

    def batches(self, node: Any, *, role: str = DEFAULT_ROLE) -> AxisSeries[SampleData]:
        """Return the recorded samples of each batch, by ``(epoch, batch)``: outputs, targets and ids."""
        records = self._records(node, "rows", role)
        coordinates, bounds = _batches(records, stream_of(self.heads[_label(node)], role))
        whole = self.stacked_batches(node, role=role)
        uuids = self._uuids(records, _label(node), role)
        given = [
            SampleData(
                {"features": _part(whole.outputs, start, stop)}
                | ({} if whole.targets is None else {"targets": _part(whole.targets, start, stop)}),
                sample_uuids=lambda start=start, stop=stop: uuids()[start:stop],
                kind="output",
            )
            for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ]
        return AxisSeries(coordinates, given, where=f"batches of {_label(node)!r} in {self!r}")

    def stacked_batches(self, node: Any, *, role: str = DEFAULT_ROLE) -> SampleData:
        """Return all recorded samples of a node as one: outputs, targets if it has any, and ids.

        Several outputs, and targets that differ in shape, are dicts by name.
        """
        label, records = _label(node), self._records(node, "rows", role)
        parts = {"features": self._all(records, label, "outputs", role)}
        if any(label_and_role(stream) == (self.heads[label], role) for stream in records[0].targets):
            parts["targets"] = self._all(records, label, "targets", role)
        return SampleData(parts, sample_uuids=self._uuids(records, label, role), kind="output")

    def _all(self, records: Sequence[TensorRecord], label: str, domain: str, role: str) -> Any:
        parts = self._parts(records, label, domain)
        if not parts:
            return self._values(records, label, domain, role, False)
        return {part: self._values(records, label, f"{domain}.{part}", role, False) for part in parts}

    def source_view(
        self, node: Any, *, role: str = DEFAULT_ROLE, epoch: int | None = None, batch: int | None = None
    ) -> FeatureSetView:
        """Return the samples that reached a node, as a view of its FeatureSet.

        Args:
            node: A node or its label.
            role: The role of the samples.
            epoch: The epoch; None is all that were recorded.
            batch: The batch of an epoch; None is all.

        Raises:
            UnknownNameError: If nothing was recorded for the node, epoch or batch.
            InvalidValueError: If samples of several FeatureSets reached it.
            StateError: If the FeatureSet is gone.
        """
        views = self.source_views(node, role=role, epoch=epoch, batch=batch)
        if len(views) > 1:
            raise InvalidValueError(
                f"Samples of {list(views)} reached {_label(node)!r} in {self!r}; source_views(...) has "
                "a view of each."
            )
        return next(iter(views.values()))

    def source_views(
        self, node: Any, *, role: str = DEFAULT_ROLE, epoch: int | None = None, batch: int | None = None
    ) -> dict[str, FeatureSetView]:
        """Return `source_view` of each FeatureSet whose samples reached a node, by its label."""
        label, records = _label(node), self._records(node, "rows", role)
        wanted = {name: at for name, at in (("epoch", epoch), ("batch", batch)) if at is not None}
        taken: dict[FeatureSet, list[np.ndarray]] = {}
        for head in self.merged.get(label, {}).get("entries", [self.heads[label]]):
            coordinates, bounds = _batches(records, stream_of(head, role))
            parts = np.split(_rows(records, stream_of(head, role)), bounds[1:-1])
            rows = AxisSeries(coordinates, parts, where=f"rows of {label!r} in {self!r}")
            taken.setdefault(self._source(head), []).extend(rows.select(**wanted).values())
        return {fs.label: fs.take(np.unique(np.concatenate(rows))) for fs, rows in taken.items()}

    def _source(self, head: str) -> FeatureSet:
        source = self._sources[head]() if head in self._sources else None
        if source is not None:
            return source
        label, ctx = self.source_labels.get(head), ExperimentContext.get_active()
        if label is None or not ctx.has_node(label) or self._sources:
            raise StateError(f"{self!r}: the FeatureSet {label!r} that {head!r} read is no longer there.")
        found: FeatureSet = ctx.get_node(label, FeatureSet)
        return found

    def _uuids(self, records: Sequence[TensorRecord], label: str, role: str) -> Callable[[], np.ndarray]:
        head = self.heads[label]
        return lambda: self._source(head).get_sample_uuids()[self._stacked(records, label, "rows", role)]

    def _records(self, node: Any, domain: str, role: str) -> list[TensorRecord]:
        check_choice(domain.partition(".")[0], "domain", DOMAINS)
        # Once: a phase that runs meanwhile may drop the oldest.
        records = list(self.recording.tensors)
        self._check_recorded(records, _label(node), domain, role)
        if self.n_dropped_batches:
            warn(
                f"{self!r} holds the outputs of its newest batches only: those of {self.n_dropped_batches} "
                "were dropped to stay within the memory budget."
            )
        return records

    def _values(
        self, records: Sequence[TensorRecord], node: Any, named: str, role: str, unscale: bool
    ) -> np.ndarray:
        label = _label(node)
        head, where = self.heads[label], f"{named} of {label!r} in {self!r}"
        domain, _, key = named.partition(".")
        units = self._units_of(label, key, where) if unscale and domain in ("outputs", "targets") else None
        if unscale and units is None:
            names_none = f"the reference of {head!r} names no targets"
            why = names_none if domain in ("outputs", "targets") else f"{domain} have no units"
            raise InvalidValueError(f"{where}: there is nothing to unscale, for {why}.")
        if domain == SAMPLE_UUIDS:
            return self._uuids(records, label, role)()
        if domain == TAGS:
            of_head = {"key": head, "columns": None}
            return self._tags(self.merged.get(label, {}).get("tags", of_head), records, role, where)
        values = self._stacked(records, label, domain, role, key)
        shape = values.shape
        if domain == "targets":
            shape = self._shape_beside(records, label, role, key, values)
        if units is None:
            return values.reshape(shape)
        rows = self._stacked(records, label, "rows", role)
        return units.unscale(values, rows, where).reshape(shape)

    def _tags(
        self, origin: Mapping[str, Any], records: Sequence[TensorRecord], role: str, where: str
    ) -> np.ndarray:
        """Return tags as they reached a node: of one FeatureSet, or joined of several."""
        if "parts" in origin:
            parts = [self._tags(part, records, role, where) for part in origin["parts"]]
            with told_of(where):
                joined: np.ndarray = join(parts, origin["how"])
            return joined
        tags = self._source(origin["key"]).get_tags("numpy", tags=origin["columns"])
        return np.asarray(tags)[_rows(records, stream_of(origin["key"], role))]

    def _shape_beside(
        self, records: Sequence[TensorRecord], label: str, role: str, key: str, targets: np.ndarray
    ) -> tuple[int, ...]:
        """Return the shape of the outputs that targets belong to, if they hold as many values."""
        names = self._parts(records, label, "outputs")
        part = key if key in names else names[0] if len(names) == 1 else None
        outputs = records[0].outputs.get(stream_of(label, role, part))
        if outputs is None or outputs[0].size != targets[0].size:
            return targets.shape
        return (len(targets), *outputs.shape[1:])

    def _parts(self, records: Sequence[TensorRecord], label: str, domain: str) -> list[str]:
        """Return the names of several outputs of a node, or of its targets where they are apart."""
        streams = getattr(records[0], domain)
        return parts_among(streams, label if domain == "outputs" else self.heads[label])

    def _units_of(self, label: str, key: str, where: str) -> Units | None:
        """Return how the targets, or the one of a key, were scaled; None if there are none."""
        head = self.heads[label]
        apart = parts_among(self.units, head)
        if key in apart:
            return self.units[stream_of(head, part=key)]
        if apart:
            raise InvalidValueError(f"{where} are those of no target: {apart}. There is nothing to unscale.")
        units = self.units.get(head)
        return units.of_key(key) if units is not None and key in units.keys else units

    def _check_recorded(self, records: Sequence[TensorRecord], label: str, named: str, role: str) -> None:
        n_dropped = self.n_dropped_batches
        if not records:
            why = (
                f"the outputs of {n_dropped} batches were left out of a checkpoint or had to go to stay "
                "within the memory budget"
                if n_dropped
                else "no batch ended, or the phase records none (result_recording)"
            )
            raise InvalidValueError(f"{self!r} holds no tensors: {why}.")
        labels = sorted({label_and_role(stream)[0] for stream in records[0].outputs})
        if label not in labels:
            told = unknown_name("recorded node", label, labels, where=repr(self))
            raise UnknownNameError(f"{told} graph.predict(data, nodes=[...]) asks any node.")
        roles = roles_among(records[0].outputs, label)
        if role not in roles:
            raise UnknownNameError(unknown_name("role", role, roles, where=f"{label!r} in {self!r}"))
        domain, _, key = named.partition(".")
        head, where = self.heads[label], f"{domain} of {label!r} in {self!r}"
        if domain == "targets" and not any(label_and_role(s)[0] == head for s in records[0].targets):
            raise InvalidValueError(f"{self!r} holds no targets: the reference of {head!r} names none.")
        parts = self._parts(records, label, domain) if domain in ("outputs", "targets") else []
        if not key and len(parts) > 1:
            raise InvalidValueError(f"{where} are several: {parts}; name one, e.g. '{domain}.{parts[0]}'.")
        if key and key not in (known := parts or self._keys(records, label, domain, role)):
            raise UnknownNameError(unknown_name(domain.removesuffix("s"), key, known, where=where))

    def _keys(self, records: Sequence[TensorRecord], label: str, domain: str, role: str) -> list[str]:
        """Return the keys of targets side by side, also of outputs, where they are one for each."""
        units = self.units.get(self.heads[label])
        if units is None or domain not in ("outputs", "targets"):
            return []
        outputs = records[0].outputs.get(stream_of(label, role))
        is_one_each = outputs is not None and outputs[0].size == units.sample[0].size
        return list(units.keys) if domain == "targets" or is_one_each else []

    def _stacked(
        self, records: Sequence[TensorRecord], label: str, domain: str, role: str, key: str = ""
    ) -> np.ndarray:
        of = label if domain == "outputs" else self.heads[label]
        parts = self._parts(records, label, domain) if domain in ("outputs", "targets") else []
        stream = stream_of(of, role, (key or parts[0]) if parts else None)
        values = np.concatenate([getattr(record, domain)[stream] for record in records])
        if key and not parts:
            units = self.units[self.heads[label]]
            values = values.reshape(len(values), *units.sample.shape[1:])[:, units.keys.index(key)]
        return values


def _part(values: Any, start: int, stop: int) -> Any:
    return {k: v[start:stop] for k, v in values.items()} if isinstance(values, dict) else values[start:stop]


def _rows(records: Sequence[TensorRecord], stream: str) -> np.ndarray:
    return np.concatenate([record.rows[stream] for record in records])


def _label(node: Any) -> str:
    return str(getattr(node, "label", node))


def _batches(records: Sequence[TensorRecord], head: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return epoch and batch of each recorded batch, and where each begins and the last one ends.

    Args:
        records: What was recorded.
        head: The stream of the head whose batches these are.
    """
    sizes = [np.diff(record.offsets_of.get(head, record.offsets)) for record in records]
    coordinates = {
        "epoch": np.repeat([record.epoch for record in records], [len(of) for of in sizes]),
        "batch": np.concatenate([record.first_batch + np.arange(record.n_batches) for record in records]),
    }
    return coordinates, np.append(0, np.cumsum(np.concatenate(sizes)))
