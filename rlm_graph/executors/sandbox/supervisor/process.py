"""The worker's process, from outside: started, measured, interrupted, ended with all that it started."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from typing import NoReturn

from rlm_graph.executors.sandbox.frames import MAX_ITEMS, Frame
from rlm_graph.executors.sandbox.link import Link
from rlm_graph.executors.sandbox.supervisor.metering import Used, used_by_container, used_by_process
from rlm_graph.executors.sandbox.supervisor.output import BoundedOutput
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings
from rlm_graph.executors.sandbox.supervisor.worker_start import become_worker

STREAMS = ("stdout", "stderr")
PIPE_BYTES = 1 << 20
READ_BYTES = 1 << 20

_F_SETPIPE_SZ = 1031
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36


class WorkerProcess:
    """A worker, forked from the supervisor. Forking is what makes it start fast, so the supervisor has no threads."""

    pipe_names: Sequence[str] = STREAMS
    """What it has pipes for, besides its link."""

    def __init__(self, settings: SupervisorSettings, generation: int) -> None:
        ours, theirs = socket.socketpair()
        pipes = [os.pipe() for _ in self.pipe_names]
        supervisor = os.getpid()
        self.generation = generation
        self.ready = False
        self.pid = os.fork()
        if self.pid == 0:
            self._become(settings, supervisor, theirs, [write for _, write in pipes])
        with contextlib.suppress(OSError):  # the child has done it, or is gone
            os.setpgid(self.pid, self.pid)
        theirs.close()
        self.link = Link(ours, max_items=MAX_ITEMS)
        self.pipes: dict[str, int] = {}
        self.outputs = {stream: BoundedOutput(settings.max_output_bytes) for stream in STREAMS}
        for name, (read, write) in zip(self.pipe_names, pipes):  # noqa: B905  # `strict` needs Python 3.10
            os.close(write)
            os.set_blocking(read, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(read, _F_SETPIPE_SZ, PIPE_BYTES)
            self.pipes[name] = read
        self.pidfd: int | None = None
        with contextlib.suppress(AttributeError, OSError):  # only Linux has it; else the end of the link tells
            self.pidfd = os.pidfd_open(self.pid)
        self._memory_bytes = settings.memory_bytes
        self._in_container = settings.user is not None

    def allow_memory(self, extra_bytes: int) -> None:
        """Raise the ceiling on the worker's address space by what a context takes. A container has one of its own.

        Raises `OSError` if the kernel refuses.
        """
        if self._in_container or not hasattr(resource, "prlimit"):  # only Linux, where alone there is confinement
            return
        self._memory_bytes += extra_bytes
        # Only the soft limit: the worker cannot change it, being confined, and nobody without rights could raise
        # a hard one again.
        with contextlib.suppress(ProcessLookupError):  # it has ended, which is told elsewhere
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_AS)
            soft = self._memory_bytes if hard == resource.RLIM_INFINITY else min(self._memory_bytes, hard)
            resource.prlimit(self.pid, resource.RLIMIT_AS, (soft, hard))

    def send(self, frame: Frame, descriptors: Sequence[int] = ()) -> None:
        """Send a frame to the worker, with a descriptor for each file that goes with it."""
        self.link.send(frame, descriptors)

    def drain(self, pipe: str) -> bool:
        """Take what the worker has printed so far. False if nobody can print any more."""
        # Bounded, for a thread may go on printing; far more than the pipe can hold when a cell has ended.
        for _ in range(64):
            try:
                data = os.read(self.pipes[pipe], READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._printed(pipe, data)
        return True

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running cell."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def used(self) -> Used:
        """Return what the worker has used so far, or its container as a whole."""
        return (used_by_container() if self._in_container else None) or used_by_process(self.pid)

    def threads(self) -> int:
        """Return how many threads the worker has, its own two included; 0 if it is gone."""
        try:
            with open(f"/proc/{self.pid}/stat") as file:
                return int(file.read().rpartition(")")[2].split()[17])
        except (OSError, IndexError):
            return 0

    def end(self) -> None:
        """Kill the worker and the processes of its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def stop(self) -> int:
        """End the worker and everything it started; return its status as `waitpid` gives it.

        What it has printed can still be taken from `outputs`.
        """
        self.end()
        _, status = os.waitpid(self.pid, 0)
        end_orphans()
        for name, pipe in self.pipes.items():
            self.drain(name)
            os.close(pipe)
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.link.close()
        return status

    def _printed(self, pipe: str, data: bytes) -> None:
        self.outputs[pipe].write(data)

    def _become(
        self, settings: SupervisorSettings, supervisor: int, sock: socket.socket, outputs: list[int]
    ) -> NoReturn:
        """Turn a fresh fork of the supervisor into a worker."""
        become_worker(settings, supervisor, sock, outputs)


def prepare_supervisor() -> None:
    """Keep the worker, which may be of the same user, out of this process; inherit the orphans it leaves."""
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(worker: int | None) -> None:
    """Free the entries of processes that the worker started, left behind and that have ended."""
    with contextlib.suppress(ChildProcessError, AttributeError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != worker:
            os.waitpid(ended.si_pid, 0)


def end_orphans(worker: int | None = None) -> None:
    """Kill what the worker left behind, but not itself. Children become ours when their parent ends."""
    for _ in range(1000):
        reap_orphans(worker)
        orphans = [pid for pid in _children() if pid != worker]
        if not orphans:
            return
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def died_of(status: int) -> str:
    """Say in words how a process ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL:
            return "it was killed from outside, perhaps because the machine ran out of memory"
        return f"it crashed with signal {number} ({signal.strsignal(number)})"
    code = os.WEXITSTATUS(status)
    if code > 128:
        return f"it ended with exit code {code}, as one that was killed by signal {code - 128}"
    return f"it ended with exit code {code}, as by os._exit()"


def _children() -> list[int]:
    ours = os.getpid()
    children: list[int] = []
    try:
        entries = os.listdir("/proc")
    except OSError:  # another system than Linux
        return children
    for entry in entries:
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == ours:
                    children.append(int(entry))
    return children
