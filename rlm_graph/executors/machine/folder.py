"""REPLs on this machine, each in a folder of its own, under a supervisor that outlives the owner."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import select
import shutil
import signal
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rlm_graph.errors import ExecutorError, Hint, SetupError
from rlm_graph.executors.host.executor import SupervisedExecutor
from rlm_graph.executors.host.link import REPLY_TIMEOUT_S, SupervisorLink
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.host.sandboxes import ListedSandbox
from rlm_graph.executors.machine.fork_server import FORK_SERVER
from rlm_graph.executors.sandbox.supervisor.removal import remove_tree
from rlm_graph.state import ReplHandle

END_TIMEOUT_S = 10.0
BEGIN_S = 5.0
"""Seconds from the making of a REPL's folder until its supervisor must have a socket there."""
LISTEN_S = 0.5
"""The same, until the supervisor must listen at it."""
SOCKET = "control.sock"
MAX_SOCKET_PATH = 107
"""Bytes that the kernel takes."""


class FolderExecutor(SupervisedExecutor):
    """Starts a supervisor for each REPL, in a folder that only this user can enter.

    The folder is named for the REPL and lies in `folder`; by default in one that all REPLs of this user share, in the
    system's folder for temporary files. What the supervisor runs sees nothing of the owner's environment, keys and
    files.
    """

    shared_folder = "rlm-graph"
    """How the name of the folder that all REPLs of this user share begins."""

    def __init__(self, *, folder: Path | None = None) -> None:
        self._folder = folder

    @abc.abstractmethod
    def _supervisor_settings(self, folder: Path) -> dict[str, object]:
        """Return the settings of the supervisor of a REPL in `folder`. May block; raises `SetupError`."""

    def repl(self, handle: ReplHandle, tools: Sequence[str] = ()) -> SupervisedRepl:
        """See `SupervisedExecutor.repl`. The supervisor reads contexts where the store keeps them."""
        return SupervisedRepl(handle, ReplFolder(Path(handle.address)).connect, tools=tools, stays=True)

    async def has(self, handle: ReplHandle) -> bool:
        """See `SupervisedExecutor.has`. The folder must be one such as we make, for it is removed in the end."""
        folder = Path(handle.address)
        return folder.name == handle.id and folder.is_absolute() and _is_ours(folder)

    async def find(self, name: str) -> str | None:
        """See `SupervisedExecutor.find`."""
        folder = self._base() / name
        return str(folder) if folder.exists() else None

    async def start(self, name: str, tools: Sequence[str]) -> SupervisedRepl | None:
        """See `SupervisedExecutor.start`."""
        folder = self._base() / name
        try:
            await asyncio.to_thread(self._start, folder)
        except FileExistsError:  # another process has just begun to start it
            return None
        return self.repl(self.handle(name, str(folder)), tools)

    async def list(self) -> Sequence[ListedSandbox]:
        """See `SupervisedExecutor.list`. Those are the REPLs in this executor's folder."""
        handles = [(self.handle(folder.name, str(folder)), folder) for folder in sorted(self._base().iterdir())]
        return [
            ListedSandbox(handle, created=time.time() - _age_s(folder))
            for handle, folder in handles
            if await self._has(handle)
        ]

    async def end(self, handle: ReplHandle) -> None:
        """See `SupervisedExecutor.end`. A supervisor that does not end by itself is killed, and its worker with it."""
        await _end(ReplFolder(Path(handle.address)))

    def _base(self) -> Path:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder.resolve()
        try:
            temporary = Path(tempfile.gettempdir()).resolve()
        except FileNotFoundError as error:  # whose words name each folder that was tried
            raise SetupError(f"{error.strerror or error}; set TMPDIR to a folder that can be written") from error
        base = temporary / f"{self.shared_folder}-{os.getuid()}"
        base.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(base):
            raise SetupError(f"{base} belongs to another user or is open to others; set TMPDIR to a folder of your own")
        return base

    def _start(self, folder: Path) -> None:
        """Start a supervisor, which goes on by itself. Raises `SetupError` if the kernel cannot confine its worker."""
        settings = self._supervisor_settings(folder)
        folder.mkdir(mode=0o700)
        try:
            answer = FORK_SERVER.start(settings)
            if "missing" in answer:
                missing = "; ".join(map(str, answer["missing"]))
                raise SetupError(
                    f"this machine cannot confine the code that a model writes. Missing: {missing}",
                    hint=[Hint("choose_executor"), Hint("allow_unsafe")],
                )
            if "error" in answer:
                raise ExecutorError(f"the {self.kind} sandbox did not start: {answer['error']}")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


class ReplFolder:
    """A REPL's folder, and the supervisor that answered there last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.supervisor: int | None = None
        """Process id, from the kernel."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the supervisor. One that is just being started is waited for; else raises `OSError`."""
        begun = time.monotonic()
        while True:
            try:
                reader, writer = await self._open()
            except (FileNotFoundError, ConnectionRefusedError) as error:
                listens = isinstance(error, ConnectionRefusedError)
                patience_s = LISTEN_S if listens else BEGIN_S
                # Where the clock was set back, a folder stays young for hours.
                over = _age_s(self.folder) > patience_s or time.monotonic() - begun > patience_s
                if over or not self.folder.exists():
                    raise
                await asyncio.sleep(0.02)
                continue
            credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self.supervisor, uid, _ = struct.unpack("3i", credentials)
            if uid != os.geteuid():
                writer.close()
                raise PermissionError(f"{self.folder} is served by another user")
            return reader, writer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = str(self.folder / SOCKET)
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
            return await asyncio.open_unix_connection(path)
        directory = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{SOCKET}")
        finally:
            os.close(directory)


async def _end(place: ReplFolder) -> None:
    """End the REPL of a folder, by force if it does not end by itself, and remove the folder."""
    pidfd = None
    link = SupervisorLink(place.connect)
    try:
        with contextlib.suppress(OSError, ExecutorError):  # it has ended already
            await link.open()
            pidfd = _pidfd(place.supervisor)
            await link.send({"op": "close"})
            await link.wait_ended(REPLY_TIMEOUT_S)
        await link.close()
        if pidfd is not None and not await asyncio.to_thread(_has_ended, pidfd, END_TIMEOUT_S):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # its worker goes with it
            await asyncio.to_thread(_has_ended, pidfd, END_TIMEOUT_S)
    finally:
        if pidfd is not None:
            os.close(pidfd)
    if pidfd is not None:
        # Where this process is the first of a container, the supervisor has become its child.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(place.supervisor or 0, os.WNOHANG)  # noqa: ASYNC222  # does not wait
    await asyncio.to_thread(remove_tree, str(place.folder))


def _pidfd(pid: int | None) -> int | None:
    try:
        return None if pid is None else os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder that this user owns and nobody else can enter."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return float("inf")


def _has_ended(pidfd: int, timeout_s: float) -> bool:
    ended = select.poll()  # unlike `select`, it takes descriptors of any number
    ended.register(pidfd, select.POLLIN)
    return bool(ended.poll(timeout_s * 1000))
