"""The three standard streams of the process: a lost stderr ends no run, and stdout belongs to the command's result."""

from __future__ import annotations

import atexit
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, NoReturn

FULL_WAIT_MS = 2_000
"""How long a stderr that does not block, and is full, is waited for before words to it are dropped."""
NOT_FLUSHED = 120
"""The exit code of Python where stdout cannot be written at the end."""


def make_lasting() -> None:
    """Have nothing that happens to stderr raise an error, and let no file of ours take the place of a closed stream.

    A run that has been paid for does not end because its terminal is gone, its log's disk is full or the reader of its
    progress has left.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free: a closed stream's, if any is
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  # for good
        return
    given: Any = sys.stderr
    raw = _LastingFile(given.fileno(), "w", closefd=False)
    sys.stderr = io.TextIOWrapper(
        raw,  # it writes all or drops it, as a buffer does
        encoding=given.encoding,
        errors=given.errors,
        write_through=True,
    )


def leave(code: object) -> NoReturn:
    """End the process with that exit code, or raise `SystemExit` with what is no number.

    What must be kept is kept by now, and what was registered to be done at the end is done. The interpreter's own end,
    which takes every module and object apart, takes a second that a user waits for.
    """
    if not (code is None or isinstance(code, int)):
        raise SystemExit(code)
    atexit._run_exitfuncs()
    failed = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, or nobody reads it any more
            failed = 0 if stream is None else NOT_FLUSHED
    _flush_c()
    os._exit(code or failed)


class _LastingFile(io.FileIO):
    """A file whose writes never fail: what cannot be written is dropped."""

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        try:
            while left:
                written = super().write(left)
                if written is None:  # it does not block, and is full
                    poll = select.poll()
                    poll.register(self.fileno(), select.POLLOUT)
                    if not poll.poll(FULL_WAIT_MS):
                        break
                left = left[written or 0 :]
        except OSError:
            pass
        return len(data)


@contextmanager
def others_print_to_stderr() -> Iterator[None]:
    """Within the block, what tools, their programs and libraries print to stdout goes to stderr.

    On stdout stands the command's result alone, which is printed when the block is over.
    """
    if sys.stdout is None or sys.stderr is None:
        yield
        return
    try:
        sys.stdout.flush()
        kept, stdout = os.dup(1), 1
        os.dup2(2, stdout)
    except OSError:  # without such descriptors nothing can be printed to them
        with redirect_stdout(sys.stderr):
            yield
        return
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush_c()
        os.dup2(kept, stdout)
        os.close(kept)


def _flush_c() -> None:
    """Have what libraries in C have printed, and hold back in their own buffers, go where it was printed to."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
