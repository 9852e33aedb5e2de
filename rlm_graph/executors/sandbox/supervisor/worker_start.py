"""The start of a worker: a fresh fork of the supervisor gives up what a worker must not have, and serves."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rlm_graph.executors.sandbox.confinement.confine import confine
from rlm_graph.executors.sandbox.link import Link
from rlm_graph.executors.sandbox.supervisor.settings import SupervisorSettings
from rlm_graph.executors.sandbox.worker.worker import SocketChannel, Worker

MAX_OPEN_FILES = 128

_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8


def become_worker(settings: SupervisorSettings, supervisor: int, sock: socket.socket, outputs: list[int]) -> NoReturn:
    """Turn a fresh fork of the supervisor into a worker."""
    try:
        os.setpgid(0, 0)
        if settings.user is not None:
            _become_user(settings.user)
        leave_the_rest_to(supervisor)
        sock = _keep_only(sock, outputs)
        os.environ.clear()
        os.environ.update(
            PATH="/usr/local/bin:/usr/bin:/bin", HOME=settings.scratch, TMPDIR=settings.scratch, LANG="C.UTF-8",
            PYTHONHASHSEED="0",
        )  # fmt: skip
        os.chdir(settings.scratch)
        sys.argv = [""]
        library = [entry for entry in sys.path if not entry.endswith(".pyz")]
        sys.path[:] = [settings.scratch, *library, *settings.packages]
        # Without confinement code can start a shell in any case.
        Worker(SocketChannel(sock), bash=settings.bash or not settings.confined).serve(_restrain(settings))
    except BaseException as error:
        with contextlib.suppress(BaseException):
            Link(sock).send({"ev": "failed", "message": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(71)


def leave_the_rest_to(supervisor: int) -> None:
    """Ignore the interrupts that are meant for others, and end when the supervisor does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until there is a cell to interrupt
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(1)


def _become_user(user: int) -> None:
    """Give up root for good, and with it every capability."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _keep_only(sock: socket.socket, outputs: list[int]) -> socket.socket:
    """Close every descriptor but the socket, as 3, the outputs, as 1 and 2, and an empty input, as 0."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    # First out of the way of the numbers they are to have.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (nothing, *outputs, sock.fileno())]
    sock.detach()
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=number < 3)
    os.closerange(4, _open_descriptors())
    return socket.socket(fileno=3)


def _open_descriptors() -> int:
    """Return a number that no open descriptor reaches."""
    try:
        return max(map(int, os.listdir("/proc/self/fd"))) + 1
    except OSError:
        return 4096


def _readable(settings: SupervisorSettings) -> Sequence[str]:
    """Return what the worker may read besides Python's own files."""
    if settings.bash:
        return ("/",)  # programs lie anywhere
    return (*settings.packages, "/etc") if settings.network else settings.packages  # names and certificates of servers


def _restrain(settings: SupervisorSettings) -> dict[str, Any]:
    """Give up rights, for good, or without confinement only set limits; return what was applied."""
    with contextlib.suppress(AttributeError):
        # Each heap of a thread would reserve 64 MB of the bounded address space.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
    if settings.user is not None:
        # Beyond it the kernel would end the worker; below it, code that asks for too much reads a MemoryError. Mapped
        # contexts do not count here.
        resource.setrlimit(resource.RLIMIT_DATA, (settings.memory_bytes, settings.memory_bytes))
        # The user is no other's. What it cannot take is left for those who want to reach the supervisor.
        resource.setrlimit(resource.RLIMIT_NPROC, (settings.max_threads, settings.max_threads))
    if settings.confined:
        return confine(
            scratch=settings.scratch,
            read=_readable(settings),
            memory_bytes=None,
            max_file_bytes=settings.max_file_bytes,
            max_threads=settings.max_threads,
            max_open_files=MAX_OPEN_FILES,
            allow_subprocess=settings.bash,
            allow_network=settings.network,
            in_container=settings.user is not None,
        )
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, settings.max_file_bytes)):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    return {}
