"""How values show themselves in a notebook: as HTML in which every text is only a text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from rlm_graph.surrogates import whole

MAX_CHARS = 20_000
"""Of one text that is shown. A value shows the beginning of a longer one; it still holds all of it."""

_HIDDEN = {
    code: f"\\u{code:04x}"
    for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x200B, 0x2010), *range(0x202A, 0x202F),
                 *range(0x2060, 0x2070), 0xFEFF)
}  # fmt: skip
"""Characters that would hide or turn around what stands beside them."""


def text(words: str) -> str:
    """Return HTML that shows the text as it was written."""
    more = f"\n… {len(words) - MAX_CHARS:,} more characters" if len(words) > MAX_CHARS else ""
    shown = escape(whole(words[:MAX_CHARS]).translate(_HIDDEN))
    return f'<pre style="white-space: pre-wrap; text-align: left">{shown}{more}</pre>'


def table(rows: Iterable[tuple[str, Any]]) -> str:
    """Return HTML that shows names with their values; those that are None are left out."""
    lines = (
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{_cell(value)}</td></tr>'
        for name, value in rows
        if value is not None
    )
    return f"<table>{''.join(lines)}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value if isinstance(value, str) else repr(value))
    return escape(f"{value:,}" if isinstance(value, int) else f"{value:,.6g}")
