"""The text of a message, whatever form its content has."""

from __future__ import annotations

import re

from rlm_graph.surrogates import whole

INVISIBLE = "\u200b\u2060\ufeff\u200e\u200f\u00ad"
"""Characters that show nothing and mean nothing outside a string: zero-width space, word joiner, byte order mark,
direction marks, soft hyphen."""

_LINE_BREAK = re.compile(r"\r\n?")
_HIDDEN_START = re.compile(rf"^[ \t]*+[{INVISIBLE}]++[{INVISIBLE} \t]*+(?=[`~<\[>*_#F])", re.MULTILINE)
_END_OF_TURN = re.compile(r"(?:<\|(?:im_end|eot_id|eom_id|end|endoftext|return)\|>|</s>|<｜end▁of▁sentence｜>)\s*\Z")


def content_text(content: object) -> str:
    """Return the text that a message's content shows, with line feeds for line ends and no lone surrogates.

    Blocks of text that follow one another are one text, for providers cut them anywhere; a block of another kind
    between them (a thought, a picture, a tool call) counts as a line end.
    """
    if isinstance(content, str):
        return _readable(content)
    if not isinstance(content, list):
        return ""
    pieces: list[str] = []
    for block in content:
        text = block if isinstance(block, str) else _block_text(block)
        if text is not None:
            pieces.append(text)
        elif pieces and pieces[-1] != "\n":
            pieces.append("\n")
    return _readable("".join(pieces))


def _block_text(block: object) -> str | None:
    if isinstance(block, dict) and block.get("type") in ("text", "output_text", None):
        text = block.get("text")
        return text if isinstance(text, str) else None
    return None


def _readable(text: str) -> str:
    text = _LINE_BREAK.sub("\n", whole(text))
    text = _HIDDEN_START.sub("", text)
    return _END_OF_TURN.sub("", text)
