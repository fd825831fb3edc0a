"""A diagram for people: the same spec as Mermaid text, as SVG and as what a cell shows.

It knows no node or phase; those hand it a `GraphSpec`.
"""

from __future__ import annotations

import importlib
from functools import cached_property
from pathlib import Path
from typing import Any

from modularml.base.errors import InvalidValueError
from modularml.base.keywords import checked_keywords
from modularml.display.drawing import shrinking
from modularml.display.environment import in_ipython
from modularml.display.mermaid import mermaid
from modularml.display.spec import GraphSpec, NodeSpec
from modularml.display.svg import svg


@checked_keywords
class Diagram:
    """A picture that needs neither kernel nor JavaScript; notebooks draw it as Mermaid or SVG.

    Args:
        spec: What to draw.
    """

    def __init__(self, spec: GraphSpec) -> None:
        self.spec = spec

    @cached_property
    def mermaid(self) -> str:
        """The Mermaid text, without a fence."""
        return mermaid(self.spec)

    @cached_property
    def svg(self) -> str:
        """The SVG element, which needs nothing but itself."""
        return svg(self.spec)

    @property
    def boxes(self) -> tuple[NodeSpec, ...]:
        """The boxes."""
        return self.spec.nodes

    def show(self) -> None:
        """Show the picture in the present cell; outside IPython print its Mermaid text."""
        if in_ipython():
            importlib.import_module("IPython.display").display(self)
        else:
            print(self)

    def save(self, path: str | Path) -> Path:
        """Write the diagram to a file: Mermaid text to ``.mmd``, a picture to ``.svg``.

        Raises:
            InvalidValueError: If the name ends in anything else.
        """
        path = Path(path)
        texts = {".mmd": f"{self.mermaid}\n", ".svg": f"{self.svg}\n"}
        if path.suffix.lower() not in texts:
            raise InvalidValueError(f"A diagram is saved as '.mmd' or '.svg', got {str(path)!r}.")
        path.write_text(texts[path.suffix.lower()], encoding="utf-8")
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/plain": str(self),
            "text/vnd.mermaid": self.mermaid,
            "image/svg+xml": shrinking(self.svg),
        }

    def __str__(self) -> str:
        return f"```mermaid\n{self.mermaid}\n```"

    def __repr__(self) -> str:
        return f"Diagram({self.spec.title!r}, nodes={len(self.spec.nodes)}, edges={len(self.spec.edges)})"
