"""HTML as Markdown: what a reader of a page sees, with its links. Pages are untrusted, so what one may cost is bounded.

lxml parses them, because HTML lets many end tags out and lxml knows which; markdownify writes the Markdown.
"""

from __future__ import annotations

import textwrap
from typing import Any
from urllib.parse import urljoin

from bs4.element import Tag
from markdownify import ATX, STRIP_ONE, MarkdownConverter

MAX_DEPTH = 100
"""Elements that are nested deeper are plain text. A level takes four frames of the 1,000 that Python allows."""
MAX_INDENTS = 10
"""Lists and quotations within each other that are still indented: each one makes every line of it longer."""
MAX_TAGS = 100_000
"""Tags of a page. A tag costs about 0.1 ms."""

_UNSEEN = frozenset({"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas"})
_TABLE_PARTS = frozenset({"caption", "tbody", "td", "tfoot", "th", "thead", "tr"})


def markdown(source: str, url: str) -> str:
    """Return the page at `url` as Markdown; its links are absolute.

    Raises `ValueError` for a page that has too many tags or cannot be converted.
    """
    if source.count("<") > MAX_TAGS:
        raise ValueError(f"it has more than {MAX_TAGS:,} tags")
    try:
        text = _Converter(url).convert(source.replace("\0", "\ufffd"))
    except (RecursionError, TypeError) as error:
        raise ValueError(f"it cannot be read as HTML: {error}") from error
    return "\n".join(line.rstrip() for line in str(text).replace("\xa0", " ").splitlines())


_Base: Any = MarkdownConverter  # its stubs leave its methods out


class _Converter(_Base):  # type: ignore[misc]
    """markdownify, without what takes time or space out of proportion to the page, and with absolute links."""

    def __init__(self, url: str) -> None:
        # `wrap` without a width: white space is folded as HTML says, in one pass, and no line is broken.
        super().__init__(
            bs4_options="lxml", heading_style=ATX, bullets="-", strip_pre=STRIP_ONE, wrap=True, wrap_width=None,
            escape_asterisks=False, escape_underscores=False,
        )  # fmt: skip
        self._url = url
        self._depth = 0
        self._indents = 0
        self._begun: set[int] = set()

    def process_tag(self, node: Tag, parent_tags: set[str] | None = None) -> str:
        if node.name in _UNSEEN:
            return ""
        if self._depth == MAX_DEPTH:
            return node.get_text(" ", strip=True)
        # A table that holds another one is there for the layout, as are its rows and cells.
        if node.find("table") if node.name == "table" else node.name in _TABLE_PARTS and not _table_of(node):
            node.name = "div"
        indents = node.name in ("li", "blockquote", "dd")
        self._depth, self._indents = self._depth + 1, self._indents + indents
        try:
            return str(super().process_tag(node, parent_tags))
        finally:
            self._depth, self._indents = self._depth - 1, self._indents - indents

    def should_convert_tag(self, tag: str) -> bool:
        # markdownify looks a tag up among its own methods, and takes whatever number follows an h for a level.
        return tag != "soup" and not (tag[:1] == "h" and len(tag) > 2 and tag[1].isdigit())

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        el["href"] = _absolute(self._url, str(el.get("href", "")))
        return str(super().convert_a(el, text, parent_tags))

    def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        el["src"] = _absolute(self._url, str(el.get("src", "")))
        return str(super().convert_img(el, text, parent_tags)) if el["src"] else str(el.get("alt", ""))

    def convert_li(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        bullet = "- " if el.parent is None or el.parent.name != "ol" else f"{self._number(el.parent)}. "
        return _indented(text, bullet) if self._fits() else f"{text.strip()}\n"

    def convert_blockquote(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_blockquote(el, text, parent_tags)) if self._fits() else f"\n\n{text.strip()}\n\n"

    def convert_dd(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_dd(el, text, parent_tags)) if self._fits() else f"{text.strip()}\n"

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return f" {' '.join(text.split())} |"

    convert_th = convert_td

    def convert_tr(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        row, table = f"|{text.strip(chr(10))}\n", id(_table_of(el))
        if table in self._begun:
            return row
        self._begun.add(table)
        return f"{row}|{' --- |' * len(el.find_all(['td', 'th'], recursive=False))}\n"

    def convert_div(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_div(el, text, parent_tags))

    convert_address = convert_article = convert_aside = convert_fieldset = convert_figure = convert_div
    convert_footer = convert_form = convert_header = convert_main = convert_nav = convert_section = convert_div
    convert_title = convert_div

    def _fits(self) -> bool:
        return self._indents < MAX_INDENTS

    def _number(self, ordered: Tag) -> int:
        start = str(ordered.get("start", ""))
        number = int(ordered.get("next", start if start.isdecimal() and len(start) < 10 else "1"))  # type: ignore[arg-type]
        ordered["next"] = str(number + 1)
        return number


def _table_of(node: Tag) -> Tag | None:
    return node.find_parent("table")


def _indented(text: str, bullet: str) -> str:
    return f"{bullet}{textwrap.indent(text.strip(), ' ' * len(bullet)).lstrip()}\n"


def _absolute(base: str, link: str) -> str:
    """Return what a link leads to; nothing for what is no address: a script, or data."""
    try:
        target = urljoin(base, link.strip())
    except ValueError:
        return ""
    return "" if target.partition(":")[0].lower() in ("javascript", "data", "vbscript") else target
