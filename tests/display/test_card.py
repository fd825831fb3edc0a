"""Cards: escaped, themed and without script."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from modularml.display.card import Html, card, fields, table, unfolding


class _Reader(HTMLParser):
    """The elements of a document and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_whatever_a_text_is_it_adds_no_element_and_stays_readable(text: str) -> None:
    def drawn(text: str) -> _Reader:
        parts = (
            fields({text: text}),
            table([text, f"n {text}"], [[text, text]]),
            unfolding(text, Html("<p>x</p>")),
        )
        return _Reader(card(text, text, *parts, note=f"note {text}"))

    assert drawn(text).tags == drawn("label").tags
    assert drawn(text).text.count(text) >= 8 or not text


def test_a_table_aligns_numbers_and_says_what_it_left_out() -> None:
    drawn = table(["name", ">n"], [["a", 1], ["b", 2], ["c", 3]], max_rows=2)
    assert '<th class="n">n</th>' in drawn and '<td class="n">1</td>' in drawn
    assert ">c<" not in drawn and "and 1 more" in drawn


def test_what_a_row_is_about_breaks_where_it_is_long() -> None:
    name = "n" * 60
    assert f'<td><span class="l">{name}</span></td><td>{name}</td>' in table(["a", "b"], [[name, name]])
    assert "<td>train, test</td>" in table(["a"], [["train, test"]])


def test_long_texts_are_cut_and_nothing_is_none() -> None:
    drawn = fields({"a": "x" * 10_000, "b": None})
    assert len(drawn) < 700 and "None" not in drawn and ">b<" not in drawn
