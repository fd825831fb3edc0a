"""A scaler that was fitted and applied: to which columns, along which axes, and back again.

It knows no FeatureSet and no other scaler: arrays and tables in, arrays and tables out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.core import cells
from modularml.core.data.columns import FEATURES, Column
from modularml.core.data.sample_collection import SampleCollection
from modularml.scalers import Scaler


@dataclass(frozen=True, kw_only=True)
class ScalerRecord:
    """A scaler that was fitted and applied.

    Attributes:
        order: Its place among the set's scalers, from 0.
        domain: The domain of its columns.
        keys: The keys that it scales together, in their order.
        rep_in: The representation it read.
        rep_out: The representation it wrote.
        fit_split: The split it was fitted to; None for all rows.
        merged_axes: The axes that were merged, see `flatten`.
        scaler_obj: The fitted scaler.
        cell: The cell of a notebook that applied it, or None.
    """

    order: int
    domain: str
    keys: tuple[str, ...]
    rep_in: str
    rep_out: str
    fit_split: str | None
    merged_axes: tuple[int, ...] | None
    scaler_obj: Scaler
    cell: cells.Cell | None = field(default=None, compare=False, repr=False)

    def columns(self, rep: str) -> list[str]:
        """Return the full names of its columns in a representation."""
        return [str(Column(self.domain, key, rep)) for key in self.keys]

    @property
    def in_words(self) -> tuple[str, str, str]:
        """What it scales, by what, and what that was fitted to."""
        scaler = self.scaler_obj
        told = " ".join(repr(scaler.wrapped).split())
        return (
            f"{self.domain}: {', '.join(self.keys)}",
            scaler.scaler_name if told.startswith("<") else told.removesuffix("()"),
            "all rows" if self.fit_split is None else self.fit_split,
        )

    def apply(self, table: SampleCollection) -> SampleCollection:
        """Return a table with the scaled columns.

        Raises:
            InvalidValueError: If the scaler refuses the data.
        """
        return self.write(table, self.on(table.stack(self.columns(self.rep_in)), self.scaler_obj.transform))

    def write(self, table: SampleCollection, scaled: np.ndarray) -> SampleCollection:
        """Return a table with these columns, shape ``(n_samples, n_keys, *key_shape)``."""
        names = self.columns(self.rep_out)
        return table.with_columns({name: np.ascontiguousarray(scaled[:, i]) for i, name in enumerate(names)})

    def fit(self, data: np.ndarray) -> None:
        """Fit the scaler to columns side by side, shape ``(n_samples, n_keys, *key_shape)``.

        Raises:
            InvalidValueError: If the axes do not fit the data, or the scaler refuses them.
        """
        flat, _ = flatten(data, self.merged_axes)
        with self._telling():
            self.scaler_obj.fit(flat)

    def on(self, data: np.ndarray, do: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return what a method of the scaler makes of columns side by side.

        Of one key of the features, it may be wider or narrower than what it is made of.

        Raises:
            InvalidValueError: If the scaler refuses the data, or changes the number of features
                where those of several columns could not be told apart.
        """
        flat, restore = flatten(data, self.merged_axes)
        with self._telling():
            made = do(flat)
        if made.shape == flat.shape:
            return restore(made)
        if made.ndim != 2 or len(made) != len(flat) or not self._may_widen:
            raise InvalidValueError(
                f"{self.scaler_obj.wrapped!r} made {made.shape[1:]} features of {flat.shape[1:]}. That is "
                "possible for one key of the features without merged_axes; else a scaler keeps their number."
            )
        return made[:, None] if made.shape[1] > 1 else made

    @property
    def _may_widen(self) -> bool:
        return self.domain == FEATURES and len(self.keys) == 1 and self.merged_axes is None

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say what scikit-learn says of the data with the columns that they are of."""
        try:
            yield
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidValueError(
                f"{self.scaler_obj.wrapped!r} refuses the {self.domain} {list(self.keys)}: {error}"
            ) from error

    def invert(self, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return values as they were before this scaler.

        Args:
            data: Some of its keys -> scaled values, shape ``(n_samples, *key_shape)``. Keys
                that are missing count as zero, which is right for every scaler that
                treats columns apart.
        """
        present = next(iter(data.values()))
        full = np.stack([data.get(key, np.zeros_like(present)) for key in self.keys], axis=1)
        restored = self.on(full, self.scaler_obj.inverse_transform)
        return {key: restored[:, self.keys.index(key)] for key in data}


def flatten(
    data: np.ndarray, merged_axes: Sequence[int] | None
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Bring columns into the two dimensions that a scaler takes.

    Args:
        data: Columns side by side, shape ``(n_samples, n_keys, *key_shape)``.
        merged_axes: The axes that become one. With axis 0 among them they become the
            rows, and the others the features; else they become the features. None
            where two dimensions are left anyway.

    Returns:
        Array of shape ``(n_rows, n_features)``, and the function that turns such an
        array back into the shape of `data`.

    Raises:
        InvalidValueError: If axes are needed and none are given, or they do not exist.
    """
    if merged_axes is None:
        if data.ndim > 3 or (data.ndim == 3 and data.shape[1] > 1):
            raise InvalidValueError(
                f"Data of shape {data.shape} have more than two dimensions; say with merged_axes which of "
                "the axes 0 (samples), 1 (keys), 2 ... become one, e.g. "
                f"merged_axes={(0, *range(2, data.ndim))} to scale each key as a whole."
            )
        merged_axes = tuple(range(1, data.ndim))
    if not all(isinstance(axis, int | np.integer) for axis in merged_axes):
        raise InvalidTypeError(f"merged_axes must be whole numbers, got {merged_axes!r}.")
    axes = sorted({axis + data.ndim if axis < 0 else axis for axis in merged_axes})
    if not axes or not 0 <= axes[0] <= axes[-1] < data.ndim or len(axes) == data.ndim:
        raise InvalidValueError(
            f"merged_axes must be some of the axes 0 to {data.ndim - 1}, got {merged_axes!r}."
        )
    others = [axis for axis in range(data.ndim) if axis not in axes]
    rows, features = (axes, others) if 0 in axes else (others, axes)
    moved = data.transpose(rows + features)
    back = np.argsort(rows + features)
    n_rows = int(np.prod(moved.shape[: len(rows)]))
    return moved.reshape(n_rows, -1), lambda flat: flat.reshape(moved.shape).transpose(back)
