"""Run by `test_writing`: save in children that the kernel kills, or that meet a full disk.

Prints nothing when, after each of them, the file held the old tree or the new one whole.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from modularml.io.codec import load, save

OLD = {"label": "old", "weights": np.arange(3.0)}
NEW = {"label": "new", "weights": np.arange(40.0), "more": [np.arange(n) for n in range(3)]}
SYSTEM_CALLS = ("fsync", "replace", "open", "close")


def limit_bytes(n_bytes: int) -> None:
    """Let no file of this process grow beyond `n_bytes`: a full disk, told as an error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def die_at_byte(n_bytes: int) -> None:
    """Let the kernel kill this process at the first write beyond `n_bytes`."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    limit_bytes(n_bytes)


def die_at_call(number: int) -> None:
    """Kill this process before its `number`-th call that makes a write durable or visible."""
    left = number

    def counted(call: Callable) -> Callable:
        def wrapped(*args, **kwargs):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return call(*args, **kwargs)

        return wrapped

    for name in SYSTEM_CALLS:
        setattr(os, name, counted(getattr(os, name)))


def child(prepare: Callable[[int], None], number: int, path: Path) -> int:
    """Save `NEW` in a child that `prepare` doomed; return how it ended."""
    pid = os.fork()
    if pid == 0:
        prepare(number)
        try:
            save(path, "model", NEW, overwrite=True)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def holds(path: Path, tree: dict) -> bool:
    found = load(path, "model")
    return found["label"] == tree["label"] and np.array_equal(found["weights"], tree["weights"])


def run(folder: Path, prepare: Callable[[int], None], *, step: int, is_killed: bool) -> None:
    """Doom a child at 0, 1, 2, ... steps until one completes; check the file after each."""
    path = folder / "a.md.mml"
    number = completed = 0
    while not completed:
        save(path, "model", OLD, overwrite=True)
        code = child(prepare, number, path)
        completed = code == 0
        assert code in (0, -signal.SIGKILL, -signal.SIGXFSZ) if is_killed else code in (0, 1), code
        assert holds(path, NEW) or (not completed and holds(path, OLD)), number
        if not is_killed:
            assert list(folder.iterdir()) == [path], number
        for left in folder.glob(".*.tmp"):
            left.unlink()
        number += step
    assert number > 3


if __name__ == "__main__":
    mode, where = sys.argv[1:]
    if mode == "die_at_call":
        run(Path(where), die_at_call, step=1, is_killed=True)
    elif mode == "die_at_byte":
        run(Path(where), die_at_byte, step=17, is_killed=True)
    else:
        run(Path(where), limit_bytes, step=17, is_killed=False)
