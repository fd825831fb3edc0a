"""Any splitter of scikit-learn, or anything with its ``split(X, y, groups)``, as one of ours.

It knows no FeatureSet, and does not import scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modularml.base.errors import InvalidTypeError
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
        InvalidTypeError: If `splitter` has no ``split`` method.
    """

    overlaps_by_design = True

    def __init__(
        self,
        splitter: Any,
        *,
        group_by: str | Sequence[str] | None = None,
        stratify_by: str | Sequence[str] | None = None,
    ) -> None:
        if isinstance(splitter, type) or not callable(getattr(splitter, "split", None)):
            raise InvalidTypeError(
                "A splitter must be one of modularml.splitters or an object with split(X, y, groups), "
                f"such as KFold(5); got {splitter!r}."
            )
        self.splitter = splitter
        self.group_by = group_by
        self.stratify_by = stratify_by

    def _indices(self, source: SampleSource) -> dict[str, np.ndarray]:
        y, groups = (
            group_codes(source, names, option)[0] if names else None
            for option in ("stratify_by", "group_by")
            for names in [as_names(getattr(self, option), option)]
        )
        folds = list(self.splitter.split(np.empty((source.n_samples, 0)), y, groups))
        names = [""] if len(folds) == 1 else [f"fold_{i}_" for i in range(len(folds))]
        return {
            name + part: np.asarray(rows, np.int64)
            for name, fold in zip(names, folds, strict=True)
            for part, rows in zip(("train", "test"), fold, strict=True)
        }


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
