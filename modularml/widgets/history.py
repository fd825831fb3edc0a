"""The browser of runs: live over its static form, and nowhere in what is saved.

It knows no experiment: a `RunBook` tells rows and details, and its sources say when there is more.

No output names this widget. The static form that a cell displays bears a CSS class; the
widget's model, which the page loads beside it, looks for that class and puts the browser in
its place. A notebook without a kernel shows the static form, and never a widget that is missing.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import traitlets

from modularml.display.run_book import RunBook
from modularml.widgets.widget import STATIC_PATH, ChartLibrary, LiveWidget

MAX_OPEN = 8
"""So many browsers follow their runs; before the next one opens the oldest becomes static."""

Json = dict[str, Any]


class HistoryWidget(LiveWidget):
    """The channel of one browser."""

    _esm = STATIC_PATH / "history.js"
    _css = STATIC_PATH / "history.css"
    token = traitlets.Unicode().tag(sync=True)


class BookSource:
    """A book as a live widget reads it: its newest rows, then those that are new.

    Args:
        book: The book.
    """

    def __init__(self, book: RunBook) -> None:
        self.book = book
        self._told: dict[str, Json] = {}

    def snapshot(self) -> Json:
        """The newest page of rows; the browser asks for the others."""
        self._told = {row["id"]: _standing(row) for row in self.book.rows()}
        return self.page(0)

    def has_news(self) -> bool:
        """Whether a patch would hold any rows."""
        return bool(self._news(self.book.rows()))

    def _news(self, rows: list[Json]) -> list[Json]:
        return [row for row in rows if self._told.get(row["id"]) != _standing(row)]

    def take_patch(self) -> Json:
        """The rows that are new, whose run came to its end, or whose results became stale."""
        rows = self.book.rows()
        news = self._news(rows)
        self._told = {row["id"]: _standing(row) for row in rows}
        return self.book.pages(news, [], total=len(rows))

    def page(self, n_known: int) -> Json:
        """The newest page of rows but for the newest `n_known`."""
        return self.book.page_of_rows(n_known)


def _standing(row: Json) -> Json:
    return {"status": row["status"], "stale": row["stale"]}


class OpenBrowser:
    """A browser on the screen.

    Args:
        book: What it shows.
    """

    _all: ClassVar[deque[OpenBrowser]] = deque()

    def __init__(self, book: RunBook) -> None:
        ChartLibrary.share()
        self.book, self.source = book, BookSource(book)
        self.token = f"mml-at-{uuid.uuid4().hex}"
        actions = {"rows": self._send_rows, "details": self._send_details}
        self.widget = HistoryWidget(self.source, actions, token=self.token)
        self._endings: list[Callable[[], None]] = [source.follow(self._tell) for source in book.sources]
        while len(self._all) >= MAX_OPEN:
            self._all.popleft().close()
        self._all.append(self)

    def close(self) -> None:
        """End the channel; the page shows the static form again."""
        for end in self._endings:
            end()
        self.widget.close()

    def _tell(self) -> None:
        if not self.source.has_news():
            return
        self.widget.update(lambda: None, is_urgent=True)

    def _send_rows(self, content: Json) -> None:
        self._send(self.source.page(int(content.get("known", 0))))

    def _send_details(self, content: Json) -> None:
        ids = [str(run_id) for run_id in content.get("ids", ())]
        self._send(self.book.pages([], self.book.details(ids)))

    def _send(self, pages: Json) -> None:
        self.widget.send({"type": "pages", "pages": pages})


def open_browser(book: RunBook) -> str:
    """Open a browser and return the CSS class that its static form must bear."""
    return OpenBrowser(book).token
