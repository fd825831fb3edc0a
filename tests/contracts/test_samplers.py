"""What every sampler keeps to; a new one must give an example here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidAttributeError, InvalidTypeError, InvalidValueError
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


@pytest.mark.parametrize(
    "changed", [{"batch_size": 5}, {"shuffle": False}, {"seed": 4}], ids=lambda changed: next(iter(changed))
)
@every_sampler
def test_an_option_that_is_assigned_means_what_it_means_to_the_constructor(
    make: Callable[..., Sampler], fs: FeatureSet, changed: dict[str, Any]
) -> None:
    options = {"batch_size": 8, "shuffle": True, "seed": 3}
    sampler, other = make(**options, source=fs), make(**options | changed)
    sampler.materialize_batches()
    ((name, value),) = changed.items()
    setattr(sampler, name, value)
    assert not sampler.is_materialized
    assert batches(sampler, fs, 1) == batches(other, fs, 1) != batches(make(**options), fs, 1)
    assert (sampler, sampler.get_state()) == (other, other.get_state())


@every_sampler
def test_an_option_that_is_assigned_leaves_the_order_of_one_without_a_seed(
    make: Callable[..., Sampler], fs: FeatureSet
) -> None:
    sampler = make(batch_size=8, shuffle=True)
    before = sampler.get_state()
    sampler.batch_size = 6
    assert sampler.get_state() == before
    sampler.seed = None
    assert sampler.get_state() != before


def test_what_follows_from_conditions_is_assigned_with_them(fs: FeatureSet) -> None:
    pairs = PairedSampler({"cell": LIKE}, source=fs)
    pairs.conditions, pairs.max_pairs_per_anchor = {"cell": UNLIKE}, 1
    assert batches(pairs, fs, 0) == batches(
        PairedSampler({"cell": UNLIKE}, max_pairs_per_anchor=1, seed=pairs.get_state()["entropy"]), fs, 0
    )
    with pytest.raises(InvalidAttributeError, match="cannot be set: it follows from max_pairs_per_anchor"):
        pairs.max_samples_per_anchor = 3
    with pytest.raises(InvalidAttributeError, match="cannot be set: it follows from pos_conditions"):
        TripletSampler({"cell": LIKE}, {"cell": UNLIKE}).condition_mapping = {}


OPTIONS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(4, N // 4),
        "shuffle": st.booleans(),
        "drop_last": st.booleans(),
        "seed": st.integers(0, 5),
        "by": st.sampled_from([{}, {"group_by": "cell"}, {"stratify_by": "cell"}]),
        "strict_stratification": st.booleans(),
    }
)


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=OPTIONS, best_only=st.booleans(), epoch=st.integers(0, 3))
def test_whatever_the_options_an_epoch_keeps_to_them(
    name: str, options: dict[str, Any], best_only: bool, epoch: int, fs: FeatureSet
) -> None:
    options = dict(options)
    options |= options.pop("by")
    if name != "SimpleSampler":
        options["choose_best_only"] = best_only
    conditions: tuple[Any, ...] = {
        "SimpleSampler": (),
        "PairedSampler": ({"cell": LIKE},),
        "TripletSampler": ({"cell": LIKE}, {"cell": UNLIKE}),
        "NSampler": ({"a": {"cell": LIKE}, "b": {"number": NEAR}},),
    }[name]
    make = sampler_registry[name]
    sampler = make(*conditions, **options)
    index = sampler.epoch(fs, epoch)
    rest_of_other = make(*conditions, **options)
    rest_of_other.epoch(fs, epoch + 1)
    again = rest_of_other.epoch(fs, epoch)
    sizes, cell = np.diff(index.offsets), fs.column("cell")
    assert index.offsets.tolist() == again.offsets.tolist() and index.offsets[0] == 0
    assert 0 < sizes.min() <= sizes.max() <= options["batch_size"]
    assert not options["drop_last"] or (sizes == options["batch_size"]).all()
    for role, rows in index.roles.items():
        assert rows.tolist() == again.roles[role].tolist()
        assert len(rows) == index.offsets[-1] and set(rows) <= set(range(N))
        assert role == next(iter(index.roles)) or (rows != index.roles["anchor"]).all()
    anchors = next(iter(index.roles.values()))
    in_batches = np.split(anchors, index.offsets[1:-1])
    if "group_by" in options:
        assert all(len(set(cell[rows])) == 1 for rows in in_batches)
    if "stratify_by" in options:
        assert all(len(set(cell[rows])) == 4 for rows in in_batches[:-1])
    if name == "SimpleSampler":
        assert len(set(anchors)) == len(anchors)
        assert options["drop_last"] or len(anchors) == N
    for role, wants_like in (("pair", True), ("positive", True), ("negative", False), ("a", True)):
        if role in index.roles:
            assert ((cell[index.roles[role]] == cell[anchors]) == wants_like).all()
    assert (index.weights is None) == (name != "NSampler")
    assert all((w >= 0).all() and (w <= 1).all() for w in (index.weights or {}).values())


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
