"""What phases use in a version that was defined anew since, in words: a run goes on with the old one.

It knows no history; whether results are stale is another matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from modularml.base.definitions import Definition, newer, own_definitions
from modularml.core import cells
from modularml.core.experiment.phases.phase import ExperimentPhase, active_graph
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_node import ModelNode, inits_of


def outdated(phases: Iterable[ExperimentPhase]) -> list[str]:
    """Return in words what phases use that was defined anew since: the user's own classes and functions."""
    listed = list(phases)
    nodes = {id(node): node for phase in listed for node in phase.nodes(active_graph(phase.ctx, repr(phase)))}
    told = [words for node in nodes.values() for words in _of_node(node)]
    told += [words for phase in listed for words in _of_phase(phase)]
    return list(dict.fromkeys(told))


def _of_phase(phase: ExperimentPhase) -> Iterator[str]:
    samplers = [
        (f"sampler of {phase.label!r}", b.sampler) for b in phase.input_sources if b.sampler is not None
    ]
    losses = [(f"loss {loss.label!r}", loss) for loss in phase.losses]
    callbacks = [(f"callback {callback.label!r}", callback) for callback in phase.callbacks]
    for name, thing in [*samplers, *losses, *callbacks]:
        maker = cells.maker(thing) or cells.maker(phase)
        yield from _uses(name, _old(thing), maker)


def _of_node(node: GraphNode) -> Iterator[str]:
    maker, old = cells.maker(node), _old(node)
    yield from _uses(f"node {node.label!r}", old, maker)
    if not isinstance(node, ModelNode) or old or not node._made_by:
        return
    # A module of the user's that is loaded again gives its objects the new methods: %autoreload.
    present = inits_of(node.model)
    for name, made_by in node._made_by.items():
        if present.get(name, made_by) != made_by:
            short, module = name.rpartition(".")[2], name.rpartition(".")[0]
            what = f"node {node.label!r} has new methods of class {short}, and what its old __init__ made"
            yield f"{what}: it is of before {_since(short, module)}; {_next(maker)}"


def _old(thing: Any) -> dict[Definition, Definition]:
    """Return what a thing is made with and was defined anew since -> what derives from it, or itself."""
    own = own_definitions(thing)
    old = [definition for definition in own if newer(definition) is not None]
    classes = [definition for definition in own if isinstance(definition, type)]
    return {
        definition: next(
            (c for c in classes if isinstance(definition, type) and definition in c.__mro__), definition
        )
        for definition in old
    }


def _uses(what: str, old: dict[Definition, Definition], maker: cells.Cell | None) -> Iterator[str]:
    for definition, derived in old.items():
        kind, name = "class" if isinstance(definition, type) else "function", definition.__qualname__
        first = ""
        if derived is not definition and derived not in old:
            cell = cells.binder(derived.__qualname__)
            where = "" if cell is None else f" in cell [{cell.number}]"
            first = f"define {derived.__qualname__}, which derives from it, anew{where}, then "
        since = _since(name, definition.__module__)
        yield f"{what} uses {kind} {name} as it was before {since}; {first}{_next(maker)}"


def _since(name: str, module: str) -> str:
    if module != "__main__":
        return f"the module {module} was loaded again"
    cell = cells.binder(name.partition(".")[0])
    return "it was defined anew" if cell is None else f"cell [{cell.number}] defined it anew"


def _next(maker: cells.Cell | None) -> str:
    if maker is None:
        return "make it again"
    return f"run cell [{maker.number}] again, which makes it: {maker.first_line}"
