"""What an experiment is made of, taken out of one to make others of it on other samples.

It knows no scikit-learn: samples come as arrays ``X`` and ``y``. The columns of ``X`` are the values
of the feature keys that the graph reads, in their order, and those of ``y`` the values of the target keys;
of a single key ``y`` has whatever shape it comes in. The splits that training
reads are drawn anew in the proportions that they had; a single one has every sample. Tags are not there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from modularml.base.config import from_config
from modularml.base.errors import InvalidValueError, StateError
from modularml.core.context import ExperimentContext
from modularml.core.data.columns import FEATURES, RAW, TARGETS, TRANSFORMED, Column
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import FeatureSetReference
from modularml.core.data.sample_collection import SampleCollection
from modularml.core.data.scaling import Scaling
from modularml.core.experiment import storage
from modularml.core.experiment.display_options import QUIET
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.tuning import tune
from modularml.core.topology.graph_tree import make_graph
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.origin import columns_of
from modularml.splitters import RandomSplitter


@dataclass(frozen=True, eq=False)
class Recipe:
    """What experiments are made of; it never changes, so copies share it.

    Attributes:
        cls: The class of the experiment.
        tree: The definitions of its plan, nodes and graph, as `storage.tree_of` returns them.
        featureset: The label of its FeatureSet.
        features: The feature keys that the graph reads, with the shape of a sample.
        targets: The target keys that the graph reads, with the shape of a sample.
        is_scaled: Whether it reads scaled targets.
        scaling: The scalers of its FeatureSet.
        shares: Name of each split that training reads -> its share.
        tail: The label of the node that predicts.
        loss: The name of the loss on it, or None.
    """

    cls: Any
    tree: Mapping[str, Any]
    featureset: str
    features: Mapping[str, tuple[int, ...]]
    targets: Mapping[str, tuple[int, ...]]
    is_scaled: bool
    scaling: Scaling
    shares: Mapping[str, float]
    tail: str
    loss: str | None

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<{self.tree['config']['label']}>"

    def run_on(self, X: np.ndarray, y: np.ndarray, seed: int, settings: Mapping[str, Any]) -> Any:
        """Make an experiment on these samples, run it, and return it.

        Args:
            X: The features, shape ``(n_samples, n_values)``.
            y: The targets, shape ``(n_samples, ...)``.
            seed: What weights, batches and splits follow from.
            settings: Name -> value of what is to be otherwise than in the recipe; see `tuning`.
        """
        # A context that is given does not become the active one.
        ctx = ExperimentContext(registration_policy="raise")
        experiment = self.cls(self.tree["config"]["label"], ctx=ctx, seed=seed)
        with ctx.temporary():
            self._make_data(X, y, seed)
            # A copy: estimators stand in it as they are, and are fitted in place.
            tree = copy.deepcopy(self.tree)
            tune(tree, settings)
            graph = make_graph(ModelGraph, tree)
            assert graph is not None
            graph.build()
            plan: PhaseGroup = from_config(tree["config"]["plan"])
            experiment.execution_plan.add_items(_fitting(plan))
            with experiment.disable_checkpointing():
                experiment.run(**QUIET)
        return experiment

    def _make_data(self, X: np.ndarray, y: np.ndarray, seed: int) -> None:
        """Make the FeatureSet with its splits and scalers in the active context."""
        data = FeatureSet(self.featureset, self.samples(X, y))
        if len(self.shares) > 1:
            data.split(RandomSplitter(dict(self.shares), seed=seed))
        for name in self.shares if len(self.shares) == 1 else ():
            data.add_split(data.take(np.arange(len(X)), label=name))
        fit_to = next(iter(self.shares), None)
        for record in self.scaling.records:
            data.fit_transform(
                record.scaler_obj,
                domain=record.domain,
                keys=record.keys,
                fit_to_split=fit_to,
                merged_axes=record.merged_axes,
            )

    def samples(self, X: np.ndarray, y: np.ndarray) -> SampleCollection:
        """Return samples and targets as the raw columns that the recipe names.

        Raises:
            InvalidValueError: If ``X`` has more columns or fewer than the features hold values, or ``y`` than
                several targets do.
        """
        features: Mapping[str, tuple[int, ...]] = self.features
        if len(features) == 1 and len(next(iter(features.values()))) == 1:
            features = dict.fromkeys(features, X.shape[1:])  # one key of a vector: any length will do
        if len(self.targets) == 1:
            columns = {str(Column(TARGETS, key, RAW)): y for key in self.targets}
        else:
            columns = self._columns(TARGETS, self.targets, y, "y")
        return SampleCollection.of_arrays(self._columns(FEATURES, features, X, "X") | columns)

    def _columns(
        self, domain: str, shapes: Mapping[str, tuple[int, ...]], array: np.ndarray, name: str
    ) -> dict[str, np.ndarray]:
        """Return raw columns of the values that stand side by side in an array."""
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        array = array.reshape(len(array), -1)
        if sum(sizes) != array.shape[1]:
            raise InvalidValueError(
                f"{name} has {array.shape[1]} columns, and the {domain} {dict(shapes)} of "
                f"{self.featureset!r} hold {sum(sizes)} values a sample."
            )
        parts = np.split(array, np.cumsum(sizes)[:-1], axis=1)
        return {
            str(Column(domain, key, RAW)): part.reshape(-1, *shape)
            for (key, shape), part in zip(shapes.items(), parts, strict=True)
        }


def recipe_of(experiment: Any) -> Recipe:
    """Return what an experiment is made of.

    Raises:
        StateError: If there is no graph, nothing to train, several FeatureSets, several tails, a tail with
            several outputs, no targets, features or targets that are no numbers, or weights of samples.
    """
    where, graph = f"Experiment {experiment.label!r} as an estimator", experiment.model_graph
    if graph is None:
        raise StateError(f"{where}: it has no model graph yet.")
    refs = [ref for node in graph.head_nodes for ref in node.featureset_refs]
    sources = {experiment.ctx.get_node(ref).label for ref in refs}
    if len(sources) != 1 or len(graph.tail_nodes) != 1:
        raise StateError(
            f"{where}: it needs one FeatureSet and one tail, and has {sorted(sources)} and "
            f"{[node.label for node in graph.tail_nodes]}."
        )
    tail = graph.tail_nodes[0]
    if len(tail.output_names) > 1:
        raise StateError(
            f"{where}: its tail has the outputs {list(tail.output_names)}, and an estimator has one, in "
            "which several targets stand side by side."
        )
    phases = _fitting(experiment.execution_plan)
    if not phases:
        raise StateError(f"{where}: its plan has no TrainPhase and no FitPhase.")
    data: FeatureSet = experiment.ctx.get_node(sources.pop(), FeatureSet)
    _refuse_weights(phases, where)
    targets = columns_of(tail, experiment.ctx)[TARGETS]
    if not targets:
        raise StateError(f"{where}: it needs a target, and the graph is given none.")
    losses = [loss.loss.name for phase in phases for loss in phase.losses if loss.node_label == tail.label]
    tree = storage.tree_of(experiment, history=False)
    return Recipe(
        cls=type(experiment),
        tree={part: _without_tags(tree[part]) for part in ("config", "nodes", "graph")},
        featureset=data.label,
        features=_shapes([name for ref in refs for name in ref.features], data, where),
        targets=_shapes(targets, data, where),
        is_scaled=any(Column.parse(name).rep == TRANSFORMED for name in targets),
        scaling=Scaling(data.scaler_records),
        shares=_shares(phases, data),
        tail=tail.label,
        loss=losses[0] if losses else None,
    )


def _refuse_weights(phases: Sequence[ExperimentPhase], where: str) -> None:
    for phase in phases:
        weights = [loss.sample_weight for loss in phase.losses] + [getattr(phase, "sample_weight", None)]
        if any(weights):
            raise StateError(
                f"{where}: its phase {phase.label!r} has a sample_weight, and X and y hold samples without."
            )


def _shapes(columns: Sequence[str], data: FeatureSet, where: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of a sample of each key, in their order."""
    found = [Column.parse(name) for name in columns]
    raw = {one.key: data.table.column(str(Column(one.domain, one.key, RAW))) for one in found}
    text = [key for key, column in raw.items() if column.dtype.kind not in "biuf"]
    if text:
        raise StateError(
            f"{where}: arrays of scikit-learn's hold numbers, and the {found[0].domain} {text} do not. "
            "Encode them before they enter the FeatureSet."
        )
    return {key: column.shape[1:] for key, column in raw.items()}


