from typing import Any


def test_a_scope_leads_to_the_graph_of_its_context(bench: Any) -> None:
    scope = bench.scope()
    assert scope.graph is None
    graph = bench.graph(bench.node("A"))
    assert scope.graph is graph
