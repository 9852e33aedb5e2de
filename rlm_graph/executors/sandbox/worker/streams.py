"""Standard output and error of a worker: descriptors 1 and 2, so that what C code prints counts too."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any, TextIO


class Streams:
    """Gives each cell streams that work, whatever the cell before did to them."""

    def __init__(self) -> None:
        self._spares = {fd: os.dup(fd) for fd in (1, 2)}
        self._streams: dict[int, TextIO] = {}

    def restore(self) -> None:
        """Put the descriptors and `sys.stdin`, `sys.stdout` and `sys.stderr` back in their places."""
        for fd, spare in self._spares.items():
            # If code closed the spares as well, its output is lost and its cells run on.
            with contextlib.suppress(OSError):
                os.dup2(spare, fd)
        if not _is_open(sys.stdin):
            sys.stdin = io.StringIO()
        for fd, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, self._stream(fd))
            setattr(sys, f"__{name}__", self._stream(fd))

    def flush(self) -> None:
        """Send what code has printed and not flushed, wherever it printed to."""
        for stream in (sys.stdout, sys.stderr, *self._streams.values()):
            # Code may have closed it, or put something else there.
            with contextlib.suppress(BaseException):
                stream.flush()

    def _stream(self, fd: int) -> TextIO:
        stream = self._streams.get(fd)
        if stream is None or not _is_open(stream):
            # Line by line, so that a crash loses no line that was printed before it.
            stream = open(  # noqa: SIM115  # lives as long as the process
                fd, "w", buffering=1, encoding="utf-8", errors="surrogatepass", newline="", closefd=False
            )
            self._streams[fd] = stream
        return stream


def _is_open(stream: Any) -> bool:
    """Whether it is open, whatever code has put there."""
    try:
        return stream.closed is False
    except BaseException:
        return False
