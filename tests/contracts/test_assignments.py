"""What an argument may not be it may not become: each argument of every class, found by reflection."""

import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from torch import nn

from modularml import (
    Accelerator,
    AppliedLoss,
    Callback,
    Checkpointing,
    ConcatNode,
    CrossValidation,
    CVBinding,
    EvalPhase,
    Experiment,
    ExperimentCallback,
    FeatureSet,
    FitPhase,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    PhaseGroup,
    ResultsConfig,
    Schedule,
    TrainPhase,
    predicates,
)
from modularml.base.config import all_types, parameters_of
from modularml.base.errors import InvalidAttributeError
from modularml.callbacks import EarlyStopping, Evaluation, MetricCallback
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.cross_validation import Fold
from modularml.core.experiment.metrics import EvalLossMetric, OutputMetric
from modularml.core.experiment.phases.phase import ExperimentPhase
from modularml.core.topology.elementwise_nodes import FunctionNode, MeanNode, SumNode
from modularml.models import ScikitModelWrapper
from modularml.models.torch import TorchModelWrapper
from modularml.samplers import NSampler, PairedSampler, SimilarityCondition, SimpleSampler, TripletSampler
from modularml.scalers import PerSampleMinMaxScaler, Scaler, SegmentedScaler
from modularml.splitters import RandomSplitter, SklearnSplitter

ANY = object()
"""Stands where the constructor takes whatever comes."""

Arguments = Mapping[str, Any]

COMPARISONS = (
    predicates.EQ, predicates.NE, predicates.LT, predicates.LTE, predicates.GT, predicates.GTE,
)  # fmt: skip

SAMPLER: Arguments = {
    "batch_size": 0, "shuffle": "yes", "group_by": 3, "stratify_by": 3, "strict_stratification": 1,
    "drop_last": 0.5, "seed": "x", "show_progress": None, "source": "data",
}  # fmt: skip
N_SAMPLER = {
    **SAMPLER, "choose_best_only": 1, "group_by_role": "ancor", "stratify_by_role": "ancor", "n_workers": 0,
}  # fmt: skip
CALLBACK: Arguments = {"label": "", "execution_order": 0.5}
PHASE: Arguments = {
    "label": "", "input_sources": [3], "losses": "msee", "active_nodes": ["nod"], "callbacks": 3,
    "accelerator": "cpux",
}  # fmt: skip
MERGE: Arguments = {"label": "", "upstream_refs": [3, 4], "node_id": ANY, "register": ANY}
ELEMENTWISE = {**MERGE, "target_strategy": "frist", "tags_strategy": "frist"}

