"""A model graph <-> a tree, and the files that hold one: nodes, wiring, optimizer, weights, no data.

It knows no experiment. A graph's tree: ``graph`` (label, labels of the nodes, optimizer), ``nodes``
(how each is made), ``state`` (weights, moments, estimators, frozen flags), ``initial_weights`` (what
models began with) and ``featuresets``: of each one that feeds it, the columns that it reads, as dtype
and shape of a sample. The tree of a checkpoint is ``name``, ``meta`` and ``state``, of which a graph's
has the key ``graph`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modularml.base.config import from_config, to_config
from modularml.base.errors import Faults, FileFormatError, GraphError, unknown_name
from modularml.core.context import ExperimentContext, staging
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.topology.graph_entrance import enter
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_node import ModelNode
from modularml.display.notice import notice
from modularml.io import codec
from modularml.io.names import SUFFIXES
from modularml.io.objects import no_surprises
from modularml.io.yaml import load_yaml, save_yaml
from modularml.models import BaseModel
from modularml.models.torch import TorchModelWrapper

Columns = Mapping[str, Mapping[str, Any]]

# -- as a tree -------------------------------------------------------------------------


def node_configs(nodes: Iterable[Any]) -> list[dict[str, Any]]:
    """Return how nodes were made; a node that shares its module with one before names it, as ``shares``."""
    found: list[dict[str, Any]] = []
    owners: dict[int, str] = {}
    for node in nodes:
        if not isinstance(node, GraphNode):
            continue
        config = _node_config(node)
        if isinstance(node, ModelNode):
            first = owners.setdefault(id(_shareable(node.model)), node.label)
            if first != node.label:
                config["shares"] = first
        found.append(config)
    return found


def _shareable(model: BaseModel) -> Any:
    """Return what is one and the same in nodes that share weights: the module that was handed over."""
    module = model.model if isinstance(model, TorchModelWrapper) else None
    return model if module is None else module


def _check_shared(graph: Any) -> None:
    """Raise if nodes share parameters without sharing their modules, which no tree tells."""
    modules = {
        node.label: _shareable(node.model) for node in graph.nodes.values() if isinstance(node, ModelNode)
    }
    holders: dict[int, str] = {}
    for label, module in modules.items():
        for name, parameter in module.named_parameters() if isinstance(module, torch.nn.Module) else ():
            other = holders.setdefault(id(parameter), label)
            if modules[other] is not module:
                raise GraphError(
                    f"The nodes {other!r} and {label!r} of ModelGraph {graph.label!r} share the parameter "
                    f"{name!r}, but not their modules, and a file would part them. Give both one module, or "
                    "make what they share a node of its own."
                )


def _node_config(node: GraphNode) -> dict[str, Any]:
    """Return how a node was made, upstreams as references."""
    if not isinstance(node, ModelNode):
        return {"label": node.label, "node": to_config(node)}
    return {
        "label": node.label,
        "node_id": node.node_id,
        "model": to_config(node.model),
        "upstream_ref": to_config(node.upstream_ref),
        "optimizer": to_config(node.optimizer),
        "accelerator": to_config(node.accelerator),
    }


def graph_config(graph: Any) -> dict[str, Any]:
    """Return how a graph was made, nodes by label.

    Raises:
        GraphError: If nodes share parts of their modules, which files do not tell.
    """
    _check_shared(graph)
    return {
        "label": graph.label,
        "nodes": graph.node_labels,
        "optimizer": to_config(graph.optimizer),
        "compile": graph.compile,
    }


def tree_of(graph: Any) -> dict[str, Any]:
    """Return a graph as a tree without its state."""
    return {
        "graph": graph_config(graph),
        "nodes": node_configs(graph.nodes.values()),
        "featuresets": _columns_read(graph),
    }


def _columns_read(graph: Any) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for node in graph.nodes.values():
        for ref in node.featureset_refs:
            label = graph.ctx.label_of(ref)
            if not graph.ctx.has_node(ref):
                read[label] = graph.absent[label]
                continue
            table = graph.ctx.get_node(ref, FeatureSet).table
            columns = {name: table.column(name) for name in ref.columns}
            found = {name: {"dtype": str(a.dtype), "shape": list(a.shape[1:])} for name, a in columns.items()}
            read.setdefault(label, {}).update(found)
    return read


def initial_weights(nodes: Iterable[Any]) -> dict[str, Any]:
    """Return the weights that each model began with, by the label of its node."""
    models = {node.label: node.model for node in nodes if isinstance(node, ModelNode)}
    found = {label: model.initial_weights for label, model in models.items()}
    return {label: weights for label, weights in found.items() if weights}


def set_initial_weights(nodes: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    """Let models begin again, when they are told to, with the weights that they began with elsewhere."""
    for label, found in weights.items():
        nodes[label].model.initial_weights = found


def make_graph(cls: Any, tree: Mapping[str, Any]) -> Any:
    """Make the nodes and the graph of a tree, not built, in the active context; it must have the data.

    Args:
        cls: The class of graphs.
        tree: ``nodes`` and ``graph``; the latter may be None.
    """
    nodes: dict[str, ModelNode] = {}
    for entry in tree["nodes"]:
        shared = nodes[entry["shares"]].model if "shares" in entry else None
        made = {name: from_config(value) for name, value in entry.items() if name not in ("shares", "model")}
        if "node" not in made:
            nodes[entry["label"]] = ModelNode(model=_model_of(entry["model"], shared), **made)
    return None if tree["graph"] is None else cls(**from_config(tree["graph"]))


def _model_of(config: Mapping[str, Any], shared: BaseModel | None) -> BaseModel:
    """Return the model of a node; of one that shares with another, the other's or a wrapper of its module."""
    if isinstance(shared, TorchModelWrapper) and shared.model is not None:
        return TorchModelWrapper.from_config(
            {name: value for name, value in config.items() if name != "$type"} | {"model": shared.model}
        )
    model: BaseModel = from_config(config) if shared is None else shared
    return model


# -- in files --------------------------------------------------------------------------


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
    graph.absent = {label: dict(columns) for label, columns in sets.items()}
    return graph


def check_columns(read: Mapping[str, Columns], ctx: ExperimentContext, where: str) -> None:
    """Raise unless the FeatureSets that are there have the columns that a graph reads, and tell of others.

    Raises:
        GraphError: If columns are missing or of another shape; all of them are told.
    """
    faults = Faults(where)
    for label, columns in read.items():
        featureset = ctx.nodes.get(label)
        if not isinstance(featureset, FeatureSet):
            listed = ", ".join(f"{name} {tuple(column['shape'])}" for name, column in columns.items())
            notice(
                "Missing FeatureSet",
                f"The loaded ModelGraph reads FeatureSet {label!r} ({listed}), which is not in the active "
                "ExperimentContext. It predicts from arrays; to train it, make that FeatureSet.",
            )
            continue
        for name, column in columns.items():
            place = f"FeatureSet {label!r}"
            if name not in featureset.columns:
                faults.add(GraphError(unknown_name("column", name, featureset.columns, where=place)))
                continue
            shape, known = featureset.table.column(name).shape[1:], tuple(column["shape"])
            if shape != known:
                faults.add(
                    GraphError(f"the column {name!r} of {place} has the shape {shape}; it reads {known}.")
                )
    faults.raise_if_any()


# -- checkpoints -----------------------------------------------------------------------


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
