"""Scalers: ours, scikit-learn's by name, and one wrapper for all of them.

They know no columns. scikit-learn is imported when one of its scalers is first used.
"""

from typing import TYPE_CHECKING, Any

from modularml.scalers.elementwise import Absolute as Absolute
from modularml.scalers.elementwise import Negate as Negate
from modularml.scalers.per_sample import PerSampleMinMaxScaler as PerSampleMinMaxScaler
from modularml.scalers.per_sample import PerSampleZeroStart as PerSampleZeroStart
from modularml.scalers.registry import SKLEARN_SCALERS
from modularml.scalers.registry import scaler_registry as scaler_registry
from modularml.scalers.registry import supported_scalers as supported_scalers
from modularml.scalers.scaler import Scaler as Scaler
from modularml.scalers.segmented import SegmentedScaler as SegmentedScaler

if TYPE_CHECKING:
    from sklearn.preprocessing import MaxAbsScaler as MaxAbsScaler
    from sklearn.preprocessing import MinMaxScaler as MinMaxScaler
    from sklearn.preprocessing import Normalizer as Normalizer
    from sklearn.preprocessing import PowerTransformer as PowerTransformer
    from sklearn.preprocessing import QuantileTransformer as QuantileTransformer
    from sklearn.preprocessing import RobustScaler as RobustScaler
    from sklearn.preprocessing import StandardScaler as StandardScaler


__all__ = [
    "Absolute",
    "Negate",
    "PerSampleMinMaxScaler",
    "PerSampleZeroStart",
    "Scaler",
    "SegmentedScaler",
    "scaler_registry",
    "supported_scalers",
    *SKLEARN_SCALERS,
]


def __getattr__(name: str) -> Any:
    if name in SKLEARN_SCALERS:
        return scaler_registry[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *SKLEARN_SCALERS})
