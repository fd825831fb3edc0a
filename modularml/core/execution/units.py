"""How targets were scaled when a phase ran, to bring what it put out back to their original units.

It knows no phase and no results.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from modularml.base.errors import InvalidValueError, StateError
from modularml.core.data.columns import TARGETS, TRANSFORMED, Column
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.scaling import Scaling
from modularml.core.execution.columns import Stack

MAX_STATE_BYTES = 2**20
"""The most that scalers may hold to be kept in a file; those that remember every row hold more."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """The scalers of a head's targets, as they were at one time.

    Attributes:
        columns: The full names of the targets.
        sample: A few rows of the targets, shape ``(n, n_keys, *key_shape)``.
        n_rows: How many rows the FeatureSet has.
        scaling: What was applied to them; None if it was too large for the file it comes from.
    """

    columns: tuple[str, ...]
    sample: np.ndarray
    n_rows: int
    scaling: Scaling | None

    @classmethod
    def of_targets(cls, featureset: FeatureSet, targets: Stack) -> Self:
        """Return the units of some targets of a FeatureSet as it is now."""
        columns, is_scaled = tuple(targets.columns), bool(featureset.scaler_records)
        records = featureset.iter_scalers_on_cols(domain=TARGETS, columns=columns) if is_scaled else []
        # What a scaler remembers of the rows changes when it is applied again.
        kept = [replace(record, scaler_obj=copy.deepcopy(record.scaler_obj)) for record in records]
        n_rows = featureset.table.n_samples
        return cls(columns=columns, sample=np.array(targets[:2]), n_rows=n_rows, scaling=Scaling(kept))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the targets, in order."""
        return tuple(name.split(".")[1] for name in self.columns)

    def of_key(self, key: str) -> Self:
        """Return the units of one of the targets."""
        i = self.keys.index(key)
        return replace(self, columns=(self.columns[i],), sample=self.sample[:, i : i + 1])

    def unscale(self, values: np.ndarray, rows: np.ndarray, where: str) -> np.ndarray:
        """Return values of the targets, such as predictions, in their original units.

        Args:
            values: As many values a sample as the targets have, in any shape, ``(n, ...)``.
            rows: The row that each belongs to, ``(n,)``; some scalers remember each row.
            where: The words for the values in messages.

        Raises:
            InvalidValueError: If no target was scaled, or there are more values or fewer.
            StateError: If the scalers were too large for a file.
            NotImplementedError: If one of the scalers cannot be inverted.
        """
        shape = (len(values), *self.sample.shape[1:])
        if self.scaling is None:
            raise StateError(
                f"{where}: the scalers of {list(self.columns)} were too large to be kept in the file. Use "
                "unscale_data_for_cols of the FeatureSet."
            )
        if not self.scaling.records:
            raise InvalidValueError(
                f"{where}: {list(self.columns)} were not scaled, so there is nothing to undo."
            )
        if values.dtype.kind not in "biuf" or values.size != np.prod(shape):
            raise InvalidValueError(
                f"{where}: values of shape {values.shape} and dtype {values.dtype} do not hold the columns "
                f"{list(self.columns)} of shape {shape[1:]}. The FeatureSet restores what holds one of them: "
                f"fs.unscale_data_for_cols(data=..., domain='targets', columns={self.columns[-1]!r})."
            )
        beside = values.reshape(shape)
        restored = self._by_row(beside, rows) if self._remembers_rows() else self._inverted(beside)
        return restored.reshape(values.shape)

    def _remembers_rows(self) -> bool:
        """Tell whether an inverse is of the very rows that were scaled, and no others."""
        n = 1 if self.n_rows == 2 else 2
        try:
            self._inverted(np.resize(self.sample, (n, *self.sample.shape[1:])))
        except ValueError:
            return True
        return False

    def _by_row(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Invert values at the places of their rows; a row may have several values."""
        parts, places = [], []
        for at in _occurrences(rows):
            whole = np.repeat(values[:1], self.n_rows, axis=0)
            whole[rows[at]] = values[at]
            parts.append(self._inverted(whole)[rows[at]])
            places.append(at)
        return np.concatenate(parts)[np.argsort(np.concatenate(places))]

    def _inverted(self, values: np.ndarray) -> np.ndarray:
        """Invert the columns that are scaled; a reference may name raw ones beside them."""
        assert self.scaling is not None
        scaled = [i for i, name in enumerate(self.columns) if Column.parse(name).rep == TRANSFORMED]
        names = [self.columns[i] for i in scaled]
        table = SampleCollection.of_arrays({name: self.sample[:, i] for i, name in enumerate(self.columns)})
        inverted = self.scaling.unscale(values[:, scaled], table, TARGETS, names)
        restored = np.array(values, dtype=np.result_type(values, inverted))
        restored[:, scaled] = inverted
        return restored

    def get_state(self) -> dict[str, Any]:
        """Return the units as a tree, without scalers that hold too much."""
        state = [] if self.scaling is None else self.scaling.get_state()
        is_kept = self.scaling is not None and _n_bytes(state) <= MAX_STATE_BYTES
        return {
            "columns": list(self.columns),
            "sample": self.sample,
            "n_rows": self.n_rows,
            "scaling": state if is_kept else None,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make units of what `get_state` returned."""
        scaling = None if state["scaling"] is None else Scaling.from_state(state["scaling"])
        columns = tuple(state["columns"])
        return cls(columns=columns, sample=state["sample"], n_rows=state["n_rows"], scaling=scaling)


def _occurrences(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the positions at which rows come for the first time, for the second, and so on."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.searchsorted(ordered, ordered)
    number = np.arange(len(rows)) - first
    for n in range(int(number.max(initial=-1)) + 1):
        yield order[number == n]


def _n_bytes(value: Any) -> int:
    """Return what the arrays in a tree take, those of estimators included."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_n_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_n_bytes, value))
    return _n_bytes(vars(value)) if hasattr(value, "__dict__") else 0
