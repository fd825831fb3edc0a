"""What data cost, as ratios to the least that numpy, scikit-learn or torch need for the same.

Ours and the limit take turns in one process and CPU time is counted, so that a busy
machine slows both alike. Sizes are those of small, usual and large sets; the exponent says how the
costs of ours grow from 10,000 rows to a million. Run it with ``python benchmarks/data.py``.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from math import log
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from modularml import ExperimentContext, FeatureSet
from modularml.core.execution.feed import Feed, Source
from modularml.samplers import PairedSampler, SimilarityCondition, SimpleSampler, TripletSampler

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SHOWN = (1_000, 100_000, 1_000_000)
BUDGET_S = 0.6  # for the turns of one case of one size
Work = Callable[[], object]
Case = tuple[str, str, Work, Work]


def cpu_s(work: Work, n_calls: int) -> float:
    """Return the CPU seconds that one call takes, of several in a row."""
    began = time.process_time()
    for _ in range(n_calls):
        work()
    return (time.process_time() - began) / n_calls


def compare(ours: Work, limit: Work) -> tuple[float, float]:
    """Return the median CPU seconds of ours and of the limit, taken in turns."""
    once = max(cpu_s(ours, 1), cpu_s(limit, 1), 1e-6)
    n_calls = max(1, int(2e-3 / once))  # the clock does not tell less apart
    n_rounds = int(min(25, max(3, BUDGET_S / (2 * n_calls * once))))
    pairs = [(cpu_s(ours, n_calls), cpu_s(limit, n_calls)) for _ in range(n_rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def pairs_by_hand(labels: np.ndarray) -> np.ndarray:
    """Return three random rows of the same label for each row, sorted by label."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    number = np.random.default_rng(0).integers(0, sizes[labels], (3, len(labels)))
    return order[starts[labels] + number]


def cases(n: int, folder: Path) -> Iterator[Case]:
    """Yield what is compared at a size: its name, what it may cost, ours, and the limit."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 10)), rng.integers(0, 10, n)
    names = np.array([f"cell_{i:04}" for i in range(1000)])[rng.integers(0, min(n // 10, 1000), n)]
    rows = list(x[:20_000])
    fs = FeatureSet.from_dict("all", {"x": x, "y": y, "cell": names}, "x", "y", "cell")
    half = FeatureSet.from_dict("half", {"x": x[: n // 2]}, "x")
    ratios = {"train": 0.8, "test": 0.2}
    alike, other = {"y": SimilarityCondition("similar")}, {"y": SimilarityCondition("dissimilar")}

    def scale() -> None:
        fs.fit_transform("StandardScaler", domain="features")
        fs.undo_all_transforms()

    def again(*args: object) -> FeatureSet:
        return FeatureSet.from_dict("again", *args)  # type: ignore[arg-type]

    def permute() -> object:
        return rng.permutation(n)

    def split(**options: str) -> Work:
        return lambda: fs.split_random(ratios, register=False, **options)  # type: ignore[arg-type]

    yield "from_dict, list (20k at most)", "3", lambda: again({"x": rows}, "x"), lambda: np.stack(rows)
    yield "from_dict, array", "no copy", lambda: again({"x": x}, "x"), lambda: x.copy()
    yield "split, random", "2", split(), permute
    yield (
        "split, stratified",
        "3",
        split(stratify_by="y"),
        lambda: train_test_split(np.arange(n), test_size=0.2, stratify=y),
    )
    yield "split, grouped by text", "7", split(group_by="cell"), permute
    yield "split, grouped and stratified", "", split(group_by="cell", stratify_by="y"), permute
    yield "filter by equality", "3", lambda: fs.filter({"y": 3}), lambda: np.flatnonzero(y == 3)
    yield "features as numpy", "no copy", lambda: fs.get_features("numpy"), lambda: x.copy()
    yield "StandardScaler", "1.5", scale, lambda: StandardScaler().fit_transform(x)
    yield "an epoch, shuffled", "", lambda: SimpleSampler(batch_size=32, shuffle=True).epoch(fs, 0), permute

    def save() -> object:
        return half.save(folder / "half", overwrite=True)

    def load() -> object:
        return FeatureSet.load(folder / "half")

    yield "save, half of the rows", "14", save, lambda: np.save(folder / "x", x[: n // 2])
    yield "load, half of the rows", "3.5", load, lambda: np.load(folder / "x.npy")
    yield "PairedSampler", "10", lambda: PairedSampler(alike, seed=0).epoch(fs, 0), lambda: pairs_by_hand(y)
    triplets = TripletSampler(alike, other, seed=0)
    yield "TripletSampler", "20", lambda: triplets.epoch(fs, 0), lambda: pairs_by_hand(y)


def batches(n: int = 100_000) -> tuple[float, float]:
    """Return what a batch of 32 rows costs in training, and what one gather of 32 rows costs."""
    x = np.random.default_rng(0).standard_normal((n, 10)).astype(np.float32)
    fs = FeatureSet.from_dict("batches", {"x": x}, "x")
    whole = torch.from_numpy(x)
    sampler = SimpleSampler(batch_size=32, shuffle=True)
    feed = Feed([Source(head="a", view=fs.to_view(), sampler=sampler)], [("a", whole)])
    rows = list(torch.randperm(n).split(32))
    ours, limit = compare(
        lambda: sum(1 for _ in feed.batches(feed.draw(0))), lambda: [whole.index_select(0, r) for r in rows]
    )
    return ours / len(rows), limit / len(rows)


def in_words(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    return f"{1e6 * seconds:.3g} µs" if seconds < 1e-3 else f"{1e3 * seconds:.3g} ms"


def main() -> None:
    """Print the table."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    allowed: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        ExperimentContext(registration_policy="overwrite").temporary(),
        contextlib.redirect_stderr(io.StringIO()),  # loading tells that the set is there already
    ):
        for n in SIZES:
            for name, may_cost, ours, limit in cases(n, Path(folder)):
                allowed[name] = may_cost
                found.setdefault(name, {})[n] = compare(ours, limit)
    table = Table("what", *[head for n in SHOWN for head in (f"{n:,} rows", "ratio")], "may be", "exponent")
    for name, at in found.items():
        cells = [cell for n in SHOWN for cell in (in_words(at[n][0]), f"{at[n][0] / at[n][1]:.2f}")]
        exponent = log(at[SIZES[-1]][0] / at[SIZES[1]][0]) / log(SIZES[-1] / SIZES[1])
        table.add_row(name, *cells, allowed[name], f"{exponent:.2f}")
    Console(width=140).print(table)
    ours_s, limit_s = batches()
    told = f"a batch of 32 rows in training: {in_words(ours_s)}, {ours_s / limit_s:.2f} of a gather by hand"
    Console().print(f"{told}; may be 2")


if __name__ == "__main__":
    main()
