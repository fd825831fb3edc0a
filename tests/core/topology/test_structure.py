from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import GraphError
from modularml.core.topology.structure import ancestors, downstreams, tails, topological_order


@st.composite
def acyclic(draw: Any) -> dict[str, tuple[str, ...]]:
    """Up to 8 nodes in any order, each fed by some of those before it in another order."""
    names = draw(st.permutations("abcdefgh"))[: draw(st.integers(1, 8))]
    upstreams = {
        name: tuple(draw(st.lists(st.sampled_from(names[:i]), unique=True, max_size=3))) if i else ()
        for i, name in enumerate(names)
    }
    return {name: upstreams[name] for name in draw(st.permutations(names))}


@given(acyclic())
def test_each_comes_once_and_after_all_that_feed_it(upstreams: dict[str, tuple[str, ...]]) -> None:
    order = topological_order(upstreams)
    assert sorted(order) == sorted(upstreams)
    assert all(order.index(up) < order.index(node) for node, ups in upstreams.items() for up in ups)
    assert topological_order(dict(upstreams)) == order


@given(acyclic())
def test_turning_around_twice_changes_nothing(upstreams: dict[str, tuple[str, ...]]) -> None:
    back = downstreams(downstreams(upstreams))
    assert {node: set(ups) for node, ups in back.items()} == {n: set(ups) for n, ups in upstreams.items()}
    assert tails(upstreams) == [node for node in upstreams if not any(node in u for u in upstreams.values())]


@given(acyclic(), st.data())
def test_ancestors_are_closed_and_the_tails_lead_to_everything(
    upstreams: dict[str, tuple[str, ...]], data: Any
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(upstreams))))
    found = ancestors(upstreams, chosen)
    assert set(chosen) <= found
    assert all(up in found for node in found for up in upstreams[node])
    assert ancestors(upstreams, found) == found
    assert ancestors(upstreams, tails(upstreams)) == set(upstreams)


@pytest.mark.parametrize(
    ("upstreams", "members"),
    [({"a": ["a"]}, "a"), ({"a": ["b"], "b": ["a"]}, "ab"), ({"a": ["c"], "b": ["a"], "c": ["b"]}, "abc")],
)
def test_a_cycle_is_walked_in_the_message(upstreams: dict[str, list[str]], members: str) -> None:
    with pytest.raises(GraphError, match="form a cycle: .* -> ") as caught:
        topological_order(upstreams | {"tail": ["a"]})
    assert all(repr(name) in str(caught.value) for name in members)
    assert "'tail'" not in str(caught.value)
