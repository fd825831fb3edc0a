"""The scalers of a set: what was scaled by what, in which order, and back again.

It knows no FeatureSet: tables in, tables out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidTypeError, InvalidValueError, check_choice
from modularml.core import cells
from modularml.core.data.columns import DOMAINS, FEATURES, RAW, TARGETS, TRANSFORMED, Column, one
from modularml.core.data.formats import as_array
from modularml.core.data.reader import locked
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.scaler_record import ScalerRecord
from modularml.core.data.table import stack
from modularml.core.data.values import KIND_NAMES
from modularml.scalers import Scaler


class Scaling:
    """The records of the scalers of one set, oldest first."""

    def __init__(self, records: Sequence[ScalerRecord] = ()) -> None:
        self.records = list(records)

    def fit_transform(
        self,
        table: SampleCollection,
        scaler: Scaler,
        *,
        domain: str,
        keys: Sequence[str],
        fit_rows: np.ndarray | None,
        fit_split: str | None,
        merged_axes: Sequence[int] | None,
    ) -> SampleCollection:
        """Fit a scaler to some rows, apply it to all, and return the new table.

        It goes on from the transformed columns where every key has one.

        Raises:
            InvalidTypeError: If some of the keys hold numbers, and others text or dates.
            InvalidValueError: If only some of the keys are transformed, a column cannot
                be scaled, or the scaler changes the number of features of several keys.
        """
        scaled = [key for key in keys if str(Column(domain, key, TRANSFORMED)) in table.columns]
        if scaled and len(scaled) < len(keys):
            rest = [key for key in keys if key not in scaled]
            raise InvalidValueError(
                f"Of the {domain} to scale together, {scaled} are transformed and {rest} are not. "
                "Scale them apart, or undo the former first."
            )
        if not scaled:
            _check_alike(table, domain, keys)
        record = ScalerRecord(
            order=len(self.records),
            domain=domain,
            keys=tuple(keys),
            rep_in=TRANSFORMED if scaled else RAW,
            rep_out=TRANSFORMED,
            fit_split=fit_split,
            merged_axes=None if merged_axes is None else tuple(merged_axes),
            scaler_obj=scaler.clone_unfitted(),
            cell=cells.current(),
        )
        data = locked(table.stack(record.columns(record.rep_in)))  # for scalers that work in place
        record.fit(data if fit_rows is None else data[fit_rows])
        table = record.write(table, record.on(data, record.scaler_obj.transform))
        self.records.append(record)
        return table

    def applied(self, table: SampleCollection) -> SampleCollection:
        """Return other samples, scaled as the samples are that the scalers were fitted to.

        A scaler whose columns are not there is passed over.

        Raises:
            InvalidValueError: If only some of the columns are there that were scaled together, or a
                scaler refuses the data.
        """
        for record in self.records:
            missing = [name for name in record.columns(record.rep_in) if name not in table.columns]
            if missing and len(missing) < len(record.keys):
                raise InvalidValueError(
                    f"{record.scaler_obj.scaler_name} scaled the {record.domain} {list(record.keys)} "
                    f"together, and of them {[Column.parse(name).key for name in missing]} are missing."
                )
            if not missing:
                table = record.apply(table)
        return table

    def refitted(self, table: SampleCollection, rows: np.ndarray) -> tuple[Scaling, SampleCollection]:
        """Return the same scalers fitted to other rows, all of them to the same, and what they make.

        Args:
            table: The samples, scaled or not.
            rows: The rows to fit to, int64 of shape ``(n,)``.
        """
        twin = Scaling()
        table = table.without({name for record in self.records for name in record.columns(TRANSFORMED)})
        for record in self.records:
            table = twin.fit_transform(
                table,
                record.scaler_obj,
                domain=record.domain,
                keys=record.keys,
                fit_rows=rows,
                fit_split=record.fit_split,
                merged_axes=record.merged_axes,
            )
        return twin, table

    def without_this_cell(
        self, table: SampleCollection, domain: str, keys: Sequence[str]
    ) -> tuple[SampleCollection, list[ScalerRecord]]:
        """Take back what the present cell did to these keys when it ran before, and what is on top of it.

        Returns:
            The table, and the records of other cells that were taken back with it.
        """
        touching = [r for r in self.records if r.domain == domain and set(r.keys) & set(keys)]
        again = [cells.is_again(record.cell) for record in touching]
        if True not in again:
            return table, []
        undone = touching[again.index(True) :]
        table = self._without(table, undone)
        return table, [record for record in undone if not cells.is_again(record.cell)]

    def was_last(self, scaler: Scaler, domain: str, keys: Sequence[str], fit_split: str | None) -> bool:
        """Tell whether the newest scaler of these keys was one like this."""
        touching = [r for r in self.records if r.domain == domain and set(r.keys) & set(keys)]
        if not touching:
            return False
        last = touching[-1]
        return last.scaler_obj == scaler and last.keys == tuple(keys) and last.fit_split == fit_split

    def undo_last(self, table: SampleCollection, domain: str, keys: Sequence[str] | None) -> SampleCollection:
        """Take back the newest scaler of a domain, or of exactly these keys.

        Raises:
            InvalidValueError: If there is none, or it scaled other keys than these.
        """
        _check_scalable(domain)
        of_domain = [r for r in self.records if r.domain == domain]
        touching = [r for r in of_domain if keys is None or set(r.keys) & set(keys)]
        if not touching:
            raise InvalidValueError(
                f"No scaler was applied to {domain}{'' if keys is None else f' {list(keys)}'}."
            )
        last = touching[-1]
        if keys is not None and set(keys) != set(last.keys):
            raise InvalidValueError(
                f"The newest scaler on {domain} {list(keys)} scaled {list(last.keys)} together; "
                f"undo it with keys={list(last.keys)}."
            )
        return self._without(table, [last])

    def undo_all(
        self, table: SampleCollection, domain: str | None, keys: Sequence[str] | None
    ) -> SampleCollection:
        """Take back every scaler of a domain, of some keys, or of all.

        Raises:
            InvalidValueError: If a scaler on these keys scaled others, too.
        """
        if domain is not None:
            _check_scalable(domain)
        undone = [
            r
            for r in self.records
            if domain in (None, r.domain) and (keys is None or set(r.keys) & set(keys))
        ]
        if keys is not None and not undone:
            raise InvalidValueError(f"No scaler was applied to {domain or 'any'} {list(keys)}.")
        for record in undone:
            if keys is not None and not set(record.keys) <= set(keys):
                raise InvalidValueError(
                    f"{record.scaler_obj.scaler_name} scaled {list(record.keys)} together; "
                    "undo them together."
                )
        return self._without(table, undone)

    def _without(self, table: SampleCollection, undone: Sequence[ScalerRecord]) -> SampleCollection:
        """Drop the columns that were written, and write anew what other scalers made of them.

        The raw columns are still there, so nothing has to be inverted.
        """
        changed = {name for record in undone for name in record.columns(TRANSFORMED)}
        table = table.without(changed)
        kept = [r for r in self.records if r not in undone]
        self.records = [replace(record, order=i) for i, record in enumerate(kept)]
        for record in self.records:
            if changed & set(record.columns(TRANSFORMED)):
                table = record.apply(table)
        return table

    def on_columns(self, domain: str, columns: Sequence[str]) -> Iterator[ScalerRecord]:
        """Yield the records of scalers that made these columns, oldest first."""
        wanted = {Column.parse(name) for name in columns}
        keys = {column.key for column in wanted if column.domain == domain and column.rep == TRANSFORMED}
        return (r for r in self.records if r.domain == domain and keys & set(r.keys))

    def unscale(self, data: Any, table: SampleCollection, domain: str, columns: Sequence[str]) -> np.ndarray:
        """Return values of transformed columns in their original units.

        Args:
            data: One row a sample, with as many values as the columns have, in any shape.
            table: Where the columns are.
            domain: The domain of the columns.
            columns: Their full names, in the order of `data`.

        Raises:
            InvalidValueError: If `data` has more values or fewer.
            NotImplementedError: If one of the scalers cannot be inverted.
        """
        data = as_array(data)
        shape = (len(data), *table.stack(columns).shape[1:])
        if data.size != np.prod(shape):
            raise InvalidValueError(
                f"Data of shape {data.shape} do not hold {len(columns)} columns of shape {shape[2:]}: "
                f"{columns}."
            )
        beside = data.reshape(shape)
        values: dict[str, np.ndarray]
        values = {name: beside[:, i] for i, name in enumerate(columns)}
        for record in reversed(list(self.on_columns(domain, columns))):
            # A raw column may stand beside the transformed one of its key, and stays as it is.
            scaled = dict(zip(record.columns(TRANSFORMED), record.keys, strict=True))
            mine = {key: values[name] for name, key in scaled.items() if name in values}
            inverted = record.invert(mine)
            values |= {name: inverted[key] for name, key in scaled.items() if name in values}
        original = stack(values)
        return original.reshape(data.shape) if original.size == data.size else original

    def get_state(self) -> list[dict[str, Any]]:
        """Return the records as a tree."""
        return [
            {
                "domain": r.domain,
                "keys": list(r.keys),
                "rep_in": r.rep_in,
                "fit_split": r.fit_split,
                "merged_axes": None if r.merged_axes is None else list(r.merged_axes),
                "scaler": to_config(r.scaler_obj),
                "scaler_state": r.scaler_obj.get_state(),
            }
            for r in self.records
        ]

    @classmethod
    def from_state(cls, state: Sequence[Mapping[str, Any]]) -> Self:
        """Make the records of what `get_state` returned."""
        return cls([_record(order, of_record) for order, of_record in enumerate(state)])


def _record(order: int, state: Mapping[str, Any]) -> ScalerRecord:
    scaler: Scaler = from_config(state["scaler"])
    scaler.set_state(state["scaler_state"])
    axes = state["merged_axes"]
    return ScalerRecord(
        order=order,
        domain=state["domain"],
        keys=tuple(state["keys"]),
        rep_in=state["rep_in"],
        rep_out=TRANSFORMED,
        fit_split=state["fit_split"],
        merged_axes=None if axes is None else tuple(axes),
        scaler_obj=scaler,
    )


def _check_scalable(domain: str) -> None:
    check_choice(domain, "domain", DOMAINS)
    if domain not in (FEATURES, TARGETS):
        raise InvalidValueError("Tags cannot be scaled; features and targets can.")


def _check_alike(table: SampleCollection, domain: str, keys: Sequence[str]) -> None:
    """Refuse numbers and text to be scaled together, and say which are which."""
    kinds: dict[str, list[str]] = {}
    for key in keys:
        kind = table.column(str(Column(domain, key, RAW))).dtype.kind
        kinds.setdefault(KIND_NAMES.get(kind, "numbers"), []).append(key)
    if len(kinds) > 1:
        listed = ", ".join(f"keys={found} hold {kind}" for kind, found in kinds.items())
        raise InvalidTypeError(f"The {domain} cannot be scaled together: {listed}; name those of one kind.")


def keys_of(table: SampleCollection, domain: str, keys: str | Sequence[str] | None, where: str) -> list[str]:
    """Return the keys of a domain, all or the named ones.

    Raises:
        InvalidValueError: If the domain is unknown or has no columns, or holds what cannot be scaled.
        UnknownNameError: If there is no such key.
    """
    _check_scalable(domain)
    columns = [c for c in map(Column.parse, table.columns) if c.domain == domain and c.rep == RAW]
    present = [c.key for c in columns]
    if keys is None:
        if not present:
            raise InvalidValueError(f"{where} has no {domain} to scale.")
        return present
    named = [keys] if isinstance(keys, str) else list(keys)
    full = [str(c) for c in columns]
    return [Column.parse(one(key, full, domain=domain, where=where)).key for key in named]
