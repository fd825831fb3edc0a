"""Names of columns, ``<domain>.<key>.<rep>``, and selectors that pick some of them.

They know no values: everything here is text in, text out.

A selector is a name with parts left out or a ``*`` in them: ``"voltage"``,
``"voltage.raw"``, ``"features.*"``, ``"features.voltage.raw"``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    ResolutionError,
    UnknownColumnError,
    listed,
    nearest,
)

FEATURES, TARGETS, TAGS = DOMAINS = ("features", "targets", "tags")
RAW, TRANSFORMED = REPS = ("raw", "transformed")
SAMPLE_UUIDS = "sample_uuids"


class Column(NamedTuple):
    """The three parts of a column's name."""

    domain: str
    key: str
    rep: str = RAW

    @classmethod
    def parse(cls, name: str) -> Column:
        """Read a full name.

        Raises:
            InvalidValueError: If it is not ``<domain>.<key>.<rep>`` or its key is not allowed.
        """
        if not isinstance(name, str):
            raise _no_name(name)
        return _parsed(name)

    def __str__(self) -> str:
        return ".".join(self)

    def short(self, *, domain: bool, rep: bool) -> str:
        """Return the name with or without its first and last part."""
        return ".".join((self.domain,) * domain + (self.key,) + (self.rep,) * rep)


@functools.lru_cache(maxsize=4096)  # the names of a set are read over and over
def _parsed(name: str) -> Column:
    parts = name.split(".")
    if len(parts) != 3 or parts[0] not in DOMAINS or parts[2] not in REPS:
        raise _no_name(name)
    fault = key_fault(parts[1])
    if fault:
        raise fault
    return Column(*parts)


def _no_name(name: object) -> InvalidValueError:
    return InvalidValueError(
        f"A column is named '<domain>.<key>.<rep>' with a domain of {', '.join(DOMAINS)} and a "
        f"representation of {', '.join(REPS)}; got {name!r}."
    )


def key_fault(key: object) -> ModularMLError | None:
    """Say what is wrong with a key, or return None."""
    if not isinstance(key, str):
        return InvalidTypeError(f"a column key must be a string, got {key!r} ({type(key).__name__})")
    if not key.strip() or not key.isprintable() or "." in key or "*" in key:
        return InvalidValueError(f"a column key must be non-empty text without '.' and '*', got {key!r}")
    return None


def match(
    selector: str,
    names: Iterable[str],
    *,
    domain: str | None = None,
    rep: str | None = None,
    where: str = "this data",
) -> list[str]:
    """Return the full names that a selector picks, in their given order.

    Args:
        selector: A name; its domain and representation may be left out, ``*`` stands
            for any text within a part.
        names: The full names to pick from.
        domain: Only names of this domain.
        rep: Only names of this representation, where the selector names none.
        where: The place, for the message.

    Raises:
        UnknownColumnError: If nothing matches.
    """
    if not isinstance(selector, str):
        raise InvalidTypeError(f"A column selector must be a string, got {selector!r}.")
    names = list(names)
    if selector.rpartition(".")[2] in REPS:  # what is named decides
        rep = None
    if selector in names and rep is None and (domain is None or selector.startswith(f"{domain}.")):
        return [selector]  # a full name is no other's short one
    allowed = [c for c in map(Column.parse, names) if domain in (None, c.domain) and rep in (None, c.rep)]
    pattern = re.compile("[^.]*".join(map(re.escape, selector.split("*"))))
    found = [
        str(c)
        for c in allowed
        if any(pattern.fullmatch(c.short(domain=d, rep=r)) for d in (True, False) for r in (True, False))
    ]
    if not found:
        others = [c for c in map(Column.parse, names) if domain in (None, c.domain) and c.key == selector]
        hint = f" There is {str(others[0])!r}; name it so." if others else ""
        raise UnknownColumnError(_no_match(selector, allowed, rep, where) + hint)
    return found


def _no_match(selector: str, allowed: Sequence[Column], rep: str | None, where: str) -> str:
    forms = [c.short(domain=d, rep=r) for d in (False, True) for r in (False, True) for c in allowed]
    close = nearest(selector, forms)
    hint = f" Did you mean {close!r}?" if close else ""
    of_rep = f" with the representation {rep!r}" if rep else ""
    available = listed([str(column) for column in allowed])
    return f"No entries in {where} match selector {selector!r}{of_rep}. Available: {available}.{hint}"


