"""The worker's process, from outside: started, measured, interrupted, ended with all that it started."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from rlm_graph.executors.sandbox.confinement.confine import confine
from rlm_graph.executors.sandbox.frames import Frame
from rlm_graph.executors.sandbox.link import Link
from rlm_graph.executors.sandbox.supervisor.metering import Used, used_by_container, used_by_process
from rlm_graph.executors.sandbox.supervisor.output import Output
from rlm_graph.executors.sandbox.worker.worker import SocketChannel, Worker

STREAMS = ("stdout", "stderr")
PIPE_BYTES = 1 << 20
READ_BYTES = 1 << 20
MAX_OPEN_FILES = 128

_F_SETPIPE_SZ = 1031
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_M_ARENA_MAX = -8


class Settings(NamedTuple):
    """What the host decides about one REPL."""

    folder: str
    """Holds the socket and the scratch folder; removed in the end."""
    version: str
    confined: bool = True
    memory_bytes: int = 4 << 30
    max_file_bytes: int = 256 << 20
    max_threads: int = 64
    max_output_bytes: int = 1 << 20
    idle_timeout_s: float = 900.0
    packages: Sequence[str] = ()
    """Folders of installed packages that cells may import, besides the standard library."""
    user: int | None = None
    """User and group that the worker becomes. Set where the supervisor is root of a container of its own, which then
    bounds memory and threads and tells what was used; confinement goes as far there as the kernel has it."""
    scratch_folder: str | None = None
    """The scratch folder, where it does not lie in `folder`; it belongs to `user`."""
    network: bool = False
    """Let code use the network that there is."""
    bash: bool = False
    """Run cells in the shell's language, and let code start programs."""
    program: Sequence[str] = ()
    """A program, by its path and arguments, that runs Python in the worker's place: see `program.py`."""
    program_files: Sequence[str] = ()
    """Files and folders that the program reads."""

    @property
    def socket(self) -> str:
        """Where the supervisor listens."""
        return os.path.join(self.folder, "control.sock")

    @property
    def scratch(self) -> str:
        """The worker's current folder, and the only one it may write to."""
        return self.scratch_folder or os.path.join(self.folder, "scratch")


class WorkerProcess:
    """A worker, forked from the supervisor. Forking is what makes it start fast, so the supervisor has no threads."""

    pipe_names: Sequence[str] = STREAMS
    """What it has pipes for, besides its link."""

    def __init__(self, settings: Settings, generation: int) -> None:
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
        self.link = Link(ours)
        self.pipes: dict[str, int] = {}
        self.outputs = {stream: Output(settings.max_output_bytes) for stream in STREAMS}
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

    def _become(self, settings: Settings, supervisor: int, sock: socket.socket, outputs: list[int]) -> NoReturn:
        """Turn a fresh fork of the supervisor into a worker."""
        _become_worker(settings, supervisor, sock, outputs)


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


def _become_worker(settings: Settings, supervisor: int, sock: socket.socket, outputs: list[int]) -> NoReturn:
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


def _readable(settings: Settings) -> Sequence[str]:
    """Return what the worker may read besides Python's own files."""
    if settings.bash:
        return ("/",)  # programs lie anywhere
    return (*settings.packages, "/etc") if settings.network else settings.packages  # names and certificates of servers


def _restrain(settings: Settings) -> dict[str, Any]:
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
