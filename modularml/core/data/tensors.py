"""Data as torch tensors and torch datasets, and torch datasets as data.

It knows no FeatureSet: columns come and go as arrays by name. It is the one place where data
meet torch; whoever needs it calls `modularml.core.data.formats.tensors`, so that data can be
looked at without loading torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.core.data.table import stack

Columns = Mapping[str, np.ndarray]


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """Return an array as a tensor; one that may not be written to is copied.

    Raises:
        InvalidTypeError: If it holds text or dates.
    """
    if array.dtype.kind not in "biufc":
        raise InvalidTypeError(
            f"An array of {array.dtype} cannot become a tensor: tensors hold numbers and bools."
        )
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def concatenate(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return tensors one behind the other."""
    return torch.cat(list(parts))


class SampleDataset(Dataset):
    """Rows of columns as a torch dataset.

    An integer gives one sample, a slice or a list of integers gives several at once, gathered column
    by column. A `DataLoader` takes samples, or whole batches where a `BatchSampler` is its
    `sampler` and its `batch_size` is None.

    Args:
        parts: The columns of each part of a sample, e.g. features and targets. A whole
            column has the shape ``(n_rows_total, *sample_shape)``.
        rows: Positions in the columns, int64 of shape ``(n_samples,)``.
        keep_apart: Whether a part is a dict of tensors instead of one tensor of shape
            ``(n_keys, *key_shape)``.
    """

    def __init__(self, parts: Sequence[Columns], rows: np.ndarray, *, keep_apart: bool = False) -> None:
        self._parts, self._rows, self._keep_apart = list(parts), rows, keep_apart

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Any:
        rows = self._rows[index if isinstance(index, slice) else np.asarray(index)]
        return self._gather(rows) if rows.ndim else _sample(self._gather(rows[None]), 0)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        batch = self._gather(self._rows[np.asarray(indices)])
        return [_sample(batch, i) for i in range(len(indices))]

    def _gather(self, rows: np.ndarray) -> Any:
        parts = [self._part({name: column[rows] for name, column in part.items()}) for part in self._parts]
        return tuple(parts) if len(parts) > 1 else parts[0]

    def _part(self, columns: Columns) -> Any:
        if self._keep_apart:
            return {name: as_tensor(array) for name, array in columns.items()}
        return as_tensor(stack(columns))


def _sample(batch: Any, i: int) -> Any:
    if isinstance(batch, tuple):
        return tuple(_sample(part, i) for part in batch)
    return {name: values[i] for name, values in batch.items()} if isinstance(batch, dict) else batch[i]


def columns_of(dataset: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a torch dataset.

    Whole tensors are taken where the dataset holds such. Else it is asked for all samples,
    at once where it can give them so.

    Args:
        dataset: Something with a length and samples by index; a sample is a dict, a tuple, or
            a single value.
        names: The parts of a tuple, in order; of a dict, those that are wanted.

    Raises:
        InvalidTypeError: If it is no such dataset.
        InvalidValueError: If it is empty, or its samples have more parts or fewer than are named, or
            than others.
    """
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        hint = " Hand over its dataset: loader.dataset." if hasattr(dataset, "dataset") else ""
        raise InvalidTypeError(
            f"A dataset with a length and samples by index is needed, got a {type(dataset).__name__}.{hint}"
        )
    if not len(dataset):
        raise InvalidValueError(f"The {type(dataset).__name__} is empty.")
    whole, rows = dataset, None
    if isinstance(dataset, Subset):
        whole, rows = dataset.dataset, torch.as_tensor(dataset.indices)
    if isinstance(whole, TensorDataset):
        tensors = whole.tensors if rows is None else [tensor[rows] for tensor in whole.tensors]
        return _named(tensors, names)
    everything = range(len(dataset))
    is_quick = hasattr(dataset, "__getitems__")
    samples = dataset.__getitems__(list(everything)) if is_quick else [dataset[i] for i in everything]
    if not isinstance(samples[0], Mapping | tuple | list):
        return _named([samples], names)
    first = _parts(samples[0])
    other = next((i for i, sample in enumerate(samples) if _parts(sample) != first), None)
    if other is not None:
        raise InvalidValueError(
            f"The samples of the {type(dataset).__name__} differ in their parts: sample 0 has {first}, "
            f"sample {other} has {_parts(samples[other])}."
        )
    if isinstance(samples[0], Mapping):
        return {name: [sample[name] for sample in samples] for name in samples[0]}
    return _named([list(part) for part in zip(*samples, strict=True)], names)


def _parts(sample: Any) -> str:
    if isinstance(sample, Mapping):
        return f"the keys {sorted(map(str, sample))}"
    return f"{len(sample) if isinstance(sample, tuple | list) else 1} parts"


def _named(parts: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    if len(parts) != len(names):
        raise InvalidValueError(
            f"The samples of the dataset have {len(parts)} parts, and {len(names)} names were given: "
            f"{list(names)}. Name each part, in order."
        )
    return dict(zip(names, parts, strict=True))
