"""What everything printed goes through on its way to a terminal, whoever prints it: commands, libraries, tracebacks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from rlm_graph.cli.characters import printable


class Screen:
    """A stream of text that writes all but text out. It has no `buffer`: nothing gets past it as bytes."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text, printable."""
        if not isinstance(text, str):
            raise TypeError(f"a Screen takes text, not {type(text).__name__}")
        self.stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts, printable."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach", "reconfigure"):
            raise AttributeError(name)
        return getattr(self.stream, name)

    def __iter__(self) -> Iterator[str]:
        raise OSError("a screen cannot be read")


def guard() -> None:
    """Have all that this process prints go through a `Screen`: stderr always, stdout where it is a terminal.

    What is redirected from stdout is exact. Programs that the process starts write to its descriptors themselves.
    """
    if sys.stderr is not None and not isinstance(sys.stderr, Screen):
        sys.stderr = cast(TextIO, Screen(sys.stderr))
    if sys.stdout is not None and not isinstance(sys.stdout, Screen) and sys.stdout.isatty():
        sys.stdout = cast(TextIO, Screen(sys.stdout))


def unguarded(stream: Any) -> Any:
    """Return what a stream writes to in the end: for those who draw, and see to their texts themselves."""
    return stream.stream if isinstance(stream, Screen) else stream


@contextmanager
def guarded() -> Iterator[None]:
    """Guard what somebody else has put in the place of stderr, while the block runs."""
    drawn = sys.stderr
    sys.stderr = cast(TextIO, Screen(drawn))
    try:
        yield
    finally:
        sys.stderr = drawn
