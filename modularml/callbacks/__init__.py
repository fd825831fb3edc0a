"""Callbacks for use: evaluation during training, early stopping.

They know phases and results only through what a hook is handed.
"""

from modularml.callbacks.early_stopping import EarlyStopping as EarlyStopping
from modularml.callbacks.evaluation import Evaluation as Evaluation
