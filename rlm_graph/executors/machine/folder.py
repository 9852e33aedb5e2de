"""REPLs on this machine, each in a folder of its own, under a supervisor that outlives the host."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import re
import secrets
import select
import shutil
import signal
import socket
import stat
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from rlm_graph.errors import ExecutorError, Hint, SetupError
from rlm_graph.executors.host.repl import SupervisedRepl
from rlm_graph.executors.host.sandboxes import Sandbox, looked_at
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
_NAME = re.compile(r"[0-9a-f]{16}")


class FolderExecutor(abc.ABC):
    """Starts a supervisor for each REPL, in a folder that only this user can enter.

    The folder is named for the REPL and lies in `folder`; by default in one that all REPLs of this user share, in the
    system's folder for temporary files. What the supervisor runs sees nothing of the host's environment, keys and
    files.
    """

    kind: str
    shared_folder = "rlm-graph"
    """How the name of the folder that all REPLs of this user share begins."""

    def __init__(self, *, folder: Path | None = None) -> None:
        self._folder = folder

    @abc.abstractmethod
    def _given(self, folder: Path) -> dict[str, object]:
        """Return the settings of the supervisor of a REPL in `folder`. May block; raises `SetupError`."""

    @abc.abstractmethod
    def _version(self) -> str:
        """Return the digest of what runs in a REPL: two hosts with equal ones can share it."""

    @contextlib.asynccontextmanager
    async def attached(
        self, handle: ReplHandle | None, *, name: str | None = None, tools: Sequence[str] = ()
    ) -> AsyncIterator[SupervisedRepl]:
        """See `Executor.attached`."""
        repl = await self._found(handle, tools) if handle is not None else None
        if repl is None:
            repl = await self._named(name or secrets.token_hex(8), tools)
        try:
            yield repl
        finally:
            await repl.detach()

    async def close(self, handle: ReplHandle) -> None:
        """End the REPL and remove all it left. Idempotent."""
        place = self._folder_of(handle)
        if place is None:
            return
        repl = SupervisedRepl(handle, place.connect)
        with contextlib.suppress(OSError, ExecutorError):  # it has ended already, or is of another version
            await repl.attach()
        await _end(repl, place)

    async def sandboxes(self) -> Sequence[Sandbox]:
        """Return the REPLs in this executor's folder, whoever started them."""
        looks = []
        for folder in sorted(self._base().iterdir()):
            handle = ReplHandle(kind=self.kind, id=folder.name, address=str(folder), worker_version=self._version())
            if (place := self._folder_of(handle)) is not None:
                looks.append(looked_at(SupervisedRepl(handle, place.connect), created=time.time() - _age_s(folder)))
        return await asyncio.gather(*looks)

    async def _found(self, handle: ReplHandle, tools: Sequence[str]) -> SupervisedRepl | None:
        place = self._folder_of(handle)
        return None if place is None else await _attach(handle, place, tools)

    async def _named(self, name: str, tools: Sequence[str]) -> SupervisedRepl:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a REPL's name is 16 hex digits, not {name!r}")
        place = ReplFolder(self._base() / name)
        handle = ReplHandle(kind=self.kind, id=name, address=str(place.folder), worker_version=self._version())
        while True:
            if place.folder.exists() and (repl := await _attach(handle, place, tools)):
                return repl
            try:
                await asyncio.to_thread(self._start, place.folder)
            except FileExistsError:  # another process has just begun to start it
                continue
            break
        repl = SupervisedRepl(handle, place.connect, tools=tools)
        try:
            await repl.attach()
        except (OSError, ExecutorError) as error:
            await _end(repl, place)
            raise ExecutorError(f"the {self.kind} sandbox did not start: {error}") from error
        return repl

    def _base(self) -> Path:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder.resolve()
        base = Path(tempfile.gettempdir()).resolve() / f"{self.shared_folder}-{os.getuid()}"
        base.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(base):
            raise SetupError(f"{base} belongs to another user or is open to others; set TMPDIR to a folder of your own")
        return base

    def _start(self, folder: Path) -> None:
        """Start a supervisor, which goes on by itself. Raises `SetupError` if the kernel cannot confine its worker."""
        given = self._given(folder)
        folder.mkdir(mode=0o700)
        try:
            answer = FORK_SERVER.start(given)
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

    def _folder_of(self, handle: ReplHandle) -> ReplFolder | None:
        """Return where a handle's REPL is; None unless it is a folder such as we make, for it is removed in the end."""
        folder = Path(handle.address)
        named = handle.kind == self.kind and _NAME.fullmatch(handle.id) and folder.name == handle.id
        return ReplFolder(folder) if named and folder.is_absolute() and _is_ours(folder) else None


class ReplFolder:
    """A REPL's folder, and the supervisor that was met there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.supervisor: int | None = None
        """Process id, from the kernel."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the supervisor. One that is just being started is waited for; else raises `OSError`."""
        while True:
            try:
                reader, writer = await self._open()
            except (FileNotFoundError, ConnectionRefusedError) as error:
                listens = isinstance(error, ConnectionRefusedError)
                if not self.folder.exists() or _age_s(self.folder) > (LISTEN_S if listens else BEGIN_S):
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


async def _attach(handle: ReplHandle, place: ReplFolder, tools: Sequence[str]) -> SupervisedRepl | None:
    """Attach to a living REPL; end what is left of one that cannot be used."""
    repl = SupervisedRepl(handle, place.connect, tools=tools)
    try:
        await repl.attach()
    except (OSError, ExecutorError):
        await _end(repl, place)
        return None
    return repl


async def _end(repl: SupervisedRepl, place: ReplFolder) -> None:
    """End a REPL, by force if it does not end by itself, and remove its folder."""
    pidfd = None
    if place.supervisor is not None:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(place.supervisor)
    with contextlib.suppress(ExecutorError):
        await repl.close()
    await repl.detach()
    if pidfd is not None:
        if not await asyncio.to_thread(_has_ended, pidfd, END_TIMEOUT_S):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # its worker goes with it
            await asyncio.to_thread(_has_ended, pidfd, END_TIMEOUT_S)
        os.close(pidfd)
        # Where this process is the first of a container, the supervisor has become its child.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(place.supervisor or 0, os.WNOHANG)  # noqa: ASYNC222  # does not wait
    await asyncio.to_thread(remove_tree, str(place.folder))


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
