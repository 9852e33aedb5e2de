"""What commands print: the answer on stdout, everything else on stderr, and nothing that a terminal would obey."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import typer

from rlm_graph.cli.characters import printable as printable
from rlm_graph.cli.exits import Exit
from rlm_graph.cli.screen import unguarded
from rlm_graph.errors import RLMError, RunHeldError

if TYPE_CHECKING:
    from rich.console import Console

    from rlm_graph.budget import Usage
    from rlm_graph.storage.runs import Run


def encoded(text: str) -> bytes:
    """Return `text` as UTF-8. Surrogates that stand for undecodable bytes become those bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


@dataclass
class Manner:
    """How the command under way speaks on stderr."""

    quiet: bool = False
    """Errors alone."""
    json_lines: bool = False
    """Every line is a JSON object: `{"kind": "message", "text": ...}` for what is said in words."""
    place: str = ""
    """The flags that say where runs lie, as they were given, such as ` --db other.sqlite`."""

    def reset(self) -> None:
        """Speak as a command does that nobody has told otherwise."""
        self.quiet, self.json_lines, self.place = False, False, ""


manner = Manner()
"""One process, one stderr. Commands set it anew at their start."""


def command(words: str) -> str:
    """Return the call of this command with these words that finds the runs where the present one did."""
    return f"rlm-graph {words}{manner.place}"


def say(text: str) -> None:
    """Write a line to stderr, if there is one. Nothing that happens to stderr is an error."""
    if manner.json_lines:
        say_json({"kind": "message", "text": text})
    else:
        write_stderr(f"{printable(text)}\n")


def remark(text: str) -> None:
    """Say what is no error, unless the user wants to hear of errors alone."""
    if not manner.quiet:
        say(text)


def say_json(value: Any) -> None:
    """Write `value` to stderr as one line of JSON, in ASCII."""
    import json

    write_stderr(f"{json.dumps(with_unknown_cost(value))}\n")


def write_stderr(text: str) -> None:
    """Write text that is printable to stderr; drop it where that cannot be."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
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
    """Write `value` to stdout as one JSON object in ASCII, which no terminal obeys; in one line beside a stream."""
    import json

    put(json.dumps(with_unknown_cost(value), indent=None if manner.json_lines else 2), exact=True)


def with_unknown_cost(value: Any) -> Any:
    """Return the JSON value with `null` for each cost that nobody knows, and what is known of it beside it."""
    if isinstance(value, list | tuple):
        return [with_unknown_cost(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: with_unknown_cost(each) for key, each in value.items()}
    if "cost_usd" in found and "unpriced_calls" in found and "known_cost_usd" not in found:
        found["known_cost_usd"] = found["cost_usd"]
        found["cost_usd"] = None if found["unpriced_calls"] else found["cost_usd"]
    return found


def put_drawn(renderable: Any) -> None:
    """Lay a table or a tree of rich's out and write it to stdout, in colour where there is a terminal for it.

    Raises `RLMError` if it cannot be written.
    """
    if sys.stdout is None:
        raise RLMError("standard output is closed")
    screen = console(stderr=False)
    with _writing(sys.stdout), screen.capture() as captured:  # rich writes too, if nothing, when it has captured
        screen.print(renderable)
    lines = "\n".join(line.rstrip() for line in captured.get().splitlines())
    if not sys.stdout.isatty():
        put(lines)
        return
    with _writing(sys.stdout):
        print(lines, file=unguarded(sys.stdout), flush=True)  # its texts are printable, its colours are the console's


def confirm(question: str) -> None:
    """Ask on stderr, and end the command if the answer is not yes."""
    try:
        typer.confirm(printable(question), abort=True, err=True)
    except typer.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # which typer takes for a no
            write_stderr("\n")
            raise KeyboardInterrupt from None
        raise


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


def when(run: Run) -> str:
    """Return when the run was started, in the time of this machine."""
    from datetime import datetime

    return datetime.fromtimestamp(run.created).strftime("%Y-%m-%d %H:%M")
