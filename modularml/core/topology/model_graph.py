"""A directed acyclic graph of nodes, built by shape inference.

It knows no phases, batches or losses: it says which node follows which, in which
shapes, and holds the optimizer of the whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from modularml.backends.backend import Backend
from modularml.base.errors import (
    Faults,
    GraphError,
    InvalidTypeError,
    StateError,
    UnknownNameError,
    check_label,
    unknown_name,
)
from modularml.base.keywords import checked_keywords
from modularml.base.rows import check_flag
from modularml.core import cells
from modularml.core.context import ExperimentContext
from modularml.core.data.batch import Batch
from modularml.core.data.reference import GraphNodeReference
from modularml.core.topology import (
    building,
    editing,
    graph_file,
    graph_state,
    optimizers,
    prediction,
    structure,
)
from modularml.core.topology.diagram import graph_spec
from modularml.core.topology.graph_node import GraphNode, UpstreamReference
from modularml.core.topology.merge_node import MergeNode
from modularml.core.topology.model_node import ModelNode
from modularml.core.topology.summary import GraphSummary
from modularml.core.training.optimizer import Optimizer, as_optimizer
from modularml.display.diagram import Diagram
from modularml.display.live import pin_live_view

Asked = GraphNode | GraphNodeReference | str
"""What may be asked for: a node, by itself or its label, or one of its outputs."""


@checked_keywords
class ModelGraph:
    """The model of an experiment: nodes, how they are connected, and their optimizer.

    Args:
        nodes: Nodes or their labels; None takes every node registered so far.
        optimizer: One optimizer for all torch nodes, its name or its class. Without it each node is trained
            by the optimizer of its own.
        label: Its name.
        ctx: The context to look labels up in; None is the active one.
        register: Make it the model graph of that context.
        compile: Let the phases that train it compile their steps, where they do not say; see `TrainPhase`.

    Raises:
        GraphError: If there are no nodes, a label stands twice, an upstream is neither a node
            of the graph nor a FeatureSet of the experiment, or the nodes form a cycle.
        InvalidTypeError: If `nodes` is no list of nodes, or the optimizer is none.
        UnknownNameError: If a label names no registered node.
        DuplicateLabelError: If the context has a graph and its policy is ``"raise"``.
    """

    _fixed = ("ctx",)
    _elsewhere: ClassVar[Mapping[str, str]] = {
        "fit train": (
            "A phase does: exp.run_phase(TrainPhase.from_split('train', split='train', losses='mse'))."
        ),
        "evaluate score": (
            "A phase does: exp.run_phase(EvalPhase.from_split('test', split='test', losses='mse'))."
        ),
        "train_step eval_step fit_step": "A phase does that: exp.run_phase(phase).",
        "eval": "Phases set what training and evaluation need, and this evaluates: graph.predict(new).",
        "parameters state_dict": "Each module has its own: graph.nodes['mlp'].module.state_dict().",
        "to cuda device": "Say where phases compute: exp.accelerator = 'cuda'.",
        "lr learning_rate": "The optimizer has it: Optimizer('adam', opt_kwargs={'lr': 0.001}).",
    }

    def __init__(
        self,
        nodes: Sequence[GraphNode | str] | None = None,
        optimizer: Optimizer | str | Callable[..., Any] | None = None,
        label: str = "model-graph",
        *,
        ctx: ExperimentContext | None = None,
        register: bool = True,
        compile: bool = False,
    ) -> None:
        self.label = check_label(label, "ModelGraph")
        self.ctx = ctx or ExperimentContext.get_active()
        faults = Faults(f"ModelGraph {label!r}")
        self._optimizer = None if optimizer is None else faults.attempt(as_optimizer, optimizer)
        self._compile = faults.attempt(check_flag, compile, "compile")
        faults.raise_if_any()
        self._absent: dict[str, Any] = {}  # what a loaded graph reads of FeatureSets that may not be there
        self._was_built = False
        self._added_in: dict[str, cells.Cell | None] = {}
        self._built_with: dict[str, tuple[UpstreamReference, ...]] = {}
        if nodes is None:
            nodes = [node for node in self.ctx.nodes.values() if isinstance(node, GraphNode)]
        if isinstance(nodes, str) or not isinstance(nodes, Iterable):
            raise InvalidTypeError(f"ModelGraph {label!r}: nodes must be a list of nodes, got {nodes!r}.")
        self._refs = [self.ctx.get_node(node, GraphNode).reference() for node in nodes]
        self._check_nodes()
        if register:
            self.ctx.register_model_graph(self)

    @classmethod
    def chain(
        cls,
        source: Any,
        models: Mapping[str, Any] | Sequence[Any],
        optimizer: Any = None,
        label: str = "model-graph",
        *,
        compile: bool = False,
    ) -> Self:
        """Make and build a graph of models one behind the other.

        Args:
            source: What feeds the first: a `FeatureSet` or ``fs.reference(...)``.
            models: Label of each node -> its model; or the models alone, whose nodes are called
                as their classes are.
            optimizer: One optimizer, or its name, for all torch nodes.
            label: The name of the graph.
            compile: Let phases compile their steps.

        Raises:
            GraphError: If there are no models, or one does not take the shape that reaches it.
            InvalidTypeError: If a model, the source or the optimizer is of a wrong type. After an error
                none of the nodes is there.
        """
        if isinstance(models, str) or not isinstance(models, Mapping | Sequence):
            raise InvalidTypeError(f"ModelGraph {label!r}: models must be a list or a dict, got {models!r}.")
        named = models if isinstance(models, Mapping) else _named_by_class(models)
        nodes: list[GraphNode | str] = []
        with ExperimentContext.get_active().none_left_on_error():
            for name, model in named.items():
                source = ModelNode(name, model, source)
                nodes.append(source)
            return cls(nodes, optimizer, label, compile=compile).build()

    def _check_nodes(self) -> None:
        faults = Faults(f"ModelGraph {self.label!r}")
        labels = self.node_labels
        if not labels:
            faults.add(GraphError("it needs at least one node, and no node is registered yet."))
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            faults.add(GraphError(f"the node {label!r} is given twice."))
        for node in self._members():
            for source in node.featureset_refs:
                faults.attempt(building.featureset_of, source, node, self.ctx)
            for ref in node.node_refs:
                if not self.ctx.has_node(ref) or self.ctx.get_node(ref).label not in labels:
                    missing = unknown_name("upstream", ref.node_label, labels, where=repr(node))
                    faults.add(GraphError(f"{missing} Every node that feeds another must be in `nodes`."))
        faults.raise_if_any()
        self.topological_nodes()

    def _assigned(self, name: str, value: Any) -> Any:
        return check_label(value, "ModelGraph") if name == "label" else value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a graph with nodes, weights and optimizers of its own, in a context of its own.

        The FeatureSets that feed it are the same ones. It can be built, run on new data, compared,
        and trained by an experiment of its own: ``Experiment("copy", ctx=copied.ctx)``.
        """
        if id(self.ctx) not in memo:
            refs = [ref for node in self._members() for ref in node.featureset_refs]
            ctx = self.ctx.copied(memo, [self.ctx.get_node(ref) for ref in refs], self._members())
            made = copy.deepcopy(self, memo)
            ctx.register_model_graph(made)
            return made
        made = object.__new__(type(self))
        memo[id(self)] = made
        vars(made).update(copy.deepcopy(vars(self), memo))
        return made

    @property
    def optimizer(self) -> Optimizer | None:
        """What trains all torch nodes together; a new one counts from the next phase on."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer | str | Callable[..., Any] | None) -> None:
        self._optimizer = None if optimizer is None else as_optimizer(optimizer)

    @property
    def compile(self) -> bool:
        """Whether phases that do not say otherwise compile their steps."""
        return bool(self._compile)

    @compile.setter
    def compile(self, compile: bool) -> None:
        self._compile = check_flag(compile, "compile")

    # The text of print() is the plain object's; repr() is the stable one.
    __str__ = object.__repr__

    def __repr__(self) -> str:
        return f"ModelGraph(label={self.label!r}, nodes={self.node_labels})"

    # -- structure ---------------------------------------------------------------

    @property
    def nodes(self) -> dict[str, GraphNode]:
        """Id -> node, in the order given; ``nodes[label]`` is a node, too."""
        return _Nodes((node.node_id, node) for node in self._members())

    @property
    def node_labels(self) -> list[str]:
        """The labels of its nodes, in the order given."""
        return [node.label for node in self._members()]

    def _members(self) -> list[GraphNode]:
        return [self.ctx.get_node(ref, GraphNode) for ref in self._refs]

    def _models(self) -> list[ModelNode]:
        return [node for node in self._members() if isinstance(node, ModelNode)]

    def upstreams(self) -> dict[str, tuple[str, ...]]:
        """Label of each node -> labels of the nodes right upstream of it."""
        get = self.ctx.get_node
        return {node.label: tuple(get(ref).label for ref in node.node_refs) for node in self._members()}

    def topological_nodes(self) -> list[GraphNode]:
        """The nodes so that each comes after all that feed it.

        Raises:
            GraphError: If the nodes form a cycle.
        """
        members = {node.label: node for node in self._members()}
        return [members[label] for label in structure.topological_order(self.upstreams())]

    @property
    def head_nodes(self) -> list[GraphNode]:
        """The nodes that a FeatureSet feeds."""
        return [node for node in self._members() if node.featureset_refs]

    @property
    def tail_nodes(self) -> list[GraphNode]:
        """The nodes that feed no other."""
        return [self.ctx.get_node(label) for label in structure.tails(self.upstreams())]

    @property
    def frozen_nodes(self) -> list[GraphNode]:
        """The nodes whose weights phases leave alone."""
        return [node for node in self._members() if node.is_frozen]

    @property
    def backend(self) -> str:
        """The numeric library of its models; ``"none"`` where they are of several."""
        backends = {node.backend for node in self._models()}
        return backends.pop() if len(backends) == 1 else str(Backend.NONE)

    def freeze(self, nodes: Asked | Iterable[Asked] | None = None) -> None:
        """Freeze a node or several (None: all)."""
        for node in self._chosen(nodes):
            node.freeze()

    def unfreeze(self, nodes: Asked | Iterable[Asked] | None = None) -> None:
        """Unfreeze a node or several (None: all)."""
        for node in self._chosen(nodes):
            node.unfreeze()

    def _chosen(self, nodes: Asked | Iterable[Asked] | None) -> list[GraphNode]:
        labels = self.node_labels if nodes is None else self._labels(nodes)
        return [self.ctx.get_node(label, GraphNode) for label in labels]

    # -- building ----------------------------------------------------------------

    @property
    def is_built(self) -> bool:
        """Whether every node's shapes are known, for what feeds it now."""
        return not self.to_build

    @property
    def to_build(self) -> list[str]:
        """The labels of the nodes that are not built yet, or have been fed otherwise since."""
        return [
            node.label
            for node in self._members()
            if not node.is_built
            or self._built_with.get(node.node_id, node.upstream_refs) != node.upstream_refs
        ]

    def build(self, *, force: bool | Asked | Iterable[Asked] = False) -> Self:
        """Infer all shapes from the data on, build every model and the optimizer.

        A tail whose model names no output shape gets the shape of its targets. What is built
        keeps its weights.

        Args:
            force: Build again, with new weights: all nodes, one or several. After a change of the graph
                those that take other shapes now must be among them.

        Returns:
            The graph itself.

        Raises:
            GraphError: If a model does not take the shape that reaches it.
        """
        tails = {node.label for node in self.tail_nodes}
        anew = set(self.node_labels if force is True else self._labels(force or ()))
        building.build_nodes(self.topological_nodes(), tails, anew, self.ctx)
        self._build_optimizers(force=force is True)
        self._was_built = True
        self._built_with = {node.node_id: node.upstream_refs for node in self._members()}
        return self

    def _build_optimizers(self, *, force: bool) -> None:
        optimizers.build_optimizers(self, self._models(), force=force)

    def _refresh(self) -> None:
        """Take what was defined anew, as cells ran again: optimizers, and nodes that are to be built."""
        owners: list[ModelGraph | ModelNode] = [self, *self._models()]
        for owner in owners:
            if owner.optimizer is not None:
                owner.optimizer = cells.present(owner.optimizer)
        present = [owner.optimizer for owner in owners if owner.optimizer is not None]
        if self._was_built and not (self.is_built and all(optimizer.is_built for optimizer in present)):
            self.build()
        elif self._was_built:
            self._build_optimizers(force=False)  # of the parameters that modules have by now

    def reset_state(self) -> None:
        """Return to the weights that models began with; moments and fits are forgotten.

        What a fit phase froze is no longer frozen; what the user froze stays so.
        """
        for node in self._models():
            if node.is_built:
                node.reset_weights()
            if node.frozen_by == "fit":
                node.unfreeze()
        if self.is_built:
            self._build_optimizers(force=True)

    def _move_to(self, ctx: ExperimentContext) -> None:
        """Make it the model graph of another context, which must have its nodes."""
        self.ctx = ctx
        ctx.remove_model_graph()
        ctx.register_model_graph(self)

    def get_optimizer_parameters(self) -> dict[str, Any]:
        """Return the parameters that an optimizer of the graph updates: those of nodes that are not frozen.

        Returns:
            ``"<node>.<name>"`` -> parameter.

        Raises:
            StateError: If the graph is not built.
        """
        if not self.is_built:
            raise StateError(f"{self!r} is not built: {self.to_build}. Call build() first.")
        trained = [node for node in self._models() if node.backend == "torch" and not node.is_frozen]
        return optimizers.parameters_of(trained)

    # -- changing ----------------------------------------------------------------

    def add_node(self, node: GraphNode | str) -> Self:
        """Take in a node of the experiment; what feeds it must be in the graph.

        Where a cell of a notebook that did so is executed again, the node stays in.

        Raises:
            GraphError: If it is in the graph already, or something that is not feeds it. As with all
                changes, everything stays as it was then.
        """
        label = self.ctx.get_node(node, GraphNode).label
        is_again = label in self.node_labels and cells.is_again(self._added_in.get(label))
        draft = self._draft()
        self._redrawn(draft if is_again else draft.add(node))
        self._added_in[label] = cells.current()
        return self

    def remove_node(self, node: GraphNode | str) -> Self:
        """Leave out a node; what it fed is fed by what fed it.

        Raises:
            GraphError: If it is not in the graph, is the last one, or leaves a node with too few or too
                many upstreams.
        """
        return self._redrawn(self._draft().remove(node))

    def replace_node(self, old: GraphNode | str, new: GraphNode | str) -> Self:
        """Put a node in the place of another: fed by what fed that one, feeding what it fed.

        Raises:
            GraphError: If `old` is not in the graph, or `new` is, or cannot be fed so.
        """
        return self._redrawn(self._draft().replace(old, new))

    def insert_node_between(self, new: GraphNode | str, upstream: Any, downstream: GraphNode | str) -> Self:
        """Put a node on the way from an upstream, a node or a FeatureSet, to a node that it feeds.

        Raises:
            GraphError: If `upstream` does not feed `downstream`, or `new` is in the graph already.
        """
        return self._redrawn(self._draft().insert_between(new, upstream, downstream))

    def insert_node_before(self, new: GraphNode | str, downstream: GraphNode | str) -> Self:
        """Put a node before another: fed by all that feeds that one, which it then feeds alone.

        Raises:
            GraphError: If `downstream` is not in the graph, or `new` is, or either cannot be fed so.
        """
        return self._redrawn(self._draft().insert_before(new, downstream))

    def insert_node_after(self, new: GraphNode | str, upstream: GraphNode | str) -> Self:
        """Put a node behind another: fed by it, feeding all that it fed.

        Raises:
            GraphError: If `upstream` is not in the graph, or `new` is.
        """
        return self._redrawn(self._draft().insert_after(new, upstream))

    def _draft(self) -> editing.Draft:
        return editing.Draft(self._members(), self.ctx, repr(self))

    def _redrawn(self, draft: editing.Draft) -> Self:
        self._refs = [node.reference() for node in draft.apply()]
        return self

    def _labels(self, nodes: Asked | Iterable[Asked]) -> list[str]:
        return [self._member(node) for node in ([nodes] if isinstance(nodes, Asked) else nodes)]

    def _member(self, node: GraphNode | GraphNodeReference | str) -> str:
        return editing.member(node, self.node_labels, self.ctx, repr(self))

    # -- state -------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """A copy of the weights, estimators, frozen flags and optimizers, by node label."""
        if self._was_built:
            self._build_optimizers(force=False)  # their states go by names, and nodes may be others by now
        return graph_state.take(self._members(), self.optimizer)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Return to what `get_state` returned; nodes are matched by label.

        Raises:
            GraphError: If the state holds other nodes than the graph; nothing is changed then.
        """
        if set(self.node_labels) != set(state["nodes"]):
            raise GraphError(
                f"The state belongs to another graph than {self.label!r}: it holds the nodes "
                f"{list(state['nodes'])}, the graph has {self.node_labels}."
            )
        for node in self._members():
            graph_state.put_back(node, state["nodes"][node.label])
        self._built_with = {node.node_id: node.upstream_refs for node in self._members()}
        if self.is_built:
            self._build_optimizers(force=False)
        graph_state.put_into_optimizers(self._members(), self.optimizer, state)

    def _follow(self, renamed: Mapping[str, GraphNodeReference]) -> None:
        """Hold the same nodes as before under the ids and labels that they got; see `GraphNode._follow`."""
        self._refs = [renamed.get(ref.node_id, ref) for ref in self._refs]
        for node in self._members():
            node._follow(renamed)
        self._built_with = {node.node_id: node.upstream_refs for node in self._members()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModelGraph):
            return NotImplemented
        return self is other or (
            self._description() == other._description()
            and graph_state.equal(self.get_state(), other.get_state())
        )

    __hash__ = object.__hash__

    def _description(self) -> list[Any]:
        models = [(node.label, repr(node.model), node.optimizer) for node in self._models()]
        merges = [(type(n), n.settings()) for n in self._members() if isinstance(n, MergeNode)]
        return [self.label, self.upstreams(), self.optimizer, models, merges]

    # -- files -------------------------------------------------------------------

    def save(self, filepath: str | Path, *, overwrite: bool = False) -> Path:
        """Write the graph to a ``.mg.mml`` file: nodes, wiring, optimizer, weights and fits; no data.

        Of the FeatureSets that feed it, the file has labels and the shapes of the columns that are read.

        Args:
            filepath: Where to; ``.mg.mml`` is appended when missing.
            overwrite: Replace a file that is there.

        Returns:
            The path of the file.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
            OSError: If it cannot be written; what was there before stays whole.
        """
        return graph_file.save_graph(self, filepath, overwrite=overwrite)

    @classmethod
    def load(
        cls, filepath: str | Path, *, overwrite: bool = False, symbols: Mapping[str, Any] | None = None
    ) -> Self:
        """Read a graph from a file into the active context; no code of the file is run.

        If the context has this very graph already, that one is returned. Else, where ids or labels of
        nodes are taken, `overwrite` lets the loaded nodes replace those that are there; without it they
        get ids and labels of their own. A graph that the experiment has stays its graph unless
        `overwrite` is given; the loaded one then predicts beside it. Each case is told once.

        FeatureSets are found by label. Without them a graph predicts from arrays all the same.

        Args:
            filepath: The file.
            overwrite: Let the loaded graph and its nodes replace what is there.
            symbols: Name -> class or function, for those of your own that are not defined here.

        Raises:
            FileFormatError: If the file is no whole graph; nothing is changed then.
            GraphError: If a FeatureSet of the context lacks a column that is read, or has it in
                another shape; nothing is changed then.
            UnknownNameError: If the file names classes or functions that are not defined here.
        """
        loaded: Self = graph_file.load_graph(cls, filepath, overwrite=overwrite, symbols=symbols)
        return loaded

    def to_yaml(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write nodes, wiring and optimizer to a YAML file, for people to read; no weights, no data.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
            ImportError: If PyYAML is not installed.
            InvalidTypeError: If a node holds what only a file can hold, as an estimator is.
        """
        return graph_file.save_as_yaml(self, path, overwrite=overwrite)

    @classmethod
    def from_yaml(cls, path: str | Path, *, symbols: Mapping[str, Any] | None = None) -> Self:
        """Make the graph of a YAML file in the active context, with new weights where its data are there.

        Args:
            path: The file.
            symbols: Classes and functions of yours that the file names, by name.

        Raises:
            FileFormatError: If it is no such file.
            GraphError: If a FeatureSet of the context lacks a column that is read.
        """
        made: Self = graph_file.graph_of_yaml(cls, path, symbols=symbols)
        return made

    def save_checkpoint(
        self, filepath: str | Path, *, overwrite: bool = False, meta: Mapping[str, Any] | None = None
    ) -> Path:
        """Write weights, moments, fits and frozen flags to a ``.ckpt.mml`` file and return its path.

        Args:
            filepath: Where to.
            overwrite: Replace a file that is there.
            meta: Plain facts of your own to keep with it; `modularml.inspect` tells them.

        Raises:
            FileExistsError: If the file is there and `overwrite` is False.
        """
        return graph_file.save_checkpoint(self, filepath, overwrite=overwrite, meta=meta)

    def restore_checkpoint(self, filepath: str | Path) -> None:
        """Return to the state in a checkpoint of a graph, or of an experiment; nodes are matched by label.

        Raises:
            FileFormatError: If the file is no whole checkpoint; nothing is changed then.
            GraphError: If it is of another graph; nothing is changed then.
        """
        graph_file.restore_checkpoint(self, filepath)

    # -- new data ----------------------------------------------------------------

    def predict(
        self, data: Any, *, nodes: Asked | Iterable[Asked] | None = None, unscale: bool = False
    ) -> np.ndarray | dict[str, Any]:
        """Return the outputs for new data, in evaluation mode and without a trace.

        Args:
            data: For all heads, or by the labels of heads: a FeatureSet or view, a mapping or data frame
                with features by key, or an array or tensor ``(n_samples, ...)`` of them side by side. Where
                a head reads scaled columns, they are scaled by the scalers of its FeatureSet; what
                is scaled already comes by its full name, ``"features.x.transformed"``. `SampleData` and a
                `Batch` hold what the heads are fed.
            nodes: The node or the nodes whose outputs are returned, or ``node.reference("logits")`` for
                one of several outputs; None takes the tails.
            unscale: Return them in the units that the targets had before they were scaled; an output
                with a name is that of the target of this key.

        Returns:
            ``(n_samples, *output_shape)`` for a single node, else a dict of such by label. Several
            outputs of a node are a dict by name.

        Raises:
            StateError: If the graph is not built, an estimator is not fitted, or a FeatureSet that has
                the scalers is not there.
            GraphError: If data are of another shape than a head takes, or there is no such output.
            InvalidValueError: If data or columns are missing, or there is nothing to unscale.
        """
        wanted = self._wanted(nodes, self.tail_nodes)
        found = prediction.outputs_of(self._ready(one.label for one in wanted), data, wanted)
        if unscale:
            found = [(one, prediction.unscaled(one, values, self.ctx)) for one, values in found]
        outputs: np.ndarray | dict[str, Any] = prediction.only_or_all(found)
        return outputs

    def forward(
        self, inputs: Any, *, active_nodes: Iterable[GraphNode | str] | None = None
    ) -> dict[str, Batch]:
        """Return what every node puts out for new data; the same as calling the graph.

        Args:
            inputs: As the data of `predict`.
            active_nodes: The nodes to return, and all that feed them to run; None is all.

        Returns:
            Id of each node -> its outputs, as the features of a `Batch`; several outputs are a dict by name.

        Raises:
            StateError: If the graph is not built, or an estimator is not fitted.
            GraphError: If data are of another shape than a head takes.
            InvalidValueError: If data or columns are missing.
        """
        wanted = self._wanted(active_nodes, self._members())
        found = prediction.outputs_of(self._ready(one.label for one in wanted), inputs, wanted)
        return {self.ctx.get_node(one.label).node_id: prediction.as_batch(values) for one, values in found}

    __call__ = forward

    def to_torch_module(self, nodes: Asked | Iterable[Asked] | None = None) -> prediction.GraphModule:
        """Return the graph as one torch module that shares its weights.

        Args:
            nodes: The nodes whose outputs it returns, or references to single outputs; None takes the tails.

        Raises:
            StateError: If the graph is not built, or holds estimators; they are named.
        """
        wanted = self._wanted(nodes, self.tail_nodes)
        ready = self._ready(one.label for one in wanted)
        prediction.refuse_estimators(ready)
        return prediction.GraphModule(ready, wanted)

    def _wanted(
        self, nodes: Asked | Iterable[Asked] | None, default: Iterable[GraphNode]
    ) -> list[prediction.Wanted]:
        """Return what is asked for of which nodes."""
        if isinstance(nodes, Asked):
            nodes = [nodes]
        found = []
        for node in default if nodes is None else nodes:
            label = self._member(node)
            output = node.output if isinstance(node, GraphNodeReference) else None
            found.append(prediction.Wanted.of_node(self.ctx.get_node(label, GraphNode), output))
        return found

    def _ready(self, wanted: Iterable[str]) -> list[GraphNode]:
        needed = structure.ancestors(self.upstreams(), wanted)
        missing = [label for label in self.to_build if label in needed]
        if missing:
            raise StateError(f"The nodes {missing} are not built; call graph.build() first.")
        return [node for node in self.topological_nodes() if node.label in needed]

    # -- looking -----------------------------------------------------------------

    def summary(self) -> GraphSummary:
        """Return a table of the nodes: shapes, parameters, devices, dtypes, what is frozen."""
        return GraphSummary(self.label, self.topological_nodes())

    def diagram(
        self,
        *,
        show_features: bool = False,
        show_targets: bool = False,
        show_tags: bool = False,
        show_frozen: bool = True,
        show_splits: bool = True,
    ) -> Diagram:
        """Return the picture of the graph.

        Args:
            show_features: Tell the keys of the features of each FeatureSet.
            show_targets: Tell those of its targets.
            show_tags: Tell those of its tags.
            show_frozen: Draw nodes that are frozen as such.
            show_splits: Tell the splits of each FeatureSet.
        """
        given = {
            "features": show_features,
            "targets": show_targets,
            "tags": show_tags,
            "frozen": show_frozen,
            "splits": show_splits,
        }
        shown = {name for name, is_shown in given.items() if is_shown}
        return Diagram(graph_spec(self.label, self.topological_nodes(), self.ctx, shown))

    def visualize(
        self,
        *,
        live: bool = False,
        show_features: bool = False,
        show_targets: bool = False,
        show_tags: bool = False,
        show_frozen: bool = True,
        show_splits: bool = True,
    ) -> None:
        """Show the picture of the graph.

        Args:
            live: In a notebook, let the picture show what runs whenever the experiment of
                the graph runs something, wherever that is started. Outside it is as it is.
            show_features: Tell the keys of the features of each FeatureSet.
            show_targets: Tell those of its targets.
            show_tags: Tell those of its tags.
            show_frozen: Draw nodes that are frozen as such.
            show_splits: Tell the splits of each FeatureSet.

        Raises:
            StateError: If `live` and the graph belongs to no experiment.
        """
        picture = self.diagram(
            show_features=show_features,
            show_targets=show_targets,
            show_tags=show_tags,
            show_frozen=show_frozen,
            show_splits=show_splits,
        )
        if not live:
            picture.show()
            return
        experiment = self.ctx.experiment
        if experiment is None:
            raise StateError(f"{self.label!r} belongs to no experiment yet, so nothing of it can run.")
        pin_live_view(experiment.events, picture)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.diagram()._repr_mimebundle_(include, exclude)


class _Nodes(dict[str, GraphNode]):
    """Nodes by id, which are found by their labels, too."""

    def __missing__(self, label: str) -> GraphNode:
        by_label = {node.label: node for node in self.values()}
        if label not in by_label:
            raise UnknownNameError(unknown_name("node", label, by_label, where="the graph"))
        return by_label[label]


def _named_by_class(models: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for model in models:
        name = type(model).__name__
        n_alike = sum(type(other).__name__ == name for other in named.values())
        named[f"{name}_{n_alike + 1}" if n_alike else name] = model
    return named
