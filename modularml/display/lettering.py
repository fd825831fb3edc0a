"""Text in pictures: how wide it will be, how to cut it short, how to write it as XML.

It knows no font for certain: widths are those of a wide sans-serif, so text fits in others too.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from html import escape

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

_MONO_WIDTH = 0.61
_BOLD_FACTOR = 1.06
_NOT_IN_XML = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@cache
def _character_width(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in " !'(),.:;I[]fijlrt|`":
        return 0.38
    if character in "MWmw@%":
        return 0.92
    return 0.68 if character.isupper() else 0.61


def text_width(text: str, size: float, *, bold: bool = False, mono: bool = False) -> float:
    """Return about how wide `text` is, in pixels, in a font of `size` pixels."""
    widths = map(_character_width, text)
    total = sum(max(width, _MONO_WIDTH) for width in widths) if mono else sum(widths)
    return total * size * (_BOLD_FACTOR if bold else 1.0)


def shortened(text: str, most: int) -> str:
    """Return `text`, cut in its middle if it has more than `most` characters."""
    if len(text) <= most:
        return text
    return f"{text[: (most - 1) // 2]}…{text[-(most // 2) :]}"


def xml_text(text: str) -> str:
    """Return `text` as the content of an XML element or of a quoted attribute."""
    return escape(_NOT_IN_XML.sub(" ", text))


def number(length: float) -> str:
    """Return a length as short as a picture needs it."""
    return f"{round(length, 1) + 0.0:g}"
