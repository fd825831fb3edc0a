"""Callbacks for use: evaluation during training, early stopping.

They know phases and results only through what a hook is handed.
"""

from modularml.callbacks.early_stopping import EarlyStopping as EarlyStopping
from modularml.callbacks.evaluation import Evaluation as Evaluation
from modularml.callbacks.metric import MetricCallback as MetricCallback
from modularml.core.experiment.callback import callback_registry as callback_registry
from modularml.core.experiment.callback_results import ArtifactResult as ArtifactResult
from modularml.core.experiment.callback_results import MetricResult as MetricResult
from modularml.core.experiment.metrics import EvalLossMetric as EvalLossMetric
from modularml.core.experiment.metrics import EvaluationMetric as EvaluationMetric
from modularml.core.experiment.metrics import OutputMetric as OutputMetric
