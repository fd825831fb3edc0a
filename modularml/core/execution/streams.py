"""Streams: what a label stands for in one role of the samples, by one name.

Samplers of pairs or triplets give every head several batches at once, one a role. A node
then runs once a role, and each of its streams has rows, slots and outputs of its own.
It knows no rows and no slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modularml.base.errors import LossError, unknown_name

DEFAULT_ROLE = "default"
"""The only role where batches hold single samples."""

_SEPARATOR = "\x1f"  # labels are printable, so none holds it


def stream_of(label: str, role: str = DEFAULT_ROLE) -> str:
    """Return the name of a label's stream; where there is no other role it is the label."""
    return label if role == DEFAULT_ROLE else f"{label}{_SEPARATOR}{role}"


def label_and_role(stream: str) -> tuple[str, str]:
    """Return what `stream_of` made a name of."""
    label, _, role = stream.partition(_SEPARATOR)
    return label, role or DEFAULT_ROLE


def roles_among(streams: Iterable[str], label: str) -> list[str]:
    """Return the roles of a label's streams."""
    return [role for found, role in map(label_and_role, streams) if found == label]


def domain_and_role(name: str, roles: Sequence[str], where: str) -> tuple[str, str]:
    """Return the domain and the role that an input of a loss names.

    Args:
        name: The input, e.g. ``"outputs"`` or ``"outputs.anchor"``.
        roles: The roles that the batches have.
        where: The loss and its node, for messages.

    Raises:
        LossError: If it names no role where there are several, or one that is not there.
    """
    domain, _, role = name.partition(".")
    if role in roles:
        return domain, role
    if list(roles) == [DEFAULT_ROLE]:
        if not role:
            return domain, DEFAULT_ROLE
        raise LossError(
            f"{where}: the input {name!r} names a role, but the batches of this phase have none; "
            f"use {domain!r}."
        )
    if role:
        raise LossError(f"{where}: the input {name!r}: {unknown_name('role', role, roles)}")
    raise LossError(
        f"{where}: the input {name!r} names no role, and the batches of this phase have the roles "
        f"{list(roles)}; use e.g. '{name}.{roles[0]}'."
    )