REFUSED: dict[type, Arguments] = {
    **{cls: {"value": ANY} for cls in COMPARISONS},
    **{cls: {"values": 3} for cls in (predicates.In, predicates.NotIn)},
    predicates.Lambda: {"function": 3},
    SimilarityCondition: {
        "mode": "like", "tolerance": -1, "metric": 3, "weight_mode": "log", "max_weight": -1, "min_weight": 2,
        "allow_fallback": 1,
    },
    SimpleSampler: SAMPLER,
    NSampler: {**N_SAMPLER, "condition_mapping": {}, "max_samples_per_anchor": 0},
    PairedSampler: {**N_SAMPLER, "conditions": {}, "max_pairs_per_anchor": 0},
    TripletSampler: {**N_SAMPLER, "pos_conditions": {}, "neg_conditions": 3, "max_samples_per_anchor": 0},
    RandomSplitter: {
        "ratios": {"a": 0.5}, "group_by": 3, "stratify_by": 3, "strict_stratification": True, "seed": -1,
    },
    SklearnSplitter: {"splitter": KFold, "group_by": 3, "stratify_by": 3},
    PerSampleMinMaxScaler: {"feature_range": (1, 0)},
    Scaler: {"scaler": "MinMaxScalr", "scaler_kwargs": {"rnge": 1}},
    SegmentedScaler: {"boundaries": [2, 1], "scaler": "MinMaxScalr", "scaler_kwargs": {"rnge": 1}},
    ScikitModelWrapper: {
        "model": 3, "training_mode": "fit", "output_method": "prdict", "partial_fit_kwargs": 3,
    },
    TorchModelWrapper: {
        "model": 3, "model_class": nn.Linear, "model_kwargs": {"bias": True}, "inject_input_shape_as": ANY,
        "inject_output_shape_as": ANY, "output": ANY, "input_names": 3,
    },
    ConcatNode: {
        **MERGE, "concat_axis": "a", "concat_axis_targets": "frist", "concat_axis_tags": "frist",
        "pad_inputs": ANY, "pad_mode": "mirror", "pad_value": "0",
    },
    SumNode: ELEMENTWISE,
    MeanNode: ELEMENTWISE,
    FunctionNode: {**ELEMENTWISE, "function": 3},
    Accelerator: {"device": "cpux", "pin_memory": 1},
    Checkpointing: {
        "mode": "disc", "save_on": "epoch", "every_n": 0, "directory": 3, "name_template": "{epok}",
        "max_to_keep": 0, "overwrite": ANY, "best": 3, "best_mode": "top", "background": 1,
    },
    Schedule: {"schedule": "stp", "schedule_kwargs": {"gama": 1}, "every": "step", "monitor": 3},
    Optimizer: {
        "opt": "adma", "opt_kwargs": {"lrr": 1}, "factory": 3, "backend": "tensorflow", "schedule": "stp",
    },
    Loss: {
        "loss": "msee", "loss_kwargs": {"dleta": 1}, "backend": "tensorflow", "reduction": "men",
        "factory": 3,
    },
    AppliedLoss: {
        "loss": "msee", "on": "nod", "inputs": ["output"], "weight": "1", "label": "", "sample_weight": 3,
        "trainable": "yes", "class_weight": "blanced",
    },
    Callback: CALLBACK,
    ExperimentCallback: CALLBACK,
    MetricCallback: {"label": ANY, "execution_order": ANY, "name": ANY},  # a user's own, which takes any
    EarlyStopping: {
        **CALLBACK, "monitor": "", "mode": "top", "patience": 0, "min_delta": -1, "restore_best": ANY,
    },
    Evaluation: {
        **CALLBACK, "eval_phase": 3, "every_n_epochs": 0, "run_on_start": ANY, "metrics": "acuracy",
        "prefix": "",
    },
    EvalLossMetric: {"loss": ANY, "reducer": "men", "name": ""},
    OutputMetric: {"metric": "acuracy", "name": "", "node": ANY, "inputs": ["outputs"]},
    ExperimentPhase: PHASE,
    EvalPhase: {**PHASE, "batch_size": 0, "metrics": "acuracy"},
    FitPhase: {**PHASE, "freeze_after_fit": ANY, "nan": "rise", "sample_weight": 3},
    TrainPhase: {
        **PHASE, "n_epochs": 0, "result_recording": "al", "nan": "rise", "batch_schedule": "turns",
        "clip_norm": -1, "clip_value": -1, "accumulate": 0, "precision": "fp8", "metrics": "acuracy",
        "compile": "yes", "checkpointing": 3,
    },
    PhaseGroup: {"label": "", "phases": [3]},
    ResultsConfig: {
        "results_dir": 3, "save_execution": ANY, "save_metrics": ANY, "save_artifacts": ANY,
    },
    Fold: {"label": ANY, "phases": ANY, "rows": ANY},
    CrossValidation: {
        "label": "", "bindings": [3], "n_folds": 1, "seed": "x", "phase": 3, "experiment": 3, "splitter": 3,
        "n_jobs": 0,
    },
}  # fmt: skip
"""Class -> for each argument a value that it refuses."""

