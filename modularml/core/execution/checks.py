"""What is looked at in the data of a phase before its first step.

It knows no column of a loss and no call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from modularml.base.errors import Faults, StateError, warn
from modularml.core.data.reference import FeatureSetReference
from modularml.core.data.values import check_feeds
from modularml.core.data.view import FeatureSetView
from modularml.core.execution.binding import InputBinding
from modularml.core.execution.feed import Source
from modularml.core.topology.graph_node import GraphNode

NAN = ("raise", "warn", "allow")
"""What a phase may do about values that are NaN or infinite."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """What enters the graph at one place.

    Attributes:
        key: The name of the entry.
        node: The node that it enters.
        refs: The columns that are read.
        binding: Who draws the rows.
        view: The rows.
    """

    key: str
    node: GraphNode
    refs: tuple[FeatureSetReference, ...]
    binding: InputBinding
    view: FeatureSetView

    @property
    def features(self) -> tuple[str, ...]:
        """The full names of the features, each once."""
        return tuple(dict.fromkeys(name for ref in self.refs for name in ref.features))

    @property
    def targets(self) -> tuple[str, ...]:
        """The full names of the targets, each once."""
        return tuple(dict.fromkeys(name for ref in self.refs for name in ref.targets))


def check_view(entering: Input, faults: Faults) -> None:
    """Note that there are no rows, or that something else than numbers and bools would feed a model."""
    table, label = entering.view.source.table, entering.node.label
    if entering.view.n_samples == 0:
        faults.add(StateError(f"there are no rows{_of_split(entering.binding)} to feed {label!r}."))
    columns = {name: table.column(name) for name in (*entering.features, *entering.targets)}
    faults.attempt(check_feeds, columns, repr(entering.node))


def check_finite(inputs: Sequence[Input], faults: Faults, where: str, nan: str) -> None:
    """Note the columns with values that no model can learn from, or warn of them once.

    NaN in features is a value to estimators that say so.

    Args:
        inputs: The data that enter.
        faults: Where they are noted if `nan` is ``"raise"``.
        where: The label of the phase, for the warning.
        nan: ``"raise"`` or ``"warn"``.
    """
    found = [text for one in inputs for text in _not_finite(one)]
    # Heads that share columns would tell of them once each.
    told = list(dict.fromkeys(found))
    if nan == "raise":
        for text in told:
            faults.add(text)
    elif told:
        warn("\n".join([f"{where} works on values that are not finite:", *(f"  - {text}" for text in told)]))


def _not_finite(entering: Input) -> Iterator[str]:
    view, allows_nan = entering.view, getattr(getattr(entering.node, "model", None), "allows_nan", False)
    for name in (*entering.features, *entering.targets):
        column = view.source.table.column(name)
        if column.dtype.kind not in "fc":
            continue
        check = np.isinf if allows_nan and name in entering.features else _is_not_finite
        n_bad = sum(np.count_nonzero(check(part)) for part in view.chunks(name))
        if n_bad:
            yield (
                f"{name!r}{_of_split(entering.binding)} holds {n_bad} values that are NaN or infinite, of "
                f"{view.n_samples * column[:1].size}; filter or fill them before training, or let them "
                'pass: nan="warn" or nan="allow".'
            )


def _is_not_finite(values: np.ndarray) -> np.ndarray:
    return ~np.isfinite(values)


def _of_split(binding: InputBinding) -> str:
    return "" if binding.split is None else f" of split {binding.split!r}"


def check_lengths(sources: Sequence[Source], faults: Faults) -> None:
    """Batches end with the shortest head; where no sampler drops rows, none may be left out."""
    n_rows = {source.head: source.view.n_samples for source in sources if source.sampler is None}
    if any(source.batch_size is not None for source in sources) and len(set(n_rows.values())) > 1:
        faults.add(
            f"the heads get different numbers of rows, {n_rows}, which cannot be cut into the same batches. "
            "Leave batch_size out, or give each head a phase of its own."
        )
