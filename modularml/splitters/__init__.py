"""Splitters: samples -> named parts, as arrays of rows.

They know no FeatureSet.
"""

from modularml.splitters.condition import ConditionSplitter as ConditionSplitter
from modularml.splitters.random import RandomSplitter as RandomSplitter
from modularml.splitters.sklearn import SklearnSplitter as SklearnSplitter
from modularml.splitters.sklearn import as_splitter as as_splitter
from modularml.splitters.splitter import Splitter as Splitter
from modularml.splitters.splitter import splitter_registry as splitter_registry
