"""A REPL in a Docker container: its supervisor is the container's first process, and outlives the host."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors.bundle import version
from rlm_graph.executors.docker.archive import CONTEXTS, ContextArchive, bundle_archive
from rlm_graph.executors.docker.container import HOME, container_name, create, is_ours, relay_command
from rlm_graph.executors.docker.daemon import Daemon, DaemonLost, is_missing, told
from rlm_graph.executors.docker.image import bring, image_name
from rlm_graph.executors.docker.stream import Output
from rlm_graph.executors.repl import ContextMissing, SupervisedRepl, Writer
from rlm_graph.settings import DockerSettings
from rlm_graph.state import ContextRef, ReplHandle

BEGIN_S = 30.0
"""Seconds from the making of a container until it must run."""
END_S = 60.0
"""Seconds until a container that was removed must be gone."""
LOOK_S = 0.02
_NAME = re.compile(r"[0-9a-f]{16}")
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
        if await self._inspected(handle.id, handle.address) is not None:
            await self._remove(handle.address)

    async def _found(self, handle: ReplHandle, tools: Sequence[str]) -> SupervisedRepl | None:
        """Attach to the REPL of a handle. None if it is gone, or cannot be used and was removed."""
        state = await self._inspected(handle.id, handle.address)
        if state is None:
            return None
        repl = ContainerRepl(self._daemon, handle, tools)
        try:
            if state == "running":
                await repl.attach()
                return repl
        except DaemonLost:
            await repl.detach()
            raise
        except (OSError, ExecutorError):
            await repl.detach()
        await self._remove(handle.address)
        return None

    async def _named(self, name: str, tools: Sequence[str]) -> SupervisedRepl:
        """Attach to the REPL of that name, or start it. Several may ask at once: one of them starts it."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"a REPL's name is 16 hex digits, not {name!r}")
        while True:
            there = await self._id_of(name)
            if there is not None and (repl := await self._found(self._handle(name, there), tools)):
                return repl
            container = await self._start(name)
            if container is not None:
                break
        repl = ContainerRepl(self._daemon, self._handle(name, container), tools)
        try:
            await repl.attach()
        except (OSError, ExecutorError) as error:
            await repl.detach()
            if not isinstance(error, DaemonLost):
                await self._remove(container)
                raise await self._reason(name, error) from error
            raise
        return repl

    def _handle(self, name: str, container: str) -> ReplHandle:
        return ReplHandle(kind=self.kind, id=name, address=container, worker_version=version())

    async def _id_of(self, name: str) -> str | None:
        """Return the container's id once it runs, or has ended; one that is just being made is waited for."""
        import docker.errors

        patience = time.monotonic() + BEGIN_S
        while True:
            try:
                found: dict[str, Any] = await self._daemon.call(lambda client: client.inspect_container(container_name(name)))
            except docker.errors.NotFound:
                return None
            if not is_ours(found, name):
                raise SetupError(f"Docker has a container {container_name(name)} that is not ours: remove it")
            if found["State"]["Status"] != "created" or time.monotonic() > patience:
                return str(found["Id"])
            await asyncio.sleep(LOOK_S)

    async def _inspected(self, name: str, container: str) -> str | None:
        """Return the state of a container, such as `running`. None unless there is one and it is the REPL's."""
        import docker.errors

        try:
            found: dict[str, Any] = await self._daemon.call(lambda client: client.inspect_container(container))
        except (docker.errors.NotFound, docker.errors.NullResource):
            return None
        return str(found["State"]["Status"]) if is_ours(found, name) and found["Id"] == container else None

    async def _start(self, name: str) -> str | None:
        """Start a container and return its id. None if another process is about to."""
        import docker.errors

        try:
            with told("make a container"):
                container = await self._created(name)
        except ExecutorError as error:
            cause = error.__cause__
            if isinstance(cause, docker.errors.APIError) and cause.status_code == 409:
                return None
            raise
        try:
            with told("fill the container"):
                await self._daemon.call(lambda client: client.put_archive(container, HOME, bundle_archive()))
            await self._daemon.call(lambda client: client.start(container))
        except docker.errors.NotFound:  # somebody who lost patience has removed it
            return None
        except docker.errors.APIError as error:
            await self._remove(container)
            raise self._cannot_run(str(error.explanation or error)) from error
        except BaseException:
            await self._remove(container)
            raise
        return container

    async def _created(self, name: str) -> str:
        import docker.errors

        image = image_name(self._settings)
        try:
            return await self._daemon.call(lambda client: create(client, name, image, self._settings))
        except docker.errors.ImageNotFound:
            await self._daemon.call(lambda client: bring(client, self._settings))
        return await self._daemon.call(lambda client: create(client, name, image, self._settings))

    async def _remove(self, container: str) -> None:
        """Remove a container with its volume, and wait until it is gone."""
        import docker.errors

        patience = time.monotonic() + END_S
        while True:
            try:
                await self._daemon.call(lambda client: client.remove_container(container, v=True, force=True))
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                # 409: it is being removed already, by itself or by another.
                if error.status_code != 409 or time.monotonic() > patience:
                    raise ExecutorError(f"Docker cannot remove container {container[:12]}: {error.explanation}") from error
            await asyncio.sleep(LOOK_S)

    async def _reason(self, name: str, error: Exception) -> Exception:
        """Find out why a container ended as soon as it was started: start it once more, and keep what it says."""
        image = image_name(self._settings)

        def said(client: Any) -> str:
            container = create(client, name, image, self._settings, keep=True)
            try:
                client.put_archive(container, HOME, bundle_archive())
                client.start(container)
                client.wait(container, timeout=BEGIN_S)
                return str(client.logs(container, tail=1).decode(errors="replace"))
            finally:
                client.remove_container(container, v=True, force=True)

        try:
            words = (await self._daemon.call(said)).strip()
        except Exception:  # it only serves to explain the first error
            words = ""
        return self._cannot_run(words) if words else ExecutorError(f"the container did not start: {error}")

    def _cannot_run(self, words: str) -> SetupError:
        image = image_name(self._settings)
        return SetupError(f"image {image} does not serve: {words}; name one that has python3, 3.9 or later, by `image`")


