"""How a run is asked to stop, and by whom: a callback, another thread, a button, Ctrl-C.

It knows no run: whoever runs something looks after each batch whether it was asked to.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Stop:
    """The request that a run end after its present batch; it is made in the thread of the run.

    Attributes:
        by: Who asked first.
        calling: The callback that is being called, who is the one that asks in this thread.
        is_requested: Tells whether anybody asked; it is looked at after each batch.
    """

    def __init__(self) -> None:
        self.by = self.calling = ""
        self._event, self._thread = threading.Event(), threading.get_ident()
        self.is_requested = self._event.is_set

    def request(self, by: str = "") -> None:
        """Ask for it.

        Args:
            by: Who asks; by default the callback that is called, or the thread that this is called in.
        """
        if self.is_requested():
            return
        own = threading.get_ident() == self._thread
        called = f"the callback {self.calling!r}" if own and self.calling else ""
        self.by = by or called or f"the thread {threading.current_thread().name!r}"
        self._event.set()

    @contextlib.contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Let the first Ctrl-C within a ``with`` block finish the batch, and the second raise.

        Only the main thread receives signals; elsewhere nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_interrupt(signum: int, frame: Any) -> None:
            if self.is_requested():
                raise KeyboardInterrupt
            self.request("Ctrl-C")

        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
