"""An experiment's own stream of random numbers, so that the user's global ones stay as they are.

It knows no run. Dropout and the like draw from process-wide generators that cannot be
passed in; for the length of a run those are set to the experiment's stream, and back.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from modularml.backends.torch import seed_generators

_lock = threading.Lock()
_running: list[RandomStream] = []
_outside: dict[str, Any] = {}


class RandomStream:
    """The state of torch's, numpy's and Python's generators, as one experiment sees them.

    It begins at its first use, from torch's seed and the experiment's label: after
    ``torch.manual_seed(0)`` an experiment repeats, and two labels differ.

    Args:
        label: The label of the experiment.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._state: dict[str, Any] | None = None
        self._is_drawn_from = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Draw from this stream within a ``with`` block; the global generators are as before afterwards.

        Where runs go on in several threads they share the generators of the first, as
        torch has only one for all threads; the last to end puts back what was before.
        """
        with _lock:
            if not _running:
                state = self.get_state()
                _outside.update(_read())
                _write(state)
                self._is_drawn_from = True
            _running.append(self)
        try:
            yield
        finally:
            with _lock:
                _running.remove(self)
                if self._is_drawn_from:
                    self._state = _read()
                    self._is_drawn_from = False
                if not _running:
                    _write(_outside)
                    _outside.clear()

    def begin_anew(self, seed: int) -> None:
        """Go on from a seed, where a run draws from this stream."""
        if self._is_drawn_from:
            seed_generators(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)

    def get_state(self) -> dict[str, Any]:
        """Return the state as plain values and arrays: the present one, also in the middle of a run."""
        if self._is_drawn_from:
            return _read()
        if self._state is None:
            self._state = _seeded(self.label)
        return dict(self._state)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, at once where a run draws from this stream.

        Raises:
            KeyError: If a generator's state is missing.
        """
        for generator in ("torch", "numpy", "python"):
            state[generator]
        if self._is_drawn_from:
            _write(state)
        self._state = dict(state)


def _seeded(label: str) -> dict[str, Any]:
    digest = hashlib.sha256(f"{torch.initial_seed()}:{label}".encode()).digest()
    seed = int.from_bytes(digest[:8], "big") >> 1
    state = {
        "torch": torch.Generator().manual_seed(seed).get_state().numpy(),
        "numpy": np.random.RandomState(seed % 2**32).get_state(legacy=False),
        "python": random.Random(seed).getstate(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = [
            torch.Generator(f"cuda:{i}").manual_seed(seed).get_state().numpy()
            for i in range(torch.cuda.device_count())
        ]
    return state


def _read() -> dict[str, Any]:
    state = {
        "torch": torch.get_rng_state().numpy(),
        "numpy": np.random.get_state(legacy=False),
        "python": random.getstate(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = [generator.numpy() for generator in torch.cuda.get_rng_state_all()]
    return state


def _write(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(torch.from_numpy(np.array(state["torch"])))
    np.random.set_state(state["numpy"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state:
        # A state may come from a machine with more devices than this one.
        for device, generator in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(torch.from_numpy(np.array(generator)), device)
