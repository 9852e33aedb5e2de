"""Which characters a terminal shows as text, and how all others are written out.

The rule: what moves a cursor, sets a colour, turns the direction of text, is not seen, or covers other text is written
out, as `\\x1b`, `\\u202e` or `\\U000e0041`. What is not seen and stays is what scripts and emoji are written with: a
joiner between two letters of a script that joins (Persian, Hindi) or between two pictures, one variation selector after
what it varies, and up to eight marks on one letter.
"""

from __future__ import annotations

import re
import unicodedata

MAX_MARKS = 8
"""Marks on one letter: more than any language has, and too few to reach the lines above."""

_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
"""Unicode's formats, but for the signs at Arabic and Kaithi numbers, and all else that it says to show nothing for."""
_OBEYED = re.compile(f"[{_CONTROLS}{_UNSEEN}\ud800-\udfff]")
_MANY_MARKS = re.compile(f"[^\x00-\x7f]{{{MAX_MARKS + 1},}}")
_LEADING = re.compile(
    "(?:^|(?<=[\n\t]))[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
"""A mark with nothing to stand on: it would stand on what was printed before."""
_JOINERS = "\u200c\u200d"
_JOINING = range(0x600, 0x1D00)
"""Where the scripts lie that are written with joiners."""


def printable(text: str) -> str:
    """Return `text` with every character that is not shown as text written out. A line may end as in DOS."""
    text = text.replace("\r\n", "\n")
    shown = _OBEYED.sub(_in_its_place, text)
    if shown.isascii():
        return shown
    return _MANY_MARKS.sub(_with_few_marks, _LEADING.sub(lambda match: _written_out(match[0]), shown))


def _in_its_place(match: re.Match[str]) -> str:
    text, at, char = match.string, match.start(), match[0]
    before = text[at - 1] if at else ""
    after = text[at + 1 : at + 2]
    if before and after and char in _JOINERS:
        varied = at > 1 and before == "\ufe0f" and _may_vary(text[at - 2], before)
        joined = _may_join(text[at - 2] if varied else before, after, pictures=char == "\u200d")
        return char if joined else _written_out(char)
    return char if before and _may_vary(before, char) else _written_out(char)


def _may_join(before: str, after: str, *, pictures: bool) -> bool:
    if all(ord(side) in _JOINING and unicodedata.category(side)[0] in "LM" for side in (before, after)):
        return True
    return pictures and _is_picture(before) and _is_picture(after)


def _may_vary(before: str, selector: str) -> bool:
    code = ord(selector)
    if code in (0xFE0E, 0xFE0F):
        return _is_picture(before) or before in "#*0123456789\u203c\u2049\u3030\u303d"
    if 0x180B <= code <= 0x180F:
        return 0x1820 <= ord(before) <= 0x18AA
    ideograph = unicodedata.category(before) == "Lo" and unicodedata.name(before, "").startswith("CJK")
    return ideograph and (0xFE00 <= code <= 0xFE02 or 0xE0100 <= code <= 0xE01EF)


def _is_picture(char: str) -> bool:
    code = ord(char)
    kind = unicodedata.category(char)
    return kind == "So" or (kind == "Sm" and code >= 0x2190) or 0x1F3FB <= code <= 0x1F3FF


def _with_few_marks(match: re.Match[str]) -> str:
    marks, kept = 0, []
    for char in match[0]:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        kept.append(char if marks <= MAX_MARKS else _written_out(char))
    return "".join(kept)


def _written_out(char: str) -> str:
    code = ord(char)
    if code == 0x7F:  # in this form it is also what JSON calls it
        return "\\u007f"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
