"""A REPL in a Docker container: its supervisor is the container's first process, and outlives the host."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.docker import lifecycle
from rlm_graph.executors.docker.archive import CONTEXTS, ContextArchive
from rlm_graph.executors.docker.container import HOME, relay_command
from rlm_graph.executors.docker.daemon import Daemon, DaemonLost, told
from rlm_graph.executors.docker.stream import Output
from rlm_graph.executors.host.bundle import version
from rlm_graph.executors.host.repl import ContextMissing, SupervisedRepl
from rlm_graph.executors.host.sandboxes import Sandbox, State, looked_at
from rlm_graph.executors.host.stream import Writer
from rlm_graph.settings import DockerSettings
from rlm_graph.state import ContextRef, ReplHandle

_NAME = re.compile(r"[0-9a-f]{16}")  # of a REPL, and of a version
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DockerExecutor:
    """Starts a container for each REPL, named for it. Host and supervisor speak through a relay that Docker runs in it.

    The container needs nothing of this machine, so the daemon may be on another.
    """

    kind = "docker"

    def __init__(self, settings: DockerSettings | None = None) -> None:
        self._settings = settings or DockerSettings()
        self._daemon = Daemon(self._settings.host)

    @property
    def cell_timeout_s(self) -> float:
        """Seconds that a cell may compute."""
        return self._settings.cell_timeout_s

    @property
    def declared(self) -> dict[str, str]:
        """Behaviours of the conformance list that it cannot show: none."""
        return {}

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
        if await self._state(handle) is not None:
            await self._daemon.call(lambda client: lifecycle.remove(client, handle.address))

    async def sandboxes(self) -> Sequence[Sandbox]:
        """Return the REPLs that the daemon has, whoever started them, from whatever machine."""
        listed = await self._daemon.call(lambda client: lifecycle.containers(client))
        return await asyncio.gather(*map(self._looked_at, listed))

    async def _looked_at(self, one: lifecycle.ContainerEntry) -> Sandbox:
        handle = ReplHandle(kind=self.kind, id=one.repl, address=one.container, worker_version=one.version)
        state: State = "unknown" if one.state in ("running", "created") and not one.never_starts else "dead"
        unasked = Sandbox(handle=handle, state=state, created=one.created, host=one.host)
        if one.state != "running" or not _NAME.fullmatch(one.version):
            return unasked
        # Every version tells how it is. One of another that cannot be asked may be in use all the same.
        sandbox = await looked_at(ContainerRepl(self._daemon, handle), created=one.created, host=one.host)
        return sandbox if sandbox.state != "dead" or one.version == version() else unasked

    async def _found(self, handle: ReplHandle, tools: Sequence[str]) -> SupervisedRepl | None:
        """Attach to the REPL of a handle. None if it is gone, or was of no use any more and has been removed."""
        state = await self._state(handle)
        if state is None:
            return None
        if state == "running":
            repl = ContainerRepl(self._daemon, handle, tools)
            try:
                await repl.attach()
                return repl
            except BaseException as error:
                await repl.detach()
                if isinstance(error, DaemonLost) or not isinstance(error, OSError | ExecutorError):
                    raise
        await self._daemon.call(lambda client: lifecycle.remove(client, handle.address))
        return None

    async def _named(self, name: str, tools: Sequence[str]) -> SupervisedRepl:
        """Attach to the REPL of that name, or start it. Several may ask at once: one of them starts it."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"a REPL's name is 16 hex digits, not {name!r}")
        while True:
            there = await self._daemon.call(lambda client: lifecycle.find(client, name))
            if there is not None and (repl := await self._found(self._handle(name, there), tools)):
                return repl
            container = await self._daemon.call(lambda client: lifecycle.start(client, name, self._settings))
            if container is not None:
                break
        repl = ContainerRepl(self._daemon, self._handle(name, container), tools)
        try:
            await repl.attach()
        except BaseException as error:
            await repl.detach()
            if isinstance(error, DaemonLost) or not isinstance(error, OSError | ExecutorError):
                raise
            await self._daemon.call(lambda client: lifecycle.remove(client, container))
            first = error
            raise await self._daemon.call(
                lambda client: lifecycle.reason(client, name, self._settings, first)
            ) from error
        return repl

    async def _state(self, handle: ReplHandle) -> str | None:
        if handle.kind != self.kind or not _NAME.fullmatch(handle.id) or not _DIGEST.fullmatch(handle.address):
            return None
        return await self._daemon.call(lambda client: lifecycle.state_of(client, handle.id, handle.address))

    def _handle(self, name: str, container: str) -> ReplHandle:
        return ReplHandle(kind=self.kind, id=name, address=container, worker_version=version())


class ContainerRepl(SupervisedRepl):
    """A REPL in a container, which is given a context by copying it there."""

    def __init__(self, daemon: Daemon, handle: ReplHandle, tools: Sequence[str] = ()) -> None:
        super().__init__(handle, self._dial, tools=tools)
        self._daemon = daemon

    async def add_context(self, number: int, context: ContextRef, *, folder: Path) -> None:
        """See `Repl.add_context`. A copy from before the worker died, or from another host, is used again."""
        if not _DIGEST.fullmatch(context.sha256):
            raise ValueError(f"no digest of a context: {context.sha256!r}")
        name = f"{number}-{context.sha256}"
        inside = f"{HOME}/{CONTEXTS}/{name}"
        try:
            await self.add_context_from(number, inside)
        except ContextMissing:
            await self._copy(name, folder)
            await self.add_context_from(number, inside)

    async def _copy(self, name: str, folder: Path) -> None:
        try:
            archive = ContextArchive(name, folder)
        except OSError as error:
            raise ExecutorError(f"there is no context in {folder}: {error.strerror}") from error
        with contextlib.closing(archive), told("copy the context into the container"):
            await self._daemon.call(lambda client: archive.put(client, self.handle.address, f"{HOME}/{CONTEXTS}"))

    async def _dial(self) -> tuple[Output, Writer]:
        return await self._daemon.open_exec(self.handle.address, relay_command(self.handle.worker_version))
