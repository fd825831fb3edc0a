"""The last lines that are logged, and warnings, while a run goes on; they stay where they were, too.

It knows no run: it hands each line to whoever listens.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

Listener = Callable[[str, str], None]
"""Takes the level, e.g. ``"WARNING"``, and the text of a line."""

MAX_LENGTH = 400
KERNEL = ("IPKernelApp", "traitlets", "tornado.general", "asyncio")
"""Loggers of the kernel itself, which have nothing to say of a run."""


class LogTail:
    """Listens to `logging` and to warnings from `open` to `close`.

    It adds no handler, as the first one of a process silences what is printed without any:
    it looks at records as they are made, and at warnings as they are shown.

    Args:
        tell: Takes each line.
    """

    def __init__(self, tell: Listener) -> None:
        self._tell = tell
        self._make_record: Any = None
        self._show_warning: Any = None

    def open(self) -> None:
        """Begin to listen."""
        self._make_record, self._show_warning = logging.getLogRecordFactory(), warnings.showwarning
        logging.setLogRecordFactory(self._on_record)
        warnings.showwarning = self._on_warning

    def close(self) -> None:
        """End, unless somebody else listens on top of this one: then this one only falls silent."""
        self._tell = _ignore
        if logging.getLogRecordFactory() == self._on_record:
            logging.setLogRecordFactory(self._make_record)
        if warnings.showwarning == self._on_warning:
            warnings.showwarning = self._show_warning

    def _on_record(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make_record(*args, **kwargs)
        if record.levelno < logging.INFO or record.name in KERNEL:
            return record
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit; whoever prints it says so
            text = str(record.msg)
        self._tell(record.levelname, text[:MAX_LENGTH])
        return record

    def _on_warning(
        self, message: Any, category: type[Warning], filename: str, lineno: int, *args: Any, **kwargs: Any
    ) -> None:
        self._tell("WARNING", f"{category.__name__}: {message}"[:MAX_LENGTH])
        self._show_warning(message, category, filename, lineno, *args, **kwargs)


def _ignore(level: str, text: str) -> None:
    pass
