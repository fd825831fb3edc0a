"""What a run gives back: losses, metrics and recorded tensors, by phase and by group.

It knows no loop and no file: it reads the recordings that the loops fill.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from modularml.base.errors import (
    DuplicateLabelError,
    InvalidTypeError,
    InvalidValueError,
    UnknownNameError,
    check_choice,
    unknown_name,
    warn,
)
from modularml.core.execution.recording import Recording, TensorRecord
from modularml.core.execution.streams import DEFAULT_ROLE, label_and_role, roles_among, stream_of
from modularml.core.execution.units import Units

DOMAINS = ("outputs", "targets", "rows")


class PhaseResults:
    """The results of one run of a phase.

    They fill while the phase runs, so a phase that was stopped leaves partial ones.

    Args:
        label: The label of the phase.
        recording: What was kept of it.
        heads: Label of each node -> label of the head whose data reaches it.
        units: Head label -> how its targets were scaled meanwhile.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        label: str,
        recording: Recording,
        heads: Mapping[str, str],
        units: Mapping[str, Units] | None = None,
    ) -> None:
        self.label = label
        self.recording = recording
        self.heads = dict(heads)
        self.units = dict(units or {})

    # -- losses ----------------------------------------------------------------------

    @property
    def loss_labels(self) -> list[str]:
        """The labels of the losses, in order."""
        return list(self.recording.loss_nodes)

    def batch_losses(self, label: str | None = None) -> np.ndarray:
        """Return a loss of every batch, in order, shape ``(n_batches_total,)``.

        Args:
            label: The loss; None where there is only one.

        Raises:
            UnknownNameError: If there is no such loss.
            InvalidValueError: If there are several and none is named.
        """
        labels = self.loss_labels
        if label is None and len(labels) != 1:
            raise InvalidValueError(f"{self!r} has the losses {labels}; name one of them.")
        if label is not None and label not in labels:
            raise UnknownNameError(unknown_name("loss", label, labels, where=repr(self)))
        column = 0 if label is None else labels.index(label)
        epochs = [epoch[:, column] for epoch in self.recording.losses]
        return np.concatenate(epochs) if epochs else np.empty(0, np.float32)

    def epoch_losses(self, label: str | None = None) -> np.ndarray:
        """Return the mean of a loss over the samples of each epoch that has any, shape ``(n_epochs,)``.

        Raises as `batch_losses`.
        """
        values, ends = self.batch_losses(label), np.cumsum([len(epoch) for epoch in self.recording.losses])
        parts = np.split(values, ends[:-1]) if len(ends) else []
        pairs = zip(parts, self.recording.n_samples, strict=True)
        return np.array([np.average(part, weights=n) for part, n in pairs if len(part)], dtype=float)

    def metrics(self) -> dict[str, np.ndarray]:
        """Return every metric that was logged: name -> its values, in order."""
        return {
            name: np.array([value for _, _, value in entries])
            for name, entries in self.recording.metrics.items()
        }

    def final(self) -> dict[str, float]:
        """Return the last value of everything there is a value of: epoch means of losses, and metrics."""
        epochs = {label: self.epoch_losses(label) for label in self.loss_labels}
        last = {label: float(means[-1]) for label, means in epochs.items() if len(means)}
        return last | {name: float(values[-1]) for name, values in self.metrics().items()}

    # -- tensors ---------------------------------------------------------------------

    def stacked_tensors(
        self, node: Any, domain: str = "outputs", *, role: str = DEFAULT_ROLE, unscale: bool = False
    ) -> np.ndarray:
        """Return what was recorded for a node, shape ``(n_samples, *shape)``, oldest first.

        Args:
            node: A node or its label.
            domain: ``"outputs"``, ``"targets"`` (of the data that reaches the node, in the shape
                of the outputs where they hold as many values, so that the two can be
                subtracted), or ``"rows"`` (of its FeatureSet, to look up all else by).
            role: The role of the samples, where a sampler drew them in several.
            unscale: Return outputs or targets in the units that the targets had before they
                were scaled, by the scalers that the FeatureSet had during the run.

        Warns where batches are missing because they had to go for want of room.

        Raises:
            UnknownNameError: If nothing was recorded for the node, or it has no such role.
            InvalidValueError: If the domain is unknown, the node has no targets, no tensors
                are left at all, or there is nothing to unscale.
            StateError: If the results come from a file that the scalers were too large for.
            NotImplementedError: If one of the scalers cannot be inverted.
        """
        label = getattr(node, "label", node)
        check_choice(domain, "domain", DOMAINS)
        # Once: a phase that runs meanwhile may drop the oldest.
        records = list(self.recording.tensors)
        self._check_recorded(records, label, domain, role)
        if self.n_dropped_batches:
            warn(
                f"{self!r} holds the outputs of its newest batches only: those of {self.n_dropped_batches} "
                "were dropped to stay within the memory budget."
            )
        values = self._stacked(records, label, domain, role)
        shape = values.shape
        if domain == "targets":
            outputs = records[0].outputs[stream_of(label, role)]
            if outputs[0].size == values[0].size:
                shape = (len(values), *outputs.shape[1:])
        if not unscale:
            return values.reshape(shape)
        head, where = self.heads[label], f"{domain} of {label!r} in {self!r}"
        if domain == "rows" or head not in self.units:
            why = "rows have no units" if domain == "rows" else f"the reference of {head!r} names no targets"
            raise InvalidValueError(f"{where}: there is nothing to unscale, for {why}.")
        rows = self._stacked(records, label, "rows", role)
        return self.units[head].unscale(values, rows, where).reshape(shape)

    def _check_recorded(self, records: Sequence[TensorRecord], label: str, domain: str, role: str) -> None:
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
            raise UnknownNameError(unknown_name("recorded node", label, labels, where=repr(self)))
        roles = roles_among(records[0].outputs, label)
        if role not in roles:
            raise UnknownNameError(unknown_name("role", role, roles, where=f"{label!r} in {self!r}"))
        head = self.heads[label]
        if domain == "targets" and stream_of(head, role) not in records[0].targets:
            raise InvalidValueError(f"{self!r} holds no targets: the reference of {head!r} names none.")

    def _stacked(self, records: Sequence[TensorRecord], label: str, domain: str, role: str) -> np.ndarray:
        stream = stream_of(label if domain == "outputs" else self.heads[label], role)
        return np.concatenate([getattr(record, domain)[stream] for record in records])

    @property
    def n_dropped_batches(self) -> int:
        """How many batches' outputs had to go to stay within the memory budget."""
        return self.recording.n_dropped

    # -- files -----------------------------------------------------------------------

    def get_state(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return the results as a tree of plain values and arrays.

        Args:
            tensors: Include recorded outputs and targets, and the units of targets.
        """
        units = {head: units.get_state() for head, units in self.units.items()} if tensors else {}
        state = {"kind": self.kind, "label": self.label, "heads": self.heads, "units": units}
        return state | {"recording": self.recording.get_state(tensors=tensors)}


class TrainResults(PhaseResults):
    """The results of a `TrainPhase`."""

    kind = "train"

    @property
    def n_epochs(self) -> int:
        """How many epochs were begun."""
        return len(self.recording.losses)

    def __repr__(self) -> str:
        return f"TrainResults(label={self.label!r}, epochs={self.n_epochs})"


class SinglePassResults(PhaseResults):
    """The results of a phase that goes through its data once."""

    @property
    def n_batches(self) -> int:
        """How many batches there were."""
        return sum(len(epoch) for epoch in self.recording.losses)

    def aggregated_losses(self, node: Any = None, *, reducer: str = "mean") -> dict[str, float]:
        """Return each loss over all samples, by its label; it is the same for every batch size.

        Args:
            node: Only the losses applied on this node or label; None is all.
            reducer: ``"mean"`` over samples (NaN if no batch ended) or ``"sum"`` over batches.

        Raises:
            UnknownNameError: If the phase ran no such node.
        """
        check_choice(reducer, "reducer", ("mean", "sum"))
        on = getattr(node, "label", node)
        if on is not None and on not in self.heads:
            raise UnknownNameError(unknown_name("node", on, self.heads, where=repr(self)))
        wanted = [label for label, applied in self.recording.loss_nodes.items() if on in (None, applied)]
        if not self.n_batches:
            return dict.fromkeys(wanted, 0.0 if reducer == "sum" else math.nan)
        if reducer == "sum":
            return {label: float(self.batch_losses(label).sum()) for label in wanted}
        n_samples = np.concatenate(self.recording.n_samples)
        return {label: float(np.average(self.batch_losses(label), weights=n_samples)) for label in wanted}


class EvalResults(SinglePassResults):
    """The results of an `EvalPhase`."""

    kind = "eval"

    def __repr__(self) -> str:
        return f"EvalResults(label={self.label!r}, batches={self.n_batches})"


class FitResults(SinglePassResults):
    """The results of a `FitPhase`."""

    kind = "fit"

    def __repr__(self) -> str:
        return f"FitResults(label={self.label!r})"


class PhaseGroupResults:
    """The results of a group, by label: those of its phases and of its groups.

    Args:
        label: The label of the group.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._entries: dict[str, PhaseResults | PhaseGroupResults] = {}

    def add(self, results: PhaseResults | PhaseGroupResults) -> None:
        """Append the results of the next entry; the runner does this as it goes."""
        self._entries[results.label] = results

    def get_state(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return the results as a tree; see `PhaseResults.get_state`."""
        entries = [entry.get_state(tensors=tensors) for entry in self._entries.values()]
        return {"kind": "group", "label": self.label, "entries": entries}

    @property
    def labels(self) -> list[str]:
        """The labels of the entries that ran, in order."""
        return list(self._entries)

    def items(self) -> Iterator[tuple[str, PhaseResults | PhaseGroupResults]]:
        """Iterate over ``(label, results)``."""
        return iter(self._entries.items())

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, label: object) -> bool:
        return label in self._entries

    def __getitem__(self, label: str) -> Any:
        if label not in self._entries:
            raise UnknownNameError(unknown_name("results", label, self._entries, where=repr(self)))
        return self._entries[label]

    def _ipython_key_completions_(self) -> list[str]:
        return self.labels

    def __repr__(self) -> str:
        return f"PhaseGroupResults(label={self.label!r}, entries={self.labels})"

    def flatten(self) -> dict[str, PhaseResults]:
        """Return the results of all phases, those of nested groups included, by label.

        Raises:
            DuplicateLabelError: If two phases in different groups have one label.
        """
        flat: dict[str, PhaseResults] = {}
        for label, entry in self._entries.items():
            nested = entry.flatten() if isinstance(entry, PhaseGroupResults) else {label: entry}
            for name, results in nested.items():
                if name in flat:
                    raise DuplicateLabelError(
                        f"Two phases of {self!r} have the label {name!r}; reach them through their groups."
                    )
                flat[name] = results
        return flat

    def get_phase_result(self, label: str | None = None) -> PhaseResults:
        """Return the results of a phase; without a label, of the only one.

        Raises:
            UnknownNameError: If there is none.
            InvalidTypeError: If it is of another kind, or several fit and none is named.
        """
        return self._typed(label, PhaseResults)

    def get_train_result(self, label: str | None = None) -> TrainResults:
        """Return the results of a `TrainPhase`; as `get_phase_result`."""
        return self._typed(label, TrainResults)

    def get_eval_result(self, label: str | None = None) -> EvalResults:
        """Return the results of an `EvalPhase`; as `get_phase_result`."""
        return self._typed(label, EvalResults)

    def get_fit_result(self, label: str | None = None) -> FitResults:
        """Return the results of a `FitPhase`; as `get_phase_result`."""
        return self._typed(label, FitResults)

    def get_group_result(self, label: str | None = None) -> PhaseGroupResults:
        """Return the results of a nested group; as `get_phase_result`."""
        return self._typed(label, PhaseGroupResults)

    def _typed(self, label: str | None, kind: type) -> Any:
        if label is not None:
            entry = self[label]
            if not isinstance(entry, kind):
                raise InvalidTypeError(f"{label!r} in {self!r} is {entry!r}, not {kind.__name__}.")
            return entry
        fitting = [name for name, entry in self._entries.items() if isinstance(entry, kind)]
        if len(fitting) != 1:
            raise InvalidTypeError(
                f"{self!r} has {len(fitting)} entries of {kind.__name__}: {fitting}; name one."
            )
        return self._entries[fitting[0]]


def results_from_state(state: Mapping[str, Any]) -> PhaseResults | PhaseGroupResults:
    """Make results of what `get_state` returned."""
    if state["kind"] == "group":
        group = PhaseGroupResults(state["label"])
        for entry in state["entries"]:
            group.add(results_from_state(entry))
        return group
    recording = Recording.from_state(state["recording"])
    kinds = {cls.kind: cls for cls in (TrainResults, EvalResults, FitResults)}
    units = {head: Units.from_state(of_head) for head, of_head in state["units"].items()}
    return kinds[state["kind"]](state["label"], recording, state["heads"], units)
