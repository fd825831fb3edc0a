"""A file -> its facts, read from the tree that it holds.

It knows no object of the library, only the trees that objects write, and makes nothing of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from modularml.base.errors import FileFormatError
from modularml.base.keywords import checked
from modularml.display.figures import format_shape
from modularml.display.spec import EdgeSpec, GraphSpec, NodeSpec
from modularml.inspection.facts import (
    Curve,
    DataFacts,
    FileFacts,
    NodeFacts,
    PhaseFacts,
    PlanFacts,
    Point,
    RunFacts,
    brief,
    type_name,
)
from modularml.io import codec
from modularml.io.archive import read_manifest
from modularml.io.names import existing
from modularml.io.symbols import Symbol

_UNSOUND = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


@checked
def inspect(path: str | os.PathLike[str]) -> FileFacts:
    """Look into a file without loading it: neither torch nor scikit-learn is needed.

    Args:
        path: A ``.mml`` file of any kind; its suffix may be left out.

    Raises:
        FileFormatError: If the file is cut short, changed or newer, or not what its kind says.
        OSError: If it is not there or cannot be read.
    """
    path = existing(path)
    manifest = read_manifest(path)
    tree = codec.load(path, manifest.kind, mmap=True, look=True)
    status = path.stat()
    try:
        held = _READERS.get(manifest.kind, _read_other)(tree)
    except _UNSOUND as error:
        raise FileFormatError(
            f"{path}: no whole {manifest.kind}: {type(error).__name__}: {error}."
        ) from error
    return FileFacts(
        path=path,
        kind=manifest.kind,
        format=manifest.format,
        versions=manifest.versions,
        n_bytes=status.st_size,
        n_members=len(manifest.members),
        modified_at=datetime.fromtimestamp(status.st_mtime).astimezone(),
        tree=tree,
        **held,
    )


def _read_experiment(tree: Any) -> dict[str, Any]:
    state, graph = tree["state"], tree["graph"]
    built = {**((state["graph"] or {}).get("nodes") or {}), **tree["spare_nodes"]}
    nodes = tuple(_node(_text(entry["label"]), entry, built[entry["label"]]) for entry in tree["nodes"])
    data = tuple(map(_data, tree["featuresets"]))
    members = [node for node in nodes if graph is not None and node.label in graph["nodes"]]
    return {
        "label": _text(tree["config"]["label"]),
        "data": data,
        "nodes": nodes,
        "plan": _plan(tree["config"]["plan"]),
        "runs": tuple(map(_run, state["history"])),
        "picture": _picture(_text(graph["label"] or ""), members, data) if members else None,
    }


def _read_model_graph(tree: Any) -> dict[str, Any]:
    graph, built = tree["graph"], tree["state"]["nodes"]
    nodes = tuple(_node(_text(entry["label"]), entry, built[entry["label"]]) for entry in tree["nodes"])
    data = tuple(
        DataFacts(
            label=_text(label),
            n_samples=None,
            columns={
                name: f"{column['dtype']} {_shape(column['shape'])}" for name, column in columns.items()
            },
            splits={},
        )
        for label, columns in tree["featuresets"].items()
    )
    label = _text(graph["label"])
    return {"label": label, "data": data, "nodes": nodes, "picture": _picture(label, nodes, data)}


def _columns(read: Any) -> dict[str, str]:
    return {
        _text(name): f"{_text(column['dtype'])} {_shape(column['shape'])}" for name, column in read.items()
    }


def _read_checkpoint(tree: Any) -> dict[str, Any]:
    built = (tree["state"]["graph"] or {}).get("nodes") or {}
    if not isinstance(tree["meta"], dict):
        raise TypeError(f"meta is {tree['meta']!r}")
    return {
        "label": _text(tree["name"]),
        "meta": tree["meta"],
        "nodes": tuple(_node(_text(label), None, entry) for label, entry in built.items()),
        "runs": tuple(map(_run, tree["state"].get("history", ()))),  # that of a graph has none
    }


def _read_run(tree: Any) -> dict[str, Any]:
    return {"label": _text(tree["run"]["label"]), "runs": (_run(tree["run"]),)}


def _read_feature_set(tree: Any) -> dict[str, Any]:
    data = _data(tree)
    return {"label": data.label, "data": (data,)}


def _read_other(tree: Any) -> dict[str, Any]:
    config = tree.get("config", tree) if isinstance(tree, dict) else None
    label = config.get("label") if isinstance(config, dict) else None
    if label is None and isinstance(config, dict) and "$type" in config:
        label = type_name(config["$type"])
    return {"label": label if isinstance(label, str) else None}


_READERS = {
    "experiment": _read_experiment,
    "checkpoint": _read_checkpoint,
    "feature_set": _read_feature_set,
    "model_graph": _read_model_graph,
    "run": _read_run,
}


def _data(entry: Any) -> DataFacts:
    columns, state = entry["state"]["table"]["columns"], entry["state"]
    sizes = {len(column) for column in columns.values()}
    if len(sizes) > 1:
        raise ValueError(f"columns have {sorted(sizes)} rows")
    return DataFacts(
        label=_text(entry["config"]["label"]),
        n_samples=max(sizes, default=0),
        columns={name: f"{column.dtype} {column.shape[1:]}" for name, column in columns.items()},
        splits={name: len(split["rows"]) for name, split in state["splits"]["splits"].items()},
    )


def _node(label: str, entry: Any, state: Any) -> NodeFacts:
    if "model" not in state:
        return _merge(label, entry, state)
    model = state["model"]
    refs = [] if entry is None else _refs(entry["upstream_ref"])
    weights = model.get("weights")
    return NodeFacts(
        label=label,
        model=None if entry is None else _model_name(entry["model"]),
        upstreams=None if entry is None else tuple(_text(ref["node_label"]) for ref in refs),
        input_shapes=_shapes(model["input_shape"], len(refs)),
        output_shape=_output_shape(model["output_shape"]),
        n_parameters=None if weights is None else sum(array.size for array in weights.values()),
        is_frozen=bool(state["frozen_by"]),
    )


def _refs(given: Any) -> list[Any]:
    """Return the references to what feeds a node: one, a list, or a dict of them by argument."""
    if isinstance(given, list | tuple):
        return list(given)
    return [given] if "node_label" in given else list(given.values())


def _shapes(shape: Any, n_inputs: int) -> tuple[tuple[int, ...] | None, ...]:
    is_several = shape is not None and any(isinstance(size, list | tuple) for size in shape)
    return tuple(map(_shape, shape)) if is_several else (_shape(shape),) * (n_inputs or 1)


def _merge(label: str, entry: Any, state: Any) -> NodeFacts:
    config = None if entry is None else entry["node"]
    refs = [] if config is None else config["upstream_refs"]
    return NodeFacts(
        label=label,
        model=None if config is None else type_name(config["$type"]),
        upstreams=None if config is None else tuple(_text(ref["node_label"]) for ref in refs),
        input_shapes=tuple(map(_shape, state["input_shapes"] or [None] * len(refs))),
        output_shape=_shape(state["output_shape"]),
        n_parameters=None,
        is_frozen=bool(state["frozen_by"]),
        merges=True,
    )


def _model_name(config: Any) -> str:
    """Return the class of a model, or of what a wrapper wraps."""
    inner = config.get("model_class") or config.get("model")
    inner = inner["class"] if isinstance(inner, dict) and "class" in inner else inner
    return inner.short_name if isinstance(inner, Symbol) else type_name(config["$type"])


def _plan(config: Any) -> PlanFacts:
    label, kind = _text(config["label"]), type_name(config["$type"])
    if "phases" in config:
        return PlanFacts(label=label, kind=kind, details=(), entries=tuple(map(_plan, config["phases"])))
    given = {key: value for key, value in config.items() if value is not None and value != []}
    details = []
    for binding in given.pop("input_sources", []):
        split = "" if binding["split"] is None else f", split {brief(binding['split'])}"
        sampler = "" if binding["sampler"] is None else f", by {brief(_chosen(binding['sampler']))}"
        ends = [brief(binding[ref]["node_label"]) for ref in ("upstream_ref", "node_ref")]
        details.append(f"{' → '.join(ends)}{split}{sampler}")
    for loss in given.pop("losses", []):
        function = loss["loss"]["loss"] or loss["loss"]["factory"]
        details.append(f"loss {brief(loss['label'])}: {brief(function)} on {brief(loss['on'])}")
    details += [f"{key}: {brief(value)}" for key, value in given.items() if key not in ("label", "$type")]
    return PlanFacts(label=label, kind=kind, details=tuple(details), entries=None)


def _chosen(config: Any) -> dict[str, Any]:
    """Return a configuration without what is off, for one line."""
    return {key: value for key, value in config.items() if value not in (None, False)}


def _run(state: Any) -> RunFacts:
    results = state["results"]
    return RunFacts(
        label=_text(state["label"]),
        id=_text(state["id"]),
        status=_text(state["status"]),
        error=None if state["error"] is None else _text(state["error"]),
        started_at=_time(state["started_at"]),
        ended_at=_time(state["ended_at"]),
        phases=tuple(map(_phase, state["phases"])),
        curves=() if results is None else tuple(_curves(results, ())),
    )


def _phase(state: Any) -> PhaseFacts:
    return PhaseFacts(
        path=_below_root([_text(label) for label in state["path"]]),
        kind=_text(state["kind"]),
        status=_text(state["status"]),
        started_at=_time(state["started_at"]),
        ended_at=_time(state["ended_at"]),
    )


def _below_root(path: Sequence[str]) -> str:
    return "/".join(path[1:] or path)


def _curves(results: Any, above: tuple[str, ...]) -> Iterator[Curve]:
    path = (*above, _text(results["label"]))
    if "entries" in results:
        for entry in results["entries"]:
            yield from _curves(entry, path)
        return
    recording, phase = results["recording"], _below_root(path)
    ends = np.cumsum(recording["n_batches"], dtype=np.int64)[:-1]
    epochs = zip(np.split(recording["losses"], ends), np.split(recording["n_samples"], ends), strict=True)
    with np.errstate(all="ignore"):  # of losses that went out of bounds
        means = [
            (i, np.average(losses, axis=0, weights=n_samples).tolist())
            for i, (losses, n_samples) in enumerate(epochs)
            if len(losses)
        ]
    for column, name in enumerate(recording["loss_nodes"]):
        points = tuple((epoch, None, float(mean[column])) for epoch, mean in means)
        yield Curve(phase=phase, name=_text(name), points=points)
    for name, entries in recording["metrics"].items():
        yield Curve(phase=phase, name=_text(name), points=tuple(map(_point, entries)))


def _point(entry: Any) -> Point:
    epoch, batch, value = entry
    return int(epoch), None if batch is None else int(batch), float(value)


def _picture(title: str, nodes: Sequence[NodeFacts], data: Sequence[DataFacts]) -> GraphSpec:
    """Draw nodes as a live graph draws them: first the nodes, then the data, then the outputs."""
    feeding = {label for node in nodes for label in node.upstreams or ()}
    sources = [entry for entry in data if entry.label in feeding]
    boxes = [_node_box(f"n{i}", node) for i, node in enumerate(nodes)]
    boxes += [_data_box(f"n{len(nodes) + i}", entry) for i, entry in enumerate(sources)]
    box_of = {str(box.name): box.id for box in boxes}
    arrows: list[tuple[str, str, Any]] = []
    for node in nodes:
        for upstream, shape in zip(node.upstreams or (), node.input_shapes, strict=True):
            arrows.append((box_of[upstream], box_of[node.label], shape))
        if node.label not in feeding:
            boxes.append(NodeSpec(id=f"n{len(boxes)}", kind="OutputTerminal", shape="circle"))
            arrows.append((box_of[node.label], boxes[-1].id, node.output_shape))
    edges = tuple(
        EdgeSpec(id=f"e{i}", source=source, target=target, label=format_shape(shape))
        for i, (source, target, shape) in enumerate(arrows)
    )
    return GraphSpec(title=title, nodes=tuple(boxes), edges=edges)


def _node_box(box_id: str, node: NodeFacts) -> NodeSpec:
    if node.merges:
        return NodeSpec(id=box_id, kind="MergeNode", title=node.model or "MergeNode", name=node.label)
    kind = "ModelNodeFrozen" if node.is_frozen else "ModelNode"
    return NodeSpec(id=box_id, kind=kind, title="ModelNode", name=node.label, note=f"<{node.model}>")


def _data_box(box_id: str, data: DataFacts) -> NodeSpec:
    splits = [f"splits: {', '.join(data.splits)}"] if data.splits else []
    lines = (*([] if data.n_samples is None else [f"n={data.n_samples}"]), *splits)
    return NodeSpec(id=box_id, kind="FeatureSet", title="FeatureSet", name=data.label, lines=lines)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _time(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{value!r} is not a time")
    return value


def _output_shape(value: Any) -> tuple[int, ...] | dict[str, tuple[int, ...]] | None:
    if not isinstance(value, dict):
        return _shape(value)
    return {_text(name): _shape(of) or () for name, of in value.items()}


def _shape(value: Any) -> tuple[int, ...] | None:
    return None if value is None else tuple(int(size) for size in value)
