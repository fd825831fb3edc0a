"""Streams: what a label stands for in one role of the samples, by one name.

Samplers of pairs or triplets give every head several batches at once, one a role. A node
then runs once a role, and each of its streams has rows, slots and outputs of its own. Where a
node has several outputs, each is a stream; so is each target where targets differ in shape.
It knows no rows and no slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modularml.base.errors import LossError, unknown_name

DEFAULT_ROLE = "default"
"""The only role where batches hold single samples."""

_OF_SAMPLERS = ("anchor", "pair", "positive", "negative")

_SEPARATOR = "\x1f"  # labels are printable, so none holds it


def stream_of(label: str, role: str = DEFAULT_ROLE, part: str | None = None) -> str:
    """Return the name of a label's stream; where there is no other role and part it is the label.

    Args:
        label: The node, or what brings data to it.
        role: The role of the samples.
        part: The name of one of several outputs, or the key of one of several targets.
    """
    if part is not None:
        return f"{label}{_SEPARATOR}{'' if role == DEFAULT_ROLE else role}{_SEPARATOR}{part}"
    return label if role == DEFAULT_ROLE else f"{label}{_SEPARATOR}{role}"


def label_and_role(stream: str) -> tuple[str, str]:
    """Return the label and the role that `stream_of` made a name of."""
    label, _, rest = stream.partition(_SEPARATOR)
    return label, rest.partition(_SEPARATOR)[0] or DEFAULT_ROLE


def part_of(stream: str) -> str | None:
    """Return the part that `stream_of` made a name of, if there is one."""
    _, *more = stream.split(_SEPARATOR, 2)
    return more[1] if len(more) > 1 else None


def roles_among(streams: Iterable[str], label: str) -> list[str]:
    """Return the roles of a label's streams."""
    return list(dict.fromkeys(role for found, role in map(label_and_role, streams) if found == label))


def parts_among(streams: Iterable[str], label: str) -> list[str]:
    """Return the parts of a label's streams; none where it has one stream a role."""
    of_label = [stream for stream in streams if label_and_role(stream)[0] == label]
    return list(dict.fromkeys(part for part in map(part_of, of_label) if part is not None))


@dataclass(frozen=True, kw_only=True)
class InputName:
    """What an input of a loss names.

    Attributes:
        domain: ``"outputs"``, ``"targets"``, ``"features"``, ``"tags"`` or ``"module"``.
        column: The full name of the one column that is meant; None for all.
        role: The role of the samples.
        output: The name of the output that is meant, where the node's outputs have names.
    """

    domain: str
    column: str | None
    role: str
    output: str | None = None


def input_name(
    name: str,
    roles: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    where: str,
    outputs: Sequence[str] = (),
) -> InputName:
    """Return what an input of a loss names.

    Args:
        name: The input, e.g. ``"outputs"``, ``"targets.soh"``, ``"outputs.logits"`` or ``"outputs.anchor"``.
        roles: The roles that the batches have.
        columns: Domain -> the full names of the columns that reach the node.
        where: The loss and its node, for messages.
        outputs: The names of the node's outputs, where they have any.

    Raises:
        LossError: If it names no role or output where there are several, or a column, role or output
            that is not there.
    """
    domain, _, rest = name.partition(".")
    if domain == "outputs" and outputs:
        targets = dict.fromkeys(column.split(".")[1] for column in columns.get("targets", ()))
        return _output_name(name, rest, roles, outputs, where, list(targets))
    key, role = _key_and_role(rest, roles)
    if domain == "module" or (role is None and list(roles) == [DEFAULT_ROLE]):
        role = DEFAULT_ROLE
    if role is None and not key:
        raise LossError(
            f"{where}: the input {name!r} names no role, and the batches of this phase have the roles "
            f"{list(roles)}; use e.g. '{name}.{roles[0]}'."
        )
    if not key:
        return InputName(domain=domain, column=None, role=str(role))
    # An output belongs to the target that it is to be compared with.
    known = columns.get("targets" if domain == "outputs" else domain, ())
    found = [column for column in known if f"{column}.".partition(".")[2].startswith(f"{key}.")]
    if len(found) == 1 and role is not None:
        return InputName(domain=domain, column=found[0], role=role)
    if len(found) == 1:
        raise LossError(f"{where}: the input {name!r} names no role; use e.g. '{name}.{roles[0]}'.")
    if found:
        raise LossError(f"{where}: the input {name!r} may be any of {found}; write the one that is meant.")
    named = [role for role in roles if role != DEFAULT_ROLE]
    keys = list(dict.fromkeys(column.split(".")[1] for column in known))
    told = f"{where}: the input {name!r}: {unknown_name('column or role', key, [*keys, *named])}"
    if key in _OF_SAMPLERS and not named:
        told += (
            " The batches of this phase have no roles, for no sampler draws them; bind the node to one, "
            "InputBinding.for_training(node=..., sampler=...), in an evaluation too."
        )
    raise LossError(told)


def _output_name(
    name: str, rest: str, roles: Sequence[str], outputs: Sequence[str], where: str, targets: Sequence[str]
) -> InputName:
    key, role = (rest, None) if rest in outputs else _key_and_role(rest, roles)
    if not key and len(outputs) > 1:
        meant = inputs_like(outputs[0], targets)
        raise LossError(
            f"{where}: the input {name!r} names no output, and the node has {list(outputs)}; name one, e.g. "
            f"inputs={meant}, or a loss for each, {{{outputs[0]!r}: ...}}."
        )
    if key and key not in outputs:
        named = [role for role in roles if role != DEFAULT_ROLE]
        unknown = unknown_name("output", key, [*outputs, *named])
        raise LossError(
            f"{where}: the input {name!r}: {unknown} An output has an entry for each sample; a term for a "
            "whole batch is kept in an attribute of the module, and read by a loss with inputs='module'."
        )
    if role is None and list(roles) != [DEFAULT_ROLE]:
        raise LossError(f"{where}: the input {name!r} names no role; use e.g. '{name}.{roles[0]}'.")
    return InputName(domain="outputs", column=None, role=role or DEFAULT_ROLE, output=key or outputs[0])


def inputs_like(output: str, targets: Sequence[str]) -> list[str]:
    """Return what names an output and the target of its name, or another of several."""
    named = output if output in targets else targets[0] if len(targets) > 1 else None
    return [f"outputs.{output}", "targets" if named is None else f"targets.{named}"]


def _key_and_role(rest: str, roles: Sequence[str]) -> tuple[str, str | None]:
    if rest in roles:
        return "", rest
    key, _, last = rest.rpartition(".")
    return (key, last) if key and last in roles else (rest, None)
