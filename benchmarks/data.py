"""What data cost, as ratios to the least that numpy or scikit-learn need for the same.

Ours and the limit take turns in one process and CPU time is counted, so that a busy
machine slows both alike. Run it with ``python benchmarks/data.py``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from modularml import ExperimentContext, FeatureSet
from modularml.samplers import PairedSampler, SimilarityCondition, SimpleSampler, TripletSampler

N = 1_000_000
N_ROUNDS = 5
Work = Callable[[], object]


def cpu_s(work: Work) -> float:
    """Return the CPU seconds that one call takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compare(ours: Work, limit: Work) -> tuple[float, float]:
    """Return the median CPU seconds of ours and of the limit, taken in turns."""
    pairs = [(cpu_s(ours), cpu_s(limit)) for _ in range(N_ROUNDS)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def pairs_by_hand(labels: np.ndarray) -> np.ndarray:
    """Return three random rows of the same label for each row, sorted by label."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    number = np.random.default_rng(0).integers(0, sizes[labels], (3, len(labels)))
    return order[starts[labels] + number]


def cases(folder: Path) -> list[tuple[str, Work, Work]]:
    """Return what is compared: its name, ours, and the limit."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 10)), rng.integers(0, 10, N)
    names = np.array([f"cell_{i:04}" for i in range(1000)])[rng.integers(0, 1000, N)]
    rows = list(x[:20_000])
    fs = FeatureSet.from_dict("big", {"x": x, "y": y, "cell": names}, "x", "y", "cell")
    half = FeatureSet.from_dict("half", {"x": x[: N // 2]}, "x")
    small = FeatureSet.from_dict("small", {"x": x[:10_000, 0], "y": y[:10_000]}, "x", None, "y")
    ratios = {"train": 0.8, "test": 0.2}
    alike, other = {"y": SimilarityCondition("similar")}, {"y": SimilarityCondition("dissimilar")}

    def scale() -> None:
        fs.fit_transform("StandardScaler", domain="features")
        fs.undo_all_transforms()

    def again(*args: object) -> FeatureSet:
        return FeatureSet.from_dict("again", *args)  # type: ignore[arg-type]

    def permute() -> object:
        return rng.permutation(N)

    return [
        ("from_dict, list of 20k", lambda: again({"x": rows}, "x"), lambda: np.stack(rows)),
        ("from_dict, array of 1M", lambda: again({"x": x}, "x"), lambda: x.sum()),
        ("split, random, 1M", lambda: fs.split_random(ratios, register=False), permute),
        (
            "split, stratified, 1M",
            lambda: fs.split_random(ratios, stratify_by="y", register=False),
            lambda: train_test_split(np.arange(N), test_size=0.2, stratify=y),
        ),
        (
            "split, grouped by text, 1M",
            lambda: fs.split_random(ratios, group_by="cell", register=False),
            permute,
        ),
        (
            "split, grouped and stratified, 1M",
            lambda: fs.split_random(ratios, group_by="cell", stratify_by="y", register=False),
            permute,
        ),
        ("filter by equality, 1M", lambda: fs.filter({"y": 3}), lambda: np.flatnonzero(y == 3)),
        ("features as numpy, 1M", lambda: fs.get_features("numpy"), lambda: x.sum()),
        (
            "StandardScaler, fit and transform, 1M",
            scale,
            lambda: StandardScaler().fit_transform(x),
        ),
        ("epoch, shuffled, 1M", lambda: SimpleSampler(batch_size=32, shuffle=True).epoch(fs, 0), permute),
        ("epoch, by group, 1M", lambda: SimpleSampler(shuffle=True, group_by="y").epoch(fs, 0), permute),
        (
            "save, 500k",
            lambda: half.save(folder / "half", overwrite=True),
            lambda: np.save(folder / "x", x[: N // 2]),
        ),
        ("load, 500k", lambda: FeatureSet.load(folder / "half"), lambda: np.load(folder / "x.npy")),
        (
            "pairs, 10k",
            lambda: PairedSampler(alike, seed=0).epoch(small, 0),
            lambda: pairs_by_hand(y[:10_000]),
        ),
        ("pairs, 1M", lambda: PairedSampler(alike, seed=0).epoch(fs, 0), lambda: pairs_by_hand(y)),
        ("triplets, 1M", lambda: TripletSampler(alike, other, seed=0).epoch(fs, 0), lambda: pairs_by_hand(y)),
    ]


def main() -> None:
    """Print the table."""
    table = Table("what", "ours, ms", "limit, ms", "ratio")
    with (
        tempfile.TemporaryDirectory() as folder,
        ExperimentContext(registration_policy="overwrite").temporary(),
    ):
        for name, ours, limit in cases(Path(folder)):
            ours_s, limit_s = compare(ours, limit)
            table.add_row(name, f"{1e3 * ours_s:.1f}", f"{1e3 * limit_s:.1f}", f"{ours_s / limit_s:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
