"""A named, ordered collection of phases and of other groups: what an experiment runs.

It knows the kinds of phases only to hand them out by type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

from modularml.base.config import to_config
from modularml.base.errors import (
    DuplicateLabelError,
    InvalidTypeError,
    InvalidValueError,
    UnknownNameError,
    check_label,
    unknown_name,
)
from modularml.core import cells
from modularml.core.context import ExperimentContext
from modularml.core.experiment.cards import plan_table
from modularml.core.experiment.phases.eval_phase import EvalPhase
from modularml.core.experiment.phases.fit_phase import FitPhase
from modularml.core.experiment.phases.group import Group
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.display.card import Html, Shown, card

Key = int | str


class PhaseGroup(Shown, Group):
    """Phases and groups that run in the order they were added.

    Methods that change the group return it, so calls can be chained.

    Args:
        label: Its name.
        phases: Phases and groups to begin with.

    Raises:
        DuplicateLabelError: If two entries have one label.
        InvalidTypeError: If an entry is neither a phase nor a group.
    """

    _elsewhere: ClassVar[Mapping[str, str]] = {
        "append add extend insert": (
            "It takes a phase so: exp.execution_plan.add_train_phase('other', split='train', losses='mse')."
        ),
    }

    def __init__(self, label: str, phases: Iterable[ExperimentPhase | Group] | None = None) -> None:
        self._label = check_label(label, "PhaseGroup")
        self._entries: dict[str, ExperimentPhase | Group] = {}
        self._cells: dict[str, cells.Cell | None] = {}
        self.add_items(phases or [])

    def get_config(self) -> dict[str, Any]:
        """Return the label and the configuration of every entry."""
        return {"label": self.label, "phases": [to_config(entry) for entry in self.all]}

    def __repr__(self) -> str:
        return f"PhaseGroup(label={self.label}, entries={len(self)})"

    def _card(self) -> Html:
        return card(type(self).__name__, self.label, plan_table(self.all))

    # -- reading -----------------------------------------------------------------

    @property
    def label(self) -> str:
        """Its name, by which a group that holds it knows it."""
        return self._label

    @property
    def all(self) -> list[ExperimentPhase | Group]:
        """Every entry, in order."""
        return list(self._entries.values())

    @property
    def phases(self) -> list[ExperimentPhase]:
        """The entries that are phases."""
        return [entry for entry in self.all if isinstance(entry, ExperimentPhase)]

    @property
    def phase_groups(self) -> list[Group]:
        """The entries that are groups, cross-validations included."""
        return [entry for entry in self.all if isinstance(entry, Group)]

    def items(self) -> Iterator[tuple[str, ExperimentPhase | Group]]:
        """Iterate over ``(label, entry)``."""
        return iter(list(self._entries.items()))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ExperimentPhase | Group]:
        return iter(self.all)

    def __contains__(self, key: object) -> bool:
        return key in self._entries or any(entry is key for entry in self.all)

    def __getitem__(self, key: Key) -> Any:
        return self._get(key)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._entries)

    def get_phase(self, key: Key) -> ExperimentPhase:
        """Return the phase at an index or of a label.

        Raises:
            UnknownNameError: If nothing is there.
            InvalidTypeError: If it is a group.
        """
        phase: ExperimentPhase = self._typed(key, ExperimentPhase)
        return phase

    def get_train_phase(self, key: Key) -> TrainPhase:
        """Return the `TrainPhase` at an index or of a label; raises as `get_phase`."""
        phase: TrainPhase = self._typed(key, TrainPhase)
        return phase

    def get_eval_phase(self, key: Key) -> EvalPhase:
        """Return the `EvalPhase` at an index or of a label; raises as `get_phase`."""
        phase: EvalPhase = self._typed(key, EvalPhase)
        return phase

    def get_group(self, key: Key) -> Group:
        """Return the nested group at an index or of a label; raises as `get_phase`."""
        group: Group = self._typed(key, Group)
        return group

    def _get(self, key: Key) -> ExperimentPhase | Group:
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise InvalidTypeError(
                f"A phase is named by its index or label, got {key!r} ({type(key).__name__})."
            )
        if isinstance(key, str):
            if key not in self._entries:
                raise UnknownNameError(unknown_name("phase or group", key, self._entries, where=self._where))
            return self._entries[key]
        if not -len(self) <= key < len(self):
            raise UnknownNameError(f"{self._where} has {len(self)} entries; there is none at index {key}.")
        return self.all[key]

    def _typed(self, key: Key, kind: Any) -> Any:
        entry = self._get(key)
        if not isinstance(entry, kind):
            name = {ExperimentPhase: "phase", Group: "group"}.get(kind, kind.__name__)
            raise InvalidTypeError(
                f"{entry.label!r} in {self._where} is a {type(entry).__name__}, not a {name}."
            )
        return entry

    @property
    def _where(self) -> str:
        return f"PhaseGroup {self.label!r}"

    # -- changing ----------------------------------------------------------------

    def add_item(self, item: ExperimentPhase | Group) -> Self:
        """Append a phase or a group.

        Under the policy ``"overwrite"``, and where a cell of a notebook is run again that added an
        entry with its label, it takes the place of that.

        Raises:
            DuplicateLabelError: If an entry has that label, under the other policies.
            InvalidTypeError: If it is neither a phase nor a group.
            InvalidValueError: If the group would contain itself.
        """
        if not isinstance(item, ExperimentPhase | Group):
            raise InvalidTypeError(
                f"{self._where} takes phases and groups, got {item!r} ({type(item).__name__})."
            )
        if isinstance(item, Group) and item._holds(self):
            raise InvalidValueError(
                f"{self._where} cannot contain itself, through {item.label!r} or directly."
            )
        ctx = item.ctx if isinstance(item, ExperimentPhase) else ExperimentContext.get_active()
        cell = self._cells.get(item.label)
        if item.label in self._entries and not ctx.may_replace(cell):
            where = "" if cell is None else f", added in the cell {cell}"
            raise DuplicateLabelError(
                f"An item already exists with label {item.label!r} in {self._where}{where}. "
                "Remove it first, or choose another label."
            )
        self._entries[item.label] = item
        self._cells[item.label] = cells.current()
        cells.define(item, "entry", item.label, self)
        return self

    def _replace_items(self, items: Iterable[ExperimentPhase | Group]) -> None:
        """Hold just these entries, whatever the policy."""
        self._entries = {item.label: item for item in items}

    def _withdraw(self, item: ExperimentPhase | Group) -> None:
        """Forget an entry that its cell, run again, does not add any more."""
        if self._entries.get(item.label) is item:
            del self._entries[item.label]

    def _refresh(self) -> None:
        """Put what was defined anew, as cells ran again, in the place of what it follows."""
        followers = [cells.present(entry) for entry in self.all]
        places = {
            entry.label: self._cells.get(label) for label, entry in zip(self._entries, followers, strict=True)
        }
        self._entries = {entry.label: entry for entry in followers}
        self._cells = places
        for entry in self.all:
            entry._refresh()

    def add_items(self, items: Iterable[ExperimentPhase | Group]) -> Self:
        """Append several phases or groups, all or none; raises as `add_item`."""
        before = dict(self._entries)
        try:
            for item in items:
                self.add_item(item)
        except BaseException:
            self._entries = before
            raise
        return self

    def add_phase(self, phase: ExperimentPhase) -> Self:
        """Append a phase; raises as `add_item`."""
        if not isinstance(phase, ExperimentPhase):
            raise InvalidTypeError(f"{self._where}: add_phase takes a phase, got {phase!r}. See add_group().")
        return self.add_item(phase)

    def add_group(self, group: Group) -> Self:
        """Append a group or a cross-validation; raises as `add_item`."""
        if not isinstance(group, Group):
            raise InvalidTypeError(
                f"{self._where}: add_group takes a PhaseGroup, got {group!r}. See add_phase()."
            )
        return self.add_item(group)

    def add_train_phase(self, label: str, **arguments: Any) -> Self:
        """Make a `TrainPhase` of these arguments, by `from_split` if a split is named, and append it."""
        return self.add_phase(_made(TrainPhase, label, arguments))

    def add_eval_phase(self, label: str, **arguments: Any) -> Self:
        """Make an `EvalPhase` of these arguments, by `from_split` if a split is named, and append it."""
        return self.add_phase(_made(EvalPhase, label, arguments))

    def add_fit_phase(self, label: str, **arguments: Any) -> Self:
        """Make a `FitPhase` of these arguments, by `from_split` if a split is named, and append it."""
        return self.add_phase(_made(FitPhase, label, arguments))

    add_train = add_training = add_train_phase
    add_eval = add_evaluation = add_eval_phase
    add_fit = add_fit_phase

    def remove_item(self, key: Key | ExperimentPhase | Group) -> Self:
        """Remove an entry by index, label or instance.

        Raises:
            UnknownNameError: If nothing is there.
        """
        return self._remove(key, ExperimentPhase | Group)

    def remove_items(self, keys: Iterable[Key | ExperimentPhase | Group]) -> Self:
        """Remove several entries; raises as `remove_item`, before any is removed."""
        entries = [self._entry(key) for key in keys]
        for entry in entries:
            self._entries.pop(entry.label, None)
        return self

    def remove_phase(self, key: Key | ExperimentPhase) -> Self:
        """Remove a phase by index, label or instance; raises as `get_phase`."""
        return self._remove(key, ExperimentPhase)

    def remove_group(self, key: Key | Group) -> Self:
        """Remove a group by index, label or instance; raises as `get_phase`."""
        return self._remove(key, Group)

    def clear(self) -> Self:
        """Remove every entry."""
        self._entries.clear()
        return self

    def _entry(self, key: Key | ExperimentPhase | Group) -> ExperimentPhase | Group:
        if not isinstance(key, ExperimentPhase | Group):
            return self._get(key)
        if not any(entry is key for entry in self.all):
            raise UnknownNameError(
                unknown_name("phase or group", key.label, self._entries, where=self._where)
            )
        return key

    def _remove(self, key: Key | ExperimentPhase | Group, kind: Any) -> Self:
        entry = self._entry(key)
        if not isinstance(entry, kind):
            raise InvalidTypeError(f"{entry.label!r} in {self._where} is a {type(entry).__name__}.")
        del self._entries[entry.label]
        return self


def _made(kind: Any, label: str, arguments: Mapping[str, Any]) -> Any:
    if not {"split", "input_sources"} & set(arguments):
        raise InvalidValueError(
            f"{kind.__name__} {label!r}: say which rows it takes: split='train', or input_sources=[...]."
        )
    return (kind.from_split if "split" in arguments else kind)(label, **arguments)
