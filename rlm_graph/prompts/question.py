"""The first observation: the question, and the size and shape of what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import urlsplit

from rlm_graph.budget import Budget, Usage
from rlm_graph.prompts.quoting import inline, visible
from rlm_graph.prompts.remaining import remaining
from rlm_graph.state import ContextRef

MAX_NOTES = 10


def question_prompt(
    question: str, contexts: Sequence[ContextRef], *, budget: Budget, usage: Usage | None = None
) -> str:
    """Return the question with the contexts' metadata. Nothing of their text is known here, so none can be in it."""
    return "\n\n".join(
        [
            "# Question",
            visible(question.strip()),
            "# Context",
            _described(contexts),
            remaining(budget, usage or Usage()),
        ]
    )


def _described(contexts: Sequence[ContextRef]) -> str:
    if not contexts:
        return "There is none: `context` is None. Answer from the question and by what code can find out."
    lines = []
    for index, context in enumerate(contexts):
        latest = index == len(contexts) - 1
        name = "`context`" if latest else f"`contexts[{index}]`"
        lines.append(f"- {name}{_source(context)}: {_shape(context)}")
        lines += [f"  - {' '.join(visible(note).split())[:300]}" for note in context.notes[:MAX_NOTES]]
        if len(context.notes) > MAX_NOTES:
            lines.append(f"  - {len(context.notes) - MAX_NOTES:,} more notes")
        if not context.chars:
            lines.append("  - It is empty.")
    return "\n".join(lines)


def _shape(context: ContextRef) -> str:
    if context.kind == "str":
        return f"a `str` of {context.chars:,} characters"
    kind = "a `list[str]`" if context.kind == "list" else "a `dict[str, str]`"
    return f"{kind} of {context.parts:,} texts, {context.chars:,} characters in all, {context.longest:,} in the longest"


def _source(context: ContextRef) -> str:
    """Name where it came from without its folders, which are the user's business, and without a URL's query."""
    source = urlsplit(context.source).path if "://" in context.source else context.source
    name = PurePath(source.replace("\\", "/")).name
    return f" (from {inline(name, 100)})" if name else ""
