"""The pictures of a run's phases: each distinct one once, as a page is told of them.

It knows neither Mermaid nor a browser: texts come from whoever draws, and go out as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modularml.base.events import Picture

Json = dict[str, Any]


class Pictures:
    """Distinct pictures, numbered as they come."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._pictures: list[Picture] = []
        self._n_taken = 0

    def __getitem__(self, index: int) -> Picture:
        return self._pictures[index]

    def add(self, picture: Picture) -> int:
        """Return the number of a picture; equal texts are one."""
        text = picture.mermaid
        if text not in self._index:
            self._index[text] = len(self._pictures)
            self._pictures.append(picture)
        return self._index[text]

    def all(self) -> list[Json]:
        """Return every picture, as JSON."""
        return self._json(range(len(self._pictures)))

    def take(self) -> list[Json]:
        """Return the pictures that were never taken, as JSON."""
        first, self._n_taken = self._n_taken, len(self._pictures)
        return self._json(range(first, self._n_taken))

    def _json(self, indices: Sequence[int]) -> list[Json]:
        return [
            {
                "index": i,
                "mermaid": self._pictures[i].mermaid,
                "boxes": [
                    {"id": box.id, "kind": box.kind, "name": box.name} for box in self._pictures[i].boxes
                ],
            }
            for i in indices
        ]
