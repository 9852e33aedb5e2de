"""What a model has thought aloud in the text of its reply, told from what it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAMES = r"(?:[a-z]{2,8}:)?(?:think|thinking|thoughts?|reasoning)"
"""Others, such as `<analysis>`, are as often a form that a prompt has asked for."""
_OPENER = re.compile(
    rf"<(?P<tag>{_NAMES})(?:\s[^<>\n]*)?>|(?P<think>\[think\])|(?P<kimi>◁think▷)|(?P<start><\|start_think\|>)"
    r"|(?P<harmony>(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)<\|message\|>)",
    re.IGNORECASE,
)
_CLOSERS = {"think": r"\[/think\]", "kimi": "◁/think▷", "start": r"<\|end_think\|>", "harmony": r"<\|end\|>"}
_ORPHAN = re.compile(rf"</{_NAMES}>|\[/think\]|◁/think▷|<\|end_think\|>", re.IGNORECASE)
_HARMONY_FINAL = re.compile(r"\A\s*(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>")
_OPENS = re.compile(
    r"<(?:[a-z]{2,8}:)?(?:think|thought|reasoning)|\[think\]|◁think▷|<\|start_think\|>|"
    r"(?:<\|start\|>assistant)?<\|channel\|>",
    re.IGNORECASE,
)
"""With what every opener begins, and so the final part of a harmony reply."""
_LONGEST = 32
"""Characters of the longest match of `_OPENS` or `_ORPHAN`, or more."""
_PIECE = 1 << 16
"""Characters of a text that are searched in one call, which holds Python's lock."""
_WORDS = ("think", "thought", "reasoning", "channel")
"""One of these is in every match of `_OPENS` and `_ORPHAN`."""
_LETTERS = "İıſ\u212a"
"""What `re.IGNORECASE` takes for letters of ASCII, and `str.lower` does not turn into them."""
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n.*?(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_ONLY_NAMED = re.compile(r"\s*(?:and|or|und|et|y|/|,|&|…|\.\.\.)?[ \t]*\Z", re.IGNORECASE)
_TALKS_ON = re.compile(
    r"[ \t]*(?:[,;.)]|(?:is|are|was|were|means?|marks?|denotes?|stands?|tags?|elements?|blocks?|tokens?|and|or|in|"
    r"should|must|can|may|will|appears?|begins?|starts?|wraps?|opens?|occurs?)\b)",
)  # fmt: skip


def without_thinking(text: str) -> str:
    """Return the text without what the model has thought in it; a text that only names such tags as it is.

    Thinking stands between tags, at the beginning of the text or of a line. It may lack its end, where the model did
    not come to one, or its beginning, where the prompt had it. What stands in a fence is nobody's thinking.

    A text of 100 MB without tags costs a few hundredths of a second, and one that is full of `<` half a second, in
    calls that let other threads run between them.
    """
    if next(_found(_ORPHAN, text), None) is None and next(_found(_OPENS, text), None) is None:
        return text
    answer = _after_orphan(text)
    while (shorter := _without_first(answer)) is not None:
        answer = shorter
    answer = _HARMONY_FINAL.sub("", answer)
    return answer if answer == text else answer.strip()


def _found(pattern: re.Pattern[str], text: str, stop: int | None = None) -> Iterator[int]:
    """Yield where matches of `_OPENS` or `_ORPHAN` begin that end before `stop`, those that overlap too."""
    stop = len(text) if stop is None else stop
    for start in range(0, stop, _PIECE):
        end, place = min(start + _PIECE, stop), start
        if not _may_hold(text, start, end):
            continue
        while (match := pattern.search(text, place, min(end + _LONGEST, stop))) is not None and match.start() < end:
            yield match.start()
            place = match.start() + 1


def _may_hold(text: str, start: int, end: int) -> bool:
    """Whether a tag may begin there: a cheap test, for most texts have none."""
    if all(text.find(mark, start, end) < 0 for mark in "<[◁"):
        return False
    near = text[start : end + _LONGEST]
    if not near.isascii() and any(letter in near for letter in _LETTERS):
        return True
    lower = near.lower()
    return any(word in lower for word in _WORDS)


def _openers(text: str, stop: int | None = None) -> Iterator[re.Match[str]]:
    for place in _found(_OPENS, text, stop):
        opener = _OPENER.match(text, place) if stop is None else _OPENER.match(text, place, stop)
        if opener is not None:
            yield opener


class _Fences:
    """Tells which places of a text lie in a fence, if it is asked about them in order."""

    def __init__(self, text: str) -> None:
        self._first = min((at for mark in ("```", "~~~") if (at := text.find(mark)) >= 0), default=len(text))
        self._all = _FENCE.finditer(text)
        self._start = self._end = 0

    def hold(self, place: int) -> bool:
        """Whether a place lies in one."""
        if place < self._first:
            return False
        while self._end <= place and (fence := next(self._all, None)) is not None:
            self._start, self._end = fence.span()
        return self._start <= place < self._end


def _without_first(text: str) -> str | None:
    fences: _Fences | None = None
    for opener in _openers(text):
        start = _line_start(text, opener.start())
        if start is None:
            continue
        fences = fences or _Fences(text)
        if fences.hold(start):
            continue
        closer = _closer(opener).search(text, opener.end())
        rest = text[opener.end() :] if closer is None else text[closer.end() :]
        inside = "" if closer is None else text[opener.end() : closer.start()]
        if closer is None and _TALKS_ON.match(rest):
            continue
        if closer is not None and "\n" not in inside and _ONLY_NAMED.match(inside) and _TALKS_ON.match(rest):
            continue
        before = text[:start]
        return before if closer is None else before + rest.lstrip() if not before.strip() else before + rest
    return None


def _line_start(text: str, place: int) -> int | None:
    """Return where the line of a place begins, if only blanks stand before it there."""
    while place and text[place - 1] in " \t":
        place -= 1
    return place if not place or text[place - 1] == "\n" else None


def _closer(opener: re.Match[str]) -> re.Pattern[str]:
    if opener["tag"]:
        return re.compile(rf"</{re.escape(opener['tag'])}>", re.IGNORECASE)
    return re.compile(next(words for name, words in _CLOSERS.items() if opener[name]), re.IGNORECASE)


def _after_orphan(text: str) -> str:
    """Return what comes after thinking whose beginning is not in the text."""
    for place in _found(_ORPHAN, text):
        end = _ORPHAN.match(text, place)
        assert end is not None
        before, after = text[: end.start()], text[end.end() :]
        named = before.count("```") % 2 or before.endswith(("`", '"', "'", "“"))
        if named or next(_openers(text, place), None) is not None:
            return text
        at_line_start = not before.rpartition("\n")[2].strip()
        if after[:1] in ("", "\n", "\r") or at_line_start or after[:1].isalnum():
            return after
        return text
    return text
