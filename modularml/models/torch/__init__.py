"""Models made with PyTorch; importing this package imports torch."""

from modularml.models.torch.cnn import SequentialCNN as SequentialCNN
from modularml.models.torch.mlp import SequentialMLP as SequentialMLP
from modularml.models.torch.module import TorchBaseModel as TorchBaseModel
from modularml.models.torch.wrapper import TorchModelWrapper as TorchModelWrapper
