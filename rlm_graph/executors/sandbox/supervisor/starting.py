"""The start of a supervisor: what the kernel must be able to, its socket, and a session of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from typing import Any

from rlm_graph.executors.sandbox.confinement.confine import probe
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings
from rlm_graph.executors.sandbox.supervisor.supervisor import Supervisor

CANNOT_CONFINE = 3
"""Exit status where the kernel lacks what confinement needs."""


def supervise(settings: dict[str, Any]) -> int:
    """Start a supervisor and return when it listens; it goes on by itself, in a session of its own.

    With `"foreground": true` it is this process instead. Prints one line of JSON: `{}`, or `missing` if the kernel
    cannot confine a worker. Returns the exit status, which is 3 then.
    """
    foreground = settings.pop("foreground", False)
    chosen = SupervisorSettings(**settings)
    missing = probe()["missing"] if chosen.confined and chosen.user is None else []
    if missing:
        print(json.dumps({"missing": missing}), flush=True)
        return CANNOT_CONFINE
    os.umask(0o077)
    os.makedirs(chosen.scratch, exist_ok=True)
    os.chdir(chosen.folder)  # the path of a socket may have 107 bytes, and that of a folder more
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.basename(chosen.socket))
    begun = None if foreground else _leave(listener)
    # Not before: to those who connect, the kernel names the process that began to listen.
    listener.listen(16)
    if begun is None:
        print(json.dumps({}), flush=True)
    else:
        os.close(begun)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    supervisor = Supervisor(chosen, listener)
    signal.signal(signal.SIGTERM, supervisor.stop)
    supervisor.serve()
    return 0


def _leave(listener: socket.socket) -> int:
    """Go on as a process that no other waits for, without terminal and without the owner's pipes.

    The process that was started ends when the descriptor that is returned is closed.
    """
    waiting, begun = os.pipe()
    if os.fork():
        os.close(begun)
        os.read(waiting, 1)
        print(json.dumps({}), flush=True)
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(nothing, fd)
    for entry in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        fd = int(entry)
        if fd > 2 and fd not in (listener.fileno(), begun):
            with contextlib.suppress(OSError):  # the one that the folder was listed with
                os.close(fd)
    return begun


def _stop(*_: object) -> None:
    sys.exit(0)