def _without_tags(tree: Any) -> Any:
    """Return a tree of settings whose references to FeatureSets name no tags: ``X`` and ``y`` have none."""
    if type(tree) in (list, tuple):
        return type(tree)(_without_tags(part) for part in tree)
    if type(tree) is not dict:
        return tree
    found = {name: _without_tags(part) for name, part in tree.items()}
    return found | {"tags": ()} if found.get("$type") == FeatureSetReference.__name__ else found


def _fitting(plan: PhaseGroup) -> list[ExperimentPhase]:
    """Return the phases that change weights; evaluations and cross-validations change none."""
    found: list[ExperimentPhase] = []
    for entry in plan.all:
        if isinstance(entry, PhaseGroup):
            found += _fitting(entry)
        elif isinstance(entry, ExperimentPhase) and entry.kind != "eval":
            found.append(entry)
    return found


def _splits_read(phases: Sequence[ExperimentPhase]) -> Iterator[str]:
    """Yield the splits that are read: those to train on first, then those of evaluations meanwhile."""
    within = [c.eval_phase for phase in phases for c in phase.callbacks if hasattr(c, "eval_phase")]
    for phase in [*phases, *within]:
        for binding in phase.input_sources:
            if binding.split is not None:
                yield binding.split


def _shares(phases: Sequence[ExperimentPhase], data: FeatureSet) -> dict[str, float]:
    sizes = {name: data.get_split(name).n_samples for name in dict.fromkeys(_splits_read(phases))}
    return {name: size / sum(sizes.values()) for name, size in sizes.items()}
