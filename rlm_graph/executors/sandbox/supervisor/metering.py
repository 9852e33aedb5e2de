"""What a REPL has used, as the kernel counts it: for one process, or for a whole container by its cgroup.

Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/{cpuacct,memory,blkio-controller}.rst`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

CGROUP = "/sys/fs/cgroup"


class Used(NamedTuple):
    """Processor time, memory and I/O."""

    cpu_s: float
    peak_memory_bytes: int
    """The most that was held at once, so far."""
    read_bytes: int | None = None
    """From disks; None where nobody counts it."""
    write_bytes: int | None = None

    def since(self, before: Used) -> Used:
        """Return what was used after `before`. The peak stays what it is: the kernel keeps one for all time."""
        return Used(
            round(max(self.cpu_s - before.cpu_s, 0.0), 6),
            self.peak_memory_bytes,
            _difference(self.read_bytes, before.read_bytes),
            _difference(self.write_bytes, before.write_bytes),
        )


def used_by_process(pid: int) -> Used:
    """Return what a process has used itself. Zero where the kernel does not tell, or no longer."""
    peak = next((int(line.split()[1]) << 10 for line in _lines(f"/proc/{pid}/status") if line.startswith("VmHWM:")), 0)
    return Used(processor_time(pid), peak)


def processor_time(pid: int) -> float:
    """Return the processor time in seconds that a process has used; zero where the kernel does not tell it."""
    try:
        # The kernel's name for the clock of another process: see clock_getcpuclockid(3).
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def used_by_container(root: str = CGROUP) -> Used | None:
    """Return what the container that this process is in has used, with all its processes. None if that is not told."""
    if os.path.exists(os.path.join(root, "cgroup.controllers")):
        return _used_by_v2(root)
    return _used_by_v1(root)


def _used_by_v2(root: str) -> Used | None:
    times = dict(line.split() for line in _lines(f"{root}/cpu.stat"))
    # `memory.peak` came with Linux 5.19.
    peak = _number(f"{root}/memory.peak", f"{root}/memory.current")
    if "usage_usec" not in times or peak is None:
        return None
    disks = [dict(pair.split("=") for pair in line.split()[1:]) for line in _lines(f"{root}/io.stat")]
    counted = os.path.exists(f"{root}/io.stat")
    read, write = (sum(int(disk.get(key, 0)) for disk in disks) if counted else None for key in ("rbytes", "wbytes"))
    return Used(int(times["usage_usec"]) / 1e6, peak, read, write)


def _used_by_v1(root: str) -> Used | None:
    nanoseconds = _number(f"{root}/cpuacct/cpuacct.usage", f"{root}/cpu,cpuacct/cpuacct.usage")
    peak = _number(f"{root}/memory/memory.max_usage_in_bytes")
    if nanoseconds is None or peak is None:
        return None
    path = f"{root}/blkio/blkio.throttle.io_service_bytes"
    words = [line.split() for line in _lines(path)]  # such as `8:0 Read 4096`, and a total at the end
    counted = os.path.exists(path)
    read, write = (
        sum(int(line[2]) for line in words if len(line) == 3 and line[1] == kind) if counted else None
        for kind in ("Read", "Write")
    )
    return Used(nanoseconds / 1e9, peak, read, write)


def _number(*paths: str) -> int | None:
    """Return the number in the first file that there is."""
    return next((int(line) for path in paths for line in _lines(path)), None)


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path) as file:
            yield from file
    except OSError:  # it is not there, or its process is gone
        return


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else max(after - before, 0)
