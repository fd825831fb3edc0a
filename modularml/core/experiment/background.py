"""One piece of work at a time beside the thread that asks for it.

It knows nothing of what the work is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A thread that does one piece of work, whose errors are raised where its end is waited for."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._then: Callable[[], None] = _do_nothing
        self._otherwise: Callable[[], None] = _do_nothing

    def begin(
        self, work: Callable[[], object], then: Callable[[], None], otherwise: Callable[[], None]
    ) -> None:
        """Begin some work when what was begun before is done.

        Args:
            work: What is done beside.
            then: What is done after it, by whoever waits for its end.
            otherwise: What is done in the place of that after an error.
        """
        self.settle()

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is raised by settle()
                self._error = error

        self._then, self._otherwise = then, otherwise
        # No daemon: a process that ends waits for the file.
        self._thread = threading.Thread(target=run, name="modularml-checkpoint")
        self._thread.start()

    def settle(self) -> None:
        """Wait for the end of what was begun, and raise what it raised."""
        if self._thread is None or self._thread is threading.current_thread():
            return
        self._thread.join()
        error, self._thread, self._error = self._error, None, None
        if error is not None:
            self._otherwise()
            raise error
        self._then()


def _do_nothing() -> None:
    pass
