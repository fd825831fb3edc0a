"""What every sampler keeps to; a new one must give an example here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.samplers import (
    NSampler,
    PairedSampler,
    Sampler,
    SimilarityCondition,
    SimpleSampler,
    TripletSampler,
    sampler_registry,
)

N = 48
LIKE, UNLIKE = SimilarityCondition("similar"), SimilarityCondition("dissimilar")
NEAR = SimilarityCondition("similar", tolerance=5, allow_fallback=True, weight_mode="linear")

EXAMPLES: dict[str, list[Callable[..., Sampler]]] = {
    "SimpleSampler": [
        SimpleSampler,
        lambda **kw: SimpleSampler(group_by="cell", **kw),
        lambda **kw: SimpleSampler(stratify_by="cell", drop_last=True, **kw),
    ],
    "PairedSampler": [
        lambda **kw: PairedSampler({"cell": LIKE}, **kw),
        lambda **kw: PairedSampler({"number": NEAR}, choose_best_only=True, **kw),
    ],
    "TripletSampler": [lambda **kw: TripletSampler({"cell": LIKE}, {"cell": UNLIKE}, group_by="cell", **kw)],
    "NSampler": [lambda **kw: NSampler({"a": {"cell": LIKE}, "b": {"number": NEAR, "cell": UNLIKE}}, **kw)],
}
every_sampler = pytest.mark.parametrize(
    "make",
    [pytest.param(make, id=f"{name}-{i}") for name, all_ in EXAMPLES.items() for i, make in enumerate(all_)],
)


@pytest.fixture
def fs() -> FeatureSet:
    data = {"x": np.arange(2.0 * N).reshape(N, 2), "number": np.arange(N), "cell": np.arange(N) % 4}
    with ExperimentContext().temporary():
        return FeatureSet.from_dict("A", data, "x", None, ["number", "cell"])


def batches(sampler: Sampler, fs: FeatureSet, epoch: int) -> list[dict[str, list[int]]]:
    return [{role: rows.tolist() for role, rows in batch.items()} for batch in sampler.batches(fs, epoch)]


def test_every_sampler_has_an_example() -> None:
    assert EXAMPLES.keys() == sampler_registry.keys()
    for name, makes in EXAMPLES.items():
        assert all(type(make()) is sampler_registry[name] for make in makes)


@every_sampler
def test_an_order_follows_from_seed_and_epoch_alone(make: Callable[..., Sampler], fs: FeatureSet) -> None:
    first, second = (make(batch_size=8, shuffle=True, seed=3) for _ in range(2))
    batches(second, fs, 5)  # what was drawn before does not matter
    assert batches(first, fs, 2) == batches(second, fs, 2) == batches(first, fs, 2)
    assert batches(first, fs, 2) != batches(first, fs, 3)
    assert batches(first, fs, 2) != batches(make(batch_size=8, shuffle=True, seed=4), fs, 2)


@every_sampler
def test_an_epoch_can_be_entered_at_any_batch(make: Callable[..., Sampler], fs: FeatureSet) -> None:
    sampler = make(batch_size=8, shuffle=True, seed=3, source=fs)
    index, whole = sampler.epoch(fs, 1), batches(sampler, fs, 1)
    for k in (0, 1, index.n_batches - 1):
        for role, rows in index.roles.items():
            rest = rows[index.offsets[k] :]
            assert rest.tolist() == [row for batch in whole[k:] for row in batch[role]]
    sampler.materialize_batches(epoch=1)
    for view, batch in zip(sampler.get_stream(), whole, strict=True):
        assert {role: rows.tolist() for role, rows in view.role_indices.items()} == batch


@every_sampler
def test_batches_are_sound(make: Callable[..., Sampler], fs: FeatureSet) -> None:
    sampler = make(batch_size=8, seed=0)
    index = sampler.epoch(fs, 0)
    sizes = np.diff(index.offsets)
    assert sizes.min() > 0 and sizes.max() <= 8
    assert tuple(index.roles) == sampler.role_names
    for rows in (*index.roles.values(), *(index.weights or {}).values()):
        assert len(rows) == index.offsets[-1]
    for rows in index.roles.values():
        assert rows.dtype == np.int64 and 0 <= rows.min() <= rows.max() < N
    view = fs.take(np.arange(N)[::-2])
    assert max(rows.max() for rows in sampler.epoch(view, 0).roles.values()) < view.n_samples


@every_sampler
def test_it_comes_back_from_its_configuration_and_from_files(
    make: Callable[..., Sampler], fs: FeatureSet, tmp_path: Path
) -> None:
    sampler = make(batch_size=8, shuffle=True)  # without a seed it has drawn one
    expected = batches(sampler, fs, 1)
    assert from_config(to_config(sampler)).get_config() == sampler.get_config()
    assert batches(Sampler.load(sampler.save(tmp_path / "s")), fs, 1) == expected
    assert batches(Sampler.from_yaml(sampler.to_yaml(tmp_path / "s.yaml")), fs, 1) == expected


@every_sampler
def test_wrong_options_are_refused_together(make: Callable[..., Sampler]) -> None:
    with pytest.raises(InvalidValueError, match=r"(?s)3 faults.*batch_size.*2.5.*seed.*-1.*shuffle"):
        make(batch_size=2.5, seed=-1, shuffle="yes")
    for size in (0, -1, True, "8"):
        with pytest.raises((InvalidValueError, InvalidTypeError), match="batch_size"):
            make(batch_size=size)
    with pytest.raises(InvalidTypeError, match="FeatureSet or a view"):
        make(source=3)
