"""Standard input that nobody has named: whether a context is being piped in."""

from __future__ import annotations

import os
import select
import socket
import stat
import sys
from collections.abc import Sequence

from rlm_graph.cli.printing import remark
from rlm_graph.errors import InputError

PATIENCE_MS = 1_000
"""How long a pipe whose writer has not ended is waited for, where a question has no other context."""


def with_piped(sources: Sequence[str]) -> list[str]:
    """Return the sources of the context, with `-` where standard input brings one that `-c` does not name.

    What is taken: a pipe, a socket or a file (`< FILE`, at its beginning) that has something to read, where no `-c` is
    given. With a `-c`, such a pipe or file is refused, for taking it as well or leaving it alone would be a guess.
    Nothing else is read: no terminal, no `/dev/null`, no pipe that is empty, as programs start others with, and no
    file that another program has begun to read, as in a shell's `while read` loop.

    Raises `InputError`.
    """
    if "-" in sources or not _has_data(0 if sources else PATIENCE_MS):
        return list(sources)
    if sources:
        raise InputError(
            "standard input has data that no -c names: add `-c -` to read it too, or `< /dev/null` to leave it alone"
        )
    remark("context: standard input, as with `-c -`")
    return ["-"]


def _has_data(patience_ms: int) -> bool:
    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or no file of the system's
        return False
    if stat.S_ISREG(mode):
        return _is_unread(descriptor)
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    events = dict(poll.poll(patience_ms)).get(descriptor)
    if events is None and patience_ms:
        remark("note: standard input is a pipe in which nothing has come; `-c -` would wait for it")
    if events is None or not events & select.POLLIN:
        return False
    return not stat.S_ISSOCK(mode) or _has_bytes(descriptor)


def _is_unread(descriptor: int) -> bool:
    try:
        return os.lseek(descriptor, 0, os.SEEK_CUR) == 0 and os.fstat(descriptor).st_size > 0
    except OSError:
        return False


def _has_bytes(descriptor: int) -> bool:
    """Tell whether there is something to read in a socket, which can be read too when its other end has closed it."""
    with socket.socket(fileno=os.dup(descriptor)) as peer:
        try:
            return bool(peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False
