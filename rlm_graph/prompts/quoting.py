"""Text that others wrote, put before a model: cut to a length, and fenced so that it cannot pose as ours."""

from __future__ import annotations

import re

from rlm_graph.surrogates import whole

_BACKTICKS = re.compile(r"`+")
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}


def cut_middle(text: str, max_chars: int, *, total: int | None = None) -> str:
    """Return `text`, or its head and tail of `max_chars` characters together with the count of what is left out.

    The line that tells the count comes on top. `total` is the length of the whole where `text` is already a part of it.
    """
    if len(text) <= max_chars:
        return text
    tail = max(0, max_chars) // 2
    head = max(0, max_chars) - tail
    left_out = max(total or 0, len(text)) - head - tail
    return f"{text[:head]}\n[... {left_out:,} characters left out ...]\n{text[len(text) - tail :]}"


def fenced(text: str, label: str = "text") -> str:
    """Return `text` as a fenced block that nothing in it can close.

    Control characters become their pictures: providers refuse some, and others would hide what is there.
    """
    text = visible(text)
    longest = max((len(run[0]) for run in _BACKTICKS.finditer(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{label}\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}"


def inline(text: str, max_chars: int = 200) -> str:
    """Return `text` as inline code on one line of about `max_chars` characters."""
    shown = " ".join(visible(text).split()).replace("`", "'")
    return f"`{shown if len(shown) <= max_chars else shown[: max_chars - 1] + '…'}`"


def visible(text: str) -> str:
    """Return `text` with the pictures of control characters (`␀`), U+FFFD for lone surrogates and line feeds alone."""
    return whole(text).replace("\r\n", "\n").translate(_CONTROLS)