NEEDED: dict[type, Callable[[Any], Arguments]] = {
    **dict.fromkeys(COMPARISONS, lambda _: {"value": 1}),
    **dict.fromkeys((predicates.In, predicates.NotIn), lambda _: {"values": [1]}),
    predicates.Lambda: lambda _: {"function": np.isnan},
    NSampler: lambda s: {"condition_mapping": {"pair": s.like}},
    PairedSampler: lambda s: {"conditions": s.like},
    TripletSampler: lambda s: {"pos_conditions": s.like, "neg_conditions": s.unlike},
    RandomSplitter: lambda _: {"ratios": {"a": 0.5, "b": 0.5}},
    SklearnSplitter: lambda _: {"splitter": KFold()},
    Scaler: lambda _: {"scaler": "MinMaxScaler"},
    SegmentedScaler: lambda _: {"boundaries": [2], "scaler": "MinMaxScaler"},
    ScikitModelWrapper: lambda _: {"model": Ridge()},
    TorchModelWrapper: lambda _: {"model": nn.Linear(3, 1)},
    **dict.fromkeys((ConcatNode, SumNode, MeanNode), lambda s: s.merge),
    FunctionNode: lambda s: {**s.merge, "function": sum},
    Schedule: lambda _: {"schedule": "step", "schedule_kwargs": {"step_size": 1}},
    Optimizer: lambda _: {"opt": "adam"},
    Loss: lambda _: {"loss": "mse"},
    AppliedLoss: lambda _: {"loss": "mse", "on": "node"},
    Evaluation: lambda s: {"eval_phase": EvalPhase("val", **s.whole, losses="mse")},
    EvalLossMetric: lambda _: {"loss": "mse"},
    OutputMetric: lambda _: {"metric": "r2"},
    **dict.fromkeys((ExperimentPhase, EvalPhase), lambda s: {"label": "phase", **s.whole}),
    FitPhase: lambda s: {"label": "phase", **s.fitted},
    TrainPhase: lambda s: {"label": "phase", **s.drawn, "losses": "mse"},
    PhaseGroup: lambda _: {"label": "group"},
    Fold: lambda _: {"label": "fold_0", "phases": [], "rows": []},
    CrossValidation: lambda _: {"bindings": [CVBinding("data")]},
}
"""Class -> the arguments that it cannot do without, of what there is in the fixture."""


@pytest.fixture(scope="module")
def stage() -> SimpleNamespace:
    """An experiment with data and a graph, and what arguments are made of."""
    Experiment("exp", registration_policy="raise")
    data = FeatureSet.from_dict("data", {"x": np.ones((8, 3), np.float32), "y": np.ones((8, 1))}, "x", "y")
    node, ridge = ModelNode("node", nn.Linear(3, 1), data), ModelNode("ridge", Ridge(), data)
    ModelGraph([node, ridge], "adam").build()
    drawn = InputBinding.for_training(node=node, sampler=SimpleSampler(batch_size=4))
    return SimpleNamespace(
        like={"y": SimilarityCondition("similar")},
        unlike={"y": SimilarityCondition("dissimilar")},
        merge={"label": "merge", "upstream_refs": [node, data], "register": False},
        whole={"input_sources": [InputBinding.for_evaluation(node=node)], "active_nodes": ["node"]},
        drawn={"input_sources": [drawn], "active_nodes": ["node"]},
        fitted={"input_sources": [InputBinding.for_evaluation(node=ridge)], "active_nodes": ["ridge"]},
    )


def public() -> list[type]:
    """The classes that configurations name; torch modules take any attribute, as torch has it."""
    shown = (cls for name, cls in all_types().items() if name[0] != "_" and parameters_of(cls))
    return [c for c in shown if not issubclass(c, nn.Module) and not getattr(c, "__abstractmethods__", None)]


def is_frozen(cls: Any) -> bool:
    return dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen


every_refusal = pytest.mark.parametrize(
    ("cls", "name"),
    [
        pytest.param(cls, name, id=f"{cls.__name__}-{name}")
        for cls, refused in REFUSED.items()
        for name, value in refused.items()
        if value is not ANY
    ],
)


def test_every_argument_has_a_value_that_is_refused() -> None:
    left = {cls: set(parameters_of(cls)) for cls in public() if not is_frozen(cls)}
    assert {cls: set(refused) for cls, refused in REFUSED.items()} == left


@every_refusal
def test_what_the_constructor_refuses_an_assignment_refuses_in_the_same_words(
    stage: SimpleNamespace, cls: Any, name: str
) -> None:
    value, arguments = REFUSED[cls][name], NEEDED.get(cls, lambda _: {})(stage)
    made = cls(**arguments)
    before = dict(vars(made))
    with pytest.raises((TypeError, ValueError, LookupError)) as refusal:
        cls(**{**arguments, name: value})
    with pytest.raises((TypeError, ValueError, LookupError, InvalidAttributeError)) as told:
        setattr(made, name, value)
    if not isinstance(told.value, InvalidAttributeError):  # which says that it does not change at all
        assert (type(told.value), str(told.value)) == (type(refusal.value), str(refusal.value))
    assert all(vars(made)[key] is kept for key, kept in before.items())
