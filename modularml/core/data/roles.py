"""Which keys are features, targets and tags, checked when a set is made.

It knows no values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modularml.base.errors import Faults, InvalidTypeError, InvalidValueError, UnknownNameError, unknown_name
from modularml.core.data.columns import FEATURES, TAGS, TARGETS, Column, key_fault


def name_columns(
    data: Mapping[str, Any],
    feature_keys: str | Iterable[str],
    target_keys: str | Iterable[str] | None,
    tag_keys: str | Iterable[str] | None,
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
    for domain, keys in ((FEATURES, feature_keys), (TARGETS, target_keys), (TAGS, tag_keys)):
        listed = faults.attempt(_listed, keys, domain)
        if listed == [] and domain == FEATURES:
            faults.add("there are no features; name at least one key")
        for key in listed or ():
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


def _listed(keys: Any, domain: str) -> list[Any]:
    if keys is None:
        return []
    if isinstance(keys, str):
        return [keys]
    if not isinstance(keys, Iterable) or isinstance(keys, set | frozenset | Mapping):
        raise InvalidTypeError(f"the keys of {domain} must be a name or a list of names, got {keys!r}")
    return list(keys)
