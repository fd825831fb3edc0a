"""The files that hold a model graph, and those that hold its state alone.

It knows no experiment. What a file adds to a graph's tree is ``state`` and ``initial_weights``; see
`graph_tree`. The tree of a checkpoint is ``name``, ``meta`` and ``state``, of which a graph's
has the key ``graph`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modularml.base.errors import FileFormatError
from modularml.core.context import ExperimentContext, staging
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.topology.graph_entrance import check_columns, enter
from modularml.core.topology.graph_tree import initial_weights, make_graph, set_initial_weights, tree_of
from modularml.io import codec
from modularml.io.names import SUFFIXES
from modularml.io.objects import no_surprises
from modularml.io.yaml import load_yaml, save_yaml


def save_graph(graph: Any, path: str | Path, *, overwrite: bool) -> Path:
    """Write a graph and its state to a file; see `ModelGraph.save`."""
    initial = initial_weights(graph.nodes.values())
    tree = tree_of(graph) | {"state": graph.get_state(), "initial_weights": initial}
    return codec.save(path, "model_graph", tree, overwrite=overwrite)


def load_graph(cls: Any, path: str | Path, *, overwrite: bool, symbols: Mapping[str, Any] | None) -> Any:
    """Read a graph into the active context; see `ModelGraph.load`."""
    ctx = ExperimentContext.get_active()
    tree = codec.load(path, "model_graph", symbols=symbols)
    with staging() as staged:
        with no_surprises(path, "model_graph"):
            graph = _graph_in(staged, cls, tree)
            check_columns(tree["featuresets"], ctx, f"ModelGraph {graph.label!r} of {str(path)!r}")
            graph.set_state(tree["state"])
            set_initial_weights({n.label: n for n in graph.nodes.values()}, tree["initial_weights"])
        return enter(graph, ctx, overwrite=overwrite)


def save_as_yaml(graph: Any, path: str | Path, *, overwrite: bool) -> Path:
    """Write how a graph is made to a YAML file; see `ModelGraph.to_yaml`."""
    return save_yaml(path, tree_of(graph), overwrite=overwrite)


def graph_of_yaml(cls: Any, path: str | Path, *, symbols: Mapping[str, Any] | None) -> Any:
    """Make the graph of a YAML file in the active context; see `ModelGraph.from_yaml`."""
    tree = load_yaml(path, symbols=symbols)
    with no_surprises(path, "model_graph"):
        return graph_of_tree(cls, tree, repr(str(path)))


def graph_of_tree(cls: Any, tree: Mapping[str, Any], where: str) -> Any:
    """Make the graph of a tree without a state in the active context; it is built if its data are there.

    Args:
        cls: The class of graphs.
        tree: What `tree_of` returned.
        where: The file, for messages.
    """
    ctx = ExperimentContext.get_active()
    with staging() as staged:
        graph = _graph_in(staged, cls, tree)
        check_columns(tree["featuresets"], ctx, f"ModelGraph {graph.label!r} of {where}")
        entered = enter(graph, ctx, overwrite=False)
    if all(ctx.has_node(label) for label in tree["featuresets"]):
        entered.build()
    return entered


def _graph_in(staged: ExperimentContext, cls: Any, tree: Mapping[str, Any]) -> Any:
    """Make a graph in a context of its own, in which empty sets stand for the data."""
    sets = tree["featuresets"]
    with staged.temporary():
        for label, columns in sets.items():
            arrays = {
                name: np.empty((0, *column["shape"]), column["dtype"]) for name, column in columns.items()
            }
            FeatureSet(label, SampleCollection.of_arrays(arrays))
        graph = make_graph(cls, tree)
    graph._absent = {label: dict(columns) for label, columns in sets.items()}
    return graph


def save_checkpoint(graph: Any, path: str | Path, *, overwrite: bool, meta: Mapping[str, Any] | None) -> Path:
    """Write the state of a graph; see `ModelGraph.save_checkpoint`."""
    name = Path(path).name.removesuffix(SUFFIXES["checkpoint"])
    tree = {"name": name, "meta": dict(meta or {}), "state": {"graph": graph.get_state()}}
    return codec.save(path, "checkpoint", tree, overwrite=overwrite)


def restore_checkpoint(graph: Any, path: str | Path) -> None:
    """Put a graph back into the state of a checkpoint, its own or an experiment's; else change nothing."""
    tree = codec.load(path, "checkpoint")
    with no_surprises(path, "checkpoint"):
        state = tree["state"]["graph"]
        if state is None:
            raise FileFormatError(f"{str(path)!r} is a checkpoint of an experiment without a graph.")
        before = graph.get_state()
        try:
            graph.set_state(state)
        except BaseException:
            graph.set_state(before)
            raise
