"""What the user asks: a question that says something, and the context that it is about."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rlm_graph.cli.output import Output
from rlm_graph.errors import InputError
from rlm_graph.settings import Settings
from rlm_graph.state import ContextRef


def check_question(question: str) -> None:
    """Raise `InputError` if the question says nothing."""
    if not question.strip():
        raise InputError("the question is empty: say in words what you want to know")


def take(sources: Sequence[str], settings: Settings, output: Output) -> ContextRef | None:
    """Take the context in from the paths, URLs and `-` (standard input) that the user named, and say what was done."""
    from rlm_graph.context.encrypted import contexts_of
    from rlm_graph.context.fetch import is_url

    if not sources:
        return None
    if sources.count("-") > 1:
        raise InputError("-c - was given twice; standard input can be read once")
    if "-" in sources and sys.stdin is None:
        raise InputError("standard input is closed; -c - has nothing to read")
    if "-" in sources and sys.stdin.isatty():
        output.say("type or paste the context; Ctrl-D on a line of its own ends it")
    contexts = [sys.stdin.buffer if source == "-" else source if is_url(source) else Path(source) for source in sources]
    reference = contexts_of(settings).combine(contexts)
    for note in reference.notes:
        output.say(f"context: {note}")
    return reference