class ContainerRepl(SupervisedRepl):
    """A REPL in a container, which is given a context by copying it there."""

    def __init__(self, daemon: Daemon, handle: ReplHandle, tools: Sequence[str] = ()) -> None:
        super().__init__(handle, self._dial, tools=tools)
        self._daemon = daemon

    async def give(self, number: int, context: ContextRef, *, folder: Path) -> None:
        """See `Repl.give`. A copy that is there, from before the worker died or another host came, is used again."""
        if not _DIGEST.fullmatch(context.sha256):
            raise ValueError(f"no digest of a context: {context.sha256!r}")
        name = f"{number}-{context.sha256}"
        inside = f"{HOME}/{CONTEXTS}/{name}"
        try:
            await self.give_from(number, inside)
        except ContextMissing:
            await self._copy(name, folder)
            await self.give_from(number, inside)

    async def _copy(self, name: str, folder: Path) -> None:
        try:
            archive = ContextArchive(name, folder)
        except OSError as error:
            raise ExecutorError(f"there is no context in {folder}: {error.strerror}") from error
        with told("copy the context into the container"):
            try:
                await self._daemon.call(
                    # The SDK takes bytes or anything that requests can send piece by piece.
                    lambda client: client.put_archive(self.handle.address, f"{HOME}/{CONTEXTS}", iter(archive))  # type: ignore[arg-type]
                )
            finally:
                archive.close()

    async def _dial(self) -> tuple[Output, Writer]:
        return await self._daemon.open_exec(self.handle.address, relay_command())
