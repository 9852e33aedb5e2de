"""What the user asks: a question that says something, and the context that it is about."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rlm_graph.cli.output import Output
from rlm_graph.errors import InputError
from rlm_graph.settings import Settings
from rlm_graph.state import ContextRef
from rlm_graph.surrogates import has_surrogates


def check_question(question: str) -> str:
    """Return the question as a text: its bytes may have been no UTF-8. Raises `InputError` if it says nothing."""
    from rlm_graph.context.encoding import decoded

    if not question.strip():
        raise InputError("the question is empty: say in words what you want to know")
    return decoded(os.fsencode(question)) if has_surrogates(question) else question


def take(sources: Sequence[str], settings: Settings, output: Output) -> ContextRef | None:
    """Take the context in from the paths, URLs and `-` (standard input) that the user named, and say what was done."""
    from rlm_graph.context.encrypted import contexts_of

    if not sources:
        return None
    contexts = [_named(source) for source in sources]
    if sources.count("-") > 1:
        raise InputError("-c - was given twice; standard input can be read once")
    if "-" in sources and sys.stdin is None:
        raise InputError("standard input is closed; -c - has nothing to read")
    if "-" in sources and sys.stdin.isatty():
        output.say("type or paste the context; Ctrl-D on a line of its own ends it")
    output.spare(context for context in contexts if isinstance(context, Path))
    reference = contexts_of(settings).combine(contexts)
    for note in reference.notes:
        output.say(f"context: {note}")
    return reference


def _named(source: str) -> object:
    """Return what a user has named by `-c`: what a shell would have made of it, where none has."""
    from rlm_graph.context.globs import Glob
    from rlm_graph.context.url import URL, is_url, local_path, scheme

    if source == "-":
        return None if sys.stdin is None else sys.stdin.buffer
    if not source.strip() and not os.path.lexists(source):
        raise InputError(f"-c {source!r} names nothing; is a shell variable empty? `-c .` takes the current folder")
    if is_url(source):
        return local_path(source) if scheme(source) == "file" else URL(source, trusted=True)
    if os.path.lexists(source):
        path = Path(source)
        if os.path.realpath(path) == os.path.sep:
            raise InputError(f"-c {source} takes the whole machine; is a shell variable empty? Name a folder in it")
        return path
    expanded = os.path.expanduser(source)
    return Glob(expanded) if glob.has_magic(expanded) else Path(expanded)
