"""Notices: short messages between two rules on stderr, 88 columns wide.

It knows no logging configuration and none of the things it is told about.
"""

from __future__ import annotations

import sys
import textwrap

WIDTH = 88


def notice(title: str | None, text: str, level: str = "INFO") -> None:
    """Print a message for people on stderr.

    Args:
        title: Stands in the rule above the text; None prints the text without rules.
        text: One paragraph a line; each is wrapped, with a space on either side.
        level: Stands before the title.
    """
    lines = [f" {line}" for paragraph in text.splitlines() for line in _wrap(paragraph)]
    if title is not None:
        lines = [f"{f' {level} - {title} ':─^{WIDTH}}", *lines, "─" * WIDTH]
    print("\n".join(lines), file=sys.stderr)


def _wrap(paragraph: str) -> list[str]:
    # A path or a name that is cut in two can no longer be copied.
    return textwrap.wrap(paragraph, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
