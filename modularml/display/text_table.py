"""A table as plain text: columns under each other, numbers to the right.

It knows nothing of what stands in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from unicodedata import combining, east_asian_width


class Lines(str):
    """Lines of text that a notebook and a prompt show as they are, not as one quoted string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def text_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, max_rows: int | None = None) -> Lines:
    """Return a line of heads and a line a row.

    Args:
        heads: The name of each column; one that begins with ``>`` stands to the right, as numbers do.
        rows: The cells.
        max_rows: Where there are more, those in the middle are left out.
    """
    cells = [list(row) for row in rows]
    n_left_out = 0 if max_rows is None else len(cells) - max_rows
    if max_rows is not None and n_left_out > 0:
        first = (max_rows + 1) // 2
        cells = [*cells[:first], ["…"] * len(heads), *cells[first + n_left_out :]]
    named = [[head.removeprefix(">") for head in heads], *cells]
    widths = [max(map(_width, column)) for column in zip(*named, strict=True)]
    lines = (
        "  ".join(
            _filled(cell, width, to_the_right=head.startswith(">"))
            for cell, width, head in zip(row, widths, heads, strict=True)
        ).rstrip()
        for row in named
    )
    return Lines("\n".join(lines))


def _filled(cell: str, width: int, *, to_the_right: bool) -> str:
    blanks = " " * (width - _width(cell))
    return blanks + cell if to_the_right else cell + blanks


def _width(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(map(bool, map(combining, text)))
