"""Samples of several inputs as one: features as a merge node makes them, targets and tags by its strategies.

It knows no graph and no loop: `SampleData`, `RoleData` or a `Batch` of each input in, one out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from modularml.backends.torch import as_array, as_tensor
from modularml.base.errors import InvalidTypeError, InvalidValueError, told_of
from modularml.core.data.batch import Batch, RoleData, SampleData
from modularml.core.data.formats import convert
from modularml.core.topology.merge_strategy import MergeStrategy, Strategy, join


def merged(node: Any, inputs: Sequence[Any]) -> Any:
    """Return samples of every input of a merge node as one; see `MergeNode.merge`."""
    if len(inputs) != len(node.upstream_refs):
        raise InvalidValueError(f"{node!r} merges {len(node.upstream_refs)} inputs, got {len(inputs)}.")
    kinds = {type(one) for one in inputs}
    if len(kinds) > 1 or not isinstance(inputs[0], SampleData | RoleData | Batch):
        named = sorted(kind.__name__ for kind in kinds)
        raise InvalidTypeError(
            f"{node!r} merges SampleData, RoleData or Batch, all of one type, got {named}."
        )
    if isinstance(inputs[0], SampleData):
        return _merged_samples(node, inputs)
    roles = [list(one.roles if isinstance(one, Batch) else one) for one in inputs]
    if any(sorted(of_one) != sorted(roles[0]) for of_one in roles):
        raise InvalidValueError(f"{node!r}: the inputs have different roles: {roles}.")
    if isinstance(inputs[0], RoleData):
        return RoleData({role: _merged_samples(node, [one[role] for one in inputs]) for role in roles[0]})
    data = merged(node, [one.role_data for one in inputs])
    return Batch(
        batch_size=inputs[0].batch_size,
        role_data=data,
        shapes={role: data[role].shapes for role in roles[0]},
        role_weights={r: np.mean([one.role_weights[r] for one in inputs], axis=0) for r in roles[0]},
        role_masks={r: np.min([one.role_masks[r] for one in inputs], axis=0) for r in roles[0]},
    )


def _merged_samples(node: Any, inputs: Sequence[SampleData]) -> SampleData:
    sizes = [one.n_samples for one in inputs]
    if len(set(sizes)) > 1:
        raise InvalidValueError(f"{node!r}: the inputs have different numbers of samples: {sizes}.")
    is_torch = any(isinstance(one.features, torch.Tensor) for one in inputs)
    fmt = "torch" if is_torch else "numpy"
    values = [as_tensor(convert(one.features, fmt)) for one in inputs]
    features = node.apply_merge(values, fmt=fmt, domain="features")
    return SampleData(
        features=features if is_torch else as_array(features),
        targets=_kept(node, [one.targets for one in inputs], "targets"),
        tags=_kept(node, [one.tags for one in inputs], "tags"),
        sample_uuids=inputs[0].sample_uuids,
        kind=inputs[0].kind,
    )


def _kept(node: Any, values: Sequence[Any], domain: str) -> Any:
    how = node._data_strategy(domain)
    if not isinstance(how, Strategy):
        return values[node.upstream_refs.index(how)]
    if how == MergeStrategy.FIRST or how == MergeStrategy.LAST:
        return join(values, how)
    present = [value for value in values if value is not None]
    with told_of(f"{node!r}: {domain}"):
        return join(present, how) if present else None
