"""The fork server: a process that has imported all that supervisors and workers need, and forks each supervisor.

It reads nothing of what it is sent: a request is read by the child that is forked for it. So every supervisor begins
with the same memory, in which nothing of any run has ever been. One that was forked from another supervisor would begin
with what that one knows: code and output of cells, and the answers that they were given.
"""

from __future__ import annotations

import json
import os
import select
import sys
from contextlib import suppress
from typing import NoReturn

from rlm_graph.executors.sandbox.supervisor.starting import supervise


def serve_forks() -> None:
    """Print `{}` when ready; then have a child do what each line of standard input asks for, until the input ends.

    A line holds the settings of a supervisor. The answer is one line of JSON: what `supervise` prints, or `error`. The
    input ends with the owner, however that ends. Memory is as it was for the first child when the last is forked.
    """
    with suppress(OSError):
        os.unlink(sys.argv[0])  # all of the program has been read, and whoever has put it there may be dead
    print("{}", flush=True)
    requests = select.poll()
    requests.register(0, select.POLLIN)
    while requests.poll()[0][1] & select.POLLIN:
        child = os.fork()
        if child == 0:
            _start()
        _, status = os.waitpid(child, 0)
        if status:  # it may not have read its whole line
            break


def _start() -> NoReturn:
    """Become what starts a supervisor, and then, after another fork, the supervisor."""
    try:
        supervise(json.loads(_line()))
    except BaseException as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
    finally:
        os._exit(0)


def _line() -> bytes:
    """Read a line and nothing beyond it, for what follows is not for this process."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise EOFError("the owner is gone")
        line += byte
    return bytes(line)
