"""A long message, told apart: the question in it, and the material that the question is about."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_QUESTION = 4_000
"""Characters of what may stand as a question beside material."""
MOSTLY = 0.8
"""The least part of a message that a marked piece of it must be, to be taken as all of its material."""

_WRAPPERS = (
    "article|attachment|book|code|content|contents|context|contract|conversation|corpus|data|doc|docs|document|"
    "documents|email|file|files|input|log|logs|material|page|pages|paper|passage|report|source|sources|text|"
    "transcript|user_input"
)
_TAG = re.compile(rf"^[ \t]*<({_WRAPPERS})(?:\s[^<>]*)?>[ \t]*\n?", re.MULTILINE | re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*(```+|~~~+|\"\"\"|''')[^\n`]*\n", re.MULTILINE)
_GAP = re.compile(r"\r?\n[ \t]*\r?\n")
_LAST_GAP = re.compile(r"\r?\n[ \t]*\r?\n[ \t]*\Z")
"""One empty line at the end: those before it are the material's own."""
_LINE_END = re.compile(r"\r?\n")
_ASKED = re.compile(r"[?？؟](?=[\s\"'”’)\]*_]|$)")
_LEADS_ON = re.compile(r"[:：][\s*_]*$")
_ORDER = re.compile(
    r"\W*(?:please|now|then|your task|the task|task|question|q|instructions?|i (?:want|need)|you (?:are|must|should)|"
    r"analy[sz]e|answer|based on|check|classify|compare|compute|count|decide|describe|determine|draft|explain|extract|"
    r"find|for each|from the|give|given|identify|in the|judge|list|look|name|print|rank|read|report|return|review|"
    r"rewrite|say|search|show|sort|sum|summari[sz]e|tell|translate|use|using|write)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Split:
    """What stands before the material, the material, and what stands after it."""

    before: str
    material: str
    after: str


def split(text: str) -> Split | None:
    """Tell the question in a long text from its material; None where nothing says which is which.

    The material is what stands between tags such as `<document>` or in one fence, if that is most of the text. Else it
    is all but a first and a last paragraph (or line, where there is one paragraph) that ask for something: by a
    question mark, a colon at the end, or a verb at the beginning.
    """
    return _wrapped(text) or _between_paragraphs(text)


def _wrapped(text: str) -> Split | None:
    tag = _TAG.search(text, 0, LONGEST_QUESTION)
    if tag is not None:
        end = text.rfind(f"</{tag[1]}>", len(text) - LONGEST_QUESTION - len(tag[1]) - 3 if len(text) > 9_000 else 0)
        return _inner(text, tag.start(), tag.end(), end, end + len(tag[1]) + 3)
    fence = _FENCE.search(text, 0, LONGEST_QUESTION)
    if fence is not None:
        closing = re.compile(rf"\n[ \t]*{re.escape(fence[1])}[ \t]*(?=\r?\n|$)")
        ends = [*closing.finditer(text, fence.end() - 1)]
        if len(ends) == 1:  # with more of them, they are the material's own
            return _inner(text, fence.start(), fence.end(), ends[0].start() + 1, ends[0].end())
    return None


def _inner(text: str, start: int, inside: int, outside: int, end: int) -> Split | None:
    before, after = text[:start], text[end:]
    if outside - inside < MOSTLY * len(text) or not (before.strip() or after.strip()):
        return None
    if max(len(before), len(after)) > LONGEST_QUESTION:
        return None
    return Split(before.strip(), text[inside:outside], after.strip())


def _between_paragraphs(text: str) -> Split | None:
    start, end = 0, len(text)
    before = after = ""
    gap = _GAP.search(text, 0, LONGEST_QUESTION + 4) or _LINE_END.search(text, 0, LONGEST_QUESTION + 2)
    if gap is not None and gap.start() <= LONGEST_QUESTION and _asks(text[: gap.start()]):
        before, start = text[: gap.start()].strip(), gap.end()
    first = max(start, end - LONGEST_QUESTION - 4)
    tail = text[first:].rstrip()
    last = [*_GAP.finditer(tail)] or [*_LINE_END.finditer(tail)]
    if last and _asks(after_it := tail[last[-1].end() :].strip(), at_end=True):
        gap = _LAST_GAP.search(tail, 0, tail.rindex(after_it))
        after, end = after_it, first + (last[-1] if gap is None else gap).start()
    return Split(before, text[start:end], after) if before or after else None


def _asks(paragraph: str, *, at_end: bool = False) -> bool:
    words = paragraph.strip()
    if not words:
        return False
    by_colon = not at_end and _LEADS_ON.search(words) is not None
    return by_colon or _ASKED.search(words) is not None or (len(words) <= 1_000 and _ORDER.match(words) is not None)