def one(selector: str, names: Sequence[str], *, domain: str | None = None, where: str = "this data") -> str:
    """Return the one full name that a selector picks.

    Raises:
        UnknownColumnError: If nothing matches.
        ResolutionError: If several names match; the message lists them.
    """
    if selector in names:
        return selector
    found = match(selector, names, domain=domain, where=where)
    if len(found) > 1:
        raise ResolutionError(
            f"{selector!r} names {len(found)} columns of {where}: {listed(found)}. Name one of them."
        )
    return found[0]


def select(
    names: Sequence[str],
    chosen: Mapping[str | None, str | Sequence[str] | None],
    *,
    rep: str | None = None,
    where: str = "this data",
) -> tuple[str, ...]:
    """Return the full names picked by selectors, in the order of `names`.

    Args:
        names: The full names to pick from.
        chosen: Domain (or None for any domain) -> one selector, several, or None for
            "not mentioned". If nothing at all is mentioned, everything is picked.
        rep: Only names of this representation.
        where: The place, for messages.

    Raises:
        UnknownColumnError: If a selector matches nothing.
    """
    check_rep(rep)
    mentioned = {d: [s] if isinstance(s, str) else _listed(s) for d, s in chosen.items() if s is not None}
    if not mentioned:
        mentioned = {None: ["*"]} if names else {}
    picked = {
        name
        for domain, selectors in mentioned.items()
        for selector in selectors
        for name in match(selector, names, domain=domain, rep=rep, where=where)
    }
    return tuple(n for n in names if n in picked)


def _listed(selectors: Any) -> list[str]:
    if not isinstance(selectors, Iterable):
        raise InvalidTypeError(f"Column selectors must be a name or a list of names, got {selectors!r}.")
    return list(selectors)


def check_rep(rep: str | None) -> None:
    """Raise InvalidValueError unless `rep` is a representation or None."""
    if rep is not None and rep not in REPS:
        raise InvalidValueError(f"A representation is one of {', '.join(map(repr, REPS))}, got {rep!r}.")


def short_names(names: Sequence[str], *, domain: bool, rep: bool) -> dict[str, str]:
    """Map full names to shorter ones; a part that tells two names apart stays."""
    columns = {name: Column.parse(name) for name in names}
    by_key: dict[str, set[Column]] = {}
    for column in columns.values():
        by_key.setdefault(column.key, set()).add(column)

    def shorten(column: Column) -> str:
        same_key = by_key[column.key]
        keep_domain = domain or len({c.domain for c in same_key}) > 1
        keep_rep = rep or len([c for c in same_key if c.domain == column.domain]) > 1
        return column.short(domain=keep_domain, rep=keep_rep)

    return {name: shorten(column) for name, column in columns.items()}


def complete(
    names: Sequence[str],
    chosen: Mapping[str | None, str | Sequence[str] | None],
    *,
    rep: str | None = None,
    where: str = "this data",
) -> dict[str, tuple[str, ...]]:
    """Return the names picked in each domain; a domain that nothing is picked of comes whole.

    The arguments are those of `select`. A domain that comes whole has the representation
    that is asked for where its keys have it, and what there is where they have not.

    Raises:
        UnknownColumnError: If a selector matches nothing.
    """
    check_rep(rep)
    picked = select(names, chosen, rep=rep, where=where) if any(chosen.values()) else ()
    of_domain = {domain: tuple(n for n in picked if Column.parse(n).domain == domain) for domain in DOMAINS}
    for domain in DOMAINS:
        if not of_domain[domain] and chosen.get(domain) is None:
            columns = [c for c in map(Column.parse, names) if c.domain == domain]
            having = {c.key for c in columns if c.rep == rep}
            of_domain[domain] = tuple(str(c) for c in columns if c.rep == rep or c.key not in having)
    return of_domain


def doubled_keys(names: Sequence[str], selectors: Iterable[str | Sequence[str] | None]) -> list[str]:
    """Return the keys that are there in two representations, unless a selector named one."""
    listed = [s for given in selectors if given for s in ([given] if isinstance(given, str) else given)]
    if any(selector.rpartition(".")[2] in REPS for selector in listed):
        return []
    found = [Column.parse(name)[:2] for name in names]
    return sorted({key for domain, key in found if found.count((domain, key)) > 1})


def newest(selector: str, names: Sequence[str]) -> list[str]:
    """Return names without the raw ones of keys that are transformed, unless `selector` names one."""
    if selector.rpartition(".")[2] in REPS:
        return list(names)
    transformed = {name: str(Column.parse(name)._replace(rep=TRANSFORMED)) for name in names}
    return [name for name, made in transformed.items() if name == made or made not in transformed]
