from typing import Any

import pytest

from modularml.base.errors import StateError
from modularml.core.execution.scope import Shared


def test_a_scope_leads_to_the_graph_of_its_context(bench: Any) -> None:
    scope = bench.scope()
    with pytest.raises(StateError, match="'p' has no ModelGraph to run on any more"):
        _ = scope.graph
    graph = bench.graph(bench.node("A"))
    assert scope.graph is graph


class Finds:
    """Finds something new each time, and counts."""

    def __init__(self) -> None:
        self.n_times = 0

    def __call__(self, *arguments: Any) -> tuple[Any, ...]:
        self.n_times += 1
        return arguments


def test_what_is_shared_is_found_once_a_key_until_it_is_forgotten() -> None:
    shared, find = Shared(), Finds()
    found = [shared.once(key, find, key) for key in ("a", "b", "a")]
    assert found == [("a",), ("b",), ("a",)]
    assert found[0] is found[2]
    assert find.n_times == 2
    shared.forget()
    shared.once("a", find)
    assert find.n_times == 3


def test_a_question_is_answered_again_only_if_it_was_the_last_one() -> None:
    shared, find = Shared(), Finds()
    questions = [(1,), (1,), (2,), (1,), None, None, (1,)]
    assert [shared.again("k", question, find, question) for question in questions] == [
        (q,) for q in questions
    ]
    assert find.n_times == 6
    shared.again("other", (1,), find)
    shared.forget()
    shared.again("k", (1,), find)
    assert find.n_times == 8
