"""Any splitter of scikit-learn, or anything with its ``split(X, y, groups)``, as one of ours.

It knows no FeatureSet, and imports scikit-learn only to read a configuration back.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from modularml.base.errors import (
    Faults,
    InvalidTypeError,
    InvalidValueError,
    UnknownNameError,
    unknown_name,
)
from modularml.base.keywords import checked
from modularml.base.rows import SampleSource, as_names, group_codes
from modularml.splitters.splitter import Splitter


class SklearnSplitter(Splitter):
    """Names the parts that a scikit-learn splitter makes.

    One fold gives the splits ``train`` and ``test``, several give ``fold_0_train``,
    ``fold_0_test``, ``fold_1_train``, ...

    Args:
        splitter: An object with ``split(X, y, groups)``, e.g. ``KFold(5)``.
        group_by: The columns that make up `groups`.
        stratify_by: The columns that make up `y`.

    Raises:
        InvalidTypeError: If `splitter` has no ``split`` method, or columns are no names.
    """

    overlaps_by_design = True

    def __init__(
        self,
        splitter: Any,
        *,
        group_by: str | Sequence[str] | None = None,
        stratify_by: str | Sequence[str] | None = None,
    ) -> None:
        if isinstance(splitter, str | type) or not callable(getattr(splitter, "split", None)):
            raise InvalidTypeError(
                "A splitter must be one of modularml.splitters or an object with split(X, y, groups), "
                f"such as KFold(5); got {splitter!r}{' itself, not one of it' * isinstance(splitter, type)}."
            )
        faults = Faults(type(self).__name__)
        faults.attempt(as_names, group_by, "group_by")
        faults.attempt(as_names, stratify_by, "stratify_by")
        faults.raise_if_any()
        self.splitter = splitter
        self.group_by = group_by
        self.stratify_by = stratify_by

    def get_config(self) -> dict[str, Any]:
        """Return the columns, and the splitter as its class and arguments."""
        cls = type(self.splitter)
        is_known = cls.__module__.startswith("sklearn.")
        described = {"class": cls.__name__ if is_known else cls, "arguments": _arguments(self.splitter)}
        return {**super().get_config(), "splitter": described}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a splitter of what `get_config` returned.

        Raises:
            UnknownNameError: If scikit-learn has no splitter of that name.
        """
        described = config["splitter"]
        made_of = described["class"]
        if isinstance(made_of, str):
            made_of = _from_sklearn(made_of)
        return cls(**{**config, "splitter": made_of(**described["arguments"])})

    def _indices(self, source: SampleSource) -> dict[str, np.ndarray]:
        by = {option: as_names(getattr(self, option), option) for option in ("stratify_by", "group_by")}
        y, groups = (group_codes(source, names, option)[0] if names else None for option, names in by.items())
        try:
            folds = list(self.splitter.split(np.empty((source.n_samples, 0)), y, groups))
        except (ValueError, TypeError) as error:
            told = [
                f" Its {what} come from {option}, {list(by[option]) or 'which names no columns'}."
                for option, what in (("group_by", "groups"), ("stratify_by", "y"))
                if by[option] or f"'{what}'" in str(error)
            ]
            reason = str(error).rstrip(".")
            raise InvalidValueError(f"{self.splitter!r} refuses: {reason}.{''.join(told)}") from error
        names = [""] if len(folds) == 1 else [f"fold_{i}_" for i in range(len(folds))]
        return {
            name + part: np.asarray(rows, np.int64)
            for name, fold in zip(names, folds, strict=True)
            for part, rows in zip(("train", "test"), fold, strict=True)
        }


def _arguments(splitter: Any) -> dict[str, Any]:
    # The repeated splitters keep what they pass on in `cvargs`.
    kept = {**vars(splitter), **vars(splitter).get("cvargs", {})}
    return {name: kept[name] for name in inspect.signature(type(splitter)).parameters if name in kept}


def _from_sklearn(name: str) -> Any:
    # By name, so that a configuration can be written and compared without scikit-learn.
    public = vars(importlib.import_module("sklearn.model_selection"))
    splitters = {key: cls for key, cls in public.items() if isinstance(cls, type) and hasattr(cls, "split")}
    if name not in splitters:
        raise UnknownNameError(unknown_name("splitter", name, splitters, where="scikit-learn"))
    return splitters[name]


@checked
def as_splitter(
    splitter: Any,
    *,
    group_by: str | Sequence[str] | None = None,
    stratify_by: str | Sequence[str] | None = None,
) -> Splitter:
    """Return a splitter of ours as it is, and anything else as a `SklearnSplitter`.

    Raises:
        InvalidTypeError: If it is no splitter, or columns are given beside one of ours.
    """
    if not isinstance(splitter, Splitter):
        return SklearnSplitter(splitter, group_by=group_by, stratify_by=stratify_by)
    if group_by is not None or stratify_by is not None:
        raise InvalidTypeError(
            f"group_by and stratify_by are for scikit-learn's splitters; give them to {splitter!r} itself."
        )
    return splitter
