"""Samplers: samples -> the batches of an epoch, as arrays of rows.

They know no FeatureSet and no tensors.
"""

from modularml.samplers.n_sampler import NSampler as NSampler
from modularml.samplers.paired import PairedSampler as PairedSampler
from modularml.samplers.sampler import EpochIndex as EpochIndex
from modularml.samplers.sampler import Sampler as Sampler
from modularml.samplers.sampler import SampleSource as SampleSource
from modularml.samplers.sampler import sampler_registry as sampler_registry
from modularml.samplers.similarity import SimilarityCondition as SimilarityCondition
from modularml.samplers.simple import SimpleSampler as SimpleSampler
from modularml.samplers.triplet import TripletSampler as TripletSampler
