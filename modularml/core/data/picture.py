"""A FeatureSet and its splits as a diagram.

It draws nothing: it says what is to be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modularml.core.data.columns import DOMAINS, Column
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.splits import Splits
from modularml.display.spec import EdgeSpec, GraphSpec, NodeSpec, Section


def graph_spec(
    label: str,
    table: SampleCollection,
    splits: Splits,
    *,
    domains: Sequence[str],
    root_domains: Sequence[str],
    show_overlaps: bool,
) -> GraphSpec:
    """Return the set as the root, and an arrow to each split from what it is part of.

    Args:
        label: The set's label.
        table: Its columns.
        splits: Its splits.
        domains: The domains whose columns the splits list.
        root_domains: The domains whose columns the root lists.
        show_overlaps: Whether splits list how many rows they share with others.
    """
    root = NodeSpec(
        id="n0",
        kind="FeatureSet",
        title="FeatureSet",
        name=label,
        lines=(f"n={table.n_samples}",),
        blocks=_blocks(table, table.columns, root_domains),
    )
    ids = {name: f"n{i}" for i, name in enumerate(splits, start=1)}
    overlaps = splits.overlaps() if show_overlaps else {}
    nodes, edges = [root], []
    for i, name in enumerate(splits):
        split = splits[name]
        columns = table.columns if split.columns is None else split.columns
        size = f"n={len(split.rows)}"
        blocks = _blocks(table, columns, domains) + _overlap_block(name, overlaps)
        nodes.append(
            NodeSpec(
                id=ids[name], kind="FeatureSetView", title="Split", name=name, lines=(size,), blocks=blocks
            )
        )
        source = ids.get(splits.parent(name) or "", "n0")
        edges.append(EdgeSpec(id=f"e{i}", source=source, target=ids[name], label=size))
    return GraphSpec(title=label, nodes=tuple(nodes), edges=tuple(edges))


def _blocks(
    table: SampleCollection, names: Sequence[str], domains: Sequence[str]
) -> tuple[tuple[Section, ...], ...]:
    sections = []
    for domain in (d for d in DOMAINS if d in domains):
        columns = [(c, table.column(str(c))) for c in map(Column.parse, names) if c.domain == domain]
        rows = tuple(f"{c.short(domain=False, rep=True)}: {array.shape[1:]}" for c, array in columns)
        if rows:
            sections.append(Section(heading=domain, rows=rows))
    return (tuple(sections),) if sections else ()


def _overlap_block(name: str, overlaps: Mapping[tuple[str, str], int]) -> tuple[tuple[Section, ...], ...]:
    rows = tuple(f"{b if a == name else a}: {n}" for (a, b), n in overlaps.items() if name in (a, b))
    return ((Section(heading="overlap", rows=rows),),) if rows else ()
