"""Registries: a name in a file or in a call -> a class of ours.

They know nothing of what the classes do. A registry is closed: looking a name up
never imports anything, so a file can name only what is already known.
"""

from __future__ import annotations

from typing import TypeVar

from modularml.base.errors import UnknownNameError, unknown_name

T = TypeVar("T")


class Registry(dict[str, T]):
    """A dict from names to classes that ignores case and names the nearest match.

    Args:
        what: What it holds, for messages, e.g. ``"sampler"``.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self._by_lower: dict[str, str] = {}

    def register(self, value: T, name: str | None = None) -> T:
        """Add `value` under `name` (default: its ``__qualname__``); usable as a decorator."""
        self[name or value.__qualname__] = value  # type: ignore[attr-defined]
        return value

    def __setitem__(self, name: str, value: T) -> None:
        known = self._by_lower.setdefault(name.lower(), name)
        super().__setitem__(known, value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(self._known(name))
        del self._by_lower[name.lower()]

    def __getitem__(self, name: str) -> T:
        return super().__getitem__(self._known(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._by_lower

    def get(self, name: str, default: T | None = None) -> T | None:  # type: ignore[override]
        """Return the entry of that name, or `default`."""
        return self[name] if name in self else default

    def _known(self, name: str) -> str:
        known = self._by_lower.get(str(name).lower())
        if known is None:
            raise UnknownNameError(unknown_name(self.what, name, self))
        return known
