"""An experiment <-> its files: which objects go into the tree, and how they come back.

It knows no bytes: `modularml.io` writes and reads trees.

An experiment's tree: ``config`` (label, plan, ...), ``state`` (weights, optimizers, random
numbers, history), ``featuresets``, ``nodes``, ``graph``, and ``spare_nodes``: the states of
those that are not in the graph, and ``initial_weights``: what models began with, by node, as a fresh
run and the folds of a cross-validation begin with it again. A checkpoint's tree: ``name``,
``meta`` and ``state``, in which the history has no tensors: what runs gave is in the
experiment's file, and no checkpoint is in another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modularml.backends.torch import uncopied
from modularml.base.errors import StateError
from modularml.base.registration import RegistrationPolicy
from modularml.core import cells
from modularml.core.context import ExperimentContext, staging
from modularml.core.data import entrance
from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment.checkpoint_store import moved
from modularml.core.experiment.host import Host
from modularml.core.topology import graph_entrance, graph_file, graph_state, graph_tree
from modularml.core.topology.graph_node import GraphNode
from modularml.core.topology.model_graph import ModelGraph
from modularml.display.notice import notice
from modularml.io import codec
from modularml.io.names import existing
from modularml.io.objects import no_surprises
from modularml.io.yaml import load_yaml, save_yaml


def save_experiment(experiment: Host, path: str | Path, *, overwrite: bool) -> Path:
    """Write an experiment and everything it needs to one file."""
    with uncopied():
        tree = tree_of(experiment)
    return codec.save(path, "experiment", tree, overwrite=overwrite)


NOTHING = {"progress": None, "outside": None, "point": None, "checkpoint": None}
"""What an experiment has that no run was begun of."""


def tree_of(experiment: Host, *, history: bool = True) -> dict[str, Any]:
    """Return an experiment and everything it needs as a tree.

    Args:
        experiment: The experiment.
        history: Include its runs.
    """
    ctx: ExperimentContext = experiment.ctx
    nodes = list(ctx.nodes.values())
    state = experiment.get_state(tensors=history)
    return {
        "config": experiment.get_config(),
        "state": state if history else state | {"history": [], "unfinished": NOTHING},
        "featuresets": [
            {"config": fs.get_config(), "state": fs.get_state()} for fs in nodes if isinstance(fs, FeatureSet)
        ],
        "nodes": graph_tree.node_configs(nodes),
        "spare_nodes": _spare_states(ctx),
        "initial_weights": graph_tree.initial_weights(nodes),
        "graph": None if ctx.model_graph is None else graph_tree.graph_config(ctx.model_graph),
    }


def experiment_of(cls: Any, tree: Mapping[str, Any], ctx: ExperimentContext) -> Any:
    """Make the experiment of a tree in a context, which must be empty."""
    with ctx.temporary():
        _stage(ctx, tree)
        experiment = cls.from_config(tree["config"], ctx=ctx)
    experiment.set_state(tree["state"])
    return experiment


def load_experiment(
    cls: Any,
    path: str | Path,
    *,
    checkpoint_dir: str | Path | None,
    overwrite: bool,
    symbols: Mapping[str, Any] | None,
) -> tuple[Any, dict[str, str]]:
    """Read an experiment into the active context; all is made before anything is replaced.

    Returns:
        The experiment, and those of its checkpoints that were not found: name -> former file.
    """
    path = existing(path, ["experiment"])
    ctx = ExperimentContext.get_active()
    former = ctx.experiment
    is_again = former is not None and cells.is_again(cells.maker(former))
    if former is not None and not overwrite and not is_again:
        raise StateError(
            f"The active context belongs to the experiment {ctx.experiment.label!r}. Use overwrite=True "
            "to load over it, or activate another context: ExperimentContext().activate()."
        )
    if ctx.experiment is not None and ctx.experiment.is_running:
        raise StateError(f"Experiment {ctx.experiment.label!r} is running; nothing can be loaded over it.")
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    tree = codec.load(path, "experiment", symbols=symbols)
    with staging() as staged:
        with no_surprises(path, "experiment"):
            # Only to see that it can be made; the one to keep is made in the context to keep.
            experiment_of(cls, tree, staged)
        _adopt(ctx, staged)
    with ctx.use_policy(RegistrationPolicy.OVERWRITE):
        experiment = cls.from_config(tree["config"] | {"registration_policy": None}, ctx=ctx)
    ctx.set_registration_policy(tree["config"]["registration_policy"])
    checkpoints = _found_checkpoints(tree["state"]["checkpoints"], folder)
    experiment.set_state(tree["state"] | {"checkpoints": checkpoints})
    absent = {n: path for n, path in tree["state"]["checkpoints"].items() if n not in checkpoints}
    if is_again and former is not None:
        known = {run.id for run in experiment.history}
        lost = sum(run.id not in known for run in former.history)
        if lost:
            runs = "1 run" if lost == 1 else f"{lost} runs"
            notice(None, f"The history is that of the file again, without {runs} that it does not hold.")
    cells.define(experiment, "loaded", experiment.label)
    return experiment, absent


def save_as_yaml(experiment: Host, path: str | Path, *, overwrite: bool) -> Path:
    """Write how an experiment is made to a YAML file; see `Experiment.to_yaml`."""
    graph = None if experiment.model_graph is None else graph_tree.tree_of(experiment.model_graph)
    return save_yaml(path, {"config": experiment.get_config(), "model_graph": graph}, overwrite=overwrite)


def experiment_of_yaml(cls: Any, path: str | Path, *, symbols: Mapping[str, Any] | None) -> Any:
    """Make the experiment of a YAML file in the active context; see `Experiment.from_yaml`."""
    ctx = ExperimentContext.get_active()
    if ctx.experiment is not None:
        raise StateError(
            f"The active context belongs to the experiment {ctx.experiment.label!r}. Activate another "
            "one, with the FeatureSets that are needed: ExperimentContext().activate()."
        )
    tree = load_yaml(path, symbols=symbols)
    with no_surprises(path, "experiment"):
        config, graph = tree["config"], tree["model_graph"]
        if graph is not None:
            graph_file.graph_of_tree(ModelGraph, graph, repr(str(path)))
        return cls.from_config(config)


def checkpoint_of(
    experiment: Host, path: Path, name: str, meta: Mapping[str, Any], *, at_once: bool
) -> Callable[[], Path]:
    """Return what writes the present state of an experiment; `path` is replaced if it is there.

    Args:
        experiment: The experiment.
        path: The file.
        name: The name of the checkpoint.
        meta: Plain facts to keep with it.
        at_once: It is written before anything goes on; else the state is copied first.
    """
    with uncopied() if at_once else contextlib.nullcontext():
        state = experiment.get_state(tensors=False)
    for own in ("checkpoints", "best_checkpoints"):
        del state[own]
    state["unfinished"]["checkpoint"] = None
    tree = {"name": name, "meta": dict(meta), "state": state}
    return codec.prepared(path, "checkpoint", tree, overwrite=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the tree of a checkpoint."""
    tree: dict[str, Any] = codec.load(path, "checkpoint")
    return tree


