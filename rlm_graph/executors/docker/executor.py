"""A REPL in a Docker container: its supervisor is the container's first process, and outlives the owner."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.docker import lifecycle
from rlm_graph.executors.docker.archive import CONTEXTS, ContextArchive
from rlm_graph.executors.docker.container import HOME, relay_command
from rlm_graph.executors.docker.daemon import Daemon, told
from rlm_graph.executors.docker.stream import ExecOutput
from rlm_graph.executors.host.executor import SupervisedExecutor
from rlm_graph.executors.host.repl import ContextUploads, SupervisedRepl
from rlm_graph.executors.host.sandboxes import ListedSandbox, State
from rlm_graph.executors.host.stream import Writer
from rlm_graph.settings import DockerSettings
from rlm_graph.state import ReplHandle

CONTEXTS_FOLDER = f"{HOME}/{CONTEXTS}"
_VERSION = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DockerExecutor(SupervisedExecutor):
    """Starts a container for each REPL, named for the REPL. Owner and supervisor speak through a relay in it.

    The container needs nothing of this machine, so the Docker daemon may be on another machine.
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

    def repl(self, handle: ReplHandle, tools: Sequence[str] = ()) -> SupervisedRepl:
        """See `SupervisedExecutor.repl`. A relay that Docker runs in the container speaks to the supervisor."""

        async def upload(name: str, folder: Path) -> None:
            await self._upload(handle.address, name, folder)

        async def connect() -> tuple[ExecOutput, Writer]:
            return await self._daemon.open_exec(handle.address, relay_command(handle.worker_version))

        return SupervisedRepl(handle, connect, tools=tools, uploads=ContextUploads(CONTEXTS_FOLDER, upload))

    async def has(self, handle: ReplHandle) -> bool:
        """See `SupervisedExecutor.has`. A container that does not run, or is paused, is of no use but is there."""
        if not _DIGEST.fullmatch(handle.address):
            return False
        return await self._daemon.call(lambda client: lifecycle.has(client, handle.id, handle.address))

    async def find(self, name: str) -> str | None:
        """See `SupervisedExecutor.find`. A container that another process is just starting is waited for."""
        return await self._daemon.call(lambda client: lifecycle.find(client, name))

    async def start(self, name: str, tools: Sequence[str]) -> SupervisedRepl | None:
        """See `SupervisedExecutor.start`."""
        container = await self._daemon.call(lambda client: lifecycle.start(client, name, self._settings))
        return None if container is None else self.repl(self.handle(name, container), tools)

    async def no_start(self, name: str, error: Exception) -> Exception:
        """See `SupervisedExecutor.no_start`. The container is started once more, to read what it says."""
        return await self._daemon.call(lambda client: lifecycle.reason(client, name, self._settings, error))

    async def list(self) -> Sequence[ListedSandbox]:
        """See `SupervisedExecutor.list`. Those are the containers of the daemon, started from whatever machine."""
        return [self._listed(entry) for entry in await self._daemon.call(lifecycle.containers)]

    async def end(self, handle: ReplHandle) -> None:
        """See `SupervisedExecutor.end`."""
        await self._daemon.call(lambda client: lifecycle.remove(client, handle.address))

    def _listed(self, entry: lifecycle.ContainerEntry) -> ListedSandbox:
        handle = self.handle(entry.repl, entry.container, version=entry.version)
        state: State | None = None
        if entry.never_starts or entry.state not in ("running", "created"):
            state = "dead"
        elif entry.state == "created" or not _VERSION.fullmatch(entry.version):
            state = "unknown"
        # The supervisor of every version tells how it is. A sandbox of another version whose supervisor cannot be
        # reached with the relay of this one may be in use all the same.
        unheard: State = "dead" if entry.version == self.version() else "unknown"
        return ListedSandbox(handle, created=entry.created, owner=entry.owner, state=state, unheard=unheard)

    async def _upload(self, container: str, name: str, folder: Path) -> None:
        try:
            archive = ContextArchive(name, folder)
        except OSError as error:
            raise ExecutorError(f"there is no context in {folder}: {error.strerror}") from error
        with contextlib.closing(archive), told("copy the context into the container"):
            await self._daemon.call(lambda client: archive.put(client, container, CONTEXTS_FOLDER))
