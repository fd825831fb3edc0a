"""A picture comes through as an image whatever stands in it, and leaves its words where images go."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from modularml.display.curves import curve_svg
from modularml.display.drawing import PAGE, frame, image, shrinking, xml_text
from tests.opened import opened


class Images(HTMLParser):
    """Collects what a page has: its images' attributes, and the names of its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.found.append(dict(attrs))


@given(st.text(), st.text())
def test_an_image_holds_its_picture_whatever_stands_in_it(title: str, text: str) -> None:
    svg = frame(title, [f'<text x="1">{xml_text(text)}</text>'], 30, 20)
    html = image(svg)
    page = Images(f"<p>{html}</p>")
    assert page.tags == ["p", "img"]
    assert opened(html) == svg.replace("\n", "")
    ElementTree.fromstring(unquote(page.found[1]["src"].removeprefix("data:image/svg+xml,")))


def test_its_title_stands_in_its_place_or_what_is_given() -> None:
    svg = curve_svg({"a<b": [1.0, 2.0]})
    (default, given) = Images(image(svg) + image(svg, alt='"x"')).found
    assert (default["alt"], given["alt"]) == ("Curves of a<b", '"x"')


def test_a_wide_picture_shrinks_with_its_place_and_a_narrow_one_stays_as_it_is() -> None:
    narrow, wide = frame("a", ["<g/>"], PAGE, 20), frame("a", ["<g/>"], PAGE + 1, 20)
    assert shrinking(narrow) == narrow
    root = ElementTree.fromstring(shrinking(wide))
    assert (root.get("width"), root.get("height")) == ("100%", None)
    assert root.get("style") == f"max-width:{PAGE + 1}px;height:auto"
    assert root.get("viewBox") == ElementTree.fromstring(wide).get("viewBox")


def test_an_address_has_no_fragment() -> None:
    """Whatever follows a # would be cut off."""
    assert "#" not in image(curve_svg({"a#b": [1.0, 2.0]})).partition(" alt=")[0]
