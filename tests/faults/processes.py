"""Processes of this machine, as the kernel lists them, and waiting for what they do."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_S = 200
"""Seconds for one command. It needs two or three, and far more on a machine that does much else."""


def supervisors_of(repls: Iterable[Path]) -> list[int]:
    """Return the processes that own these REPLs, by their folders: those that listen there."""
    found = []
    for folder in repls:
        with suppress(OSError), _opened(folder) as directory, socket.socket(socket.AF_UNIX) as sock:
            # Some are ending, or have not begun. Not by the folder's path: that of a socket may have 107 bytes.
            sock.connect(f"/proc/self/fd/{directory}/control.sock")
            found.append(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
    return found


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield directory
    finally:
        os.close(directory)


def parent_of(pid: int) -> int | None:
    """Return the parent of a process; None if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def children_of(pid: int) -> list[int]:
    """Return the children of a process."""
    return [each for each in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent_of(each) == pid]


def supervisors_in(folder: Path) -> list[int]:
    """Return the processes that own the REPLs of commands whose files for temporary use are in `folder`."""
    return supervisors_of(folder.glob("tmp*/rlm-graph-*/*"))


def workers_in(folder: Path) -> list[int]:
    """Return the processes that run the code of REPLs in `folder`."""
    return [worker for supervisor in supervisors_in(folder) for worker in children_of(supervisor)]


def has_stopped(pid: int) -> bool:
    """Whether a SIGSTOP has taken hold of the process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def wait_until(holds: Callable[[], bool]) -> None:
    """Look again and again until it holds. Raises `TimeoutError`."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"it has not come about within {PATIENCE_S} s")
        time.sleep(0.01)
