"""A FeatureSet that was read from a file meets those that the context has.

It knows no files.
"""

from __future__ import annotations

from typing import Any

from modularml.core import cells
from modularml.core.context import ExperimentContext, new_id
from modularml.display.notice import notice

TITLE = "Node ID Collision"


def tell_identical(present: Any) -> None:
    """Say that what was loaded is in the context already."""
    notice(
        TITLE,
        f"Loaded FeatureSet is identical to {present.label!r} in the existing ExperimentContext.\n"
        f"Returning '{present}'.",
    )


def enter(loaded: Any, context: ExperimentContext, *, overwrite: bool) -> Any:
    """Register a loaded set, or return the one that is the same; say which where it matters.

    Args:
        loaded: The set.
        context: Where it goes.
        overwrite: Whether it takes the place of a set of its id or label, as it does of one that the
            same cell of a notebook loaded before; else it gets an id and, if taken, a label of its own.
    """
    known = next((node for node in context.nodes.values() if node.node_id == loaded.node_id), None)
    if known is not None and known == loaded:
        tell_identical(known)
        context.keep(known)
        return known
    present = context.nodes.get(loaded.label)
    if overwrite or (present is not None and cells.is_again(cells.maker(present))):
        if known is not None:
            context.remove_node(node_id=known.node_id)
        context.replace(loaded)
        return loaded
    wanted, free = loaded.label, context.free_label(loaded.label)
    if known is not None:
        loaded.node_id = new_id()
    loaded.label = free
    context.register(loaded)
    if known is not None or free != wanted:
        notice(
            TITLE,
            f"The loaded FeatureSet {wanted!r} has the label or the id of another one. "
            f"It was registered as {free!r}{' with a new id' if known is not None else ''}.",
        )
    return loaded
