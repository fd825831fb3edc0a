"""The base of our live widgets: the bundles, and one throttled channel to the browser.

It knows nothing of what is shown: a `LiveSource` gives the whole and what is new.

To the browser go custom messages that hold only what is new, numbered one by one;
a page that connects (again) gets the whole, by `get_state`. From the browser come
actions: small messages that name what to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import anywidget
import traitlets

from modularml.base.errors import InvalidTypeError, unknown_name
from modularml.display.pacing import Budget

STATIC_PATH = Path(__file__).parent / "static"

Change = Callable[[], None]
Action = Callable[[dict[str, Any]], None]


class _Library(anywidget.AnyWidget):
    """What a page loads once, for all widgets on it."""

    _shared: ClassVar[_Library | None] = None

    @classmethod
    def share(cls) -> None:
        """Send it to the browser, unless this kernel did."""
        if cls._shared is None or cls._shared.comm is None:
            cls._shared = cls()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ChartLibrary(_Library):
    """The drawing of curves."""

    _esm = STATIC_PATH / "chart.js"


class MermaidLibrary(_Library):
    """The drawing of graphs."""

    _esm = STATIC_PATH / "mermaid.js"


class LiveSource(Protocol):
    """What a live widget shows, as plain JSON values."""

    def snapshot(self) -> dict[str, Any]:
        """Everything, of bounded size."""

    def take_patch(self) -> dict[str, Any]:
        """What changed since the last call."""


class LiveWidget(anywidget.AnyWidget):
    """A view of a `LiveSource` in the browser.

    Args:
        source: What to show.
        actions: What the browser may ask for, by name.
        traits: Traits of the widget, e.g. ``layout``.

    Raises:
        InvalidTypeError: If a keyword names no trait of the widget.
    """

    snapshot = traitlets.Dict().tag(sync=True)
    _timer: threading.Timer | None = None

    def __init__(
        self, source: LiveSource, actions: Mapping[str, Action] | None = None, **traits: Any
    ) -> None:
        allowed = sorted(n for n in type(self).class_trait_names(sync=True) if not n.startswith("_"))
        unknown = [n for n in traits if n not in allowed]
        if unknown:
            raise InvalidTypeError(unknown_name("keyword", unknown[0], allowed, where=type(self).__name__))
        self._source = source
        self._actions = {"resync": self._resync, **(actions or {})}
        self._lock = threading.RLock()  # pages connect on a thread of the kernel while a cell runs
        self._seq = 0
        self._changes: list[Change] = []
        self._budget = Budget()
        super().__init__(**traits)
        self.on_msg(self._handle_action)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def update(self, change: Change, *, is_urgent: bool = False) -> None:
        """Change the source and tell the browser, as often as a `Budget` allows.

        Args:
            change: Changes the source; no page reads it meanwhile. Changes are made when somebody looks,
                many at once, as that costs the loop that comes with them less than one by one.
            is_urgent: Change it now, and tell it now if so few messages were sent lately, else as soon as
                one may be. What is not urgent goes with the next message if it comes too soon.
        """
        with self._lock:
            self._changes.append(change)
            if is_urgent:
                self._make_changes()
            if self._budget.is_due(is_urgent=is_urgent):
                self._tell()
            elif is_urgent and self._timer is None:
                # The kernel may be busy for long with what comes next, and send nothing by itself.
                self._timer = threading.Timer(self._budget.urgent_in_s, self._tell_late)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Tell the browser what it was not told yet."""
        with self._lock:
            if self._changes or self._timer is not None:
                self._tell()

    def _make_changes(self) -> None:
        changes, self._changes = self._changes, []
        for change in changes:
            change()

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._seq += 1
        with self._budget.drawing():
            self._make_changes()
            self.send({"type": "patch", "patch": self._source.take_patch() | {"seq": self._seq}})

    def _tell_late(self) -> None:
        with self._lock:
            if self._timer is not None and self.comm is not None:
                self._tell()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the state of the traits; `snapshot` is what the source shows now."""
        state: dict[str, Any] = super().get_state(key, drop_defaults)
        if key is None or key == "snapshot" or (isinstance(key, Iterable) and "snapshot" in key):
            state["snapshot"] = self._snapshot()
        return state

    def close(self) -> None:
        """End the channel; every page drops its views."""
        if self._timer is not None:
            self._timer.cancel()
        if self.comm is not None:
            self.layout.close()
        super().close()

    def _snapshot(self) -> dict[str, Any]:
        with self._lock:
            self._make_changes()
            return self._source.snapshot() | {"seq": self._seq}

    def _resync(self, _: dict[str, Any]) -> None:
        self.send({"type": "snapshot", "patch": self._snapshot()})

    def _handle_action(self, _: object, content: dict[str, Any], __: object) -> None:
        action = self._actions.get(str(content.get("type")))
        if action is not None:
            action(content)
