"""What commands print: the answer on stdout, everything else on stderr, and nothing that a terminal would obey."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import typer

from rlm_graph.cli.exits import Exit
from rlm_graph.errors import RLMError, RunHeldError

if TYPE_CHECKING:
    from rich.console import Console

    from rlm_graph.budget import Usage

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a cursor, sets a colour, turns the direction of text, or cannot be written: all but \\n and \\t."""


def printable(text: str) -> str:
    """Return `text` with every character that a terminal would obey written out, such as `\\x1b`."""
    return _OBEYED.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


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


def put(text: str) -> None:
    """Write a command's result to stdout: to a terminal made printable, else as it is, with one newline at its end.

    Raises `RLMError` if it cannot be written.
    """
    if sys.stdout is None:
        raise RLMError("standard output is closed")
    with _writing(sys.stdout):
        line_end = "" if text.endswith("\n") else "\n"
        if sys.stdout.isatty():
            print(printable(text), end=line_end, flush=True)
        else:
            sys.stdout.flush()
            left = memoryview(encoded(text + line_end))
            while left:  # under PYTHONUNBUFFERED a write may take a part of it
                left = left[sys.stdout.buffer.write(left) :]
            sys.stdout.buffer.flush()


def put_json(value: Any) -> None:
    """Write `value` to stdout as one JSON object in ASCII, which no terminal obeys; in one line beside a stream."""
    import json

    put(json.dumps(with_unknown_cost(value), indent=None if manner.json_lines else 2))


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
    """Return a rich console that takes no text for markup. Redirected, it is plain and does not cut lines."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 10_000
    return Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=width is not None, width=width)


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
