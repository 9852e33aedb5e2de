"""Processor time of other processes of this machine, as the kernel counts it."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def family(*ancestors: int) -> set[int]:
    """Return these processes and all that descend from them."""
    parents = {pid: fields[1] for pid in _all() if (fields := _stat(pid)) is not None}
    found = set(ancestors)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(pids: Iterable[int]) -> Mapping[int, float]:
    """Return the seconds that each process has computed so far, with its children that have ended."""
    counted = {pid: fields for pid in pids if (fields := _stat(pid)) is not None}
    return {pid: sum(fields[11:15]) / TICKS for pid, fields in counted.items()}


def adopt() -> None:
    """Have all descendants of this process whose parent ends become its children (`PR_SET_CHILD_SUBREAPER`)."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def ended_cpu_s() -> float:
    """Return the seconds that the ended children of this process have computed, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def children() -> set[int]:
    """Return the children of this process."""
    return {pid for pid in _all() if (fields := _stat(pid)) is not None and fields[1] == os.getpid()}


def reap(pids: Iterable[int]) -> None:
    """Wait until these children of this process have ended."""
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[int] | None:
    """Return the fields of the kernel's line on a process from its state on, which is a 0 here (proc(5))."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return [0, *map(int, line.rpartition(")")[2].split()[1:])]
