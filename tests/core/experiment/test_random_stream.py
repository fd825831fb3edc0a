import random
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from modularml.core.experiment.random_stream import RandomStream


def draw() -> tuple[float, ...]:
    return (*torch.rand(2).tolist(), *np.random.rand(2).tolist(), random.random(), torch.randn(1).item())


def test_the_global_generators_are_as_before(generators: Callable[[], str]) -> None:
    before = generators()
    with RandomStream("a").active():
        draw()
    assert generators() == before

    def fail() -> None:
        with RandomStream("a").active():
            draw()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert generators() == before


def test_it_repeats_with_torchs_seed_and_the_label_and_continues_from_use_to_use() -> None:
    def drawn(label: str, seed: int, n: int) -> list[tuple[float, ...]]:
        torch.manual_seed(seed)
        stream, values = RandomStream(label), []
        for _ in range(n):
            with stream.active():
                values.append(draw())
        return values

    first = drawn("a", 1, 3)
    assert first == drawn("a", 1, 3)
    assert len({*first, *drawn("b", 1, 1), *drawn("a", 2, 1)}) == 5


def test_the_state_is_the_present_one_also_in_the_middle() -> None:
    stream, later = RandomStream("a"), RandomStream("b")
    with stream.active():
        draw()
        state = stream.get_state()
        rest = [draw(), draw()]
    later.set_state(state)
    with later.active():
        assert [draw(), draw()] == rest
        later.set_state(state)
        assert draw() == rest[0]
    with later.active():
        assert draw() == rest[1]


def test_a_state_that_is_not_whole_is_refused_and_nothing_changes() -> None:
    stream = RandomStream("a")
    before = stream.get_state()
    with pytest.raises(KeyError):
        stream.set_state({"torch": before["torch"]})
    with stream.active():
        drawn = draw()
    stream.set_state(before)
    with stream.active():
        assert draw() == drawn


def test_threads_that_end_in_any_order_leave_the_global_generators_alone(
    generators: Callable[[], str],
) -> None:
    before = generators()
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with RandomStream("first").active():
            first_is_in.set()
            draw()
            second_is_in.wait(10)
        first_is_out.set()

    def second() -> None:
        first_is_in.wait(10)
        with RandomStream("second").active():
            second_is_in.set()
            first_is_out.wait(10)
            draw()

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert generators() == before
