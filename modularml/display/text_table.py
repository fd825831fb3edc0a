"""A table as plain text: columns under each other, numbers to the right.

It knows nothing of what stands in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, max_rows: int | None = None) -> str:
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
    widths = [max(map(len, column)) for column in zip(*named, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if head.startswith(">") else cell.ljust(width)
            for cell, width, head in zip(row, widths, heads, strict=True)
        ).rstrip()
        for row in named
    )
    return "\n".join(lines)