def restore_checkpoint(experiment: Host, path: Path) -> bool:
    """Put an experiment back into the state of a checkpoint.

    Returns:
        Whether it was one of an experiment; that of a graph changes the graph alone.
    """
    tree = read_checkpoint(path)
    checkpoints = {name: str(found) for name, found in experiment.available_checkpoints.items()}
    with no_surprises(path, "checkpoint"):
        is_whole = tree["state"].keys() != {"graph"}
        kept = {} if is_whole else experiment.get_state(tensors=False)
        best = experiment.best_checkpoints
        present = {"checkpoints": checkpoints, "best_checkpoints": best}
        experiment.set_state({**kept, **tree["state"], **present})
    return is_whole


def _spare_states(ctx: ExperimentContext) -> dict[str, Any]:
    """Return the states of the nodes that are not in the graph; those of the others are in its state."""
    members = [] if ctx.model_graph is None else ctx.model_graph.node_labels
    return {
        label: graph_state.state_of(node)
        for label, node in ctx.nodes.items()
        if isinstance(node, GraphNode) and label not in members
    }


def _stage(staged: ExperimentContext, tree: Mapping[str, Any]) -> None:
    """Make data, nodes and graph of a tree in a context of their own."""
    for entry in tree["featuresets"]:
        FeatureSet.from_config(entry["config"]).set_state(entry["state"])
    graph = graph_tree.make_graph(ModelGraph, tree)
    for label, state in tree["spare_nodes"].items():
        graph_state.put_back(staged.get_node(label, GraphNode), state)
    if graph is not None:
        graph.set_state(tree["state"]["graph"])
    graph_tree.set_initial_weights(staged.nodes, tree["initial_weights"])


def _adopt(ctx: ExperimentContext, staged: ExperimentContext) -> None:
    """Move what was loaded to a context, sparing what is there already, and say what happened."""
    before = ctx.model_graph
    same_graph = before is not None and before == staged.model_graph
    for node in staged.nodes.values():
        present = ctx.nodes.get(node.label)
        if present is not None and isinstance(node, FeatureSet) and node == present:
            entrance.tell_identical(present)
            ctx.keep(present)
            continue
        if present is not None:
            graph_entrance.tell_node_replaced(present, node)
        node._move_to(ctx)
    if staged.model_graph is None:
        ctx.remove_model_graph()
    elif same_graph:
        graph_entrance.tell_identical(before)
    else:
        if before is not None:
            graph_entrance.tell_replaced(before, staged.model_graph)
        staged.model_graph._move_to(ctx)


def _found_checkpoints(saved: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """Return the checkpoints of a loaded experiment that are in `folder`."""
    if not saved:
        return {}
    if folder is None:
        notice(
            None,
            f"The serialized experiment contains {len(saved)} checkpoint(s), but no `checkpoint_dir` was "
            "given, so they cannot be restored by name. Name the folder that they are in: "
            "Experiment.load(..., checkpoint_dir=...) or exp.set_checkpoint_dir(...).",
        )
        return {}
    paths = moved(saved, folder)
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        notice("Missing checkpoints", f"{missing} are not in {str(folder)!r}.", "WARNING")
    return {name: str(path) for name, path in paths.items() if path.is_file()}
