"""The owner of a REPL: the process that drives it, told apart over all machines and over numbers that come again."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from rlm_graph.executors.sandbox.frames import Frame


def this_owner() -> Frame:
    """Return what names this process among those of all machines."""
    return {"name": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}


def process_start(pid: int) -> str | None:
    """Return when a process of this machine started, in the kernel's ticks; None if it is gone or cannot be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def has_ended(owner: object) -> bool:
    """Whether `owner`, as `this_owner` has told it, was a process of this machine and is gone.

    False if that cannot be told: of a process of another machine, where there is no `/proc`, and of anything else.
    """
    if not isinstance(owner, dict) or owner.get("name") != socket.gethostname():
        return False
    pid = owner.get("pid")
    return isinstance(pid, int) and Path("/proc").is_dir() and process_start(pid) != owner.get("started")
