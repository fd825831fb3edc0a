"""Graph work on plain ids: order, cycles, heads and tails.

It knows no node: a graph is a mapping from each id to the ids upstream of it.
"""

from __future__ import annotations

import functools
import graphlib
from collections.abc import Hashable, Iterable, Mapping, Sequence

from modularml.base.errors import GraphError

Upstreams = Mapping[str, Sequence[str]]


def topological_order(upstreams: Upstreams) -> list[str]:
    """Return the ids so that each comes after all that are upstream of it.

    The order depends on the order of the mapping alone.

    Raises:
        GraphError: If the graph has a cycle; the message walks it.
    """
    return list(_order(tuple((node, tuple(ups)) for node, ups in upstreams.items())))


@functools.lru_cache
def _order(upstreams: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, ...]:
    sorter = graphlib.TopologicalSorter(dict(upstreams))
    try:
        return tuple(sorter.static_order())
    except graphlib.CycleError as error:
        walk = " -> ".join(repr(node) for node in error.args[1])
        raise GraphError(f"The nodes form a cycle: {walk}. Cut one of these connections.") from None


def downstreams(upstreams: Upstreams) -> dict[str, list[str]]:
    """Return the mapping turned around: each id -> the ids right downstream of it."""
    found: dict[str, list[str]] = {node: [] for node in upstreams}
    for node, ups in upstreams.items():
        for up in ups:
            found.setdefault(up, []).append(node)
    return found


def tails(upstreams: Upstreams) -> list[str]:
    """Return the ids that nothing is downstream of."""
    return [node for node, downs in downstreams(upstreams).items() if not downs and node in upstreams]


def ancestors(upstreams: Upstreams, nodes: Iterable[str]) -> set[str]:
    """Return `nodes` and everything upstream of them."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(upstreams.get(node, ()))
    return found


Wiring = Mapping[str, tuple[Hashable, ...]]
"""Each id -> what is upstream of it: ids, and what else may feed it, data for example."""


def without(wiring: Wiring, node: str) -> dict[str, tuple[Hashable, ...]]:
    """Return the graph without a node: what it fed is fed by what fed it, each once."""
    ups = wiring[node]
    return {
        other: tuple(dict.fromkeys(found for up in fed for found in (ups if up == node else (up,))))
        for other, fed in wiring.items()
        if other != node
    }


def with_replaced(wiring: Wiring, old: Hashable, new: Hashable) -> dict[str, tuple[Hashable, ...]]:
    """Return the graph in which `new` feeds what `old` fed."""
    return {node: tuple(new if up == old else up for up in ups) for node, ups in wiring.items()}


def check_acyclic(wiring: Wiring) -> None:
    """Raise GraphError if the graph has a cycle; the message walks it."""
    topological_order({node: [up for up in ups if isinstance(up, str)] for node, ups in wiring.items()})
