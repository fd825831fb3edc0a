"""What a run gives back, by label: the results of its phases and of groups of them.

It knows no loop and no file; what a phase recorded its own results tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from modularml.base.errors import DuplicateLabelError, InvalidTypeError, UnknownNameError, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.core.execution.recording import Recording
from modularml.core.execution.units import Units
from modularml.core.experiment.callback_results import EvaluationCallbackResult, result_from_state
from modularml.core.experiment.phase_results import (
    EvalResults,
    FitResults,
    PhaseResults,
    TrainResults,
    kinds_of_phases,
)
from modularml.display.card import Html, Shown, card, table
from modularml.display.figures import format_value

_kinds_of_groups: dict[str, type[PhaseGroupResults]] = {}


@checked_keywords
class PhaseGroupResults(Shown):
    """The results of a group, by label: those of its phases and of its groups.

    Args:
        label: The label of the group.
    """

    kind: ClassVar[str] = "group"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _kinds_of_groups[cls.kind] = cls

    def __init__(self, label: str) -> None:
        self.label = label
        self._entries: dict[str, PhaseResults | PhaseGroupResults] = {}

    def add(self, results: PhaseResults | PhaseGroupResults) -> None:
        """Append the results of the next entry; the runner does this as it goes."""
        self._entries[results.label] = results

    def get_state(self, *, tensors: bool = True) -> dict[str, Any]:
        """Return the results as a tree; see `PhaseResults.get_state`."""
        entries = [entry.get_state(tensors=tensors) for entry in self._entries.values()]
        return {"kind": self.kind, "label": self.label, "entries": entries}

    @property
    def labels(self) -> list[str]:
        """The labels of the entries that ran, in order."""
        return list(self._entries)

    @property
    def phase_results(self) -> dict[str, PhaseResults]:
        """Label -> results of the phases right in it."""
        return {label: one for label, one in self._entries.items() if isinstance(one, PhaseResults)}

    @property
    def group_results(self) -> dict[str, PhaseGroupResults]:
        """Label -> results of the groups right in it."""
        return {label: one for label, one in self._entries.items() if isinstance(one, PhaseGroupResults)}

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

    def __getattr__(self, name: str) -> Any:
        told = f"{type(self).__name__!r} object has no attribute {name!r}"
        if not name.startswith("_") and hasattr(PhaseResults, name) and self._entries:
            told += f"; each of its phases has: results[{self.labels[0]!r}].{name}"
        if not name.startswith("_") and name in self._entries:
            told += f"; it is here: results[{name!r}]"
        raise AttributeError(told, name=name, obj=self)

    def _ipython_key_completions_(self) -> list[str]:
        return self.labels

    def __repr__(self) -> str:
        return f"PhaseGroupResults(label={self.label!r}, entries={self.labels})"

    def _card(self) -> Html:
        rows = []
        for path, phase in results_by_path(self):
            last = ", ".join(f"{name} {format_value(value)}" for name, value in phase.final().items())
            rows.append(("/".join(path), type(phase).__name__, last))
        return card(type(self).__name__, self.label, table(["phase", "results", "last values"], rows))

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


_kinds_of_groups[PhaseGroupResults.kind] = PhaseGroupResults


def results_from_state(state: Mapping[str, Any]) -> PhaseResults | PhaseGroupResults:
    """Make results of what `get_state` returned."""
    if state["kind"] in _kinds_of_groups:
        group = _kinds_of_groups[state["kind"]](state["label"])
        for entry in state["entries"]:
            group.add(results_from_state(entry))
        return group
    recording = Recording.from_state(state["recording"])
    units = {head: Units.from_state(of_head) for head, of_head in state["units"].items()}
    labels, merged = state.get("sources", {}), state.get("merged", {})  # files of before have none
    kind = kinds_of_phases[state["kind"]]
    results = kind(state["label"], recording, state["heads"], units, None, labels, merged)
    for entry in state.get("callbacks", []):
        result = result_from_state(entry)
        if isinstance(result, EvaluationCallbackResult):
            result = replace(result, eval_results=results_from_state(result.eval_results))
        results.callback_results.append(result)
    return results


def results_by_path(
    results: PhaseResults | PhaseGroupResults | None, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], PhaseResults]]:
    """Iterate over the results of all phases, oldest first, with the labels that lead to each."""
    if isinstance(results, PhaseGroupResults):
        for label, entry in results.items():
            yield from results_by_path(entry, (*above, label))
    elif results is not None:
        yield above or (results.label,), results
