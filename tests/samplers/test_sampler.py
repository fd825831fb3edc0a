"""What holds for every sampler: an epoch is a pure function of seed, number and source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.config import from_config, to_config
from modularml.base.errors import (
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    UnknownNameError,
)
from modularml.samplers import (
    EpochIndex,
    NSampler,
    PairedSampler,
    Sampler,
    SimilarityCondition,
    SimpleSampler,
    TripletSampler,
    sampler_registry,
)

SAME, OTHER = SimilarityCondition(), SimilarityCondition("dissimilar")
MAKERS: dict[str, Any] = {
    "SimpleSampler": SimpleSampler,
    "PairedSampler": lambda **options: PairedSampler({"kind": SAME}, **options),
    "TripletSampler": lambda **options: TripletSampler({"kind": SAME}, {"kind": OTHER}, **options),
    "NSampler": lambda **options: NSampler({"near": {"cell": SAME}, "far": {"grade": OTHER}}, **options),
}
OPTIONS: list[dict[str, Any]] = [
    {"batch_size": 7},
    {"batch_size": 7, "shuffle": True, "drop_last": True},
    {"batch_size": 4, "group_by": "cell", "shuffle": True},
    {"batch_size": 9, "stratify_by": "kind", "shuffle": True},
    {"batch_size": 9, "stratify_by": ["kind", "grade"], "strict_stratification": False},
]
every_sampler = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def equal(a: EpochIndex, b: EpochIndex) -> bool:
    same_roles = all(np.array_equal(a.roles[role], b.roles[role]) for role in a.roles)
    return same_roles and a.roles.keys() == b.roles.keys() and np.array_equal(a.offsets, b.offsets)


def test_every_sampler_is_registered_and_tested() -> None:
    assert set(sampler_registry) == set(MAKERS)
    with pytest.raises(UnknownNameError, match="Did you mean 'SimpleSampler'"):
        sampler_registry["SimplSampler"]


@every_sampler
@every_option
def test_batches_are_cut_from_roles_of_one_length(cells: Any, make: Any, options: dict[str, Any]) -> None:
    sampler: Sampler = make(seed=0, **options)
    index = sampler.epoch(cells, 0)
    sizes = np.diff(index.offsets)
    assert tuple(index.roles) == sampler.role_names
    assert index.offsets.dtype == np.int64 and index.offsets[0] == 0
    assert index.n_batches == len(sizes)
    assert sizes.min() >= 1 and sizes.max() <= sampler.batch_size
    for rows in index.roles.values():
        assert rows.dtype == np.int64 and len(rows) == index.offsets[-1]
        assert set(rows) <= set(range(cells.n_samples))


@every_sampler
@every_option
def test_seed_and_epoch_decide_the_order(cells: Any, make: Any, options: dict[str, Any]) -> None:
    first, again, later = (make(seed=s, **options).epoch(cells, e) for s, e in ((1, 0), (1, 0), (1, 1)))
    assert equal(first, again)
    if options.get("shuffle"):
        assert not equal(first, later)
        assert not equal(first, make(seed=2, **options).epoch(cells, 0))


@every_sampler
def test_an_order_can_be_repeated_without_a_seed(cells: Any, make: Any) -> None:
    sampler, other = make(shuffle=True), make(shuffle=True)
    assert sampler == other and sampler.get_config()["seed"] is None
    assert not equal(sampler.epoch(cells, 0), other.epoch(cells, 0))
    other.set_state(sampler.get_state())
    assert equal(sampler.epoch(cells, 3), other.epoch(cells, 3))


@every_sampler
@every_option
def test_config_makes_an_equal_sampler(cells: Any, make: Any, options: dict[str, Any]) -> None:
    sampler = make(seed=5, source=cells, **options)
    again = from_config(to_config(sampler))
    assert again == sampler
    assert equal(again.epoch(cells, 2), sampler.epoch(cells, 2))


@every_sampler
def test_groups_have_batches_of_their_own(cells: Any, make: Any) -> None:
    sampler = make(batch_size=4, group_by="cell", shuffle=True, seed=0)
    for batch in sampler.batches(cells):
        assert len(set(cells.column("cell")[batch[sampler.role_names[0]]])) == 1


@every_sampler
def test_batches_hold_every_stratum_in_turn(cells: Any, make: Any) -> None:
    sampler = make(batch_size=9, stratify_by="kind", shuffle=True, seed=0, drop_last=True)
    for batch in sampler.batches(cells):
        kinds = cells.column("kind")[batch[sampler.role_names[0]]]
        assert np.bincount(kinds).tolist() == [3, 3, 3]


@every_sampler
def test_drop_last_leaves_whole_batches(cells: Any, make: Any) -> None:
    index = make(batch_size=7, drop_last=True, seed=0).epoch(cells, 0)
    assert set(np.diff(index.offsets)) == {7}


@given(n=st.integers(1, 60), batch_size=st.integers(1, 70), shuffle=st.booleans(), epoch=st.integers(0, 5))
def test_simple_epochs_hold_every_sample_once(n: int, batch_size: int, shuffle: bool, epoch: int) -> None:
    class Samples:
        n_samples = n

        def column(self, name: str) -> np.ndarray:
            raise KeyError(name)

    index = SimpleSampler(batch_size=batch_size, shuffle=shuffle, seed=0).epoch(Samples(), epoch)
    assert sorted(index.roles["default"]) == list(range(n))
    assert index.n_batches == -(-n // batch_size)
    if not shuffle:
        assert index.roles["default"].tolist() == list(range(n))


def test_strata_end_together_or_go_on(make_source: Any) -> None:
    source = make_source(kind=np.repeat([0, 1], [10, 4]))
    strict = SimpleSampler(batch_size=2, stratify_by="kind").epoch(source, 0)
    free = SimpleSampler(batch_size=2, stratify_by="kind", strict_stratification=False).epoch(source, 0)
    assert source.column("kind")[strict.roles["default"]].tolist() == [0, 1] * 4
    assert source.column("kind")[free.roles["default"]].tolist() == [0, 1] * 4 + [0] * 6


def test_samples_that_make_no_batch_are_refused(make_source: Any) -> None:
    with pytest.raises(InvalidValueError, match="SimpleSampler on .*3 samples make no whole batch of 4"):
        SimpleSampler(batch_size=4, drop_last=True).epoch(make_source(x=np.zeros(3)), 0)
    with pytest.raises(InvalidValueError, match="0 samples make no batch"):
        SimpleSampler().epoch(make_source(x=np.zeros(0)), 0)
    with pytest.raises(InvalidValueError, match="at least 3, got 2"):
        SimpleSampler(batch_size=2, stratify_by="x").epoch(make_source(x=np.arange(3)), 0)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"batch_size": 0}, InvalidValueError, "batch_size"),
        ({"batch_size": -1}, InvalidValueError, "batch_size"),
        ({"batch_size": 2.0}, InvalidTypeError, "batch_size"),
        ({"batch_size": True}, InvalidTypeError, "batch_size"),
        ({"shuffle": "yes"}, InvalidTypeError, "shuffle"),
        ({"drop_last": 1}, InvalidTypeError, "drop_last"),
        ({"seed": -1}, InvalidValueError, "seed"),
        ({"group_by": 3}, InvalidTypeError, "group_by"),
        ({"group_by": "a", "stratify_by": "b"}, InvalidValueError, "exclude each other"),
        ({"batch_size": 0, "seed": 1.5, "shuffle": None}, InvalidValueError, "3 faults"),
    ],
)
@every_sampler
def test_wrong_options_are_refused(
    make: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        make(**options)


def test_looking_at_batches_needs_a_source(make_source: Any) -> None:
    source = make_source(x=np.zeros(5))
    batches = list(SimpleSampler(batch_size=2, source=source).batches())
    assert [batch["default"].tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    with pytest.raises(StateError, match="source"):
        next(SimpleSampler().batches())


def test_a_repr_shows_what_was_chosen() -> None:
    assert repr(SimpleSampler(batch_size=32, shuffle=True, seed=42)) == (
        "SimpleSampler(batch_size=32, shuffle=True, seed=42)"
    )


@every_sampler
def test_a_file_gives_back_the_sampler_and_its_order(cells: Any, make: Any, tmp_path: Path) -> None:
    sampler = make(shuffle=True, batch_size=8)
    path = sampler.save(tmp_path / "mine")
    assert path.name == "mine.sm.mml"
    assert equal(Sampler.load(path).epoch(cells, 3), sampler.epoch(cells, 3))
    read = Sampler.from_yaml(sampler.to_yaml(tmp_path / "mine.yaml"))
    assert read == sampler and equal(read.epoch(cells, 3), sampler.epoch(cells, 3))


def test_a_file_of_another_class_is_refused(tmp_path: Path) -> None:
    simple = SimpleSampler(batch_size=3)
    path, text = simple.save(tmp_path / "s"), simple.to_yaml(tmp_path / "s.yaml")
    for read in (lambda: PairedSampler.load(path), lambda: PairedSampler.from_yaml(text)):
        with pytest.raises(FileFormatError, match="holds a SimpleSampler, not a PairedSampler"):
            read()
    (tmp_path / "x.yaml").write_text("a: 1")
    with pytest.raises(FileFormatError, match="x.yaml' is no whole sampler"):
        SimpleSampler.from_yaml(tmp_path / "x.yaml")


class Own(Sampler):
    """A sampler of one's own that returns whatever it is told to."""

    def __init__(self, drawn: Any) -> None:
        super().__init__(batch_size=2)
        self.drawn = drawn

    @property
    def role_names(self) -> tuple[str, ...]:
        return ("default",)

    def _draw(self, source: Any, rng: np.random.Generator) -> Any:
        return self.drawn


@pytest.mark.parametrize(
    ("drawn", "match"),
    [
        (np.arange(3), "two things, role -> rows and role -> weights"),
        ({"default": np.arange(3)}, "two things"),
        (({"anchor": np.arange(3)}, None), r"roles \['default'\], got \['anchor'\]"),
        (({"default": np.array([0.0, 1.0])}, None), r"integers of shape \(m,\).*got float64"),
        (({"default": np.array([True, False])}, None), "got bool"),
        (({"default": np.eye(2, dtype=int)}, None), r"of shape \(2, 2\)"),
        (({"default": np.array([-1, 0])}, None), "from -1 to 0, but there are"),
        (({"default": np.array([0, 10_000])}, None), "from 0 to 10000, but there are"),
        (({"default": np.arange(4)}, {"default": np.ones(3)}), "4 rows of 'default', 3 weights of 'default'"),
    ],
)
def test_what_a_sampler_of_ones_own_draws_is_looked_at(cells: Any, drawn: Any, match: str) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match=f"^Own on .*{match}"):
        Own(drawn).epoch(cells, 0)
    rows = Own(({"default": [2, 0, 1]}, None)).epoch(cells, 0).roles["default"]
    assert rows.tolist() == [2, 0, 1]
