"""What a model has thought aloud in the text of its reply, told from what it answers."""

from __future__ import annotations

import re

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
_LINE_OPENER = re.compile(rf"^[ \t]*(?={_OPENER.pattern})", re.IGNORECASE | re.MULTILINE)
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
    """
    answer = _after_orphan(text)
    while (shorter := _without_first(answer)) is not None:
        answer = shorter
    answer = _HARMONY_FINAL.sub("", answer)
    return answer if answer == text else answer.strip()


def _without_first(text: str) -> str | None:
    fences = [match.span() for match in _FENCE.finditer(text)]
    for place in _LINE_OPENER.finditer(text):
        if any(start <= place.start() < end for start, end in fences):
            continue
        opener = _OPENER.match(text, place.end())
        assert opener is not None
        closer = _closer(opener).search(text, opener.end())
        rest = text[opener.end() :] if closer is None else text[closer.end() :]
        inside = "" if closer is None else text[opener.end() : closer.start()]
        if closer is None and _TALKS_ON.match(rest):
            continue
        if closer is not None and "\n" not in inside and _ONLY_NAMED.match(inside) and _TALKS_ON.match(rest):
            continue
        before = text[: place.start()]
        return before if closer is None else before + rest.lstrip() if not before.strip() else before + rest
    return None


def _closer(opener: re.Match[str]) -> re.Pattern[str]:
    if opener["tag"]:
        return re.compile(rf"</{re.escape(opener['tag'])}>", re.IGNORECASE)
    return re.compile(next(words for name, words in _CLOSERS.items() if opener[name]), re.IGNORECASE)


def _after_orphan(text: str) -> str:
    """Return what comes after thinking whose beginning is not in the text."""
    for end in _ORPHAN.finditer(text):
        before, after = text[: end.start()], text[end.end() :]
        if _OPENER.search(before) is not None or before.count("```") % 2 or before.endswith(("`", '"', "'", "“")):
            return text
        at_line_start = not before.rpartition("\n")[2].strip()
        if after[:1] in ("", "\n", "\r") or at_line_start or after[:1].isalnum():
            return after
        return text
    return text
