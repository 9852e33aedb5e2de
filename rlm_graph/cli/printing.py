"""What commands print: the answer on stdout, everything else on stderr, and nothing that a terminal would obey."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

from rlm_graph.cli.characters import printable as printable
from rlm_graph.cli.exits import Exit
from rlm_graph.cli.screen import unguarded
from rlm_graph.errors import RLMError, RunHeldError

if TYPE_CHECKING:
    from rich.console import Console

    from rlm_graph.budget import Usage


def encoded(text: str) -> bytes:
    """Return `text` as UTF-8. Surrogates that stand for undecodable bytes become those bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def say(text: str) -> None:
    """Write a line to stderr, if there is one."""
    write_stderr(f"{printable(text)}\n")


def say_json(value: Any) -> None:
    """Write `value` to stderr as one line of JSON, in ASCII."""
    import json

    write_stderr(f"{json.dumps(value)}\n")


def write_stderr(text: str) -> None:
    """Write text that is printable to stderr, if there is one."""
    if sys.stderr is not None:
        with _writing(sys.stderr):
            print(text, end="", file=sys.stderr, flush=True)


def waiting(held: RunHeldError) -> None:
    """Say whom the command waits for."""
    say(f"waiting: run {held.run} is held by {held.holder}")


def put(text: str, *, exact: bool = False) -> None:
    """Write a command's result to stdout, made printable, with one newline at its end.

    What is `exact` goes to anything but a terminal as it is: an answer, a name that another program takes.
    Raises `RLMError` if it cannot be written.
    """
    if sys.stdout is None:
        raise RLMError("standard output is closed")
    with _writing(sys.stdout):
        line_end = "" if text.endswith("\n") else "\n"
        if not exact or sys.stdout.isatty():
            text = printable(text)
        if sys.stdout.isatty():
            print(text, end=line_end, flush=True)
        else:
            sys.stdout.flush()
            left = memoryview(encoded(text + line_end))
            while left:  # under PYTHONUNBUFFERED a write may take a part of it
                left = left[sys.stdout.buffer.write(left) :]
            sys.stdout.buffer.flush()


def put_json(value: Any) -> None:
    """Write `value` to stdout as one JSON object in ASCII, which no terminal obeys."""
    import json

    put(json.dumps(value, indent=2), exact=True)


def put_drawn(renderable: Any) -> None:
    """Lay a table or a tree of rich's out and write it to stdout, in colour where there is a terminal for it.

    Raises `RLMError` if it cannot be written.
    """
    if sys.stdout is None:
        raise RLMError("standard output is closed")
    screen = console(stderr=False)
    with screen.capture() as captured:
        screen.print(renderable)
    lines = "\n".join(line.rstrip() for line in captured.get().splitlines())
    if not sys.stdout.isatty():
        put(lines)
        return
    with _writing(sys.stdout):
        print(lines, file=unguarded(sys.stdout), flush=True)  # its texts are printable, its colours are the console's


def confirm(question: str) -> None:
    """Ask on stderr, and end the command if the answer is not yes."""
    typer.confirm(printable(question), abort=True, err=True)


@contextmanager
def _writing(stream: TextIO) -> Iterator[None]:
    """End the command quietly when nobody reads on, as after `| head`, and in one line when a disk is full."""
    try:
        yield
    except OSError as error:
        # Python flushes at exit and would complain about what is left in the buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(Exit.FAILED) from None
        raise RLMError(f"{stream.name.strip('<>')} cannot be written: {error.strerror}") from error


def console(*, stderr: bool) -> Console:
    """Return a rich console that takes no text for markup, and no part of a text for what a terminal obeys.

    Redirected, it is plain and does not cut lines.
    """
    from rich.console import Console
    from rich.segment import Segment

    class TextConsole(Console):
        def render(self, *args: Any, **kwargs: Any) -> Iterator[Segment]:
            for segment in super().render(*args, **kwargs):
                shown = segment.text if segment.control else printable(segment.text)
                yield segment if shown == segment.text else Segment(shown, segment.style)

    stream = unguarded(sys.stderr if stderr else sys.stdout)
    width = None if stream.isatty() else 10_000
    return TextConsole(
        file=stream, markup=False, highlight=False, emoji=False, soft_wrap=width is not None, width=width
    )


def cost(usage: Usage) -> str:
    """Return the cost in words. What nobody knows the price of is unknown, never zero."""
    if not usage.unpriced_calls:
        return f"${usage.cost_usd:.4f}"
    if not usage.cost_usd:
        return "cost unknown"
    return f"${usage.cost_usd:.4f} and {counted(usage.unpriced_calls, 'call')} of unknown price"


def counted(count: int, noun: str) -> str:
    """Return `3 turns`, `1 turn`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def spent(usage: Usage) -> str:
    """Return in one line what was used."""
    parts = (
        counted(usage.turns, "turn"),
        counted(usage.subcalls, "sub-call"),
        counted(usage.tokens, "token"),
        cost(usage),
        f"{usage.wall_s:.1f} s",
    )
    return " · ".join(parts)
