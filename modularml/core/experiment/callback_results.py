"""What hooks return, with the place in the run where they returned it.

They know no callback and no phase by class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from modularml.base.keywords import checked_keywords


@checked_keywords
@dataclass(frozen=True, kw_only=True)
class CallbackResult:
    """What a hook of a callback returned; the runner fills in the place.

    Attributes:
        callback_label: The callback.
        phase_label: The phase.
        scope: What began or ended: ``"phase"``, ``"epoch"`` or ``"batch"``, or ``"exception"``.
        edge: ``"start"`` or ``"end"``.
        epoch: The epoch, from 0; None at the edges of a phase.
        batch: The batch of the epoch, from 0; None elsewhere than at batches.
    """

    kind: ClassVar[str] = ""

    callback_label: str = ""
    phase_label: str = ""
    scope: str = ""
    edge: str = ""
    epoch: int | None = None
    batch: int | None = None

    def placed(self, **place: Any) -> Self:
        """Return the same at a place."""
        return replace(self, **place)

    def get_state(self) -> dict[str, Any]:
        """Return the result as a tree; an object that no file can hold becomes `Unkept`."""
        return {"kind": self.kind} | {f.name: _tree(getattr(self, f.name)) for f in fields(self)}


@dataclass(frozen=True, kw_only=True)
class PayloadResult(CallbackResult):
    """Anything that a hook returned as it is."""

    kind: ClassVar[str] = "payload"
    payload: Any = None


@checked_keywords
@dataclass(frozen=True, kw_only=True)
class MetricResult(CallbackResult):
    """A value that is also logged as a metric."""

    kind: ClassVar[str] = "metric"
    metric_name: str
    metric_value: float


@checked_keywords
@dataclass(frozen=True, kw_only=True)
class ArtifactResult(CallbackResult):
    """A thing with a name, such as a figure or an array."""

    kind: ClassVar[str] = "artifact"
    artifact_name: str
    artifact: Any


@dataclass(frozen=True, kw_only=True)
class EvaluationCallbackResult(CallbackResult):
    """The results of an evaluation; those of all but the newest hold no outputs any more."""

    kind: ClassVar[str] = "evaluation"
    eval_results: Any


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingResult(CallbackResult):
    """What early stopping found.

    Attributes:
        best_value: The best value, or None if there was none.
        best_epoch: Its epoch.
        stopped_epoch: The epoch after which it ended the phase, or None.
    """

    kind: ClassVar[str] = "early_stopping"
    best_value: float | None
    best_epoch: int | None
    stopped_epoch: int | None


KINDS: dict[str, type[CallbackResult]] = {
    cls.kind: cls
    for cls in (PayloadResult, MetricResult, ArtifactResult, EvaluationCallbackResult, EarlyStoppingResult)
}


@dataclass(frozen=True)
class Unkept:
    """Stands for an object that a file could not hold.

    Attributes:
        type_name: The class of the object.
    """

    type_name: str


def as_result(returned: Any) -> CallbackResult:
    """Return what a hook returned as a result."""
    return returned if isinstance(returned, CallbackResult) else PayloadResult(payload=returned)


def result_from_state(state: Mapping[str, Any]) -> CallbackResult:
    """Make a result of what `get_state` returned; the results of an evaluation stay a tree."""
    values = {name: _thing(value) for name, value in state.items() if name != "kind"}
    return KINDS[state["kind"]](**values)


def _tree(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcU":
        return value
    if isinstance(value, np.generic):
        return _tree(value.item())
    if isinstance(value, list | tuple):
        return type(value)(map(_tree, value)) if type(value) in (list, tuple) else list(map(_tree, value))
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _tree(item) for key, item in value.items()}
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    if hasattr(value, "recording"):
        return value.get_state(tensors=False)
    return {"$unkept": f"{type(value).__module__}.{type(value).__qualname__}"}


def _thing(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "$unkept" in value:
            return Unkept(value["$unkept"])
        return {key: _thing(item) for key, item in value.items()}
    return [_thing(item) for item in value] if isinstance(value, list) else value
