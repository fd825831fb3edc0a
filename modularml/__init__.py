"""ModularML: see, stop, re-run and compare machine-learning experiments in a notebook.

It knows where each public name lives and nothing else: a name is imported when it is first
used, so ``import modularml`` loads neither torch nor scikit-learn nor a widget.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from modularml.base.errors import nearest

if TYPE_CHECKING:  # the same table once more, for type checkers and for the test of the layers
    from modularml.backends.accelerator import Accelerator as Accelerator
    from modularml.backends.backend import Backend as Backend
    from modularml.base.registration import RegistrationPolicy as RegistrationPolicy
    from modularml.callbacks.early_stopping import EarlyStopping as EarlyStopping
    from modularml.callbacks.evaluation import Evaluation as Evaluation
    from modularml.callbacks.metric import MetricCallback as MetricCallback
    from modularml.core.context import ExperimentContext as ExperimentContext
    from modularml.core.data.batch import Batch as Batch
    from modularml.core.data.batch import RoleData as RoleData
    from modularml.core.data.batch import SampleData as SampleData
    from modularml.core.data.batch import SampleShapes as SampleShapes
    from modularml.core.data.batch_view import BatchView as BatchView
    from modularml.core.data.batch_view import SampledView as SampledView
    from modularml.core.data.featureset import FeatureSet as FeatureSet
    from modularml.core.data.formats import DataFormat as DataFormat
    from modularml.core.data.reference import ExperimentNodeReference as ExperimentNodeReference
    from modularml.core.data.reference import FeatureSetColumnReference as FeatureSetColumnReference
    from modularml.core.data.reference import FeatureSetReference as FeatureSetReference
    from modularml.core.data.reference import FeatureSetSplitReference as FeatureSetSplitReference
    from modularml.core.data.reference import GraphNodeReference as GraphNodeReference
    from modularml.core.data.reference import ModelOutputReference as ModelOutputReference
    from modularml.core.data.sample_collection import SampleCollection as SampleCollection
    from modularml.core.data.view import FeatureSetView as FeatureSetView
    from modularml.core.execution.binding import InputBinding as InputBinding
    from modularml.core.experiment.callback import Callback as Callback
    from modularml.core.experiment.callback import ExperimentCallback as ExperimentCallback
    from modularml.core.experiment.callback_results import ArtifactResult as ArtifactResult
    from modularml.core.experiment.callback_results import CallbackResult as CallbackResult
    from modularml.core.experiment.callback_results import MetricResult as MetricResult
    from modularml.core.experiment.checkpointing import Checkpointing as Checkpointing
    from modularml.core.experiment.cross_validation import CrossValidation as CrossValidation
    from modularml.core.experiment.cv_binding import CVBinding as CVBinding
    from modularml.core.experiment.cv_results import CVResults as CVResults
    from modularml.core.experiment.experiment import Experiment as Experiment
    from modularml.core.experiment.history import ExperimentRun as ExperimentRun
    from modularml.core.experiment.metrics import EvalLossMetric as EvalLossMetric
    from modularml.core.experiment.metrics import EvaluationMetric as EvaluationMetric
    from modularml.core.experiment.metrics import OutputMetric as OutputMetric
    from modularml.core.experiment.phase_results import EvalResults as EvalResults
    from modularml.core.experiment.phase_results import FitResults as FitResults
    from modularml.core.experiment.phase_results import TrainResults as TrainResults
    from modularml.core.experiment.phases.eval_phase import EvalPhase as EvalPhase
    from modularml.core.experiment.phases.fit_phase import FitPhase as FitPhase
    from modularml.core.experiment.phases.phase_group import PhaseGroup as PhaseGroup
    from modularml.core.experiment.phases.train_phase import ResultRecording as ResultRecording
    from modularml.core.experiment.phases.train_phase import TrainPhase as TrainPhase
    from modularml.core.experiment.results import PhaseGroupResults as PhaseGroupResults
    from modularml.core.experiment.results_config import ResultsConfig as ResultsConfig
    from modularml.core.experiment.series import AxisSeries as AxisSeries
    from modularml.core.topology.concat_node import ConcatNode as ConcatNode
    from modularml.core.topology.elementwise_nodes import FunctionNode as FunctionNode
    from modularml.core.topology.elementwise_nodes import MeanNode as MeanNode
    from modularml.core.topology.elementwise_nodes import SumNode as SumNode
    from modularml.core.topology.merge_node import MergeNode as MergeNode
    from modularml.core.topology.merge_strategy import MergeStrategy as MergeStrategy
    from modularml.core.topology.model_graph import ModelGraph as ModelGraph
    from modularml.core.topology.model_node import ModelNode as ModelNode
    from modularml.core.training.applied_loss import AppliedLoss as AppliedLoss
    from modularml.core.training.loss import Loss as Loss
    from modularml.core.training.optimizer import Optimizer as Optimizer
    from modularml.core.training.schedule import Schedule as Schedule
    from modularml.inspection.comparing import compare as compare
    from modularml.inspection.reading import inspect as inspect
    from modularml.inspection.schema import config_schema as config_schema
    from modularml.models import wrap_model as wrap_model
    from modularml.models.model import BaseModel as BaseModel
    from modularml.models.sklearn import ScikitModelWrapper as ScikitModelWrapper
    from modularml.models.torch.module import TorchBaseModel as TorchBaseModel
    from modularml.models.torch.wrapper import TorchModelWrapper as TorchModelWrapper
    from modularml.samplers.similarity import SimilarityCondition as SimilarityCondition
    from modularml.scalers.registry import scaler_registry as scaler_registry
    from modularml.scalers.registry import supported_scalers as supported_scalers
    from modularml.scalers.scaler import Scaler as Scaler

_HOMES = {
    "Accelerator": "backends.accelerator",
    "AppliedLoss": "core.training.applied_loss",
    "ArtifactResult": "core.experiment.callback_results",
    "AxisSeries": "core.experiment.series",
    "Backend": "backends.backend",
    "BaseModel": "models.model",
    "Batch": "core.data.batch",
    "BatchView": "core.data.batch_view",
    "CVBinding": "core.experiment.cv_binding",
    "CVResults": "core.experiment.cv_results",
    "Callback": "core.experiment.callback",
    "CallbackResult": "core.experiment.callback_results",
    "Checkpointing": "core.experiment.checkpointing",
    "ConcatNode": "core.topology.concat_node",
    "CrossValidation": "core.experiment.cross_validation",
    "DataFormat": "core.data.formats",
    "EarlyStopping": "callbacks.early_stopping",
    "EvalLossMetric": "core.experiment.metrics",
    "EvalPhase": "core.experiment.phases.eval_phase",
    "EvalResults": "core.experiment.phase_results",
    "Evaluation": "callbacks.evaluation",
    "EvaluationMetric": "core.experiment.metrics",
    "Experiment": "core.experiment.experiment",
    "ExperimentCallback": "core.experiment.callback",
    "ExperimentContext": "core.context",
    "ExperimentNodeReference": "core.data.reference",
    "ExperimentRun": "core.experiment.history",
    "FeatureSet": "core.data.featureset",
    "FeatureSetColumnReference": "core.data.reference",
    "FeatureSetReference": "core.data.reference",
    "FeatureSetSplitReference": "core.data.reference",
    "FeatureSetView": "core.data.view",
    "FitPhase": "core.experiment.phases.fit_phase",
    "FitResults": "core.experiment.phase_results",
    "FunctionNode": "core.topology.elementwise_nodes",
    "GraphNodeReference": "core.data.reference",
    "InputBinding": "core.execution.binding",
    "Loss": "core.training.loss",
    "MeanNode": "core.topology.elementwise_nodes",
    "MergeNode": "core.topology.merge_node",
    "MergeStrategy": "core.topology.merge_strategy",
    "MetricCallback": "callbacks.metric",
    "MetricResult": "core.experiment.callback_results",
    "ModelGraph": "core.topology.model_graph",
    "ModelNode": "core.topology.model_node",
    "ModelOutputReference": "core.data.reference",
    "Optimizer": "core.training.optimizer",
    "OutputMetric": "core.experiment.metrics",
    "PhaseGroup": "core.experiment.phases.phase_group",
    "PhaseGroupResults": "core.experiment.results",
    "RegistrationPolicy": "base.registration",
    "ResultRecording": "core.experiment.phases.train_phase",
    "ResultsConfig": "core.experiment.results_config",
    "RoleData": "core.data.batch",
    "SampleCollection": "core.data.sample_collection",
    "SampleData": "core.data.batch",
    "SampleShapes": "core.data.batch",
    "SampledView": "core.data.batch_view",
    "Scaler": "scalers.scaler",
    "Schedule": "core.training.schedule",
    "ScikitModelWrapper": "models.sklearn",
    "SimilarityCondition": "samplers.similarity",
    "SumNode": "core.topology.elementwise_nodes",
    "TorchBaseModel": "models.torch.module",
    "TorchModelWrapper": "models.torch.wrapper",
    "TrainPhase": "core.experiment.phases.train_phase",
    "TrainResults": "core.experiment.phase_results",
    "compare": "inspection.comparing",
    "config_schema": "inspection.schema",
    "inspect": "inspection.reading",
    "scaler_registry": "scalers.registry",
    "supported_scalers": "scalers.registry",
    "wrap_model": "models",
}
_ELSEWHERE = {
    "load": " Experiment.load, FeatureSet.load and ModelGraph.load read files; inspect tells what is in one.",
    "save": " What is to be saved has the method: exp.save(path), fs.save(path), graph.save(path).",
}
"""What people look for here that stands elsewhere."""
_PACKAGES = ("callbacks", "models", "predicates", "samplers", "scalers", "splitters")

__version__ = version("modularml-jupyter")
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        match = nearest(name, __dir__())
        hint = f" Did you mean {match!r}?" if match else ""
        hint = _ELSEWHERE.get(name, hint)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])
