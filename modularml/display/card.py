"""Cards: what a notebook shows of an object, as small HTML that needs neither kernel nor script.

It knows no object: it is given names, texts and rows. All text is escaped here, once; what is
markup already says so by its type, `Html`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from modularml.display.drawing import shortened

LONGEST_TEXT = 400
"""Characters of a text in a cell; longer ones are cut in their middle."""
LONGEST_LINE = 40
"""Characters of what a row is about; longer ones break, or all beside them would be pushed out of sight."""
MAX_ROWS = 60
"""Rows of a table within a card."""

STYLE = """<style>
.modularml-card{max-width:880px;box-sizing:border-box;padding:10px 14px;
border:1px solid var(--jp-border-color2,var(--vscode-panel-border,#8886));border-radius:8px;
color:var(--jp-ui-font-color1,var(--vscode-foreground,inherit));
font:var(--jp-ui-font-size1,13px)/1.5 var(--jp-ui-font-family,var(--vscode-font-family,system-ui,sans-serif));
font-variant-numeric:tabular-nums}
.modularml-card.wide{max-width:1200px}
.modularml-card p{margin:0 0 6px;overflow-wrap:anywhere}
.modularml-card .l{display:inline-block;width:max-content;max-width:26em;white-space:normal;
overflow-wrap:anywhere}
.modularml-card p:last-child{margin:0}
.modularml-card .k,.modularml-card th,.modularml-card summary{font-weight:400;
color:var(--jp-ui-font-color2,var(--vscode-descriptionForeground,#767676))}
.modularml-card .scroll{max-width:100%;overflow-x:auto}
.modularml-card .scroll+.scroll{margin-top:10px}
.modularml-card table{border-collapse:collapse;margin:0;font-size:inherit}
.modularml-card tr{border:0;background:none!important}
.modularml-card tbody tr+tr{border-top:1px solid var(--jp-border-color3,#8883)}
.modularml-card th,.modularml-card td{padding:3px 18px 3px 0;border:0;white-space:nowrap;
vertical-align:top;text-align:left!important}
.modularml-card td.w{white-space:normal;overflow-wrap:anywhere;min-width:12em}
.modularml-card thead th{padding-top:0;font-size:11px}
.modularml-card .n{text-align:right!important}
.modularml-card img{display:block;margin:4px 0}.modularml-card td img{margin:2px 0}
.modularml-card details{margin-top:6px}
.modularml-card summary{cursor:pointer;overflow-wrap:anywhere}
.modularml-card .completed{color:#1b873f}.modularml-card .failed{color:#d50000}
.modularml-card .stopped,.modularml-card .interrupted{color:#b45309}
:is([data-jp-theme-light=false],.vscode-dark) .modularml-card .completed{color:#5fc983}
:is([data-jp-theme-light=false],.vscode-dark) .modularml-card .failed{color:#ff8a80}
:is([data-jp-theme-light=false],.vscode-dark) .modularml-card :is(.stopped,.interrupted){color:#f5b04c}
@media print{.modularml-card .scroll{overflow:visible}
.modularml-card img{min-width:0!important}.modularml-card td img{width:36px}
.modularml-card tr :is(th,td){font-size:9px;padding-right:8px;white-space:normal}}
</style>"""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def html(value: Any) -> str:
    """Return a value as markup: escaped, unless it is `Html`."""
    return value if isinstance(value, Html) else escape(shortened(str(value), LONGEST_TEXT))


def card(kind: str, name: str | None, *parts: Html, note: str = "", classes: str = "") -> Html:
    """Return a card: what it is of, its name, and the parts below.

    Args:
        kind: The class of the object.
        name: Its label; None if it has none.
        parts: Tables, pictures and other markup.
        note: Stands behind the name, muted.
        classes: More CSS classes.
    """
    strong = "" if name is None else f" <strong>{html(name)}</strong>"
    behind = f' <span class="k">{html(note)}</span>' if note else ""
    head = f'<p><span class="k">{html(kind)}</span>{strong}{behind}</p>'
    named = f"modularml-card {classes}".strip()
    return Html(f'<div class="{named}">{STYLE}{head}{"".join(parts)}</div>')


def fields(values: Mapping[str, Any]) -> Html:
    """Return names and values, one a row; what is None is left out."""
    rows = [
        f'<tr><th>{html(name)}</th><td class="w">{html(value)}</td></tr>'
        for name, value in values.items()
        if value is not None
    ]
    return Html(f'<div class="scroll"><table><tbody>{"".join(rows)}</tbody></table></div>' if rows else "")


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, max_rows: int = MAX_ROWS) -> Html:
    """Return a table; a head that begins with ``>`` is that of numbers, with ``~`` that of long texts."""
    kinds = [_KINDS.get(head[:1], "") for head in heads]
    top = "".join(_cell("th", head.lstrip(">~"), kind) for head, kind in zip(heads, kinds, strict=True))
    rows = list(rows)
    kept = rows[:max_rows]
    body = "".join(
        f"<tr>{''.join(_cell('td', value, kind) for value, kind in zip(row, kinds, strict=True))}</tr>"
        for row in ([_subject(first), *rest] for first, *rest in kept)
    )
    more = muted(f"and {len(rows) - len(kept):,} more") if len(rows) > len(kept) else ""
    return Html(
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{more}'
    )


def _subject(value: Any) -> Any:
    is_long = not isinstance(value, Html) and len(str(value)) > LONGEST_LINE
    return Html(f'<span class="l">{html(value)}</span>') if is_long else value


def muted(text: str) -> Html:
    """Return a sentence that says what there is not."""
    return Html(f'<p class="k">{html(text)}</p>')


def remark(text: str) -> Html:
    """Return a sentence that something should be seen to."""
    return Html(f'<p class="stopped">{html(text)}</p>')


def unfolding(summary: str, *parts: Html, is_open: bool = False) -> Html:
    """Return what is shown when its summary is clicked on."""
    opened = " open" if is_open else ""
    return Html(f"<details{opened}><summary>{html(summary)}</summary>{''.join(parts)}</details>")


_KINDS = {">": "n", "~": "w"}


def _cell(tag: str, value: Any, kind: str) -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<{tag}{attribute}>{html(value)}</{tag}>"


class Shown:
    """An object that a notebook shows as a card, and everything else as its ``repr``.

    The card has what the object's ``get_config`` tells; a class that has more to say, or none,
    says it in `_card`.
    """

    def _card(self) -> Html:
        configured: Any = self
        config = configured.get_config()
        return card(type(self).__name__, config.pop("label", None), fields(brief_fields(config)))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": repr(self), "text/html": str(self._card())}


def brief_fields(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a configuration's values, without those that are None or empty."""
    return {key: brief(value) for key, value in config.items() if value is not None and value != []}


def brief(value: Any) -> str:
    """Return a value of a configuration on one line, without addresses."""
    if isinstance(value, Mapping):
        kind = value.get("$type")
        rest = {key: item for key, item in value.items() if key != "$type" and item is not None}
        told = ", ".join(f"{key}={brief(item)}" for key, item in rest.items())
        return f"{{{told}}}" if kind is None else f"{brief(kind)}({told})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(brief, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(getattr(value, "__qualname__", value))
