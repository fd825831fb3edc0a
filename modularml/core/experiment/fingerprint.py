"""What a phase consumes, as a small plain tree: data, graph, settings.

It knows no history: two trees of one phase are compared elsewhere. What is small enough to be
said in words stands there as it is; arrays stand as digests, classes and functions of the user's
own by name and a digest of their source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modularml.base.config import to_config
from modularml.base.definitions import is_nameable, is_own
from modularml.base.errors import ModularMLError
from modularml.base.trees import digest, plain
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import FeatureSetReference
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.scope import Shared
from modularml.core.experiment.phases.phase import ExperimentPhase, active_graph
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.merge_node import MergeNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode
from modularml.io.digests import digests
from modularml.io.symbols import describe

Tree = dict[str, Any]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(phase: ExperimentPhase, shared: Shared | None = None) -> Tree:
    """Return what `phase` would consume if it ran now.

    Args:
        phase: The phase.
        shared: What the phases before it described already.

    Returns:
        ``data`` (by label of the FeatureSet: columns, rows of splits, scalers), ``graph`` (the
        nodes that take part, by label, and the optimizer) and ``phase`` (its settings, its losses
        and callbacks by label, its bindings by node).
    """
    shared = shared or Shared()
    tree = shared.again("fingerprint", phase._question, _without_callbacks, phase, shared)
    # Of the user's own classes, which nobody need be able to describe.
    callbacks = plain([_described(callback) for callback in phase.callbacks], _text)
    return {**tree, "phase": {**tree["phase"], "callbacks": callbacks}}


def _without_callbacks(phase: ExperimentPhase, shared: Shared) -> Tree:
    graph = active_graph(phase.ctx, repr(phase))
    nodes = {n.label: shared.once(("node", n.label), _node, n, graph) for n in phase.nodes(graph)}
    optimizer = shared.once("optimizer", lambda: plain(to_config(graph.optimizer), _text))
    return {
        "data": _data(phase.input_sources, phase.ctx, shared),
        "graph": {"optimizer": optimizer, "nodes": nodes},
        "phase": _settings(phase),
    }


def _data(bindings: list[InputBinding], ctx: ExperimentContext, shared: Shared) -> Tree:
    sources: dict[str, tuple[FeatureSet, dict[str, None], dict[str, None]]] = {}
    for binding in bindings:
        found = ctx.get_node(binding.upstream_ref, FeatureSet)
        _, columns, splits = sources.setdefault(found.label, (found, {}, {}))
        columns |= dict.fromkeys(binding.upstream_ref.columns)
        splits |= dict.fromkeys([binding.split] if binding.split is not None else [])
    return {
        label: shared.once(("data", label, *columns, None, *splits), _of_set, featureset, columns, splits)
        for label, (featureset, columns, splits) in sources.items()
    }


def _of_set(featureset: FeatureSet, columns: Mapping[str, None], splits: Mapping[str, None]) -> Tree:
    table = featureset.table
    known = set(table.columns).intersection(columns)
    arrays = {("columns", name): table.column(name) for name in columns if name in known}
    arrays |= {("splits", name): featureset.get_split(name).rows for name in splits if name in featureset}
    tree: Tree = {"n_samples": table.n_samples, "columns": {}, "splits": {}}
    for (kind, name), code in zip(arrays, digests(arrays.values()), strict=True):
        tree[kind][name] = code
    keys = {name.split(".")[1] for name in known}
    scalers = [
        {"label": "+".join(r.keys), "fit_split": r.fit_split, "scaler": to_config(r.scaler_obj)}
        for r in featureset.scaler_records
        if keys & set(r.keys)
    ]
    return tree | {"scalers": plain(scalers, _text)}


def _node(node: GraphNode, graph: ModelGraph) -> Tree:
    upstreams = [_upstream(ref, graph.ctx) for ref in node.upstream_refs]
    tree: Tree = {
        "kind": _text(type(node)),
        "upstream": ", ".join(upstreams),
        "frozen": node.frozen_by == "user",
    }
    if isinstance(node, MergeNode):
        return tree | {"settings": plain(node.settings(), _text)}
    if not isinstance(node, ModelNode):
        return tree
    return tree | {
        "model": plain(_described(node.model), _text),
        "initial weights": node.model.initial_digest,
        "optimizer": plain(to_config(node.optimizer), _text),
    }


def _upstream(ref: Any, ctx: ExperimentContext) -> str:
    label = ctx.get_node(ref).label if ctx.has_node(ref) else ref.node_label
    parts = ref.columns if isinstance(ref, FeatureSetReference) else filter(None, [ref.output])
    told = ", ".join(parts)
    return f"{label} ({told})" if told else str(label)


def _settings(phase: ExperimentPhase) -> Tree:
    config = phase.settings()
    bindings = {}
    for binding in phase.input_sources:
        node = phase.ctx.get_node(binding.node_ref).label
        name = node if node not in bindings else f"{node} from {binding.upstream_ref.node_label}"
        sampler = to_config(binding.sampler)
        bindings[name] = {"split": binding.split, "sampler": sampler and {**sampler, "show_progress": None}}
    for no_matter in ("compile", "checkpointing"):  # how fast, and what is kept, change no result
        config.pop(no_matter, None)
    return {"bindings": plain(bindings, _text), **plain(config, _text)}


def _described(thing: Any) -> Any:
    """Return the configuration of what can be described, and what else there is of it as it shows itself."""
    try:
        return to_config(thing)
    except ModularMLError:
        return {"label": getattr(thing, "label", ""), "type": type(thing), "shown": repr(thing)}


def _text(value: Any) -> str:
    if not is_nameable(value):
        return _ADDRESS.sub("", repr(value))
    symbol = describe(value) if is_own(value) else None
    if symbol is None or not symbol.source:
        return f"{value.__module__}.{value.__qualname__}"
    return f"{symbol.full_name} (source {digest(symbol.source.strip().encode()).partition(' ')[2]})"
