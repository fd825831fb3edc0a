"""What all pictures share: the frame around one, and how text and lengths are written in it.

It knows no font for certain: widths are those of a wide sans-serif, so text fits in others too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from html import escape

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
NEUTRAL = "#767676"  # 4.5:1 on white and on black: inside an image no page's theme can be seen

_MONO_WIDTH = 0.61
_BOLD_FACTOR = 1.06
_TITLE = re.compile(r"<svg [^>]*>\s*<title>(.*?)</title>")
_SIZE = re.compile(r'(<svg [^>]*)width="(\d+)" height="\d+"([^>]*)max-width:100%')
PAGE = 640
"""Pixels that a printed page has at least for a picture."""
# Quotes change places, as those of SVG would end the attribute that holds it.
_IN_ADDRESS = str.maketrans(
    {"'": "%22", '"': "'", "%": "%25", "#": "%23", "&": "%26", "<": "%3C", ">": "%3E", "\n": ""}
)
_NOT_IN_XML = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def frame(title: str, parts: Iterable[str], width: float, height: float, *, margin: float = 0.0) -> str:
    """Return an SVG element of that width and height, in pixels, with a margin around it.

    It holds no style sheet, script, id or reference, so it can clash with none of a page.
    """
    width, height = round(width + 2 * margin), round(height + 2 * margin)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="{-margin:g} {-margin:g} {width} {height}" style="max-width:100%;height:auto" '
        f'font-family="{SANS}">'
    )
    return "\n".join([opening, f"<title>{xml_text(title)}</title>", *parts, "</svg>"])


def image(svg: str, *, alt: str = "", style: str = "") -> str:
    """Return a picture as an HTML image that holds it.

    A page that lets only known elements through, as JupyterLab does in notebooks that are not trusted, takes
    inline SVG to pieces and leaves its texts, run together. An image stays, or its words do.

    Args:
        svg: The picture.
        alt: The words in its place; its title if empty.
        style: CSS of the image, besides that it is never wider than its place.
    """
    title = _TITLE.match(svg)
    words = escape(alt) or (title[1] if title else "")
    address = f"data:image/svg+xml,{svg.translate(_IN_ADDRESS)}"
    return f'<img src="{address}" alt="{words}" style="{style}max-width:100%;height:auto"/>'


def shrinking(svg: str) -> str:
    """Return a picture that is as wide as its place, and no wider than it was drawn.

    nbconvert shows SVG as an image of its own width, and what is wider than the paper would be cut off.
    """
    found = _SIZE.match(svg)
    if found is None or int(found[2]) <= PAGE:  # what is as narrow fits, and would leave room below itself
        return svg
    return f'{found[1]}width="100%"{found[3]}max-width:{found[2]}px{svg[found.end() :]}'


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
