"""A model graph <-> a tree: nodes, wiring, optimizer, no data.

It knows no file and no experiment. A graph's tree: ``graph`` (label, labels of the nodes, optimizer),
``nodes`` (how each is made) and ``featuresets``: of each one that feeds it, the columns that it reads, as
dtype and shape of a sample. Files add ``state`` (weights, moments, estimators, frozen flags) and
``initial_weights`` (what models began with).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from modularml.base.config import from_config, to_config
from modularml.base.errors import GraphError
from modularml.core.data.featureset import FeatureSet
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_node import ModelNode
from modularml.models import BaseModel
from modularml.models.torch import TorchModelWrapper


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
                read[label] = graph._absent[label]
                continue
            table = graph.ctx.get_node(ref, FeatureSet).table
            columns = {name: table.column(name) for name in ref.columns}
            found = {name: {"dtype": str(a.dtype), "shape": list(a.shape[1:])} for name, a in columns.items()}
            read.setdefault(label, {}).update(found)
    return read


def initial_weights(nodes: Iterable[Any]) -> dict[str, Any]:
    """Return the weights that each model began with, by the label of its node, if they are of its layers.

    Raises:
        InvalidValueError: If layers were changed after they were built, so that none could be made again.
    """
    models = {node.label: node.model for node in nodes if isinstance(node, ModelNode)}
    for model in models.values():
        model.check_made_again()
    found = {label: model.initial_weights for label, model in models.items() if model.is_as_built}
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
