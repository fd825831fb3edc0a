import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modularml.base.config import same_tree
from modularml.core.execution.feed import EpochFeed
from modularml.core.execution.recording import EpochRecorder, Recording

TARGETS = {"A": np.arange(100, dtype=np.float64).reshape(100, 1)}
ROW_BYTES = 8 + 8 + 4  # a row's position, its target, its output


def record(recording: Recording, epoch: int, sizes: list[int], *, n_done: int | None = None) -> None:
    """Record batches of these sizes, whose outputs are the rows times 10."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.random.default_rng(epoch).permutation(100)[: offsets[-1]]
    drawn = EpochFeed(n_batches=len(sizes), rows={"A": rows}, offsets={"A": offsets})
    recorder = EpochRecorder(recording, epoch, [(1, "A")], drawn, TARGETS)
    for start, stop in list(pairwise(offsets))[:n_done]:
        recorder.add([None, torch.from_numpy(rows[start:stop].astype(np.float32) * 10)])
    recorder.close()


def held(recording: Recording) -> int:
    return sum(found.n_bytes - found.offsets.nbytes for found in recording.tensors)


def fits(recording: Recording) -> bool:
    for found in recording.tensors:
        assert np.array_equal(found.outputs["A"], found.rows["A"] * 10)
        assert np.array_equal(found.targets["A"], TARGETS["A"][found.rows["A"]])
        assert found.offsets[0] == 0
        assert found.offsets[-1] == len(found.rows["A"])
    return True


def test_outputs_targets_and_rows_belong_together() -> None:
    recording = Recording({"mse": "A"})
    record(recording, 0, [3, 3, 2])
    record(recording, 1, [4, 4], n_done=1)
    assert fits(recording)
    assert [found.offsets.tolist() for found in recording.tensors] == [[0, 3, 6, 8], [0, 4]]
    assert recording.n_dropped == 0


@pytest.mark.parametrize("n_rows", [1, 7, 20, 45, 60, 200])
def test_the_budget_holds_and_the_oldest_goes_first_and_is_counted(n_rows: int) -> None:
    recording = Recording({}, budget_bytes=n_rows * ROW_BYTES)
    n_seen = 0
    for epoch in range(4):
        record(recording, epoch, [5, 5, 3])
        n_seen += 3
        kept = [
            (found.epoch, found.first_batch + i)
            for found in recording.tensors
            for i in range(found.n_batches)
        ]
        everything = [(e, batch) for e in range(epoch + 1) for batch in range(3)]
        assert fits(recording)
        assert kept == everything[-len(kept) :]
        assert recording.n_dropped + len(kept) == n_seen
        assert held(recording) <= max(n_rows, 3) * ROW_BYTES


def test_the_newest_batch_is_kept_whatever_its_size() -> None:
    recording = Recording({}, budget_bytes=0)
    record(recording, 0, [5, 5])
    assert [found.first_batch for found in recording.tensors] == [1]


def test_the_last_epoch_that_ran_takes_the_place_of_the_one_before() -> None:
    recording = Recording({}, keeps="last")
    for epoch in range(3):
        record(recording, epoch, [5, 5])
    record(recording, 3, [5, 5], n_done=0)
    assert [found.epoch for found in recording.tensors] == [2]
    assert recording.n_dropped == 0


def test_means_are_over_the_samples_of_an_epoch() -> None:
    recording = Recording({"a": "A", "b": "A"})
    recording.losses += [np.array([[1.0, 2.0], [3.0, 6.0]]), np.empty((0, 2))]
    recording.n_samples += [np.array([3, 1]), np.empty(0, int)]
    assert recording.epoch_means(0) == {"a": 1.5, "b": 3.0}
    assert recording.epoch_means(1) == {}


def test_values_that_numpy_has_no_type_for_are_widened() -> None:
    recording = Recording({})
    drawn = EpochFeed(n_batches=1, rows={"A": np.arange(2)}, offsets={"A": np.array([0, 2])})
    recorder = EpochRecorder(recording, 0, [(0, "A")], drawn, {})
    recorder.add([torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)])
    recorder.close()
    (found,) = recording.tensors
    assert found.outputs["A"].dtype == np.float32
    assert found.targets == {}


@pytest.mark.parametrize("tensors", [True, False])
def test_the_state_comes_back_as_it_was(tensors: bool) -> None:
    recording = Recording({"mse": "A"}, budget_bytes=30 * ROW_BYTES)
    for epoch in range(3):
        record(recording, epoch, [5, 5, 3])
        recording.losses.append(np.full((3, 1), epoch, np.float32))
        recording.log("val", epoch / 2, epoch)
    recording.log("step", 1, 0, 2)
    state = recording.get_state(tensors=tensors)
    twin = Recording.from_state(state)
    assert same_tree(twin.get_state(), state)
    assert twin.metrics == recording.metrics
    assert same_tree(twin.losses, recording.losses)
    assert len(twin.tensors) == (len(recording.tensors) if tensors else 0)
    n_kept = sum(found.n_batches for found in twin.tensors)
    assert twin.n_dropped + n_kept == 9
    json.dumps([state["metrics"], state["n_batches"], state["loss_nodes"], state["n_dropped"]])


def test_a_state_without_any_epoch_comes_back() -> None:
    empty = Recording({"mse": "A"})
    assert Recording.from_state(empty.get_state()) == empty


# In a phase.


@pytest.mark.parametrize("recording", ["all", "last", "none"])
def test_what_a_phase_keeps_belongs_to_its_rows(bench: Any, recording: str) -> None:
    node = bench.node("A")
    bench.graph(node, lr=0.0)
    phase = bench.train(n_epochs=3, result_recording=recording)
    _, results = bench.drain(phase)
    records = list(results.recording.tensors)
    assert [found.epoch for found in records] == {"all": [0, 1, 2], "last": [2], "none": []}[recording]
    x, y = bench.fs.table.column("features.x.raw"), bench.fs.table.column("targets.y.raw")
    with torch.no_grad():
        everything = node.module(torch.from_numpy(x)[:, None]).numpy()
    for found in records:
        rows = found.rows["A"]
        assert np.array_equal(rows, np.concatenate(bench.rows(phase, found.epoch)))
        assert np.allclose(found.outputs["A"], everything[rows], atol=1e-6)
        assert np.array_equal(found.targets["A"][:, 0], y[rows])
    assert results.recording.n_dropped == 0
    assert [len(epoch) for epoch in results.recording.losses] == [3, 3, 3]


def test_the_losses_of_every_batch_are_kept_whatever_the_budget(bench: Any) -> None:
    bench.graph(bench.node("A"))
    _, results = bench.drain(bench.train(n_epochs=4), budget_bytes=1)
    assert results.batch_losses("mse").shape == (12,)
    (found,) = results.recording.tensors
    assert (found.epoch, found.first_batch) == (3, 2)
    assert results.n_dropped_batches == 11


def test_outputs_are_those_of_tails_and_of_nodes_with_losses_and_never_inputs(bench: Any) -> None:
    nodes = bench.chain(nn.Linear(4, 3), nn.Linear(3, 1), nn.Linear(1, 1))
    bench.graph(*nodes)
    _, results = bench.drain(bench.evaluate([bench.loss("B")]))
    (found,) = results.recording.tensors
    assert set(found.outputs) == {"B", "C"}
    assert set(found.rows) == set(found.targets) == {"A"}


def test_outputs_are_no_views_of_the_data(bench: Any) -> None:
    bench.graph(bench.node("A", model=nn.Flatten()), optimizer=None)
    _, results = bench.drain(bench.evaluate())
    (found,) = results.recording.tensors
    assert not np.shares_memory(found.outputs["A"], bench.fs.table.column("features.x.raw"))
