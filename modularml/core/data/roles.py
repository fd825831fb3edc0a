"""Which keys are features, targets and tags, checked when a set is made.

It knows no values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError, UnknownNameError, unknown_name
from modularml.core.data.columns import FEATURES, TAGS, TARGETS, Column, key_fault


def name_columns(
    data: Mapping[str, Any],
    feature_keys: str | Sequence[str],
    target_keys: str | Sequence[str] | None,
    tag_keys: str | Sequence[str] | None,
    faults: Faults,
) -> dict[Column, Any]:
    """Return column -> values for the keys of each domain, and note what is wrong with them.

    Args:
        data: Key -> values.
        feature_keys: One key or several.
        target_keys: One key, several or none.
        tag_keys: One key, several or none.
        faults: Where faults are noted.
    """
    columns: dict[Column, Any] = {}
    if feature_keys is None or (isinstance(feature_keys, Sequence) and not feature_keys):
        faults.add("there are no features; name at least one key")
    for domain, keys in ((FEATURES, feature_keys), (TARGETS, target_keys), (TAGS, tag_keys)):
        for key in _listed(keys, domain, faults):
            fault = key_fault(key)
            if fault:
                faults.add(fault)
            elif key not in data:
                faults.add(UnknownNameError(unknown_name(f"key of {domain}", key, data)))
            elif Column(domain, key) in columns:
                faults.add(InvalidValueError(f"the key {key!r} comes twice among the {domain}"))
            else:
                columns[Column(domain, key)] = data[key]
    return columns


def _listed(keys: Any, domain: str, faults: Faults) -> Sequence[Any]:
    if keys is None:
        return ()
    if isinstance(keys, str):
        return (keys,)
    if not isinstance(keys, Sequence):
        faults.add(InvalidTypeError(f"the keys of {domain} must be a name or a list of names, got {keys!r}"))
        return ()
    return keys
