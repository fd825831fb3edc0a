"""Runs as HTML: the curves over each other lie where their points belong."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from modularml.display.run_list import runs_html
from modularml.display.runs import CurveView, RunView
from tests.opened import opened


class Source:
    """Runs that there were."""

    name = "source"

    def __init__(self, *runs: RunView) -> None:
        self._runs = runs

    def views(self) -> Sequence[RunView]:
        return self._runs

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        return changed


@pytest.mark.parametrize("x", [np.arange(1, 1_001), np.arange(10, 1_001, 10)], ids=["long", "each tenth"])
def test_the_picture_of_curves_counts_epochs_and_not_points(x: np.ndarray) -> None:
    curve = CurveView(phase="train", name="mse", per="epoch", x=x, y=1 / x)
    run = RunView(
        id="1",
        label="train",
        status="completed",
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        duration_s=1.0,
        final={curve.key: 0.001},
        read_curves=lambda: (curve,),
    )
    shown = re.findall(r'text-anchor="middle"[^>]*>(\d+)</text>', opened(runs_html([Source(run)])))
    assert (shown[0], shown[-1]) == ("1", "1000")
